//! The plugin at work, natively.

use linear_model_rust::ExportedModels as Plugin;
use plinth_sdk::{Block, BlockBuilder, Field, Kind, Models, Problem, Schema};

const ARTIFACT: &[u8] =
    br#"{"intercept": 0.5, "coefficients": [{"column": "x", "value": 2}, {"column": "n", "value": -1}]}"#;

fn schema() -> Schema {
    Schema::new([
        Field::new("name", Kind::Utf8, false),
        Field::new("x", Kind::Float64, true),
        Field::new("n", Kind::Int64, false),
    ])
}

fn rows() -> Result<Block, Problem> {
    let schema = schema();
    let mut builder = BlockBuilder::new(&schema, 3);
    builder
        .texts(["a", "b", "c"].iter(), None)?
        .f64s(vec![1.0, 9.0, -0.25], Some(&[0b101]))?
        .s64s(vec![1, 2, 0], None)?;
    builder.finish()
}

#[test]
fn a_row_is_predicted_unless_a_value_is_null() {
    let model = Plugin::load("linear-model", ARTIFACT.to_vec(), schema(), "{}").unwrap();
    assert_eq!(model.output(), Schema::new([Field::new("prediction", Kind::Float64, true)]));
    let predicted = model.predict(rows().unwrap()).unwrap();
    assert_eq!(predicted.f64s, [1.5, 0.0, 0.0]);
    assert_eq!(predicted.validity, [0b101]);
}

#[test]
fn options_name_the_column_and_make_probabilities() {
    let options = r#"{"output": "p", "link": "logistic"}"#;
    let model = Plugin::load("linear-model", ARTIFACT.to_vec(), schema(), options).unwrap();
    assert_eq!(model.output().fields[0].name, "p");
    assert_eq!(model.predict(rows().unwrap()).unwrap().f64s[2], 0.5);
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |artifact: &[u8], schema| {
        Plugin::load("linear-model", artifact.to_vec(), schema, "{}")
            .err()
            .map(|problem| (problem.code, problem.column))
    };
    for garbage in [&b""[..], b"{}", b"\xff", br#"{"coefficients": [], "bias": 1}"#] {
        assert_eq!(refused(garbage, schema()), Some(("bad-artifact".into(), None)));
    }
    assert_eq!(refused(ARTIFACT, Schema::default()), Some(("unknown-column".into(), Some("x".into()))));
    let texts = Schema::new([Field::new("x", Kind::Utf8, false)]);
    assert_eq!(refused(ARTIFACT, texts), Some(("wrong-kind".into(), Some("x".into()))));
    assert!(Plugin::load("linear", ARTIFACT.to_vec(), schema(), "{}").is_err());
}
