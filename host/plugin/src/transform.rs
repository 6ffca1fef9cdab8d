//! Transforms: fits on one instance, and a pool of warm instances for each fitted state.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use plinth_core::codes;
use plinth_ext::{Batch, ExtError, Fitted, Fitting, Item, Schema, Step, Transform};
use wasmtime::component::{ComponentExportIndex, ComponentType, Lift, ResourceAny, TypedFunc};

use crate::{
    block::{BlockIn, Layout, Source},
    fault::{Call, Deadline, PluginError},
    instance::{Instance, Lent, Prepared},
    items,
    landing::{Landed, Landing, rows_max},
    manifest::ExtensionPoint,
    options::OptionsCheck,
    wire::{WireProblem, WireSchema, check_items},
};

/// The transforms of one component.
pub(crate) struct TransformAdapter {
    shared: Arc<Shared>,
    deadline: Deadline,
}

struct Shared {
    prepared: Arc<Prepared>,
    exports: Exports,
    items: Vec<Item>,
    options: OptionsCheck,
}

struct Exports {
    start: ComponentExportIndex,
    update: ComponentExportIndex,
    partial: ComponentExportIndex,
    merge: ComponentExportIndex,
    end_pass: ComponentExportIndex,
    load: ComponentExportIndex,
    output: ComponentExportIndex,
    apply: ComponentExportIndex,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
enum WireStep {
    #[component(name = "another-pass")]
    AnotherPass,
    #[component(name = "done")]
    Done(Vec<u8>),
}

type Answer<T> = (Result<T, WireProblem>,);
type Start<'a> = TypedFunc<(&'a str, WireSchema, &'a str), Answer<ResourceAny>>;
type Load<'a> = TypedFunc<(&'a str, &'a [u8], WireSchema), Answer<ResourceAny>>;
type Update<'a> = TypedFunc<(ResourceAny, BlockIn<'a>), Answer<()>>;
type Apply<'a> = TypedFunc<(ResourceAny, BlockIn<'a>), Answer<Landed>>;

impl TransformAdapter {
    /// Asks a component for its transforms.
    pub(crate) fn new(prepared: &Arc<Prepared>) -> Result<Self, PluginError> {
        let [describe, start, update, partial, merge, end_pass, load, output, apply] = prepared.exports(
            ExtensionPoint::Transform,
            [
                "describe",
                "[static]fitting.start",
                "[method]fitting.update",
                "[method]fitting.partial",
                "[method]fitting.merge",
                "[method]fitting.end-pass",
                "[static]fitted.load",
                "[method]fitted.output",
                "[method]fitted.apply",
            ],
        )?;
        let items = items::ask(prepared, &describe, check_items)?;
        let exports = Exports { start, update, partial, merge, end_pass, load, output, apply };
        let shared = Shared { prepared: prepared.clone(), exports, items, options: OptionsCheck::default() };
        Ok(Self { shared: Arc::new(shared), deadline: Deadline::ordinary(&prepared.limits) })
    }

    /// The same transforms under the deadline of online calls.
    pub(crate) fn online(&self) -> Self {
        Self { shared: self.shared.clone(), deadline: Deadline::online(&self.shared.prepared.limits) }
    }
}

impl Transform for TransformAdapter {
    fn items(&self) -> &[Item] {
        &self.shared.items
    }

    fn start(&self, item: &str, input: &Schema, options: &str) -> Result<Box<dyn Fitting>, ExtError> {
        let shared = &self.shared;
        let call = shared.call(item, "fitting.start");
        let offered = items::find(&shared.items, call, |item| item)?;
        let options = shared.options.check(call, offered, options)?;
        let mut instance = shared.prepared.instantiate(item, Lent::default(), self.deadline)?;
        let func: Start<'_> = instance.func(call, &shared.exports.start)?;
        let fitting = instance.try_call(call, |store| func.call(store, (item, input.into(), options)))?;
        let update = instance.func(call, &shared.exports.update)?;
        let layout = Layout::new(input.clone());
        Ok(Box::new(FittingAdapter {
            shared: shared.clone(),
            instance,
            fitting,
            update,
            layout,
            item: item.to_owned(),
            passes: 0,
        }))
    }

