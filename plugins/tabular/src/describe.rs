//! What the component offers: names, summaries and the JSON Schemas of options.

use plinth_sdk::Item;
use serde_json::{Value, json};

use crate::options::STEPS;

/// Every item: the steps, and the chain of them.
pub(crate) fn items() -> Vec<Item> {
    let mut items: Vec<Item> =
        STEPS.iter().map(|name| Item::new(*name, summary(name), step_schema(name).to_string())).collect();
    let steps: serde_json::Map<String, Value> = STEPS
        .iter()
        .map(|name| {
            let mut forms = vec![step_schema(name)];
            if matches!(
                *name,
                "standard-scale"
                    | "min-max-scale"
                    | "robust-scale"
                    | "one-hot"
                    | "ordinal"
                    | "quantile-bin"
                    | "select"
                    | "drop"
            ) {
                forms.push(columns_schema());
            }
            ((*name).to_owned(), json!({ "anyOf": forms }))
        })
        .collect();
    let chain = json!({
        "type": "object",
        "required": ["steps"],
        "additionalProperties": false,
        "properties": {
            "steps": {
                "type": "array",
                "minItems": 1,
                "description": "steps in order, each an object with one key: the name of the step",
                "items": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                    "properties": steps,
                },
            },
        },
    });
    items.push(Item::new("chain", "several steps as one transform with one fitted state", chain.to_string()));
    items
}

fn summary(step: &str) -> &'static str {
    match step {
        "impute" => "fills nulls, and NaN in floats, with the mean, the median, the most frequent value or a constant",
        "standard-scale" => "subtracts the mean and divides by the standard deviation",
        "min-max-scale" => "maps the smallest value to 0 and the largest to 1, or to another range",
        "robust-scale" => "subtracts the median and divides by a range of quantiles",
        "one-hot" => "one float64 column of 0 and 1 for each category, named COLUMN=CATEGORY",
        "ordinal" => "the place of a category among the sorted categories, as float64",
        "quantile-bin" => "the number of the bin, of equally filled ones, as float64",
        "select" => "keeps the named columns, in the order given",
        "drop" => "leaves columns out",
        "cast" => "turns columns into another type",
        "date-parts" => "parts of a timestamp in UTC as float64 columns, named COLUMN.PART",
        _ => "",
    }
}

fn step_schema(step: &str) -> Value {
    let unknown = json!({
        "enum": ["error", "ignore", "bucket"],
        "default": "error",
        "description": "what to do with null and with a category that was not fitted on",
    });
    let (own, required) = match step {
        "impute" => (
            json!({
                "strategy": { "enum": ["mean", "median", "most-frequent", "constant"] },
                "value": { "type": ["number", "string", "boolean"], "description": "with the strategy constant" },
            }),
            vec!["strategy"],
        ),
        "standard-scale" => (
            json!({
                "center": { "type": "boolean", "default": true },
                "scale": { "type": "boolean", "default": true },
            }),
            vec![],
        ),
        "min-max-scale" => (
            json!({
                "range": pair_schema(json!({ "type": "number" }), [0.0, 1.0]),
                "clip": { "type": "boolean", "default": false },
            }),
            vec![],
        ),
        "robust-scale" => (
            json!({
                "quantiles": pair_schema(json!({ "type": "number", "minimum": 0, "maximum": 1 }), [0.25, 0.75]),
            }),
            vec![],
        ),
        "one-hot" => (
            json!({
                "unknown": unknown,
                "drop-first": { "type": "boolean", "default": false },
                "max-categories": { "type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1_000 },
            }),
            vec![],
        ),
        "ordinal" => (
            json!({
                "unknown": unknown,
                "max-categories": { "type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 100_000 },
            }),
            vec![],
        ),
        "quantile-bin" => {
            (json!({ "bins": { "type": "integer", "minimum": 2, "maximum": 10_000, "default": 5 } }), vec![])
        }
        "cast" => (
            json!({ "to": { "enum": ["boolean", "int64", "timestamp-us", "float32", "float64", "utf8"] } }),
            vec!["to"],
        ),
        "date-parts" => (
            json!({
                "parts": {
                    "type": "array",
                    "minItems": 1,
                    "items": { "enum": [
                        "year", "quarter", "month", "day", "day-of-year", "weekday", "is-weekend",
                        "hour", "minute", "second", "epoch-days",
                    ] },
                },
                "keep": { "type": "boolean", "default": false, "description": "keep the timestamp, too" },
            }),
            vec!["parts"],
        ),
        _ => (json!({}), vec![]),
    };
    let mut properties = serde_json::Map::new();
    properties.insert("columns".to_owned(), columns_schema());
    properties.insert("except".to_owned(), json!({ "type": "array", "items": { "type": "string" } }));
    if let Value::Object(own) = own {
        properties.extend(own);
    }
    let required: Vec<&str> = std::iter::once("columns").chain(required).collect();
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

fn columns_schema() -> Value {
    json!({
        "description": "names, or numeric, categorical or all",
        "anyOf": [
            { "enum": ["numeric", "categorical", "all"] },
            { "type": "array", "minItems": 1, "items": { "type": "string" } },
        ],
    })
}

fn pair_schema(items: Value, default: [f64; 2]) -> Value {
    json!({ "type": "array", "minItems": 2, "maxItems": 2, "items": items, "default": default })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_summary_and_a_closed_schema() {
        let items = items();
        assert_eq!(items.len(), STEPS.len() + 1);
        for item in items {
            let schema: Value = serde_json::from_str(&item.options_schema).unwrap();
            assert!(!item.summary.is_empty(), "{}", item.name);
            assert_eq!(schema["additionalProperties"], false, "{}", item.name);
        }
    }
}
