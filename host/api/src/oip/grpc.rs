//! The protocol over gRPC: `inference.GRPCInferenceService`, and the health service that orchestrators ask.
//!
//! What a client got wrong is INVALID_ARGUMENT or NOT_FOUND, never INTERNAL; that is for faults of this side alone.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt};
use plinth_serve::{Input, Output};
use prost::Message;
use tonic::{
    Code, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, StreamingService},
};

use super::{
    Kept, answer, asked, blocking, describe, feed, kept,
    messages::{
        Empty, Health, HealthRequest, Index, IndexRequest, InferRequest, InferResponse, LoadRequest, LogSettings,
        ModelConfigResponse, ModelRequest, Parameter, ParameterChoice, StreamInferResponse, TraceSettings, Yes,
    },
    no_shared_memory,
    packed::unpacked,
    settings, unary,
};
use crate::{
    App,
    error::{ApiError, Surface},
    request::{Asked, Call, Protocol, Sent, Told, Who, Written, ask},
};

/// Requests of one stream that are worked on at once; their answers keep their order.
const STREAM_AHEAD: usize = 16;

pub(super) static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Whether a request speaks gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to what there is not.
pub(crate) fn unimplemented(path: &str) -> Response {
    status_response(&Status::unimplemented(format!("there is nothing at {path}")))
}

fn status_response(status: &Status) -> Response {
    status.clone().into_http::<Body>()
}

/// The answer to what was refused before it was looked at.
pub(crate) fn refusal(error: &ApiError) -> Response {
    status_response(&status_of(error))
}

/// An error of ours as gRPC tells it.
pub(super) fn status_of(error: &ApiError) -> Status {
    let mut status = Status::new(code_of(error.status()), error.message());
    if let Ok(name) = error.code().name().parse() {
        status.metadata_mut().insert("plinth-code", name);
    }
    status
}

/// How gRPC tells what HTTP tells as `status`.
pub(crate) fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::OK => Code::Ok,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Code::Unavailable,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::CONFLICT => Code::FailedPrecondition,
        StatusCode::NOT_IMPLEMENTED => Code::Unimplemented,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

/// Whether it is the server's fault rather than the caller's.
pub(crate) const fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// `grpc.health.v1.Health`
pub(crate) async fn health(State(app): State<App>, Path(method): Path<String>, request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let path = request.uri().path().to_owned();
    match method.as_str() {
        "Check" => {
            unary(app, request, |app, asked: HealthRequest| async move {
                if !matches!(asked.service.as_str(), "" | "inference.GRPCInferenceService") {
                    return Err(ApiError::nowhere(format!("there is no service `{}`", asked.service)));
                }
                Ok(Health { status: if app.server.is_draining() { 2 } else { 1 } })
            })
            .await
        }
        _ => unimplemented(&path),
    }
}

/// `inference.GRPCInferenceService/ModelInfer`, which has a route of its own: all that scores comes here.
pub(crate) async fn model_infer(State(app): State<App>, request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    // What scores ends in time by itself.
    encoded(app, request, None, |app, headers, asked| async move {
        let told = one(&app, headers, asked, false).await;
        (told.who(), told.outcome.map(|written| written.body))
    })
    .await
}

