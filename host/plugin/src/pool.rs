//! What turns rows into rows, ready to be called: instances of a component with something loaded into them (a fitted
//! state, a model), handed out one to a caller.

use std::{
    sync::{Arc, Condvar, LazyLock, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use plinth_core::codes;
use plinth_ext::{Batch, ExtError, Schema};
use wasmtime::component::{ComponentExportIndex, ResourceAny, TypedFunc};

use crate::{
    block::{BlockIn, Layout, Source},
    fault::{Call, Deadline},
    gathering::Gathering,
    instance::{Instance, Lent, Prepared},
    landing::{Landed, Landing, rows_max},
    limiter::Totals,
    wire::{WireProblem, WireSchema},
};

type RowsToRows<'a> = TypedFunc<(ResourceAny, BlockIn<'a>), (Result<Landed, WireProblem>,)>;

/// Loads what the pool holds into a fresh instance.
pub(crate) type Bind =
    Box<dyn for<'a> Fn(&mut Instance, Call<'a>, &'a str) -> Result<ResourceAny, ExtError> + Send + Sync>;

/// What messages call the item and its functions.
pub(crate) struct PoolNames {
    pub(crate) item: String,
    pub(crate) load: &'static str,
    pub(crate) output: &'static str,
    pub(crate) call: &'static str,
}

/// Where the functions of the resource are: the schema of its rows, and rows into rows.
pub(crate) struct PoolExports {
    pub(crate) output: ComponentExportIndex,
    pub(crate) call: ComponentExportIndex,
}

/// How long a call may take.
#[derive(Clone, Copy)]
pub(crate) struct Deadlines {
    /// One that loads, also where the pool grows while a caller waits.
    pub(crate) load: Deadline,
    /// One with rows.
    pub(crate) call: Deadline,
}

/// Instances that have the same loaded, handed out one to a caller.
pub(crate) struct Pool {
    prepared: Arc<Prepared>,
    names: PoolNames,
    call: ComponentExportIndex,
    bind: Bind,
    input: Layout,
    output: Arc<Layout>,
    deadlines: Deadlines,
    warm: Mutex<Warmth>,
    returned: Condvar,
}

struct Warmth {
    idle: Vec<Warm>,
    /// Those that are idle and those that are out.
    live: usize,
    /// Callers that wait for one. Waking nobody would be a system call too.
    waiting: usize,
}

struct Warm {
    instance: Instance,
    resource: ResourceAny,
    func: RowsToRows<'static>,
}

impl Pool {
    /// Makes the first instance and asks it for the schema of its rows.
    pub(crate) fn open(
        prepared: Arc<Prepared>,
        names: PoolNames,
        exports: &PoolExports,
        input: &Schema,
        deadlines: Deadlines,
        bind: Bind,
    ) -> Result<Self, ExtError> {
        let mut warm = warm_one(&prepared, &names, &exports.call, &bind, deadlines)?;
        let call = Call { plugin: &prepared.name, item: &names.item, func: names.output };
        let func: TypedFunc<(ResourceAny,), (WireSchema,)> = warm.instance.func(call, &exports.output)?;
        let resource = warm.resource;
        let (output,) = warm.instance.call(call, |store| func.call(store, (resource,)))?;
        let output = output.check(&prepared.limits).map_err(|text| warm.instance.output_fault(call, &text))?;
        Ok(Self {
            names,
            call: exports.call,
            bind,
            input: Layout::new(input.clone()),
            output: Arc::new(Layout::new(output)),
            deadlines,
            warm: Mutex::new(Warmth { idle: vec![warm], live: 1, waiting: 0 }),
            returned: Condvar::new(),
            prepared,
        })
    }

    /// The schema of the rows it takes.
    pub(crate) fn input(&self) -> &Schema {
        &self.input.schema
    }

    /// The schema of the rows it gives.
    pub(crate) fn output(&self) -> &Schema {
        &self.output.schema
    }

    /// Rows into rows: one out for each in, in order.
    pub(crate) fn call(&self, rows: &Batch) -> Result<Batch, ExtError> {
        self.input.schema.expect_same(rows.schema())?;
        let limits = &self.prepared.limits;
        let total = rows.num_rows();
        let step = self.input.rows_per_block(rows, limits.block_bytes_target).min(rows_max(limits) / 64 * 64);
        let mut lease = self.checkout()?;
        if total > step {
            return self.table(&mut lease, rows, step);
        }
        let landing = self.block(&mut lease, rows, 0, Landing::one(self.output.clone(), Some(total), total))?;
        landing.finish().map_err(|text| self.output_fault(&mut lease, &text))
    }

    /// Rows of `rows` from row `start` on, as many as the landing expects.
    fn block(
        &self,
        lease: &mut Lease<'_>,
        rows: &Batch,
        start: usize,
        landing: Box<Landing>,
    ) -> Result<Box<Landing>, ExtError> {
        let warm = lease.warm();
        let source = Source::new(rows, &self.input, start, landing.rows());
        let (func, resource) = (retyped(warm.func), warm.resource);
        let instance = &mut warm.instance;
        let (landing, called) = landing
            .during(|| instance.try_call(self.named(), |store| func.call(store, (resource, BlockIn::new(&source)))));
        called.map(|Landed| landing)
    }

    /// Rows in blocks of `step`, on as many instances as threads can be spared.
    fn table(&self, lease: &mut Lease<'_>, rows: &Batch, step: usize) -> Result<Batch, ExtError> {
        let total = rows.num_rows();
        let table = Gathering::new(self.output.clone(), total, step, self.prepared.limits.output_bytes_max);
        // Of the first block that failed, so that it does not depend on who was faster.
        let failed: Mutex<Option<(usize, ExtError)>> = Mutex::new(None);
        let work = |lease: &mut Lease<'_>| {
            while let Some(slot) = table.slot() {
                let start = slot.start();
                let Err(error) = self.block(lease, rows, start, Landing::part(slot)) else { continue };
                table.stop();
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(before, _)| start < *before) {
                    *failed = Some((start, error));
                }
                return;
            }
        };
        let helpers = Helpers::of(&self.prepared, total.div_ceil(step));
        let span = tracing::Span::current();
        std::thread::scope(|scope| {
            for _ in 0..helpers.count {
                let help = || {
                    let _entered = span.enter();
                    if let Some(Ok(mut lease)) = self.checkout_at_once() {
                        work(&mut lease);
                    }
                };
                // Nobody waits for those that find no instance, or that the system has no thread for.
                let _ = std::thread::Builder::new().name("plinth-table".into()).spawn_scoped(scope, help);
            }
            work(lease);
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => table.finish().map_err(|text| self.output_fault(lease, &text)),
        }
    }

    fn output_fault(&self, lease: &mut Lease<'_>, text: &str) -> ExtError {
        lease.warm().instance.output_fault(self.named(), text)
    }

    fn named(&self) -> Call<'_> {
        Call { plugin: &self.prepared.name, item: &self.names.item, func: self.names.call }
    }

    /// An instance for one call: an idle one, a new one, or the next that comes back.
    fn checkout(&self) -> Result<Lease<'_>, ExtError> {
        let mut until = None;
        loop {
            if let Some(found) = self.checkout_at_once() {
                return found;
            }
            let wait = Duration::from_millis(self.deadlines.call.ms);
            let until = *until.get_or_insert_with(|| Instant::now() + wait);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let call = self.named();
                let message = format!("all {} warm instances were busy for {} ms", self.max(), wait.as_millis());
                return Err(ExtError::fault(call.who(), codes::PLUGIN_UNAVAILABLE, message)
                    .with_hint("try again, or raise [limits.plugin] warm-instances-max in plinth.toml"));
            }
            let mut warm = self.lock();
            if warm.idle.is_empty() && warm.live >= self.max() {
                warm.waiting += 1;
                warm = self.returned.wait_timeout(warm, left).unwrap_or_else(PoisonError::into_inner).0;
                warm.waiting -= 1;
            }
        }
    }

    /// An idle instance or a new one, unless as many as there may be are out.
    fn checkout_at_once(&self) -> Option<Result<Lease<'_>, ExtError>> {
        let mut warm = self.lock();
        if let Some(idle) = warm.idle.pop() {
            return Some(Ok(Lease { pool: self, warm: Some(idle) }));
        }
        if warm.live >= self.max() {
            return None;
        }
        warm.live += 1;
        drop(warm);
        let mut lease = Lease { pool: self, warm: None };
        Some(warm_one(&self.prepared, &self.names, &self.call, &self.bind, self.deadlines).map(|made| {
            lease.warm = Some(made);
            lease
        }))
    }

    fn max(&self) -> usize {
        self.prepared.limits.warm_instances_max.max(1) as usize
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Warmth> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance that is out. When dropped it goes back, unless it had a fault, grew too much, or never came to be.
struct Lease<'a> {
    pool: &'a Pool,
    warm: Option<Warm>,
}

