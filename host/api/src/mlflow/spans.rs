//! Spans as they are stored: MLflow's documents, whose attributes are JSON in texts. Searches look into them as text.
//! And those documents as protobuf's JSON, the form in which clients ask for them.

use base64::{Engine, engine::general_purpose::STANDARD};
use plinth_tracking::{Span, SpansTold, spaced_json};
use serde_json::{Map, Value, json};

use super::{
    otlp::{Any, AnyValue, KeyValue, OtlpSpan},
    translate::{COST, INPUTS, OUTPUTS, USAGE, decoded, plain, preview, translate},
};

const TRACE_KEY: &str = "mlflow.traceRequestId";
const TAG_PREFIX: &str = "mlflow.traceTag.";

/// A span to be stored.
///
/// # Errors
/// Why it is none, in a sentence.
pub(super) fn stored(span: &OtlpSpan) -> Result<Span, String> {
    if !(1..=16).contains(&span.trace_id.len()) || !(1..=8).contains(&span.span_id.len()) {
        return Err("a span has no id of 8 bytes, or its trace none of 16".to_owned());
    }
    if span.parent_span_id.len() > 8 {
        return Err("the id of a span's parent is longer than 8 bytes".to_owned());
    }
    let nanos = |time: u64| i64::try_from(time).map_err(|_| "a span's time is past all reason".to_owned());
    let trace_id = format!("tr-{:0>32}", hex(&span.trace_id));
    let mut attributes = attributes(&span.attributes);
    attributes.insert(TRACE_KEY.to_owned(), format!("\"{trace_id}\"").into());
    let kind = plain(&attributes, super::translate::KIND);
    translate(&mut attributes);
    let object = |key: &str| decoded(&attributes, key).filter(Value::is_object).map(|value| value.to_string());
    let (usage, cost) = (object(USAGE), object(COST));
    let (status, code) = match span.status.as_ref().map(|status| status.code) {
        Some(1) => ("OK", "STATUS_CODE_OK"),
        Some(2) => ("ERROR", "STATUS_CODE_ERROR"),
        _ => ("UNSET", "STATUS_CODE_UNSET"),
    };
    let events = span.events.iter().map(|event| {
        json!({
            "name": event.name,
            "time_unix_nano": event.time_unix_nano,
            "attributes": plain_attributes(&event.attributes),
        })
    });
    let links = span.links.iter().map(|link| {
        let attributes = plain_attributes(&link.attributes);
        json!({
            "trace_id": format!("tr-{:0>32}", hex(&link.trace_id)),
            "span_id": format!("{:0>16}", hex(&link.span_id)),
            "attributes": if attributes.is_empty() { Value::Null } else { Value::Object(attributes) },
        })
    });
    let parent = (!span.parent_span_id.is_empty()).then_some(&span.parent_span_id);
    let content = json!({
        "trace_id": STANDARD.encode(wide(&span.trace_id, 16)),
        "span_id": STANDARD.encode(wide(&span.span_id, 8)),
        "parent_span_id": parent.map(|parent| STANDARD.encode(wide(parent, 8))),
        "name": span.name,
        "start_time_unix_nano": span.start_time_unix_nano,
        "end_time_unix_nano": span.end_time_unix_nano,
        "events": events.collect::<Vec<_>>(),
        "status": {"code": code, "message": span.status.as_ref().map_or("", |status| status.message.as_str())},
        "attributes": attributes,
        "links": links.collect::<Vec<_>>(),
    });
    Ok(Span {
        trace_id,
        span_id: format!("{:0>16}", hex(&span.span_id)),
        parent_id: parent.map(|parent| format!("{:0>16}", hex(parent))),
        name: span.name.clone(),
        kind,
        status: status.to_owned(),
        start_ns: nanos(span.start_time_unix_nano)?,
        end_ns: Some(nanos(span.end_time_unix_nano)?).filter(|end| *end > 0),
        content: spaced_json(&content),
        usage,
        cost,
    })
}