/// The other methods of `inference.GRPCInferenceService`
pub(crate) async fn call(State(app): State<App>, Path(method): Path<String>, request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let path = request.uri().path().to_owned();
    match method.as_str() {
        "ModelStreamInfer" => stream(app, request).await,
        "ServerLive" => unary(app, request, |_, _: Empty| async { Ok(Yes { yes: true }) }).await,
        "ServerReady" => {
            unary(app, request, |app, _: Empty| async move { Ok(Yes { yes: !app.server.is_draining() }) }).await
        }
        // Not being there is an answer, not an error.
        "ModelReady" => {
            let ready = |app: App, asked: ModelRequest| async move {
                Ok(Yes { yes: describe::is_ready(&app, &of(asked)).is_ok() })
            };
            unary(app, request, ready).await
        }
        "ServerMetadata" => unary(app, request, |_, _: Empty| async { Ok(describe::server()) }).await,
        "ModelMetadata" => {
            let metadata = |app: App, asked: ModelRequest| async move {
                let asked = of(asked);
                app.awake(&asked).await?;
                describe::metadata(&app, &asked)
            };
            unary(app, request, metadata).await
        }
        "ModelConfig" => {
            let config = |app: App, asked: ModelRequest| async move {
                let asked = of(asked);
                app.awake(&asked).await?;
                Ok(ModelConfigResponse { config: Some(describe::config(&app, &asked)?) })
            };
            unary(app, request, config).await
        }
        "ModelStatistics" => {
            let statistics = |app: App, asked: ModelRequest| async move {
                let all = asked.name.is_empty();
                let asked = if all { Asked::default() } else { of(asked) };
                app.awake(&asked).await?;
                describe::statistics(&app, &asked)
            };
            unary(app, request, statistics).await
        }
        "RepositoryIndex" => {
            let index = |app: App, asked: IndexRequest| async move {
                blocking(move || Ok(Index { models: describe::index(&app.server, asked.ready) })).await
            };
            unary(app, request, index).await
        }
        "RepositoryModelLoad" => {
            let load = |app: App, asked: LoadRequest| async move {
                let parameters: Vec<String> = asked.parameters.into_keys().collect();
                let (server, model) = (Arc::clone(&app.server), asked.model_name);
                app.loader.run(move || describe::load(&server, &model, &parameters)).await.map(|()| Empty {})
            };
            unary(app, request, load).await
        }
        "RepositoryModelUnload" => {
            let unload = |app: App, asked: LoadRequest| async move {
                let (server, model) = (Arc::clone(&app.server), asked.model_name);
                app.loader.run(move || describe::unload(&server, &model)).await.map(|()| Empty {})
            };
            unary(app, request, unload).await
        }
        "TraceSetting" => unary(app, request, |app, asked| async move { trace(&app, asked) }).await,
        "LogSettings" => {
            let log = |app: App, asked: LogSettings| async move {
                app.settings.set_log(&settings::log_changes(asked))?;
                Ok(app.settings.log_message())
            };
            unary(app, request, log).await
        }
        _ if method.starts_with("SystemSharedMemory") || method.starts_with("CudaSharedMemory") => {
            let error = no_shared_memory("this server shares no memory with its clients");
            let status = Status::unimplemented(error.message());
            status_response(&status)
        }
        _ => unimplemented(&path),
    }
}

fn of(asked: ModelRequest) -> Asked {
    Asked::of(asked.name, Some(asked.version))
}

fn trace(app: &App, asked: TraceSettings) -> Result<TraceSettings, ApiError> {
    let model = Some(asked.model_name).filter(|name| !name.is_empty());
    if let Some(model) = &model {
        describe::is_ready(app, &Asked::of(model.clone(), None))?;
    }
    let changes = asked.settings.into_iter().map(|(name, texts)| {
        // No value at all sets it back.
        (name, Some(texts.value).filter(|values| !values.is_empty()))
    });
    app.settings.set_trace(model.as_deref(), changes.collect())?;
    Ok(TraceSettings { settings: app.settings.trace(model.as_deref()), model_name: String::new() })
}

/// One request for inference.
async fn one(app: &App, headers: HeaderMap, asked: InferRequest, streamed: bool) -> Told {
    let whom = Asked::of(asked.model_name.clone(), Some(asked.model_version.clone()));
    let protocol = Infer { request: Some(asked), streamed };
    // See `answer`: it is large.
    Box::pin(ask(app, Surface::Grpc, &whom, headers, Sent::Whole(Bytes::new()), |_| Ok(()), protocol)).await
}

