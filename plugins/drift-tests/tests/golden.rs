//! The tests against SciPy's and NumPy's values. `golden.py` made `golden.json`.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use drift_tests::ExportedDriftTests as Tests;
use plinth_sdk::{
    Block, BlockBuilder, DriftTests, Field, Kind, Schema, bitmap,
    drift::{Outcome, Verdict},
};
use serde_json::Value;

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn side(case: &Value, name: &str) -> (Schema, Block) {
    let kind = match case["kind"].as_str().unwrap() {
        "utf8" => Kind::Utf8,
        "int64" => Kind::Int64,
        _ => Kind::Float64,
    };
    let schema = Schema::new([Field::new("x", kind, true)]);
    let values = match &case["formula"][name] {
        Value::Array(formula) => {
            let (n, step) = (formula[0].as_u64().unwrap(), formula[1].as_u64().unwrap());
            let unit = |i: u64| (i * step % 10007) as f64 / 10007.0;
            (0..n).map(|i| Value::from(unit(i) * unit(i) + formula[2].as_f64().unwrap())).collect()
        }
        _ => case[name].as_array().unwrap().clone(),
    };
    let valid = bitmap(values.iter().map(|value| !value.is_null()));
    let mut block = BlockBuilder::new(&schema, values.len());
    match kind {
        Kind::Utf8 => block.texts(values.iter().map(|v| v.as_str().unwrap_or_default()), Some(&valid)),
        Kind::Int64 => block.s64s(values.iter().map(|v| v.as_i64().unwrap_or_default()).collect(), Some(&valid)),
        _ => block.f64s(values.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect(), Some(&valid)),
    }
    .unwrap();
    let block = block.finish().unwrap();
    (schema, block)
}

fn run(case: &Value, test: &str, options: &str) -> Outcome {
    let (schema, reference) = side(case, "reference");
    let (_, current) = side(case, "current");
    Tests::test(test, &schema, &reference, &current, options).unwrap()
}

fn assert_close(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    let off = (found - expected).abs();
    assert!(off <= tolerance * expected.abs() || off < 1e-13, "{what}: {found}, SciPy has {expected}");
}

#[test]
fn every_statistic_is_scipys() {
    let mut compared = 0;
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        let mut compare = |found: f64, expected: &Value, tolerance: f64, what: &str| {
            assert_close(found, expected, tolerance, &format!("{what} of `{name}`"));
            compared += 1;
        };
        let outcome = run(&case, "psi", "{}");
        compare(outcome.statistic, &case["psi"], 1e-10, "psi");
        assert_eq!(outcome.n_reference, case["n_reference"].as_u64().unwrap());
        assert_eq!(outcome.n_current, case["n_current"].as_u64().unwrap());
        compare(run(&case, "jensen-shannon", "{}").statistic, &case["jensen_shannon"], 1e-10, "jensen-shannon");
        if case["ks"].is_object() {
            let ks = run(&case, "ks", "{}");
            compare(ks.statistic, &case["ks"]["statistic"], 1e-12, "ks");
            // The approximation for large samples is a few per cent off where p is tiny, which decides nothing.
            let exact = case["ks"]["method"] == "exact";
            let tolerance = if exact {
                1e-9
            } else if ks.p_value.unwrap() > 1e-6 {
                0.01
            } else {
                0.2
            };
            compare(ks.p_value.unwrap(), &case["ks"]["p_value"], tolerance, "p-value of ks");
            compare(run(&case, "wasserstein", "{}").statistic, &case["wasserstein"], 1e-10, "wasserstein");
            let iqr = run(&case, "wasserstein", r#"{"scale": "iqr"}"#);
            compare(iqr.statistic, &case["wasserstein_iqr"], 1e-10, "wasserstein by iqr");
        }
        if case["chi_square"].is_object() {
            let chi = run(&case, "chi-square", "{}");
            compare(chi.statistic, &case["chi_square"]["statistic"], 1e-10, "chi-square");
            compare(chi.p_value.unwrap(), &case["chi_square"]["p_value"], 1e-8, "p-value of chi-square");
            compare(chi.effect_size.unwrap(), &case["chi_square"]["effect"], 1e-10, "effect of chi-square");
        }
    }
    assert!(compared > 80, "only {compared} values were compared");
}

#[test]
fn verdicts_are_what_a_person_would_say() {
    let verdict = |name: &str, test: &str| {
        let case = cases().into_iter().find(|case| case["name"] == name).unwrap();
        run(&case, test, "{}").verdict
    };
    for test in ["ks", "psi", "jensen-shannon", "wasserstein", "chi-square"] {
        let same = verdict("same distribution", test);
        assert_ne!(same, Verdict::Drift, "{test}");
        assert_eq!(verdict("tiny samples", test), Verdict::Inconclusive, "{test}");
        if test != "chi-square" {
            assert_eq!(verdict("far apart", test), Verdict::Drift, "{test}");
        }
    }
    for test in ["psi", "jensen-shannon", "chi-square"] {
        assert_ne!(verdict("text alike", test), Verdict::Drift, "{test}");
        assert_eq!(verdict("text shifted", test), Verdict::Drift, "{test}");
        assert_eq!(verdict("text with a new value", test), Verdict::Drift, "{test}");
    }
}
