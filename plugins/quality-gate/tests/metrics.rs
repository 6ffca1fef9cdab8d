//! The gate `metrics`, as its users meet it.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use plinth_sdk::{
    Gates, Problem,
    gate::{Check, Evidence, Metric, Outcome, Subject},
};
use quality_gate::ExportedGates as Gate;

fn metric(name: &str, value: f64) -> Metric {
    Metric { name: name.into(), value, slice: None, n: Some(667) }
}

fn sliced(name: &str, slice: &str, value: f64, n: u64) -> Metric {
    Metric { name: name.into(), value, slice: Some(slice.into()), n: Some(n) }
}

fn evidence() -> Evidence {
    let candidate = Subject {
        reference: "models:/churn/4".into(),
        metrics: vec![
            metric("accuracy", 0.951),
            metric("f1", 0.82),
            metric("log_loss", 0.31),
            metric("auc", f64::NAN),
            sliced("f1", "state=KS", 0.71, 52),
            sliced("f1", "state=OH", 0.55, 48),
            sliced("f1", "state=AK", 0.10, 7),
        ],
        tags: vec![],
    };
    let baseline = Subject {
        reference: "models:/churn/3".into(),
        metrics: vec![metric("f1", 0.84), metric("log_loss", 0.30), metric("auc", 0.9)],
        tags: vec![],
    };
    Evidence { candidate, baseline: Some(baseline) }
}

fn judge(evidence: &Evidence, options: &str) -> Result<Vec<Check>, Problem> {
    Gate::evaluate("metrics", evidence, options)
}

/// The one check of one rule.
fn one(options: &str) -> Check {
    judge(&evidence(), options).unwrap().remove(0)
}

fn text(check: &Check) -> (Outcome, String) {
    let Check { name, outcome, observed, expected, reason } = check;
    (*outcome, format!("{name} | {observed} | {expected} | {reason}"))
}

