//! Loaders: a plan from one instance, and an instance of its own for each partition that is read.

use std::sync::Arc;

use plinth_ext::{Batch, ExtError, Item, Loader, Partition, ReadPlan, Reader, Schema};
use wasmtime::component::{ComponentExportIndex, ComponentType, Lift, ResourceAny, TypedFunc};

use crate::{
    block::Layout,
    fault::{Call, Deadline, PluginError},
    instance::{Instance, Lent, Prepared},
    items,
    landing::{Landed, Landing, rows_max},
    manifest::ExtensionPoint,
    objects::ObjectSource,
    options::OptionsCheck,
    wire::{WireProblem, WireSchema, check_items, check_list},
};

/// The loaders of one component, bound to what they may read.
pub(crate) struct LoaderAdapter {
    prepared: Arc<Prepared>,
    plan: ComponentExportIndex,
    open: ComponentExportIndex,
    next: ComponentExportIndex,
    items: Vec<Item>,
    options: OptionsCheck,
    source: Arc<dyn ObjectSource>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct WirePartition {
    token: Vec<u8>,
    #[component(name = "rows-hint")]
    rows_hint: Option<u64>,
    #[component(name = "bytes-hint")]
    bytes_hint: Option<u64>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct WirePlan {
    schema: WireSchema,
    partitions: Vec<WirePartition>,
}

type Answer<T> = (Result<T, WireProblem>,);
type Plan<'a> = TypedFunc<(&'a str, &'a str, &'a str), Answer<WirePlan>>;
type Open<'a> = TypedFunc<(&'a str, &'a str, &'a str, WireSchema, &'a [u8]), Answer<ResourceAny>>;
type Next = TypedFunc<(ResourceAny, u32), Answer<Option<Landed>>>;

impl LoaderAdapter {
    /// Asks a component for its loaders.
    pub(crate) fn new(prepared: &Arc<Prepared>, source: Arc<dyn ObjectSource>) -> Result<Self, PluginError> {
        let [describe, plan, open, next] = prepared
            .exports(ExtensionPoint::Loader, ["describe", "plan", "[static]reader.open", "[method]reader.next"])?;
        let items = items::ask(prepared, &describe, check_items)?;
        Ok(Self { prepared: prepared.clone(), plan, open, next, items, options: OptionsCheck::default(), source })
    }

    fn call<'a>(&'a self, item: &'a str, func: &'static str) -> Call<'a> {
        Call { plugin: &self.prepared.name, item, func }
    }

    fn instance(&self, item: &str) -> Result<Instance, ExtError> {
        let lent = Lent { objects: Some(self.source.clone()), ..Lent::default() };
        self.prepared.instantiate(item, lent, Deadline::ordinary(&self.prepared.limits))
    }

    fn check(&self, plan: WirePlan) -> Result<ReadPlan, String> {
        let limits = &self.prepared.limits;
        check_list(plan.partitions.len(), "partitions", limits)?;
        let tokens: u64 = plan.partitions.iter().map(|partition| partition.token.len() as u64).sum();
        if tokens > limits.state_bytes_max {
            return Err(format!(
                "partition tokens of {tokens} bytes, more than the limit of {}",
                limits.state_bytes_max
            ));
        }
        let partition = |WirePartition { token, rows_hint, bytes_hint }| Partition { token, rows_hint, bytes_hint };
        let partitions = plan.partitions.into_iter().map(partition).collect();
        Ok(ReadPlan { schema: plan.schema.check(limits)?, partitions })
    }
}

impl Loader for LoaderAdapter {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn plan(&self, item: &str, source: &str, options: &str) -> Result<ReadPlan, ExtError> {
        let call = self.call(item, "plan");
        let offered = items::find(&self.items, call, |item| item)?;
        let options = self.options.check(call, offered, options)?;
        let mut instance = self.instance(item)?;
        let func: Plan<'_> = instance.func(call, &self.plan)?;
        let plan = instance.try_call(call, |store| func.call(store, (item, source, options)))?;
        self.check(plan).map_err(|text| instance.output_fault(call, &text))
    }

    fn open(
        &self,
        item: &str,
        source: &str,
        options: &str,
        schema: &Schema,
        token: &[u8],
    ) -> Result<Box<dyn Reader>, ExtError> {
        let call = self.call(item, "reader.open");
        let offered = items::find(&self.items, call, |item| item)?;
        let options = self.options.check(call, offered, options)?;
        let mut instance = self.instance(item)?;
        let func: Open<'_> = instance.func(call, &self.open)?;
        let reader =
            instance.try_call(call, |store| func.call(store, (item, source, options, schema.into(), token)))?;
        let next = instance.func(Call { func: "reader.next", ..call }, &self.next)?;
        instance.returns_rows();
        let layout = Arc::new(Layout::new(schema.clone()));
        Ok(Box::new(ReaderAdapter { instance, reader, next, layout, item: item.to_owned(), ended: false, empty: 0 }))
    }
}

/// One partition being read.
struct ReaderAdapter {
    instance: Instance,
    reader: ResourceAny,
    next: Next,
    layout: Arc<Layout>,
    item: String,
    ended: bool,
    /// Blocks without a row since the last one with rows.
    empty: u32,
}

/// Blocks without a row that a reader may return in a row; one that returns more would keep its caller busy for ever.
const EMPTY_BLOCKS_MAX: u32 = 1_000;

impl Reader for ReaderAdapter {
    fn next(&mut self, rows_wanted: u32) -> Result<Option<Batch>, ExtError> {
        if self.ended {
            return Ok(None);
        }
        let prepared = self.instance.prepared.clone();
        let call = Call { plugin: &prepared.name, item: &self.item, func: "reader.next" };
        let rows = (rows_wanted.max(1) as usize).min(rows_max(&prepared.limits));
        let landing = Landing::one(self.layout.clone(), None, rows);
        let (next, reader) = (self.next, self.reader);
        let wanted = u32::try_from(rows).unwrap_or(u32::MAX);
        let instance = &mut self.instance;
        let (landing, landed) = landing.during(|| instance.try_call(call, |store| next.call(store, (reader, wanted))));
        match landed? {
            Some(Landed) => {
                let batch = landing.finish().map_err(|text| self.instance.output_fault(call, &text))?;
                self.empty = if batch.num_rows() == 0 { self.empty + 1 } else { 0 };
                if self.empty > EMPTY_BLOCKS_MAX {
                    let text = format!("more than {EMPTY_BLOCKS_MAX} blocks without a row, one after another");
                    return Err(self.instance.output_fault(call, &text));
                }
                Ok(Some(batch))
            }
            None => {
                self.ended = true;
                Ok(None)
            }
        }
    }
}
