//! The same answers as scikit-learn, on rows that it was given; `tests/golden/make_sklearn.py` made them.

use plinth_sdk::{Block, BlockBuilder, Field, Kind, Schema, Step, bitmap};
use serde_json::Value;

use crate::{Fit, Fitted};

fn golden() -> Value {
    serde_json::from_str(include_str!("../tests/golden/sklearn.json")).unwrap()
}

fn columns(value: &Value) -> Vec<(String, Vec<Value>)> {
    let columns = value.as_object().unwrap().iter();
    columns.map(|(name, values)| (name.clone(), values.as_array().unwrap().clone())).collect()
}

fn numbers(golden: &Value) -> (Schema, Block) {
    // A JSON object comes back sorted; scikit-learn's columns are in the order of the script.
    let order = ["Seniority", "Age", "Income", "Amount", "Price"];
    let mut columns = columns(&golden["numbers"]);
    columns.sort_by_key(|(name, _)| order.iter().position(|there| there == name));
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(name, Kind::Float64, true)).collect();
    let schema = Schema::new(fields);
    let mut builder = BlockBuilder::new(&schema, columns[0].1.len());
    for (_, values) in &columns {
        let valid = bitmap(values.iter().map(|value| !value.is_null()));
        builder.f64s(values.iter().map(|value| value.as_f64().unwrap_or(0.0)).collect(), Some(&valid)).unwrap();
    }
    let block = builder.finish().unwrap();
    (schema, block)
}

fn texts(golden: &Value) -> (Schema, Block) {
    let columns = columns(&golden["texts"]);
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(name, Kind::Utf8, true)).collect();
    let schema = Schema::new(fields);
    let mut builder = BlockBuilder::new(&schema, columns[0].1.len());
    for (_, values) in &columns {
        let valid = bitmap(values.iter().map(|value| !value.is_null()));
        builder.texts(values.iter().map(|value| value.as_str().unwrap_or("")), Some(&valid)).unwrap();
    }
    let block = builder.finish().unwrap();
    (schema, block)
}

fn fit_and_apply(schema: &Schema, block: &Block, steps: &str) -> (Schema, Block) {
    let options = format!(r#"{{"steps": [{steps}]}}"#);
    let mut fit = Fit::start("chain", schema, &options).unwrap();
    let state = loop {
        fit.update(block).unwrap();
        if let Step::Done(state) = fit.end_pass().unwrap() {
            break state;
        }
    };
    let fitted = Fitted::load("chain", &state, schema).unwrap();
    let out = fitted.apply(block.clone()).unwrap();
    (fitted.output().clone(), out)
}

/// Every value within a few units in the last place; nulls where scikit-learn has NaN.
fn assert_same(steps: &str, (schema, block): &(Schema, Block), expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(schema.len(), expected.len(), "{steps}");
    for (column, expected) in expected.iter().enumerate() {
        let got: Vec<Option<f64>> = block.numbers(schema, column).unwrap().collect();
        let expected: Vec<Option<f64>> = expected.as_array().unwrap().iter().map(Value::as_f64).collect();
        for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let same = match (got, expected) {
                (Some(got), Some(expected)) => (got - expected).abs() <= 1e-12 * expected.abs().max(1.0),
                (got, expected) => got == expected,
            };
            assert!(same, "{steps}: column {column}, row {row}: {got:?}, and scikit-learn has {expected:?}");
        }
        assert_eq!(got.len(), expected.len());
    }
}

#[test]
fn numbers_come_out_as_scikit_learn_has_them() {
    let golden = golden();
    let (schema, block) = numbers(&golden);
    let fill = r#"{"impute": {"columns": "numeric", "strategy": "median"}}"#;
    for (steps, expected) in [
        (r#"{"impute": {"columns": "numeric", "strategy": "mean"}}"#.to_owned(), "impute-mean"),
        (fill.to_owned(), "impute-median"),
        (r#"{"impute": {"columns": "numeric", "strategy": "most-frequent"}}"#.to_owned(), "impute-most-frequent"),
        (r#"{"standard-scale": "numeric"}"#.to_owned(), "standard-scale"),
        (r#"{"min-max-scale": "numeric"}"#.to_owned(), "min-max-scale"),
        (r#"{"robust-scale": "all"}"#.to_owned(), "robust-scale"),
        (format!(r#"{fill}, {{"quantile-bin": {{"columns": "numeric", "bins": 5}}}}"#), "quantile-bin"),
    ] {
        assert_same(&steps, &fit_and_apply(&schema, &block, &steps), &golden[expected]);
    }
}

#[test]
fn categories_come_out_as_scikit_learn_has_them() {
    let golden = golden();
    let (schema, block) = texts(&golden);
    let fill = r#"{"impute": {"columns": "categorical", "strategy": "most-frequent"}}"#;
    let (filled_schema, filled) = fit_and_apply(&schema, &block, fill);
    for (column, expected) in golden["impute-text"].as_array().unwrap().iter().enumerate() {
        let got: Vec<&str> = filled.texts(&filled_schema, column).unwrap().iter().collect();
        let expected: Vec<&str> = expected.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
        assert_eq!(got, expected);
    }
    for step in ["one-hot", "ordinal"] {
        let steps = format!(r#"{fill}, {{"{step}": "categorical"}}"#);
        assert_same(&steps, &fit_and_apply(&schema, &block, &steps), &golden[step]);
    }
}
