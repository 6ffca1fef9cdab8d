//! Spans as OpenTelemetry sends them: the few messages of its trace protocol (opentelemetry-proto 1.x,
//! `collector/trace/v1`), and their JSON as MLflow's clients read it.

use std::io::Read;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use plinth_tracking::Span;
use prost::Message;
use serde_json::{Map, Value, json};

use super::{MlflowError, Tracker, blocking, read};

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<OtlpSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct OtlpSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    List(KeyValueList),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

/// The experiment that spans belong to.
const EXPERIMENT: &str = "x-mlflow-experiment-id";

/// `POST /v1/traces`
pub(super) async fn export(
    State(tracker): State<Tracker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, MlflowError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let experiment_id = text(EXPERIMENT);
    if experiment_id.is_empty() {
        return Err(bad(format!("the header {EXPERIMENT} is missing: it names the experiment of the spans")));
    }
    let kind = text(header::CONTENT_TYPE.as_str());
    if !kind.starts_with("application/x-protobuf") {
        let message = format!("content type `{kind}` is not accepted; send application/x-protobuf");
        return Err(MlflowError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_REQUEST", message));
    }
    let encoding = text(header::CONTENT_ENCODING.as_str());
    let body = read(body, tracker.config.body_bytes_max).await?;
    blocking(move || {
        let bytes_max = tracker.config.body_bytes_max;
        let bytes = match encoding.as_str() {
            "" | "identity" => body.to_vec(),
            "gzip" => inflate(flate2::read::GzDecoder::new(&body[..]), bytes_max)?,
            "deflate" => inflate(flate2::read::ZlibDecoder::new(&body[..]), bytes_max)?,
            other => return Err(bad(format!("content encoding `{other}` is not accepted; send gzip or none"))),
        };
        let request = ExportRequest::decode(&bytes[..])
            .map_err(|error| bad(format!("the body is no export of traces: {error}")))?;
        let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        let spans = spans.map(|given| span(&given)).collect::<Result<Vec<_>, _>>()?;
        if spans.is_empty() {
            return Err(bad("the export holds no spans".to_owned()));
        }
        Ok(tracker.tracking.put_spans(&experiment_id, &spans)?)
    })
    .await?;
    // An empty answer says that all was taken.
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/x-protobuf")], Vec::new()).into_response())
}

fn bad(message: String) -> MlflowError {
    MlflowError::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
}

/// Unpacks a body, up to a size.
fn inflate(from: impl Read, bytes_max: usize) -> Result<Vec<u8>, MlflowError> {
    let mut bytes = Vec::new();
    from.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| bad(format!("the body does not unpack: {error}")))?;
    if bytes.len() > bytes_max {
        let message = format!("the body is larger than {bytes_max} bytes when it is unpacked");
        return Err(MlflowError::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_PARAMETER_VALUE", message));
    }
    Ok(bytes)
}

fn span(span: &OtlpSpan) -> Result<Span, MlflowError> {
    if span.trace_id.len() != 16 || span.span_id.len() != 8 {
        return Err(bad("a span has no id of 8 bytes, or its trace none of 16".to_owned()));
    }
    let attribute = |name: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
        match &found.value.as_ref()?.value {
            Some(Any::Text(text)) => Some(text.trim_matches('"').to_owned()),
            _ => None,
        }
    };
    let trace_id = attribute("mlflow.traceRequestId").unwrap_or_else(|| format!("tr-{}", hex(&span.trace_id)));
    let status = match span.status.as_ref().map(|status| status.code) {
        Some(1) => "OK",
        Some(2) => "ERROR",
        _ => "UNSET",
    };
    let nanos = |time: u64| i64::try_from(time).map_err(|_| bad("a span's time is past all reason".to_owned()));
    Ok(Span {
        trace_id,
        span_id: hex(&span.span_id),
        parent_id: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        name: span.name.clone(),
        kind: attribute("mlflow.spanType").unwrap_or_else(|| "UNKNOWN".to_owned()),
        status: status.to_owned(),
        start_ns: nanos(span.start_time_unix_nano)?,
        end_ns: nanos(span.end_time_unix_nano)?,
        content: content(span).to_string(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The span as protobuf's JSON has it, with the fields' own names.
fn content(span: &OtlpSpan) -> Value {
    let mut out = Map::new();
    out.insert("trace_id".into(), STANDARD.encode(&span.trace_id).into());
    out.insert("span_id".into(), STANDARD.encode(&span.span_id).into());
    if !span.parent_span_id.is_empty() {
        out.insert("parent_span_id".into(), STANDARD.encode(&span.parent_span_id).into());
    }
    out.insert("name".into(), span.name.clone().into());
    out.insert("start_time_unix_nano".into(), span.start_time_unix_nano.into());
    out.insert("end_time_unix_nano".into(), span.end_time_unix_nano.into());
    insert_list(&mut out, "attributes", span.attributes.iter().map(key_value));
    insert_list(
        &mut out,
        "events",
        span.events.iter().map(|event| {
            let mut out = Map::new();
            out.insert("time_unix_nano".into(), event.time_unix_nano.into());
            out.insert("name".into(), event.name.clone().into());
            insert_list(&mut out, "attributes", event.attributes.iter().map(key_value));
            Value::Object(out)
        }),
    );
    insert_list(
        &mut out,
        "links",
        span.links.iter().map(|link| {
            let mut out = Map::new();
            out.insert("trace_id".into(), STANDARD.encode(&link.trace_id).into());
            out.insert("span_id".into(), STANDARD.encode(&link.span_id).into());
            insert_list(&mut out, "attributes", link.attributes.iter().map(key_value));
            Value::Object(out)
        }),
    );
    if let Some(status) = &span.status {
        let mut out_status = Map::new();
        if !status.message.is_empty() {
            out_status.insert("message".into(), status.message.clone().into());
        }
        let code = match status.code {
            1 => "STATUS_CODE_OK",
            2 => "STATUS_CODE_ERROR",
            _ => "STATUS_CODE_UNSET",
        };
        out_status.insert("code".into(), code.into());
        out.insert("status".into(), Value::Object(out_status));
    }
    Value::Object(out)
}

fn insert_list(out: &mut Map<String, Value>, name: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    if !items.is_empty() {
        out.insert(name.to_owned(), Value::Array(items));
    }
}

fn key_value(pair: &KeyValue) -> Value {
    json!({"key": pair.key, "value": pair.value.as_ref().map_or_else(|| json!({}), any)})
}

fn any(value: &AnyValue) -> Value {
    match &value.value {
        None => json!({}),
        Some(Any::Text(text)) => json!({"string_value": text}),
        Some(Any::Bool(flag)) => json!({"bool_value": flag}),
        Some(Any::Int(int)) => json!({"int_value": int}),
        Some(Any::Double(double)) if double.is_finite() => json!({"double_value": double}),
        Some(Any::Double(double)) => {
            json!({"double_value": if double.is_nan() { "NaN" } else if *double > 0.0 { "Infinity" } else { "-Infinity" }})
        }
        Some(Any::Array(array)) => json!({"array_value": {"values": array.values.iter().map(any).collect::<Vec<_>>()}}),
        Some(Any::List(list)) => {
            json!({"kvlist_value": {"values": list.values.iter().map(key_value).collect::<Vec<_>>()}})
        }
        Some(Any::Bytes(bytes)) => json!({"bytes_value": STANDARD.encode(bytes)}),
    }
}