#[test]
fn a_threshold_is_met_or_missed_in_words() {
    let above = one(r#"{"thresholds": [{"metric": "accuracy", "above": 0.85}]}"#);
    assert_eq!(text(&above), (Outcome::Pass, "accuracy > 0.85 | 0.951 | more than 0.85 | ".into()));
    let missed = one(r#"{"thresholds": [{"metric": "f1", "min": 0.9}]}"#);
    assert_eq!(text(&missed), (Outcome::Fail, "f1 >= 0.9 | 0.82 | at least 0.9 | off by 0.08".into()));
}

#[test]
fn a_bound_that_is_not_included_is_not_met_by_equality() {
    let check = one(r#"{"thresholds": [{"metric": "f1", "above": 0.82}]}"#);
    assert_eq!((check.outcome, check.reason.as_str()), (Outcome::Fail, "exactly on a bound that is not included"));
    assert_eq!(one(r#"{"thresholds": [{"metric": "f1", "min": 0.82}]}"#).outcome, Outcome::Pass);
    assert_eq!(one(r#"{"thresholds": [{"metric": "log_loss", "below": 0.31}]}"#).outcome, Outcome::Fail);
    assert_eq!(one(r#"{"thresholds": [{"metric": "log_loss", "max": 0.31}]}"#).outcome, Outcome::Pass);
}

#[test]
fn what_was_not_measured_fails_with_what_was() {
    let check = one(r#"{"thresholds": [{"metric": "F1", "min": 0.5}]}"#);
    let reason = "no metric `F1`, did you mean `f1`?";
    assert_eq!(text(&check), (Outcome::Fail, format!("F1 >= 0.5 | not measured | at least 0.5 | {reason}")));
    let check = one(r#"{"thresholds": [{"metric": "bleu", "min": 0.5}]}"#);
    assert_eq!(check.reason, "no metric `bleu`; there are `accuracy`, `f1`, `log_loss` and `auc`");
}

#[test]
fn nan_fails_whatever_the_bound() {
    for bound in [r#""min": 0"#, r#""max": 1"#, r#""above": -1e300"#, r#""below": 1e300"#] {
        let check = one(&format!(r#"{{"thresholds": [{{"metric": "auc", {bound}}}]}}"#));
        assert_eq!((check.outcome, check.observed.as_str()), (Outcome::Fail, "NaN"), "{bound}");
    }
    assert_eq!(one(r#"{"against-baseline": [{"metric": "auc", "margin": 1}]}"#).outcome, Outcome::Fail);
}

#[test]
fn a_warning_stops_nothing_and_gives_its_reason() {
    let rule = r#"{"metric": "f1", "min": 0.9, "severity": "warn", "reason": "leavers are missed"}"#;
    let check = one(&format!(r#"{{"thresholds": [{rule}]}}"#));
    assert_eq!((check.outcome, check.reason.as_str()), (Outcome::Warn, "leavers are missed (off by 0.08)"));
}

#[test]
fn every_slice_is_judged_unless_it_is_small() {
    let check = one(r#"{"thresholds": [{"metric": "f1", "min": 0.6, "slice": "*"}]}"#);
    assert_eq!(
        text(&check),
        (
            Outcome::Fail,
            "f1 >= 0.6 in every slice | 1 of 2 slices do not: state=OH: 0.55 | at least 0.6 in every slice | \
             1 slice under 30 rows not judged"
                .into()
        )
    );
    let check = one(r#"{"thresholds": [{"metric": "f1", "min": 0.5, "slice": "*"}]}"#);
    assert_eq!((check.outcome, check.observed.as_str()), (Outcome::Pass, "all 2 slices hold"));
    let check = one(r#"{"thresholds": [{"metric": "f1", "min": 0.5, "slice": "*", "rows-min": 1}]}"#);
    assert_eq!(check.outcome, Outcome::Fail);
    let check = one(r#"{"thresholds": [{"metric": "accuracy", "min": 0.5, "slice": "*"}]}"#);
    assert_eq!((check.outcome, check.observed.as_str()), (Outcome::Fail, "no slice was measured"));
}

#[test]
fn one_slice_can_be_named() {
    let check = one(r#"{"thresholds": [{"metric": "f1", "min": 0.75, "slice": "state=KS"}]}"#);
    assert_eq!(
        text(&check),
        (Outcome::Fail, "f1 >= 0.75 in state=KS | 0.71, on 52 rows | at least 0.75 | off by 0.04".into())
    );
    let check = one(r#"{"thresholds": [{"metric": "f1", "min": 0.75, "slice": "state=AK"}]}"#);
    assert_eq!((check.outcome, check.reason.as_str()), (Outcome::Pass, "not judged: a slice needs 30 rows"));
    let check = one(r#"{"thresholds": [{"metric": "f1", "min": 0.75, "slice": "state=KA"}]}"#);
    assert_eq!(check.reason, "`f1` was measured, but not in `state=KA`, did you mean `state=KS`?");
}

#[test]
fn the_baseline_sets_the_bar_less_a_margin() {
    let check = one(r#"{"against-baseline": [{"metric": "f1", "margin": 0.02}]}"#);
    assert_eq!(
        text(&check),
        (Outcome::Pass, "f1 >= baseline - 0.02 | 0.82 | at least 0.82 (models:/churn/3 has 0.84) | ".into())
    );
    let check = one(r#"{"against-baseline": [{"metric": "f1", "margin": 0.01}]}"#);
    assert_eq!((check.outcome, check.reason.as_str()), (Outcome::Fail, "worse than allowed by 0.01"));
    assert_eq!(one(r#"{"against-baseline": [{"metric": "f1", "margin": -0.05}]}"#).name, "f1 >= baseline + 0.05");
}

#[test]
fn losses_are_better_low() {
    let check = one(r#"{"against-baseline": [{"metric": "log_loss", "margin": 0.02}]}"#);
    assert_eq!((check.outcome, check.name.as_str()), (Outcome::Pass, "log_loss <= baseline + 0.02"));
    assert_eq!(one(r#"{"against-baseline": [{"metric": "log_loss"}]}"#).outcome, Outcome::Fail);
    let turned = one(r#"{"against-baseline": [{"metric": "log_loss", "better": "higher"}]}"#);
    assert_eq!(turned.outcome, Outcome::Pass);
}

#[test]
fn the_first_version_has_nothing_to_be_worse_than() {
    let mut first = evidence();
    first.baseline = None;
    let checks = judge(&first, r#"{"against-baseline": [{"metric": "f1", "margin": 0.02}]}"#).unwrap();
    assert_eq!(checks[0].outcome, Outcome::Pass);
    assert_eq!(checks[0].reason, "there is no baseline yet, so there is nothing to be worse than");
    let nan = judge(&first, r#"{"against-baseline": [{"metric": "auc"}]}"#).unwrap();
    assert_eq!(nan[0].outcome, Outcome::Fail);
    let mut unmeasured = evidence();
    unmeasured.baseline.as_mut().unwrap().metrics.clear();
    let checks = judge(&unmeasured, r#"{"against-baseline": [{"metric": "f1"}]}"#).unwrap();
    assert_eq!(checks[0].outcome, Outcome::Fail);
}

#[test]
fn rules_that_judge_nothing_are_refused() {
    let refused = |options| judge(&evidence(), options).unwrap_err().message;
    assert_eq!(refused("{}"), "no rule: give `thresholds` or `against-baseline`, else everything would pass");
    assert_eq!(
        refused(r#"{"thresholds": [{"metric": "f1"}]}"#),
        "threshold of `f1`: it needs `min`, `max`, `above` or `below`"
    );
    assert!(refused(r#"{"thresholds": [{"metric": "f1", "mn": 1}]}"#).contains("unknown field `mn`"));
    assert!(refused(r#"{"threshold": []}"#).contains("unknown field `threshold`"));
}

#[test]
fn what_the_schema_names_is_what_the_options_take() {
    for item in Gate::describe() {
        let schema: serde_json::Value = serde_json::from_str(&item.options_schema).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{}", item.name);
    }
}