    fn load(&self, item: &str, state: &[u8], input: &Schema) -> Result<Arc<dyn Fitted>, ExtError> {
        let shared = &self.shared;
        items::find(&shared.items, shared.call(item, "fitted.load"), |item| item)?;
        let mut warm = shared.warm(item, state, input, self.deadline)?;
        let call = shared.call(item, "fitted.output");
        let func: TypedFunc<(ResourceAny,), (WireSchema,)> = warm.instance.func(call, &shared.exports.output)?;
        let fitted = warm.fitted;
        let (output,) = warm.instance.call(call, |store| func.call(store, (fitted,)))?;
        let output = output.check(&shared.prepared.limits).map_err(|text| warm.instance.output_fault(call, &text))?;
        Ok(Arc::new(Pool {
            shared: shared.clone(),
            item: item.to_owned(),
            state: state.into(),
            input: Layout::new(input.clone()),
            output: Arc::new(Layout::new(output)),
            deadline: self.deadline,
            warm: Mutex::new(Warmth { idle: vec![warm], live: 1, waiting: 0 }),
            returned: Condvar::new(),
        }))
    }
}

impl Shared {
    fn call<'a>(&'a self, item: &'a str, func: &'static str) -> Call<'a> {
        Call { plugin: &self.prepared.name, item, func }
    }

    /// An instance with a state loaded.
    fn warm(&self, item: &str, state: &[u8], input: &Schema, deadline: Deadline) -> Result<Warm, ExtError> {
        let call = self.call(item, "fitted.load");
        let mut instance = self.prepared.instantiate(item, Lent::default(), deadline)?;
        let func: Load<'_> = instance.func(call, &self.exports.load)?;
        let fitted = instance.try_call(call, |store| func.call(store, (item, state, input.into())))?;
        let apply = instance.func(call, &self.exports.apply)?;
        instance.returns_rows();
        Ok(Warm { instance, fitted, apply })
    }
}

/// A fit in progress.
struct FittingAdapter {
    shared: Arc<Shared>,
    instance: Instance,
    fitting: ResourceAny,
    update: Update<'static>,
    layout: Layout,
    item: String,
    passes: u32,
}

impl Fitting for FittingAdapter {
    fn update(&mut self, rows: &Batch) -> Result<(), ExtError> {
        self.layout.schema.expect_same(rows.schema())?;
        let call = self.shared.call(&self.item, "fitting.update");
        let step = self.layout.rows_per_block(rows, self.shared.prepared.limits.block_bytes_target);
        for (start, len) in parts(rows.num_rows(), step) {
            let source = Source::new(rows, &self.layout, start, len);
            let (update, fitting) = (retyped_update(self.update), self.fitting);
            self.instance.try_call(call, |store| update.call(store, (fitting, BlockIn::new(source))))?;
        }
        Ok(())
    }

    fn partial(&mut self) -> Result<Vec<u8>, ExtError> {
        let call = self.shared.call(&self.item, "fitting.partial");
        let func: TypedFunc<(ResourceAny,), Answer<Vec<u8>>> =
            self.instance.func(call, &self.shared.exports.partial)?;
        let fitting = self.fitting;
        let partial = self.instance.try_call(call, |store| func.call(store, (fitting,)))?;
        sized(&mut self.instance, call, partial)
    }

    fn merge(&mut self, partial: &[u8]) -> Result<(), ExtError> {
        let call = self.shared.call(&self.item, "fitting.merge");
        let func: TypedFunc<(ResourceAny, &[u8]), Answer<()>> = self.instance.func(call, &self.shared.exports.merge)?;
        let fitting = self.fitting;
        self.instance.try_call(call, |store| func.call(store, (fitting, partial)))
    }

    fn end_pass(&mut self) -> Result<Step, ExtError> {
        let call = self.shared.call(&self.item, "fitting.end-pass");
        let func: TypedFunc<(ResourceAny,), Answer<WireStep>> =
            self.instance.func(call, &self.shared.exports.end_pass)?;
        let fitting = self.fitting;
        match self.instance.try_call(call, |store| func.call(store, (fitting,)))? {
            WireStep::AnotherPass => {
                self.passes += 1;
                let max = self.shared.prepared.limits.fit_passes_max;
                if self.passes >= max {
                    let text =
                        format!("a wish for pass {} over the data, more than the limit of {max}", self.passes + 1);
                    return Err(self.instance.output_fault(call, &text));
                }
                Ok(Step::AnotherPass)
            }
            WireStep::Done(state) => sized(&mut self.instance, call, state).map(Step::Done),
        }
    }
}

