//! The plugin at work, natively.

use plinth_sdk::{
    Gates, Problem,
    gate::{Check, Evidence, Metric, Outcome, Subject},
};
use threshold_gate_rust::ExportedGates as Plugin;

fn evaluate(options: &str) -> Result<Vec<Check>, Problem> {
    let metric = |name: &str, value, slice: Option<&str>| Metric {
        name: name.into(),
        value,
        slice: slice.map(Into::into),
        n: None,
    };
    let metrics = vec![metric("f1", 0.875, None), metric("f1", 0.5, Some("state=KS")), metric("auc", f64::NAN, None)];
    let candidate = Subject { reference: "models:/churn/3".into(), metrics, tags: Vec::new() };
    Plugin::evaluate("threshold", &Evidence { candidate, baseline: None }, options)
}

#[test]
fn each_rule_is_one_check_that_says_what_it_saw() {
    let checks = evaluate(
        r#"{"thresholds": [{"metric": "f1", "min": 0.8}, {"metric": "f1", "min": 0.6, "max": 1, "slice": "state=KS"},
            {"metric": "auc", "max": 1e21}, {"metric": "rmse", "max": 1}]}"#,
    )
    .unwrap();
    let check = |name: &str, outcome, observed: &str, expected: &str, reason: &str| Check {
        name: name.into(),
        outcome,
        observed: observed.into(),
        expected: expected.into(),
        reason: reason.into(),
    };
    let missing = "the metric is not among those of models:/churn/3";
    let expected = [
        check("f1", Outcome::Pass, "0.875", "at least 0.8", ""),
        check("f1 in state=KS", Outcome::Fail, "0.5", "0.6 to 1", ""),
        check("auc", Outcome::Fail, "NaN", "at most 1e+21", ""),
        check("rmse", Outcome::Fail, "not measured", "at most 1", missing),
    ];
    assert_eq!(checks, expected);
}

#[test]
fn a_rule_without_a_bound_and_no_rule_at_all_are_told() {
    for options in [r#"{"thresholds": [{"metric": "f1"}]}"#, r#"{"thresholds": []}"#, "{}"] {
        assert_eq!(evaluate(options).unwrap_err().code, "bad-options", "{options}");
    }
}
