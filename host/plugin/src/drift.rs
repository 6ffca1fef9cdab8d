//! Drift tests. Whatever goes wrong is an error, which the caller takes for inconclusive: never for "no drift".

use std::sync::Arc;

use plinth_core::{PluginLimits, codes};
use plinth_ext::{Batch, DriftOutcome, DriftTest, ExtError, TestItem, Verdict};
use wasmtime::component::{ComponentExportIndex, ComponentType, Lift, TypedFunc};

use crate::{
    block::{BlockIn, Layout, Source},
    fault::{Call, Deadline, PluginError, cut},
    instance::{Lent, Prepared},
    items,
    manifest::ExtensionPoint,
    options::OptionsCheck,
    since_v0_1,
    version::WitVersion,
    wire::{WireItem, WireKind, WireProblem, WireSchema, check_list, check_unique},
};

/// The drift tests of one component.
pub(crate) struct DriftAdapter {
    prepared: Arc<Prepared>,
    test: ComponentExportIndex,
    items: Vec<TestItem>,
    options: OptionsCheck,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireTestItem {
    pub(crate) item: WireItem,
    pub(crate) kinds: Vec<WireKind>,
    pub(crate) multivariate: bool,
    pub(crate) effect: Option<String>,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "values come from guests: the derived code makes them from their numbers")]
enum WireVerdict {
    #[component(name = "no-drift")]
    NoDrift,
    #[component(name = "drift")]
    Drift,
    #[component(name = "inconclusive")]
    Inconclusive,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct WireOutcome {
    statistic: f64,
    #[component(name = "p-value")]
    p_value: Option<f64>,
    #[component(name = "effect-size")]
    effect_size: Option<f64>,
    threshold: f64,
    verdict: WireVerdict,
    #[component(name = "n-reference")]
    n_reference: u64,
    #[component(name = "n-current")]
    n_current: u64,
    note: Option<String>,
}

type Test<'a> =
    TypedFunc<(&'a str, WireSchema, BlockIn<'a>, BlockIn<'a>, &'a str), (Result<WireOutcome, WireProblem>,)>;

impl DriftAdapter {
    /// Asks a component for its drift tests.
    pub(crate) fn new(prepared: &Arc<Prepared>) -> Result<Self, PluginError> {
        let [describe, test] = prepared.exports(ExtensionPoint::DriftTest, ["describe", "test"])?;
        let items = match prepared.version_of(ExtensionPoint::DriftTest) {
            Some(WitVersion::V0_1) => items::ask(prepared, &describe, |found: Vec<since_v0_1::TestItem>, limits| {
                check_tests(found.into_iter().map(Into::into).collect(), limits)
            })?,
            _ => items::ask(prepared, &describe, check_tests)?,
        };
        Ok(Self { prepared: prepared.clone(), test, items, options: OptionsCheck::default() })
    }
}

fn check_tests(found: Vec<WireTestItem>, limits: &PluginLimits) -> Result<Vec<TestItem>, String> {
    check_list(found.len(), "items", limits)?;
    let item = |found: WireTestItem| {
        let item = found.item.check(limits)?;
        if found.kinds.is_empty() {
            return Err(format!("`{}` compares no type of column", item.name));
        }
        let kinds = found.kinds.into_iter().map(Into::into).collect();
        let effect = found.effect.map(|effect| cut(effect, limits.message_bytes_max as usize));
        Ok(TestItem { item, kinds, multivariate: found.multivariate, effect })
    };
    let items: Vec<TestItem> = found.into_iter().map(item).collect::<Result<_, _>>()?;
    check_unique(items.iter().map(|test| test.item.name.as_str()))?;
    Ok(items)
}

impl DriftTest for DriftAdapter {
    fn items(&self) -> &[TestItem] {
        &self.items
    }

