//! Spans as OpenTelemetry sends them: the few messages of its trace protocol (opentelemetry-proto 1.x,
//! `collector/trace/v1`), in protobuf or in JSON.

use std::{collections::HashMap, io::Read};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use plinth_tracking::{Span, SpansTold};
use prost::Message;

use super::{
    MlflowError, Need, Thing, Tracker,
    access::{authorize, may_change_trace},
    blocking,
    fields::Fields,
    guard::Caller,
    otlp_json, spans,
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    pub(super) spans: Vec<OtlpSpan>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OtlpSpan {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(fixed64, tag = "7")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    pub(super) events: Vec<Event>,
    #[prost(message, repeated, tag = "13")]
    pub(super) links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Any {
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
pub(super) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(fixed64, tag = "1")]
    pub(super) time_unix_nano: u64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Link {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

/// The experiment that spans belong to.
const EXPERIMENT: &str = "x-mlflow-experiment-id";
/// The run that traces belong to.
const RUN: &str = "x-mlflow-run-id";

/// `POST /v1/traces`
pub(super) async fn export(
    State(tracker): State<Tracker>,
    Extension(Caller(principal)): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, MlflowError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (experiment_id, run_id) = (text(EXPERIMENT), text(RUN));
    if experiment_id.is_empty() {
        let message = format!("the header {EXPERIMENT} is missing: it names the experiment of the spans");
        return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    let kind = text(header::CONTENT_TYPE.as_str());
    let json = match kind.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" => false,
        "application/json" => true,
        _ => {
            return Err(bad(format!(
                "Invalid Content-Type: {kind}. Expected: application/x-protobuf or application/json"
            )));
        }
    };
    let encoding = text(header::CONTENT_ENCODING.as_str()).to_ascii_lowercase();
    let bytes_max = tracker.config.body_bytes_max;
    let body = tracker.intake.whole(body, bytes_max).await?;
    blocking(move || {
        let bytes = unpacked(&encoding, body.to_vec(), bytes_max)?;
        let request = if json { otlp_json::decode(&bytes) } else { ExportRequest::decode(&bytes[..]).ok() };
        let request = request.ok_or_else(|| bad("Invalid OpenTelemetry format".to_owned()))?;
        if request.resource_spans.is_empty() {
            return Err(bad("Invalid OpenTelemetry format - no spans found".to_owned()));
        }
        let (spans, told) = converted(&request)?;
        if spans.is_empty() {
            return Ok(());
        }
        if !run_id.is_empty() {
            let mut fields = Fields::default();
            fields.set("run_id", &run_id);
            authorize(&tracker.tracking, &principal, Need::Edit(Thing::Run), &fields)?;
        }
        for trace in &told {
            may_change_trace(&tracker.tracking, &principal, &trace.trace_id)?;
        }
        tracker.tracking.put_spans(&experiment_id, &spans, &told)?;
        if !run_id.is_empty() {
            let complete = spans.iter().filter(|span| span.parent_id.is_none());
            let traces: Vec<String> = complete.map(|span| span.trace_id.clone()).collect();
            for some in traces.chunks(tracker.tracking.limits().trace_links_max.max(1) as usize) {
                tracker.tracking.link_traces(some, &run_id)?;
            }
        }
        Ok(())
    })
    .await?;
    // An empty answer says that all was taken.
    let (kind, answer): (&str, &[u8]) =
        if json { ("application/json", b"{}") } else { ("application/x-protobuf", b"") };
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], answer.to_vec()).into_response())
}

/// Spans to be stored, and what they say of their traces.
fn converted(request: &ExportRequest) -> Result<(Vec<Span>, Vec<SpansTold>), MlflowError> {
    let mut stored = Vec::new();
    let mut told: HashMap<String, SpansTold> = HashMap::new();
    for group in &request.resource_spans {
        let tags = group.resource.as_ref().map(|resource| spans::resource_tags(&resource.attributes));
        let tags = tags.unwrap_or_default();
        for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let span = spans::stored(span).map_err(|reason| {
                let message = format!("Cannot convert OpenTelemetry span to MLflow span: {reason}");
                refused(StatusCode::UNPROCESSABLE_ENTITY, message)
            })?;
            let of_trace = told
                .entry(span.trace_id.clone())
                .or_insert_with(|| SpansTold { trace_id: span.trace_id.clone(), ..SpansTold::default() });
            spans::tell(of_trace, &span, &tags);
            stored.push(span);
        }
    }
    Ok((stored, told.into_values().collect()))
}

fn bad(message: String) -> MlflowError {
    refused(StatusCode::BAD_REQUEST, message)
}

fn refused(status: StatusCode, message: String) -> MlflowError {
    MlflowError::new(status, "INVALID_PARAMETER_VALUE", message)
}

/// A body as it was before it was packed, up to a size.
fn unpacked(encoding: &str, body: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, MlflowError> {
    match encoding {
        "" | "identity" => Ok(body),
        "gzip" => inflate(flate2::read::GzDecoder::new(&body[..]), bytes_max, encoding),
        // Some clients leave out the frame.
        "deflate" => inflate(flate2::read::ZlibDecoder::new(&body[..]), bytes_max, encoding)
            .or_else(|_| inflate(flate2::read::DeflateDecoder::new(&body[..]), bytes_max, encoding)),
        other => Err(bad(format!("Unsupported Content-Encoding: {other}"))),
    }
}

fn inflate(from: impl Read, bytes_max: usize, encoding: &str) -> Result<Vec<u8>, MlflowError> {
    let mut bytes = Vec::new();
    from.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| bad(format!("Failed to decompress {encoding} payload")))?;
    if bytes.len() > bytes_max {
        let message = format!("the body is larger than {bytes_max} bytes when it is unpacked");
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(bytes)
}