/// A stream of requests; each answer says for itself what went wrong.
async fn stream(app: App, request: Request) -> Response {
    if let Some(status) = unary::unknown_encoding(request.headers()) {
        return status_response(&status);
    }
    let headers = request.headers().clone();
    let request = unpacked(request, app.server.limits().body_bytes_max);
    let mut grpc = grpc::<InferRequest>(&app);
    let response = grpc.streaming(Streamed { app, headers }, request).await;
    response.map(Body::new)
}

/// The protocol's way to send tensors and to get them.
struct Infer {
    request: Option<InferRequest>,
    streamed: bool,
}

impl Protocol for Infer {
    type Kept = Kept;

    fn route(&self, _: &Asked) -> &'static str {
        match self.streamed {
            true => "inference.GRPCInferenceService/ModelStreamInfer",
            false => "inference.GRPCInferenceService/ModelInfer",
        }
    }

    fn bytes(&self, _: &HeaderMap, _: &Bytes) -> Option<usize> {
        self.request.as_ref().map(Message::encoded_len)
    }

    fn read(&mut self, call: &mut Call, _: &HeaderMap, _: &Bytes) -> Result<(Input, Kept), ApiError> {
        let asked = asked::of_message(self.request.take().unwrap_or_default())?;
        let (input, rest) = feed(call, asked)?;
        kept(call, input, rest)
    }

    fn write(&self, call: &Call, _: &HeaderMap, kept: Kept, scored: &Output) -> Result<Written, ApiError> {
        let Kept { rest, chosen } = kept;
        call.within(rest.parameters.timeout)?;
        let mut message = answer::message(call, &rest, scored, &chosen)?;
        if !self.streamed {
            return Ok(answer::encoded(&message));
        }
        if rest.parameters.final_response {
            let last = Parameter { choice: Some(ParameterChoice::Bool(true)) };
            message.parameters.insert("triton_final_response".into(), last);
        }
        Ok(StreamInferResponse { error_message: String::new(), infer_response: Some(message) }.encode_to_vec().into())
    }
}

/// Answers one message with one.
async fn unary<I, O, F, Fut>(app: App, request: Request, work: F) -> Response
where
    I: Message + Default + 'static,
    O: Message + 'static,
    F: FnOnce(App, I) -> Fut + Send + 'static,
    Fut: Future<Output = Result<O, ApiError>> + Send + 'static,
{
    let encoding = |app, _: HeaderMap, asked| {
        let answer = work(app, asked);
        async move { (Who::default(), answer.await.map(|answer| answer.encode_to_vec())) }
    };
    let longest = Duration::from_millis(app.server.limits().request_ms_max);
    encoded(app, request, Some(longest), encoding).await
}

/// The same with an answer that is encoded already, in the time that the caller gives and that it may take at all.
async fn encoded<I, F, Fut>(app: App, request: Request, longest: Option<Duration>, work: F) -> Response
where
    I: Message + Default + 'static,
    F: FnOnce(App, HeaderMap, I) -> Fut + Send + 'static,
    Fut: Future<Output = (Who, Result<Vec<u8>, ApiError>)> + Send + 'static,
{
    let limits = app.server.limits();
    let (bytes_max, parts_max, body_ms_max) = (limits.body_bytes_max, limits.message_parts_max, limits.request_ms_max);
    let (Parts { headers, .. }, body) = request.into_parts();
    if let Some(status) = unary::unknown_encoding(&headers) {
        return status_response(&status);
    }
    let late = |within: Duration| {
        status_response(&Status::deadline_exceeded(format!(
            "the answer was not ready within {} ms",
            within.as_millis()
        )))
    };
    let (given, logged) = (timeout(&headers), app.logged);
    let answer = pin!(async {
        let body_max = Duration::from_millis(body_ms_max);
        let message = unary::message(&headers, body, bytes_max, parts_max);
        let (who, outcome) = match tokio::time::timeout(body_max, message).await {
            Ok(Ok(asked)) => work(app, headers, asked).await,
            Ok(Err(error)) => (Who::default(), Err(error)),
            Err(_) => return late(body_max),
        };
        let mut response = outcome.map_or_else(|error| refusal(&error), |message| unary::answer(&message));
        if logged {
            response.extensions_mut().insert(who);
        }
        response
    });
    // A timer costs a small request something, and most callers give no time.
    match [given, longest].into_iter().flatten().min() {
        Some(within) => tokio::time::timeout(within, answer).await.unwrap_or_else(|_| late(within)),
        None => answer.await,
    }
}

