//! Models that are components: a pool of warm instances for each model that is loaded.

use std::sync::Arc;

use plinth_ext::{Batch, ExtError, Item, Model, Models, Schema};
use wasmtime::component::{ComponentExportIndex, ResourceAny, TypedFunc};

use crate::{
    fault::{Call, Deadline, PluginError},
    instance::Prepared,
    items,
    manifest::ExtensionPoint,
    options::OptionsCheck,
    pool::{Bind, Deadlines, Pool, PoolExports, PoolNames},
    wire::{WireProblem, WireSchema, check_items},
};

/// The kinds of model of one component.
pub(crate) struct PredictAdapter {
    shared: Arc<Shared>,
    deadline: Deadline,
}

struct Shared {
    prepared: Arc<Prepared>,
    load: ComponentExportIndex,
    output: ComponentExportIndex,
    predict: ComponentExportIndex,
    items: Vec<Item>,
    options: OptionsCheck,
}

type Load<'a> = TypedFunc<(&'a str, &'a [u8], WireSchema, &'a str), (Result<ResourceAny, WireProblem>,)>;

impl PredictAdapter {
    /// Asks a component for its kinds of model.
    pub(crate) fn new(prepared: &Arc<Prepared>) -> Result<Self, PluginError> {
        let [describe, load, output, predict] = prepared.exports(
            ExtensionPoint::Predict,
            ["describe", "[static]model.load", "[method]model.output", "[method]model.predict"],
        )?;
        let items = items::ask(prepared, &describe, check_items)?;
        let prepared = prepared.clone();
        let deadline = Deadline::ordinary(&prepared.limits);
        let shared = Shared { prepared, load, output, predict, items, options: OptionsCheck::default() };
        Ok(Self { shared: Arc::new(shared), deadline })
    }

    /// The same kinds of model under the deadline of online calls.
    pub(crate) fn online(&self) -> Self {
        Self { shared: self.shared.clone(), deadline: Deadline::online(&self.shared.prepared.limits) }
    }
}

impl Models for PredictAdapter {
    fn items(&self) -> &[Item] {
        &self.shared.items
    }

    fn load(&self, item: &str, artifact: &[u8], input: &Schema, options: &str) -> Result<Arc<dyn Model>, ExtError> {
        let shared = &self.shared;
        let call = Call { plugin: &shared.prepared.name, item, func: "model.load" };
        let offered = items::find(&shared.items, call, |item| item)?;
        let options = shared.options.check(call, offered, options)?.to_owned();
        let (own, artifact, schema) = (shared.clone(), Arc::<[u8]>::from(artifact), input.clone());
        let names =
            PoolNames { item: item.to_owned(), load: "model.load", output: "model.output", call: "model.predict" };
        let exports = PoolExports { output: shared.output, call: shared.predict };
        // An artifact may be large: a server loads it as a batch does, and answers under its own deadline.
        let deadlines = Deadlines { load: Deadline::ordinary(&shared.prepared.limits), call: self.deadline };
        let bind: Bind = Box::new(move |instance, call, item| {
            let func: Load<'_> = instance.func(call, &own.load)?;
            instance.try_call(call, |store| func.call(store, (item, &artifact, (&schema).into(), &options)))
        });
        Ok(Arc::new(Pool::open(shared.prepared.clone(), names, &exports, input, deadlines, bind)?))
    }
}

impl Model for Pool {
    fn input(&self) -> &Schema {
        Self::input(self)
    }

    fn output(&self) -> &Schema {
        Self::output(self)
    }

    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        self.call(features)
    }
}
