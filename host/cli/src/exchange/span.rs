//! Spans as MLflow writes them, in databases and in `traces.json`.

use base64::{Engine, engine::general_purpose::STANDARD};
use plinth_tracking::Span;
use serde_json::{Map, Value, json};

/// A span from MLflow's document of it; `content` is the document as it is to be kept.
pub(super) fn read(trace_id: &str, document: &Value) -> Result<Span, String> {
    // Before MLflow 3 identifiers were hexadecimal and stood in a part of their own.
    let document = if document.get("context").is_some() { &modern(trace_id, document)? } else { document };
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let span_id = text("span_id").and_then(hex_of).ok_or("a span has no id of 8 bytes")?;
    let attributes = document.get("attributes").and_then(Value::as_object);
    let decoded = |key: &str| -> Option<Value> {
        let value = attributes?.get(key)?;
        Some(value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone()))
    };
    let object = |key: &str| decoded(key).filter(Value::is_object).map(|value| value.to_string());
    let status = match document["status"]["code"].as_str() {
        Some("STATUS_CODE_OK") => "OK",
        Some("STATUS_CODE_ERROR") => "ERROR",
        _ => "UNSET",
    };
    let nanos = |key: &str| document.get(key).and_then(Value::as_i64);
    Ok(Span {
        trace_id: trace_id.to_owned(),
        span_id,
        parent_id: text("parent_span_id").and_then(hex_of),
        name: text("name").unwrap_or_default().to_owned(),
        kind: decoded("mlflow.spanType").and_then(|kind| kind.as_str().map(str::to_owned)),
        status: status.to_owned(),
        start_ns: nanos("start_time_unix_nano").ok_or("a span has no start")?,
        end_ns: nanos("end_time_unix_nano").filter(|end| *end > 0),
        content: plinth_tracking::spaced_json(document),
        usage: object("mlflow.chat.tokenUsage"),
        cost: object("mlflow.llm.cost"),
    })
}

/// Hexadecimal digits of an identifier in base 64.
fn hex_of(text: &str) -> Option<String> {
    let bytes = STANDARD.decode(text).ok()?;
    (bytes.len() == 8).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn modern(trace_id: &str, old: &Value) -> Result<Value, String> {
    let id = |value: &Value, digits: usize| -> Option<String> {
        let hex = value.as_str()?.trim_start_matches("0x").trim_start_matches("tr-");
        let hex = format!("{hex:0>digits$}");
        let bytes: Option<Vec<u8>> =
            hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        bytes.map(|bytes| STANDARD.encode(bytes))
    };
    let span = id(&old["context"]["span_id"], 16).ok_or("a span's id is not hexadecimal")?;
    let mut attributes: Map<String, Value> = old["attributes"].as_object().cloned().unwrap_or_default();
    attributes.insert("mlflow.traceRequestId".into(), format!("\"{trace_id}\"").into());
    let events = old["events"].as_array().cloned().unwrap_or_default().into_iter().map(
        |event| json!({"name": event["name"], "time_unix_nano": event["timestamp"], "attributes": event["attributes"]}),
    );
    let code = match old["status_code"].as_str() {
        Some("OK") => "STATUS_CODE_OK",
        Some("ERROR") => "STATUS_CODE_ERROR",
        _ => "STATUS_CODE_UNSET",
    };
    Ok(json!({
        "trace_id": id(&old["context"]["trace_id"], 32),
        "span_id": span,
        "parent_span_id": id(&old["parent_id"], 16),
        "name": old["name"],
        "start_time_unix_nano": old["start_time"],
        "end_time_unix_nano": old["end_time"],
        "events": events.collect::<Vec<_>>(),
        "status": {"code": code, "message": old["status_message"].as_str().unwrap_or_default()},
        "attributes": attributes,
        "links": [],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_both_generations_are_read() {
        let new = json!({
            "trace_id": "kAzaoio9v3cu+oZHC8jXNQ==", "span_id": "ll285D48Ajk=", "parent_span_id": null, "name": "x",
            "start_time_unix_nano": 5, "end_time_unix_nano": 9, "events": [], "links": [],
            "status": {"code": "STATUS_CODE_ERROR", "message": ""},
            "attributes": {"mlflow.spanType": "\"LLM\"", "mlflow.chat.tokenUsage": "{\"input_tokens\": 1}"},
        });
        let span = read("tr-1", &new).unwrap();
        assert_eq!(
            (span.span_id.as_str(), span.kind.as_deref(), span.status.as_str()),
            ("965dbce43e3c0239", Some("LLM"), "ERROR")
        );
        assert_eq!(span.usage.as_deref(), Some("{\"input_tokens\":1}"));
        let old = json!({
            "context": {"span_id": "0x965dbce43e3c0239", "trace_id": "0x1"}, "parent_id": "0x1", "name": "x",
            "start_time": 5, "end_time": 9, "status_code": "OK", "attributes": {"mlflow.spanType": "\"LLM\""},
        });
        let span = read("1", &old).unwrap();
        assert_eq!((span.span_id.as_str(), span.parent_id.as_deref()), ("965dbce43e3c0239", Some("0000000000000001")));
        assert!(read("1", &json!({"name": "x"})).is_err());
    }
}
