use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use plinth_core::{Coded, codes};
use serde_json::Value;

use super::*;

fn golden() -> Vec<Value> {
    let json: Value = serde_json::from_str(include_str!("golden/golden.json")).unwrap();
    json["cases"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn class_numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn close(name: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-12 * theirs.abs().max(1.0), "{name}: {ours} and not {theirs}");
}

fn of_case(case: &Value) -> (Label, Answers) {
    if let Some(classes) = case["classes"].as_u64() {
        let classes = classes as usize;
        let names = Classes::Int((0..classes as i64).collect());
        let probabilities = numbers(&case["probabilities"]);
        let truth = Label::Class { classes: names, rows: class_numbers(&case["truth"]) };
        (truth, Answers::Classes { classes, probabilities, labels: class_numbers(&case["said"]) })
    } else {
        (Label::Value(numbers(&case["values"])), Answers::Values(numbers(&case["predicted"])))
    }
}

#[test]
fn every_metric_is_what_scikit_learn_says() {
    for case in golden() {
        let name = case["name"].as_str().unwrap();
        let (truth, answers) = of_case(&case);
        let spec = EvaluationSpec { curves: true, ..EvaluationSpec::default() };
        let evaluation = evaluate(&spec, &truth, &answers, &[]).unwrap();
        let expected = case["metrics"].as_object().unwrap();
        assert_eq!(evaluation.metrics.len(), expected.len(), "{name}: {:?}", evaluation.metrics);
        for (metric, value) in expected {
            let ours = evaluation.metric(metric).unwrap_or_else(|| panic!("{name} has no {metric}"));
            close(&format!("{name}, {metric}"), ours, value.as_f64().unwrap());
        }
        if let Some(counts) = case["confusion"].as_array() {
            let counts: Vec<Vec<u64>> =
                counts.iter().map(|row| class_numbers(row).into_iter().map(u64::from).collect()).collect();
            assert_eq!(evaluation.confusion.as_ref().unwrap().counts, counts, "{name}");
        }
        if let Some(roc) = case.get("roc") {
            let ours = &evaluation.curves[0];
            for (ours, theirs) in [(&ours.x, numbers(&roc["x"])), (&ours.y, numbers(&roc["y"]))] {
                assert_eq!(ours.len(), theirs.len(), "{name}");
                ours.iter().zip(&theirs).for_each(|(a, b)| close(name, *a, *b));
            }
        }
        let json = serde_json::to_string(&evaluation).unwrap();
        assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation, "{name}");
    }
}

fn four_rows() -> (Label, Answers) {
    let truth = Label::Class { classes: Classes::Text(vec!["no".into(), "yes".into()]), rows: vec![0, 1, 0, 0] };
    (truth, Answers::of_probabilities(2, vec![0.9, 0.1, 0.2, 0.8, 0.3, 0.7, 0.6, 0.4]))
}

fn plan_column(values: Vec<Option<&str>>) -> Vec<RecordBatch> {
    let column: ArrayRef = Arc::new(StringArray::from(values));
    let batch = RecordBatch::try_from_iter_with_nullable([("plan", column, true)]).unwrap();
    vec![batch.slice(0, 1), batch.slice(1, batch.num_rows() - 1)]
}

#[test]
fn slices_are_measured_apart_and_small_ones_left_out() {
    let (truth, answers) = four_rows();
    let rows = plan_column(vec![Some("a"), Some("a"), None, Some("b")]);
    let mut spec = EvaluationSpec { slices: vec!["plan".into()], ..EvaluationSpec::default() };
    let evaluation = evaluate(&spec, &truth, &answers, &rows).unwrap();
    let of = |slice: &str, name: &str| {
        let found = evaluation.metrics.iter().find(|m| m.slice.as_deref() == Some(slice) && m.name == name);
        found.map(|m| (m.value, m.n))
    };
    assert_eq!(of("plan=a", "accuracy"), Some((1.0, Some(2))));
    assert_eq!(of("plan=a", "f1"), Some((1.0, Some(2))));
    assert_eq!(of("plan=null", "accuracy"), Some((0.0, Some(1))));
    // Neither has a `yes` to be found.
    assert_eq!((of("plan=null", "f1"), of("plan=b", "roc_auc")), (None, None));
    assert_eq!(evaluation.metric("accuracy"), Some(0.75));
    assert_eq!(evaluation.positive.as_deref(), Some("yes"));
    spec.min_slice_rows = 2;
    let evaluation = evaluate(&spec, &truth, &answers, &rows).unwrap();
    assert!(evaluation.metrics.iter().all(|m| m.slice.as_deref().is_none_or(|slice| slice == "plan=a")));
}

#[test]
fn the_positive_class_is_the_one_that_was_named() {
    let (truth, answers) = four_rows();
    let spec = EvaluationSpec { positive: Some("no".into()), ..EvaluationSpec::default() };
    let evaluation = evaluate(&spec, &truth, &answers, &[]).unwrap();
    assert_eq!((evaluation.metric("precision"), evaluation.metric("recall")), (Some(1.0), Some(2.0 / 3.0)));
    let spec = EvaluationSpec { positive: Some("yess".into()), ..EvaluationSpec::default() };
    let error = evaluate(&spec, &truth, &answers, &[]).unwrap_err();
    assert_eq!(error.to_string(), "`yess` is none of the classes no, yes");
    assert_eq!(error.hint().unwrap(), "did you mean `yes`?");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (truth, answers) = four_rows();
    let spec = EvaluationSpec { slices: vec!["plam".into()], ..EvaluationSpec::default() };
    let rows = plan_column(vec![None; 4]);
    let error = evaluate(&spec, &truth, &answers, &rows).unwrap_err();
    assert_eq!((error.code(), error.hint().unwrap().as_str()), (codes::UNKNOWN_COLUMN, "did you mean `plan`?"));
    let error = evaluate(&spec, &truth, &answers, &plan_column(vec![None; 3])).unwrap_err();
    assert_eq!(error.code(), codes::SCHEMA_MISMATCH);
    let spec = EvaluationSpec::default();
    assert!(evaluate(&spec, &truth, &Answers::Values(vec![0.0; 4]), &[]).is_err());
    assert!(evaluate(&spec, &Label::Value(vec![]), &Answers::Values(vec![]), &[]).is_err());
    assert!(evaluate(&spec, &truth, &Answers::of_probabilities(2, vec![0.5, 0.5]), &[]).is_err());
}
