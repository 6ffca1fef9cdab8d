//! OpenTelemetry's spans in JSON: fields in camel case, ids in hexadecimal digits, large numbers in texts.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    fields::{float, int},
    otlp::{
        Any, AnyValue, ArrayValue, Event, ExportRequest, KeyValue, KeyValueList, Link, OtlpSpan, Resource,
        ResourceSpans, ScopeSpans, Status,
    },
};

/// An export of spans; nothing if it is none.
pub(super) fn decode(bytes: &[u8]) -> Option<ExportRequest> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    document.as_object()?;
    let groups = list(&document, "resourceSpans", |group| {
        let resource = group.get("resource").filter(|resource| resource.is_object());
        let resource = resource.map(|resource| Some(Resource { attributes: attributes(resource)? }));
        Some(ResourceSpans {
            resource: match resource {
                Some(read) => Some(read?),
                None => None,
            },
            scope_spans: list(group, "scopeSpans", |scope| Some(ScopeSpans { spans: list(scope, "spans", span)? }))?,
        })
    });
    Some(ExportRequest { resource_spans: groups? })
}

/// Every item of a list must read; a list that is not there is empty.
fn list<T>(of: &Value, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match of.get(name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(read).collect(),
        Some(_) => None,
    }
}

fn span(value: &Value) -> Option<OtlpSpan> {
    value.as_object()?;
    Some(OtlpSpan {
        trace_id: id(value, "traceId")?,
        span_id: id(value, "spanId")?,
        parent_span_id: id(value, "parentSpanId")?,
        name: text(value, "name")?,
        start_time_unix_nano: nanos(value, "startTimeUnixNano")?,
        end_time_unix_nano: nanos(value, "endTimeUnixNano")?,
        attributes: attributes(value)?,
        events: list(value, "events", |event| {
            Some(Event {
                time_unix_nano: nanos(event, "timeUnixNano")?,
                name: text(event, "name")?,
                attributes: attributes(event)?,
            })
        })?,
        links: list(value, "links", |link| {
            Some(Link { trace_id: id(link, "traceId")?, span_id: id(link, "spanId")?, attributes: attributes(link)? })
        })?,
        status: match value.get("status") {
            Some(status @ Value::Object(_)) => Some(Status { message: text(status, "message")?, code: code(status)? }),
            _ => None,
        },
    })
}

fn code(status: &Value) -> Option<i32> {
    match status.get("code") {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(name)) if name == "STATUS_CODE_OK" => Some(1),
        Some(Value::String(name)) if name == "STATUS_CODE_ERROR" => Some(2),
        Some(Value::String(name)) if name == "STATUS_CODE_UNSET" => Some(0),
        Some(number) => int(number).and_then(|code| i32::try_from(code).ok()),
    }
}

fn text(of: &Value, name: &str) -> Option<String> {
    match of.get(name) {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => None,
    }
}

fn nanos(of: &Value, name: &str) -> Option<u64> {
    match of.get(name) {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_u64(),
    }
}

fn id(of: &Value, name: &str) -> Option<Vec<u8>> {
    let digits = text(of, name)?;
    if digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

fn attributes(of: &Value) -> Option<Vec<KeyValue>> {
    list(of, "attributes", key_value)
}

fn key_value(pair: &Value) -> Option<KeyValue> {
    let value = match pair.get("value") {
        None | Some(Value::Null) => None,
        Some(value) => Some(any(value)?),
    };
    Some(KeyValue { key: text(pair, "key")?, value })
}

fn any(value: &Value) -> Option<AnyValue> {
    let map = value.as_object()?;
    let Some((kind, given)) = map.iter().next() else { return Some(AnyValue { value: None }) };
    let value = match kind.as_str() {
        "stringValue" => Any::Text(given.as_str()?.to_owned()),
        "boolValue" => Any::Bool(given.as_bool()?),
        "intValue" => Any::Int(int(given)?),
        "doubleValue" => Any::Double(float(given)?),
        "arrayValue" => Any::Array(ArrayValue { values: list(given, "values", any)? }),
        "kvlistValue" => Any::List(KeyValueList { values: list(given, "values", key_value)? }),
        "bytesValue" => Any::Bytes(STANDARD.decode(given.as_str()?).ok()?),
        // What is not known is ignored.
        _ => return Some(AnyValue { value: None }),
    };
    Some(AnyValue { value: Some(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_what_is_none_is_not() {
        let body = br#"{"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": [{
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "n", "kind": 2,
            "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": 1700000001000000000,
            "attributes": [{"key": "k", "value": {"arrayValue": {"values": [{"intValue": "5"}]}}}], "status": {"code": 1}
        }]}]}]}"#;
        let read = decode(body).unwrap();
        let span = &read.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(
            (span.trace_id.len(), span.span_id[0], span.start_time_unix_nano),
            (16, 0xb7, 1_700_000_000_000_000_000)
        );
        assert!(
            matches!(&span.attributes[0].value.as_ref().unwrap().value, Some(Any::Array(array)) if array.values.len() == 1)
        );
        for bad in
            [&b"[]"[..], b"{", br#"{"resourceSpans": 5}"#, br#"{"resourceSpans": [{"scopeSpans": [{"spans": [5]}]}]}"#]
        {
            assert!(decode(bad).is_none());
        }
        assert!(decode(b"{}").unwrap().resource_spans.is_empty());
    }
}
