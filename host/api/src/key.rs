//! Whose a request is, as its body says: a value at a place, which need not be known to the model.
//!
//! A body that does not read says nothing; what is wrong with it is told by whoever reads it for its rows.

use serde_json::Value;

/// The value at a JSON pointer.
pub(crate) fn at(body: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.pointer(pointer).and_then(bytes)
}

/// The value of the first row in a column, in any of the forms in which the protocols send tables as JSON.
pub(crate) fn in_column(body: &[u8], column: &str) -> Option<Vec<u8>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    first(&body, column).and_then(bytes)
}

fn first<'a>(body: &'a Value, column: &str) -> Option<&'a Value> {
    if let Some(split) = body.get("dataframe_split") {
        let index = split.get("columns")?.as_array()?.iter().position(|name| name == column)?;
        return split.get("data")?.get(0)?.get(index);
    }
    for rows in ["dataframe_records", "instances"] {
        if let Some(rows) = body.get(rows) {
            return rows.get(0)?.get(column);
        }
    }
    match body.get("inputs")? {
        // MLflow: an object of columns, or a list of rows; the Open Inference Protocol: a list of named tensors.
        Value::Object(columns) => match columns.get(column)? {
            Value::Array(values) => values.first(),
            value => Some(value),
        },
        Value::Array(items) => match items.iter().find(|item| item.get("name").is_some_and(|name| name == column)) {
            Some(tensor) => innermost(tensor.get("data")?),
            None => items.first()?.get(column),
        },
        _ => None,
    }
}

fn innermost(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(values) => innermost(values.first()?),
        value => Some(value),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        value => Some(value.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_found_in_every_form_of_a_table() {
        for body in [
            r#"{"dataframe_split": {"columns": ["a", "id"], "data": [[1, "k7"], [2, "k8"]]}}"#,
            r#"{"dataframe_records": [{"a": 1, "id": "k7"}, {"a": 2, "id": "k8"}]}"#,
            r#"{"instances": [{"id": "k7"}]}"#,
            r#"{"inputs": {"id": ["k7", "k8"], "a": [1, 2]}}"#,
            r#"{"inputs": {"id": "k7"}}"#,
            r#"{"inputs": [{"id": "k7"}]}"#,
            r#"{"inputs": [{"name": "a", "data": [1]}, {"name": "id", "shape": [1, 1], "data": [["k7"]]}]}"#,
        ] {
            assert_eq!(in_column(body.as_bytes(), "id").as_deref(), Some(&b"k7"[..]), "{body}");
            assert_eq!(in_column(body.as_bytes(), "other"), None, "{body}");
        }
        assert_eq!(at(br#"{"user": {"id": 12}}"#, "/user/id").as_deref(), Some(&b"12"[..]));
        for body in ["", "[", "{}", "null", r#"{"inputs": 3}"#, r#"{"dataframe_split": {"columns": 1}}"#] {
            assert_eq!(in_column(body.as_bytes(), "id"), None);
            assert_eq!(at(body.as_bytes(), "/id"), None);
        }
    }
}
