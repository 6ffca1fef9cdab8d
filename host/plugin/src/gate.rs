//! Quality gates. Whatever goes wrong is an error, which the caller takes for a failed check: gates fail closed.

use std::sync::Arc;

use plinth_core::PluginLimits;
use plinth_ext::{Check, CheckOutcome, Evidence, ExtError, Gate, Item, Metric, Subject, Tables};
use wasmtime::component::{ComponentExportIndex, ComponentType, Lift, Lower, TypedFunc};

use crate::{
    fault::{Call, Deadline, PluginError, cut},
    instance::{Lent, Prepared},
    items,
    manifest::ExtensionPoint,
    options::OptionsCheck,
    wire::{WireProblem, check_items, check_list, check_name},
};

/// The gates of one component.
pub(crate) struct GateAdapter {
    prepared: Arc<Prepared>,
    evaluate: ComponentExportIndex,
    items: Vec<Item>,
    options: OptionsCheck,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct WireMetric<'a> {
    name: &'a str,
    value: f64,
    slice: Option<&'a str>,
    n: Option<u64>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct WireSubject<'a> {
    reference: &'a str,
    metrics: Vec<WireMetric<'a>>,
    tags: Vec<(&'a str, &'a str)>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct WireEvidence<'a> {
    candidate: WireSubject<'a>,
    baseline: Option<WireSubject<'a>>,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "values come from guests: the derived code makes them from their numbers")]
enum WireOutcome {
    #[component(name = "pass")]
    Pass,
    #[component(name = "warn")]
    Warn,
    #[component(name = "fail")]
    Fail,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct WireCheck {
    name: String,
    outcome: WireOutcome,
    observed: String,
    expected: String,
    reason: String,
}

type Evaluate<'a> = TypedFunc<(&'a str, WireEvidence<'a>, &'a str), (Result<Vec<WireCheck>, WireProblem>,)>;

impl GateAdapter {
    /// Asks a component for its gates.
    pub(crate) fn new(prepared: &Arc<Prepared>) -> Result<Self, PluginError> {
        let [describe, evaluate] = prepared.exports(ExtensionPoint::Gate, ["describe", "evaluate"])?;
        let items = items::ask(prepared, &describe, check_items)?;
        Ok(Self { prepared: prepared.clone(), evaluate, items, options: OptionsCheck::default() })
    }
}

impl Gate for GateAdapter {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn evaluate(
        &self,
        item: &str,
        evidence: &Evidence,
        options: &str,
        tables: Arc<dyn Tables>,
    ) -> Result<Vec<Check>, ExtError> {
        let prepared = &self.prepared;
        let call = Call { plugin: &prepared.name, item, func: "evaluate" };
        let offered = items::find(&self.items, call, |item| item)?;
        let options = self.options.check(call, offered, options)?;
        let lent = Lent { tables: Some(tables), ..Lent::default() };
        let mut instance = prepared.instantiate(item, lent, Deadline::ordinary(&prepared.limits))?;
        let func: Evaluate<'_> = instance.func(call, &self.evaluate)?;
        let evidence =
            WireEvidence { candidate: subject(&evidence.candidate), baseline: evidence.baseline.as_ref().map(subject) };
        let mut checks = instance.try_call(call, |store| func.call(store, (item, evidence, options)))?;
        for check in &mut checks {
            for text in [&mut check.name, &mut check.observed, &mut check.expected, &mut check.reason] {
                *text = instance.strike(std::mem::take(text));
            }
        }
        check_all(checks, &prepared.limits).map_err(|text| instance.output_fault(call, &text))
    }
}

fn subject(subject: &Subject) -> WireSubject<'_> {
    WireSubject {
        reference: &subject.reference,
        metrics: subject.metrics.iter().map(metric).collect(),
        tags: subject.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
    }
}

fn metric(metric: &Metric) -> WireMetric<'_> {
    let Metric { name, value, slice, n } = metric;
    WireMetric { name, value: *value, slice: slice.as_deref(), n: *n }
}

fn check_all(checks: Vec<WireCheck>, limits: &PluginLimits) -> Result<Vec<Check>, String> {
    check_list(checks.len(), "checks", limits)?;
    if checks.is_empty() {
        // A gate that looked at nothing must not let anything pass.
        return Err("no check at all".into());
    }
    let max = limits.message_bytes_max as usize;
    let check = |check: WireCheck| {
        check_name(&check.name, "the name of a check", limits)?;
        Ok(Check {
            name: check.name,
            outcome: match check.outcome {
                WireOutcome::Pass => CheckOutcome::Pass,
                WireOutcome::Warn => CheckOutcome::Warn,
                WireOutcome::Fail => CheckOutcome::Fail,
            },
            observed: cut(check.observed, max),
            expected: cut(check.expected, max),
            reason: cut(check.reason, max),
        })
    };
    checks.into_iter().map(check).collect()
}