/// Adds what a span, and the resource that it was sent with, say of the whole trace.
pub(super) fn tell(told: &mut SpansTold, span: &Span, resource: &[(String, String)]) {
    let content: Value = serde_json::from_str(&span.content).unwrap_or_default();
    let Some(attributes) = content["attributes"].as_object() else { return };
    let first = |keys: &[&str]| keys.iter().find_map(|key| plain(attributes, key)).filter(|text| !text.is_empty());
    if told.session.is_none() {
        told.session = first(&["session.id", "gen_ai.conversation.id"]).map(|id| id.chars().take(250).collect());
    }
    if told.user.is_none() {
        told.user = first(&["user.id"]);
    }
    if told.tags.is_empty() {
        told.tags.extend(resource.iter().cloned());
    }
    if span.parent_id.is_none() {
        let text = |key: &str| attributes.get(key).and_then(Value::as_str);
        told.request_preview = text(INPUTS).map(|text| preview(text, "user"));
        told.response_preview = text(OUTPUTS).map(|text| preview(text, "assistant"));
        for key in attributes.keys() {
            if let (Some(name), Some(value)) = (key.strip_prefix(TAG_PREFIX), plain(attributes, key)) {
                told.tags.push((name.to_owned(), value));
            }
        }
    }
}

/// What a resource says, as tags; what the SDK says of itself and what is MLflow's own is left out.
pub(super) fn resource_tags(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let others = attributes
        .iter()
        .filter(|attribute| !attribute.key.starts_with("telemetry.sdk.") && !attribute.key.starts_with("mlflow."));
    others
        .map(|attribute| {
            let value = match value(attribute.value.as_ref()) {
                Value::String(text) => text,
                other => spaced_json(&other),
            };
            (attribute.key.clone(), value)
        })
        .collect()
}

/// A stored span as protobuf's JSON has it, with the fields' own names.
pub(super) fn wire(content: &str) -> Option<Value> {
    let Value::Object(mut stored) = serde_json::from_str(content).ok()? else { return None };
    let mut out = Map::new();
    for name in ["trace_id", "span_id", "parent_span_id", "name", "start_time_unix_nano", "end_time_unix_nano"] {
        match stored.remove(name) {
            None | Some(Value::Null) => {}
            Some(value) => drop(out.insert(name.to_owned(), value)),
        }
    }
    let mut list = |name: &str, items: Vec<Value>| {
        if !items.is_empty() {
            out.insert(name.to_owned(), Value::Array(items));
        }
    };
    if let Some(Value::Object(attributes)) = stored.get("attributes") {
        list("attributes", attributes.iter().map(|(key, text)| pair(key, &read(text))).collect());
    }
    let plain_pairs = |item: &Value| -> Vec<Value> {
        let attributes = item.get("attributes").and_then(Value::as_object);
        attributes.into_iter().flatten().map(|(key, value)| pair(key, value)).collect()
    };
    let items = |name: &str| stored.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let events = items("events").into_iter().map(|event| {
        let mut out = json!({"time_unix_nano": event["time_unix_nano"], "name": event["name"]});
        let attributes = plain_pairs(&event);
        if !attributes.is_empty() {
            out["attributes"] = attributes.into();
        }
        out
    });
    list("events", events.collect());
    let links = items("links").into_iter().filter_map(|link| {
        let id = |name: &str, prefix: &str| unhex(link[name].as_str()?.trim_start_matches(prefix));
        let mut out = json!({
            "trace_id": STANDARD.encode(id("trace_id", "tr-")?), "span_id": STANDARD.encode(id("span_id", "")?),
        });
        let attributes = plain_pairs(&link);
        if !attributes.is_empty() {
            out["attributes"] = attributes.into();
        }
        Some(out)
    });
    list("links", links.collect());
    if let Some(Value::Object(mut status)) = stored.remove("status") {
        if status.get("message").is_some_and(|message| message == "" || message.is_null()) {
            status.remove("message");
        }
        out.insert("status".to_owned(), Value::Object(status));
    }
    Some(Value::Object(out))
}

/// An attribute's value from the text that it is kept in.
fn read(text: &Value) -> Value {
    match text {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| match text.as_str() {
            // Numbers that JSON does not have.
            "NaN" | "Infinity" | "-Infinity" => json!({NOT_JSON: text}),
            text => Value::from(text),
        }),
        other => other.clone(),
    }
}

/// Marks a number that JSON does not have; no attribute has this key.
const NOT_JSON: &str = "\u{0}number";

fn pair(key: &str, value: &Value) -> Value {
    match any(value) {
        Some(any) => json!({"key": key, "value": any}),
        None => json!({"key": key}),
    }
}

/// A value as OpenTelemetry has it; null has none.
fn any(value: &Value) -> Option<Value> {
    let listed = |items: Vec<Value>| if items.is_empty() { json!({}) } else { json!({"values": items}) };
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => json!({"bool_value": flag}),
        Value::Number(number) => match number.as_i64() {
            Some(int) => json!({"int_value": int}),
            None => json!({"double_value": number.as_f64()}),
        },
        Value::String(text) => json!({"string_value": text}),
        Value::Array(items) => {
            json!({"array_value": listed(items.iter().map(|item| any(item).unwrap_or_else(|| json!({}))).collect())})
        }
        Value::Object(map) => match map.get(NOT_JSON) {
            Some(number) => json!({"double_value": number}),
            None => json!({"kvlist_value": listed(map.iter().map(|(key, value)| pair(key, value)).collect())}),
        },
    })
}