/// A state that is not too large to keep.
fn sized(instance: &mut Instance, call: Call<'_>, state: Vec<u8>) -> Result<Vec<u8>, ExtError> {
    let max = instance.prepared.limits.state_bytes_max;
    if state.len() as u64 > max {
        let text = format!("a state of {} bytes, more than the limit of {max}", state.len());
        return Err(instance.output_fault(call, &text));
    }
    Ok(state)
}

/// The parts that rows are handed over in; one, empty, if there are no rows.
fn parts(rows: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows.max(1)).step_by(step.max(1)).map(move |start| (start, step.min(rows - start)))
}

/// A fitted transform: instances that have its state loaded, handed out one to a caller.
struct Pool {
    shared: Arc<Shared>,
    item: String,
    state: Arc<[u8]>,
    input: Layout,
    output: Arc<Layout>,
    deadline: Deadline,
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
    fitted: ResourceAny,
    apply: Apply<'static>,
}

impl Fitted for Pool {
    fn input(&self) -> &Schema {
        &self.input.schema
    }

    fn output(&self) -> &Schema {
        &self.output.schema
    }

    fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
        self.input.schema.expect_same(rows.schema())?;
        let mut lease = self.checkout()?;
        let warm = lease.warm.as_mut().expect("a lease holds its instance until it is dropped");
        let call = self.shared.call(&self.item, "fitted.apply");
        let limits = &self.shared.prepared.limits;
        let total = rows.num_rows();
        let step = self.input.rows_per_block(rows, limits.block_bytes_target).min(rows_max(limits) / 64 * 64);
        let mut landing = if total <= step {
            Landing::one(self.output.clone(), None, total)
        } else {
            Landing::several(self.output.clone(), total, limits.output_bytes_max)
        };
        for (start, len) in parts(total, step) {
            landing.expect(len);
            let source = Source::new(rows, &self.input, start, len);
            let (apply, fitted) = (retyped_apply(warm.apply), warm.fitted);
            let instance = &mut warm.instance;
            let applied;
            (landing, applied) =
                landing.during(|| instance.try_call(call, |store| apply.call(store, (fitted, BlockIn::new(source)))));
            applied?;
        }
        landing.finish().map_err(|text| warm.instance.output_fault(call, &text))
    }
}

impl Pool {
    /// An instance for one call: an idle one, a new one, or the next that comes back.
    fn checkout(&self) -> Result<Lease<'_>, ExtError> {
        let mut warm = self.lock();
        if let Some(idle) = warm.idle.pop() {
            return Ok(Lease { pool: self, warm: Some(idle) });
        }
        let max = self.shared.prepared.limits.warm_instances_max.max(1) as usize;
        let deadline = Instant::now() + Duration::from_millis(self.deadline.ms);
        loop {
            if let Some(idle) = warm.idle.pop() {
                return Ok(Lease { pool: self, warm: Some(idle) });
            }
            if warm.live < max {
                warm.live += 1;
                drop(warm);
                let mut lease = Lease { pool: self, warm: None };
                lease.warm = Some(self.shared.warm(&self.item, &self.state, &self.input.schema, self.deadline)?);
                return Ok(lease);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let call = self.shared.call(&self.item, "fitted.apply");
                let message = format!("all {max} warm instances were busy for {} ms", self.deadline.ms);
                return Err(ExtError::fault(call.who(), codes::PLUGIN_UNAVAILABLE, message)
                    .with_hint("try again, or raise [limits.plugin] warm-instances-max in plinth.toml"));
            }
            warm.waiting += 1;
            warm = self.returned.wait_timeout(warm, left).unwrap_or_else(PoisonError::into_inner).0;
            warm.waiting -= 1;
        }
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

/// The same function for rows of another lifetime.
fn retyped_apply<'a>(func: Apply<'static>) -> Apply<'a> {
    // SAFETY: the type was checked when the function was looked up, and a check of types does not see lifetimes:
    // `Apply<'a>` and `Apply<'static>` take and give the same WIT types.
    #[expect(unsafe_code, reason = "a typed function has no variance in its parameters")]
    unsafe {
        TypedFunc::new_unchecked(*func.func())
    }
}

/// The same function for rows of another lifetime.
fn retyped_update<'a>(func: Update<'static>) -> Update<'a> {
    // SAFETY: as for `retyped_apply`.
    #[expect(unsafe_code, reason = "a typed function has no variance in its parameters")]
    unsafe {
        TypedFunc::new_unchecked(*func.func())
    }
}