impl Lease<'_> {
    fn warm(&mut self) -> &mut Warm {
        self.warm.as_mut().expect("a lease holds its instance until it is dropped")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let kept = self.warm.take().filter(|warm| !warm.instance.is_broken() && !warm.instance.is_worn());
        let mut warm = self.pool.lock();
        match kept {
            Some(kept) => warm.idle.push(kept),
            None => warm.live -= 1,
        }
        let waiting = warm.waiting;
        drop(warm);
        if waiting > 0 {
            self.pool.returned.notify_one();
        }
    }
}

/// Threads that one call may have beside its own. They are free for others when this is dropped.
struct Helpers<'a> {
    count: u32,
    totals: &'a Totals,
}

impl<'a> Helpers<'a> {
    /// For a table of so many blocks, of which each thread is to have two or more.
    fn of(prepared: &'a Prepared, blocks: usize) -> Self {
        static PROCESSORS: LazyLock<u32> =
            LazyLock::new(|| std::thread::available_parallelism().map_or(1, |count| count.get() as u32));
        let threads = match prepared.limits.table_threads_max {
            0 => *PROCESSORS,
            max => max,
        };
        // Which instance has which block depends on who is faster, and an instance may remember blocks before.
        let spare = if prepared.deterministic { 0 } else { threads - 1 };
        let wanted = u32::try_from(blocks / 2).unwrap_or(u32::MAX);
        let (totals, mut count) = (&*prepared.totals, 0);
        let _ = totals.helping.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |helping| {
            count = wanted.min(spare.saturating_sub(helping));
            Some(helping + count)
        });
        Self { count, totals }
    }
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        self.totals.helping.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// An instance with everything loaded.
fn warm_one(
    prepared: &Arc<Prepared>,
    names: &PoolNames,
    call: &ComponentExportIndex,
    bind: &Bind,
    deadlines: Deadlines,
) -> Result<Warm, ExtError> {
    let named = |func| Call { plugin: &prepared.name, item: &names.item, func };
    let mut instance = prepared.instantiate(&names.item, Lent::default(), deadlines.load)?;
    let resource = bind(&mut instance, named(names.load), &names.item)?;
    let func = instance.func(named(names.call), call)?;
    instance.answers_by(deadlines.call);
    instance.returns_rows();
    Ok(Warm { instance, resource, func })
}

/// The parts that rows are handed over in; one, empty, if there are no rows.
pub(crate) fn parts(rows: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows.max(1)).step_by(step.max(1)).map(move |start| (start, step.min(rows - start)))
}

/// The same function for rows of another lifetime.
fn retyped<'a>(func: RowsToRows<'static>) -> RowsToRows<'a> {
    // SAFETY: the type was checked when the function was looked up, and a check of types does not see lifetimes:
    // `RowsToRows<'a>` and `RowsToRows<'static>` take and give the same WIT types.
    #[expect(unsafe_code, reason = "a typed function has no variance in its parameters")]
    unsafe {
        TypedFunc::new_unchecked(*func.func())
    }
}