fn grpc<I: Message + Default + 'static>(app: &App) -> Grpc<Proto<I>> {
    let limits = app.server.limits();
    let bytes_max = usize::try_from(limits.body_bytes_max).unwrap_or(usize::MAX);
    Grpc::new(Proto(limits.message_parts_max, PhantomData))
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(usize::MAX)
}

/// What tonic tells of a message that does not reach us, as its own fault or as a number out of range: it is the caller's
/// message that is wrong, or too large.
fn callers_fault(status: Status) -> Status {
    match status.code() {
        Code::Internal => Status::invalid_argument(status.message()),
        Code::OutOfRange => Status::resource_exhausted(status.message()),
        _ => status,
    }
}

/// How long the caller waits: eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = given.split_at_checked(given.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Messages in, of so many parts at most, and encoded messages out.
struct Proto<I>(u32, PhantomData<fn() -> I>);

impl<I: Message + Default + 'static> Codec for Proto<I> {
    type Encode = Vec<u8>;
    type Decode = I;
    type Encoder = Encoding;
    type Decoder = Decoding<I>;

    fn encoder(&mut self) -> Encoding {
        Encoding
    }

    fn decoder(&mut self) -> Decoding<I> {
        Decoding(self.0, PhantomData)
    }
}

struct Encoding;

impl Encoder for Encoding {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&message);
        Ok(())
    }
}

struct Decoding<I>(u32, PhantomData<fn() -> I>);

impl<I: Message + Default> Decoder for Decoding<I> {
    type Item = I;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<I>, Status> {
        // One piece of memory, of which raw tensors are then parts rather than copies.
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        unary::decoded(bytes, self.0).map(Some).map_err(|error| status_of(&error))
    }
}

/// Requests in, answers out, in the same order.
struct Streamed {
    app: App,
    headers: HeaderMap,
}

type Answers = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

impl StreamingService<InferRequest> for Streamed {
    type Response = Vec<u8>;
    type ResponseStream = Answers;
    type Future = Ready<Result<tonic::Response<Answers>, Status>>;

    fn call(&mut self, requests: tonic::Request<Streaming<InferRequest>>) -> Self::Future {
        let (app, headers) = (self.app.clone(), self.headers.clone());
        let answers = requests.into_inner().map(move |asked| {
            let (app, headers) = (app.clone(), headers.clone());
            async move {
                let asked = asked.map_err(callers_fault)?;
                let id = asked.id.clone();
                let told = one(&app, headers, asked, true).await.outcome.map(|written| written.body);
                Ok::<_, Status>(told.unwrap_or_else(|error| {
                    let infer_response = Some(InferResponse { id, ..InferResponse::default() });
                    StreamInferResponse { error_message: error.message().to_owned(), infer_response }.encode_to_vec()
                }))
            }
        });
        let answers: Answers = Box::pin(answers.buffered(STREAM_AHEAD));
        ready(Ok(tonic::Response::new(answers)))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_message_has_its_bytes_although_it_comes_without_a_body() {
        let bytes = |values: usize| {
            let request = InferRequest { raw_input_contents: vec![Bytes::from(vec![0; values])], ..Default::default() };
            Infer { request: Some(request), streamed: false }.bytes(&HeaderMap::new(), &Bytes::new()).unwrap()
        };
        assert!(bytes(100) < 200 && bytes(100_000) > 100_000);
    }

    #[test]
    fn a_callers_time_is_read_in_every_unit() {
        let told = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(told("2S"), Some(Duration::from_secs(2)));
        assert_eq!(told("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(told("7u"), Some(Duration::from_micros(7)));
        for text in ["", "S", "-1S", "5", "5x", "123456789S"] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