    fn test(&self, item: &str, reference: &Batch, current: &Batch, options: &str) -> Result<DriftOutcome, ExtError> {
        let prepared = &self.prepared;
        let call = Call { plugin: &prepared.name, item, func: "test" };
        let offered = items::find(&self.items, call, |test| &test.item)?;
        let options = self.options.check(call, &offered.item, options)?;
        reference.schema().expect_same(current.schema())?;
        check_columns(call, offered, reference)?;
        let layout = Layout::new(reference.schema().clone());
        let mut instance = prepared.instantiate(item, Lent::default(), Deadline::ordinary(&prepared.limits))?;
        let func: Test<'_> = instance.func(call, &self.test)?;
        let [left, right] = [reference, current].map(|rows| Source::new(rows, &layout, 0, rows.num_rows()));
        let (left, right) = (BlockIn::new(&left), BlockIn::new(&right));
        let mut outcome = instance
            .try_call(call, |store| func.call(store, (item, reference.schema().into(), left, right, options)))?;
        outcome.note = outcome.note.map(|note| instance.strike(note));
        check_outcome(outcome, &prepared.limits, reference.num_rows(), current.num_rows())
            .map_err(|text| instance.output_fault(call, &text))
    }
}

/// The columns must be ones that the test says it can compare.
fn check_columns(call: Call<'_>, offered: &TestItem, rows: &Batch) -> Result<(), ExtError> {
    let fields = rows.schema().fields();
    if !offered.multivariate && fields.len() != 1 {
        let message = format!("it compares one column and was given {}", fields.len());
        return Err(ExtError::fault(call.who(), codes::SCHEMA_MISMATCH, message));
    }
    match fields.iter().find(|field| !offered.kinds.contains(&field.kind)) {
        None => Ok(()),
        Some(field) => {
            let kinds: Vec<&str> = offered.kinds.iter().map(|kind| kind.name()).collect();
            let message =
                format!("column `{}` is {}, and it compares {} only", field.name, field.kind, kinds.join(", "));
            Err(ExtError::fault(call.who(), codes::SCHEMA_MISMATCH, message)
                .with_hint("choose another test for this column"))
        }
    }
}

fn check_outcome(
    outcome: WireOutcome,
    limits: &PluginLimits,
    reference: usize,
    current: usize,
) -> Result<DriftOutcome, String> {
    let verdict = match outcome.verdict {
        WireVerdict::NoDrift => Verdict::NoDrift,
        WireVerdict::Drift => Verdict::Drift,
        WireVerdict::Inconclusive => Verdict::Inconclusive,
    };
    // A test that could not be done may have no statistic; one that claims a result must have it.
    if verdict != Verdict::Inconclusive {
        for (name, value) in [("statistic", outcome.statistic), ("threshold", outcome.threshold)] {
            if value.is_nan() {
                return Err(format!("a verdict whose {name} is NaN"));
            }
        }
    }
    if let Some(p) = outcome.p_value.filter(|p| !(0.0..=1.0).contains(p)) {
        return Err(format!("a p-value of {p}"));
    }
    if outcome.effect_size.is_some_and(f64::is_nan) {
        return Err("an effect size that is NaN".into());
    }
    for (name, n, rows) in [("reference", outcome.n_reference, reference), ("current", outcome.n_current, current)] {
        if n > rows as u64 {
            return Err(format!("{n} {name} rows that counted, of {rows}"));
        }
    }
    Ok(DriftOutcome {
        statistic: outcome.statistic,
        p_value: outcome.p_value,
        effect_size: outcome.effect_size,
        threshold: outcome.threshold,
        verdict,
        n_reference: outcome.n_reference,
        n_current: outcome.n_current,
        note: outcome.note.map(|note| cut(note, limits.message_bytes_max as usize)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> WireOutcome {
        WireOutcome {
            statistic: 0.5,
            p_value: Some(0.01),
            effect_size: None,
            threshold: 0.05,
            verdict: WireVerdict::Drift,
            n_reference: 10,
            n_current: 10,
            note: None,
        }
    }

    #[test]
    fn an_outcome_that_cannot_be_is_refused() {
        let check = |outcome| check_outcome(outcome, &PluginLimits::default(), 10, 10).map(|found| found.verdict);
        assert_eq!(check(outcome()), Ok(Verdict::Drift));
        assert_eq!(
            check(WireOutcome { statistic: f64::NAN, ..outcome() }),
            Err("a verdict whose statistic is NaN".into())
        );
        let unclear = WireOutcome { statistic: f64::NAN, verdict: WireVerdict::Inconclusive, ..outcome() };
        assert_eq!(check(unclear), Ok(Verdict::Inconclusive));
        assert_eq!(check(WireOutcome { p_value: Some(1.5), ..outcome() }), Err("a p-value of 1.5".into()));
        assert_eq!(
            check(WireOutcome { n_current: 11, ..outcome() }),
            Err("11 current rows that counted, of 10".into())
        );
    }
}
