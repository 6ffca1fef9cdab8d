//! What turns rows into rows, ready to be called: instances of a component with something loaded into them (a fitted
//! state, a model), handed out one to a caller, and more where they help with a large table.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use plinth_core::codes;
use plinth_ext::{Batch, ExtError, Schema};
use wasmtime::component::{ComponentExportIndex, ResourceAny, TypedFunc};

use crate::{
    block::{BlockIn, Layout, Source},
    fault::{Call, Deadline},
    in_blocks::table_threads,
    instance::{Instance, Lent, Prepared},
    landing::{Landed, Landing, rows_max},
    spares::PoolId,
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
    pub(crate) prepared: Arc<Prepared>,
    names: PoolNames,
    call: ComponentExportIndex,
    bind: Bind,
    input: Layout,
    pub(crate) output: Arc<Layout>,
    deadlines: Deadlines,
    /// How long it took to make the first instance.
    made_in: Duration,
    /// Whose spares are its own.
    id: PoolId,
    warm: Mutex<Warmth>,
    returned: Condvar,
}

/// An instance to help is made only where one is made as soon as this: the caller waits for it in the end.
const MADE_IN_MAX: Duration = Duration::from_millis(20);

struct Warmth {
    idle: Vec<Warm>,
    /// Those that are idle and those that are out.
    live: usize,
    /// Callers that wait for one. Waking nobody would be a system call too.
    waiting: usize,
}

pub(crate) struct Warm {
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
        let began = Instant::now();
        let mut warm = warm_one(&prepared, &names, &exports.call, &bind, deadlines, Lent::default())?;
        let made_in = began.elapsed();
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
            made_in,
            id: prepared.totals.spares.id(),
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
        if total > step.max(64) {
            return self.in_blocks(lease, rows, step.max(64));
        }
        let (landing, called) = self.block(&mut lease, rows, 0, Landing::one(self.output.clone(), Some(total), total));
        called?;
        landing.finish().map_err(|text| lease.output_fault(&text))
    }

    /// Rows of `rows` from row `start` on, as many as the landing expects.
    pub(crate) fn block(
        &self,
        lease: &mut Lease<'_>,
        rows: &Batch,
        start: usize,
        landing: Box<Landing>,
    ) -> (Box<Landing>, Result<(), ExtError>) {
        let warm = lease.warm();
        let source = Source::new(rows, &self.input, start, landing.rows());
        let (func, resource) = (retyped(warm.func), warm.resource);
        let instance = &mut warm.instance;
        let (landing, called) = landing
            .during(|| instance.try_call(self.named(), |store| func.call(store, (resource, BlockIn::new(&source)))));
        let called = called.map(|Landed| ()).map_err(|error| match error {
            // A plugin counts from the start of its block.
            ExtError::Problem { who, mut problem } => {
                problem.row = problem.row.map(|row| row.saturating_add(start as u64));
                ExtError::Problem { who, problem }
            }
            error => error,
        });
        (landing, called)
    }

    pub(crate) fn named(&self) -> Call<'_> {
        Call { plugin: &self.prepared.name, item: &self.names.item, func: self.names.call }
    }

    /// An instance for one call: an idle one, a new one, or the next that comes back.
    pub(crate) fn checkout(&self) -> Result<Lease<'_>, ExtError> {
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
            return Some(Ok(Lease { pool: self, warm: Some(idle), helps: false }));
        }
        if warm.live >= self.max() {
            return None;
        }
        warm.live += 1;
        drop(warm);
        Some(self.another(self.deadlines, Lent::default()))
    }

    /// A new instance, which is counted already.
    fn another(&self, deadlines: Deadlines, lent: Lent) -> Result<Lease<'_>, ExtError> {
        let mut lease = Lease { pool: self, warm: None, helps: false };
        lease.warm = Some(warm_one(&self.prepared, &self.names, &self.call, &self.bind, deadlines, lent)?);
        Ok(lease)
    }

    /// An instance that helps with a caller's rows, if others can do without it: whoever comes next finds one all the same,
    /// and a new one is soon made and leaves half of the places and enough memory.
    pub(crate) fn checkout_to_help(&self) -> Option<Lease<'_>> {
        let Prepared { limits, totals, .. } = &*self.prepared;
        let mut warm = self.lock();
        if warm.waiting > 0 || warm.idle.len() + self.max() < warm.live + 2 {
            return None;
        }
        let mut lease = if let Some(spare) = totals.spares.take(self.id) {
            warm.live += 1;
            Lease { pool: self, warm: Some(spare), helps: true }
        } else if let Some(idle) = warm.idle.pop() {
            Lease { pool: self, warm: Some(idle), helps: false }
        } else {
            let largest = totals.largest.load(Ordering::Relaxed);
            let room = totals.instances.load(Ordering::Relaxed) < limits.instances_max / 2
                && totals.memory.load(Ordering::Relaxed) + largest.saturating_mul(2) <= limits.memory_total_bytes_max;
            if !room || self.made_in > MADE_IN_MAX {
                return None;
            }
            warm.live += 1;
            drop(warm);
            let deadlines = Deadlines { load: self.deadlines.call, ..self.deadlines };
            let mut made = self.another(deadlines, Lent { uncounted: true, ..Lent::default() }).ok()?;
            made.helps = true;
            made
        };
        lease.uncounted();
        Some(lease)
    }

    /// Whether a caller waits for an instance.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Gives up the instances that nobody uses.
    pub(crate) fn forget_idle(&self) {
        let mut warm = self.lock();
        let idle = std::mem::take(&mut warm.idle);
        warm.live -= idle.len();
    }

    pub(crate) fn max(&self) -> usize {
        self.prepared.limits.warm_instances_max.max(1) as usize
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Warmth> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.prepared.totals.spares.forget(self.id);
    }
}

/// An instance that is out. When dropped it goes back, unless it had a fault, grew too much, or never came to be.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    warm: Option<Warm>,
    /// Whether it was made to help: then it waits among the spares of all pools.
    helps: bool,
}

impl Lease<'_> {
    fn warm(&mut self) -> &mut Warm {
        self.warm.as_mut().expect("a lease holds its instance until it is dropped")
    }

    pub(crate) fn is_broken(&mut self) -> bool {
        self.warm().instance.is_broken()
    }

    /// What it calls is part of a call that is told of as a whole.
    pub(crate) fn uncounted(&mut self) {
        self.warm().instance.uncounted(true);
    }

    pub(crate) fn lacked_memory_of_others(&mut self) -> bool {
        self.warm().instance.lacked_memory_of_others()
    }

    /// Something that it returned broke the contract.
    pub(crate) fn output_fault(&mut self, text: &str) -> ExtError {
        let call = self.pool.named();
        self.warm().instance.output_fault(call, text)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut kept = self.warm.take().filter(|warm| !warm.instance.is_broken() && !warm.instance.is_worn());
        if let Some(kept) = &mut kept {
            kept.instance.uncounted(false);
        }
        if self.helps
            && let Some(spare) = kept.take()
        {
            let Prepared { limits, totals, .. } = &*self.pool.prepared;
            totals.spares.keep(self.pool.id, spare, 2 * table_threads(limits) as usize);
        }
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

/// An instance with everything loaded.
fn warm_one(
    prepared: &Arc<Prepared>,
    names: &PoolNames,
    call: &ComponentExportIndex,
    bind: &Bind,
    deadlines: Deadlines,
    lent: Lent,
) -> Result<Warm, ExtError> {
    let named = |func| Call { plugin: &prepared.name, item: &names.item, func };
    let mut instance = prepared.instantiate(&names.item, lent, deadlines.load)?;
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
