//! Transforms: fits on one instance, and a pool of warm instances for each fitted state.

use std::sync::Arc;

use plinth_ext::{Batch, ExtError, Fitted, Fitting, Item, Schema, Step, Transform};
use wasmtime::component::{ComponentExportIndex, ComponentType, Lift, ResourceAny, TypedFunc};

use crate::{
    block::{BlockIn, Layout, Source},
    fault::{Call, Deadline, PluginError},
    instance::{Instance, Lent, Prepared},
    items,
    manifest::ExtensionPoint,
    options::OptionsCheck,
    pool::{Bind, Deadlines, Pool, PoolExports, PoolNames, parts},
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
        let (own, state, schema) = (shared.clone(), Arc::<[u8]>::from(state), input.clone());
        let names =
            PoolNames { item: item.to_owned(), load: "fitted.load", output: "fitted.output", call: "fitted.apply" };
        let exports = PoolExports { output: shared.exports.output, call: shared.exports.apply };
        let bind: Bind = Box::new(move |instance, call, item| {
            let func: Load<'_> = instance.func(call, &own.exports.load)?;
            instance.try_call(call, |store| func.call(store, (item, &state, (&schema).into())))
        });
        Ok(Arc::new(Pool::open(
            shared.prepared.clone(),
            names,
            &exports,
            input,
            Deadlines { load: self.deadline, call: self.deadline },
            bind,
        )?))
    }
}

impl Shared {
    fn call<'a>(&'a self, item: &'a str, func: &'static str) -> Call<'a> {
        Call { plugin: &self.prepared.name, item, func }
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
            self.instance.try_call(call, |store| update.call(store, (fitting, BlockIn::new(&source))))?;
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

impl Fitted for Pool {
    fn input(&self) -> &Schema {
        Self::input(self)
    }

    fn output(&self) -> &Schema {
        Self::output(self)
    }

    fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
        self.call(rows)
    }
}

/// The same function for rows of another lifetime.
fn retyped_update<'a>(func: Update<'static>) -> Update<'a> {
    // SAFETY: the type was checked when the function was looked up, and a check of types does not see lifetimes:
    // `Update<'a>` and `Update<'static>` take and give the same WIT types.
    #[expect(unsafe_code, reason = "a typed function has no variance in its parameters")]
    unsafe {
        TypedFunc::new_unchecked(*func.func())
    }
}