/// Attributes as they are kept: each value as JSON in a text. A text that is such JSON already is kept as it is, because
/// clients encode before they send.
fn attributes(list: &[KeyValue]) -> Map<String, Value> {
    let kept = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Any::Text(text)) => match serde_json::from_str::<Value>(text) {
            Ok(Value::String(_) | Value::Object(_) | Value::Array(_)) => text.clone(),
            _ => spaced_json(&Value::from(text.as_str())),
        },
        Some(Any::Double(double)) if double.is_nan() => "NaN".to_owned(),
        Some(Any::Double(double)) if double.is_infinite() => {
            if *double > 0.0 {
                "Infinity".to_owned()
            } else {
                "-Infinity".to_owned()
            }
        }
        _ => spaced_json(&value(pair.value.as_ref())),
    };
    list.iter().map(|pair| (pair.key.clone(), Value::from(kept(pair)))).collect()
}

fn plain_attributes(list: &[KeyValue]) -> Map<String, Value> {
    list.iter().map(|pair| (pair.key.clone(), value(pair.value.as_ref()))).collect()
}

fn value(any: Option<&AnyValue>) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        None => Value::Null,
        Some(Any::Text(text)) => text.as_str().into(),
        Some(Any::Bool(flag)) => (*flag).into(),
        Some(Any::Int(int)) => (*int).into(),
        Some(Any::Double(double)) => (*double).into(),
        Some(Any::Array(array)) => array.values.iter().map(|item| value(Some(item))).collect(),
        Some(Any::List(list)) => Value::Object(plain_attributes(&list.values)),
        Some(Any::Bytes(bytes)) => STANDARD.encode(bytes).into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (text.len().is_multiple_of(2) && text.is_ascii())
        .then(|| (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
        .flatten()
}

/// An id of so many bytes.
fn wide(id: &[u8], bytes: usize) -> Vec<u8> {
    let mut wide = vec![0; bytes.saturating_sub(id.len())];
    wide.extend_from_slice(id);
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, text: &str) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Any::Text(text.into())) }) }
    }

    fn other(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
    }

    #[test]
    fn what_was_sent_is_answered() {
        let span = OtlpSpan {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "root".into(),
            start_time_unix_nano: 5_000_000,
            attributes: vec![
                text("k", "v"),
                text("json", "{\"a\": 1}"),
                text("number", "5"),
                other("n", Any::Int(5)),
                other("nan", Any::Double(f64::NAN)),
                text("mlflow.traceTag.color", "red"),
                KeyValue { key: "none".into(), value: None },
            ],
            ..OtlpSpan::default()
        };
        let kept = stored(&span).unwrap();
        assert!(kept.content.contains(r#""k": "\"v\"", "json": "{\"a\": 1}", "number": "\"5\"", "n": "5""#));
        let out = wire(&kept.content).unwrap();
        let expected = json!([
            {"key": "k", "value": {"string_value": "v"}},
            {"key": "json", "value": {"kvlist_value": {"values": [{"key": "a", "value": {"int_value": 1}}]}}},
            {"key": "number", "value": {"string_value": "5"}},
            {"key": "n", "value": {"int_value": 5}},
            {"key": "nan", "value": {"double_value": "NaN"}},
            {"key": "mlflow.traceTag.color", "value": {"string_value": "red"}},
            {"key": "none"},
            {"key": TRACE_KEY, "value": {"string_value": format!("tr-{}", "01".repeat(16))}},
        ]);
        assert_eq!(out["attributes"], expected);
        assert_eq!(out["status"], json!({"code": "STATUS_CODE_UNSET"}));
        let mut told = SpansTold::default();
        tell(&mut told, &kept, &[("service.name".into(), "svc".into())]);
        assert_eq!(told.tags, [("service.name".into(), "svc".into()), ("color".into(), "red".to_owned())]);
    }

    #[test]
    fn a_span_without_ids_is_none() {
        assert!(stored(&OtlpSpan { trace_id: vec![1; 16], ..OtlpSpan::default() }).is_err());
        assert!(stored(&OtlpSpan { trace_id: vec![1; 17], span_id: vec![1], ..OtlpSpan::default() }).is_err());
    }
}
