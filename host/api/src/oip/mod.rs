//! The Open Inference Protocol V2 with the extensions that Triton's clients use, over HTTP; [`grpc`] is the same over
//! gRPC.
//!
//! A model over the columns of a table has a tensor for each column; any other model has its own tensors, as they are.

mod answer;
mod asked;
mod describe;
mod feed;
pub(crate) mod grpc;
mod infer;
mod loader;
mod messages;
mod packed;
mod settings;
mod unary;
mod wire;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use plinth_core::codes;
use plinth_serve::{Input, Output, Served};
use serde_json::{Map, Value, json};

pub(crate) use grpc::model_infer;
pub(crate) use loader::Loader;
pub use settings::LogControl;
pub(crate) use settings::Settings;

use crate::{
    App,
    error::{ApiError, Surface},
    request::{Asked, Call, Protocol, Written, answer},
    small,
};

type Named<T> = Result<Path<T>, PathRejection>;

pub(crate) static HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// What the paths of models begin with, and what a request for inference has after the name.
pub(crate) const MODELS: &str = "/v2/models/";
pub(crate) const INFER: &str = "/infer";
/// The same over gRPC.
pub(crate) const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/stats", get(all_stats))
        .route("/v2/models/{model}", get(about))
        .route("/v2/models/{model}/{what}", get(about_what))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/trace/setting", get(trace_of).post(trace_of))
        .route("/v2/models/{model}/versions/{version}", get(about_version))
        .route("/v2/models/{model}/versions/{version}/{what}", get(about_version_what))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer_version))
        .route("/v2/repository/index", post(index).get(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .route("/v2/trace/setting", get(trace).post(trace))
        .route("/v2/logging", get(logging).post(logging))
        .route("/v2/systemsharedmemory/{*rest}", any(shared_memory))
        .route("/v2/cudasharedmemory/{*rest}", any(shared_memory))
}

/// The routes of the same over gRPC, which browsers do not speak.
pub(crate) fn grpc_routes() -> Router<App> {
    Router::new()
        .route(MODEL_INFER, post(model_infer))
        .route("/inference.GRPCInferenceService/{method}", post(grpc::call))
        .route("/grpc.health.v1.Health/{method}", post(grpc::health))
}

async fn live() -> impl IntoResponse {
    Json(json!({"live": true}))
}

async fn ready(State(app): State<App>) -> impl IntoResponse {
    let ready = !app.server.is_draining();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready})))
}

async fn server() -> impl IntoResponse {
    Json(describe::server())
}

async fn about(State(app): State<App>, path: Named<String>) -> Response {
    named(path, async |model| tell(&app, &Asked::of(model, None), "").await).await
}

async fn about_what(State(app): State<App>, path: Named<(String, String)>) -> Response {
    named(path, async |(model, what)| tell(&app, &Asked::of(model, None), &what).await).await
}

async fn about_version(State(app): State<App>, path: Named<(String, String)>) -> Response {
    named(path, async |(model, version)| tell(&app, &Asked::of(model, Some(version)), "").await).await
}

async fn about_version_what(State(app): State<App>, path: Named<(String, String, String)>) -> Response {
    named(path, async |(model, version, what)| tell(&app, &Asked::of(model, Some(version)), &what).await).await
}

/// What a model says of itself.
async fn tell(app: &App, asked: &Asked, what: &str) -> Result<Value, ApiError> {
    // One that sleeps could answer, and need not be woken for that.
    if what != "ready" {
        app.awake(asked).await?;
    }
    let value = match what {
        "" => serde_json::to_value(describe::metadata(app, asked)?),
        "config" => serde_json::to_value(describe::config(app, asked)?),
        "stats" => serde_json::to_value(describe::statistics(app, asked)?),
        "ready" => {
            describe::is_ready(app, asked)?;
            Ok(json!({"name": asked.endpoint, "ready": true}))
        }
        other => {
            let hint = plinth_core::did_you_mean(other, ["config", "stats", "ready", "infer", "versions"]);
            return Err(ApiError::nowhere(format!("a model says nothing about `{other}`; {hint}")));
        }
    };
    value.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL, error.to_string()))
}

async fn all_stats(State(app): State<App>) -> Response {
    told(describe::statistics(&app, &Asked::default()).map(Json))
}

async fn infer(State(app): State<App>, path: Named<String>, request: Request) -> Response {
    run(app, path.map(|Path(model)| Asked::of(model, None)), request).await
}

async fn infer_version(State(app): State<App>, path: Named<(String, String)>, request: Request) -> Response {
    run(app, path.map(|Path((model, version))| Asked::of(model, Some(version))), request).await
}

async fn run(app: App, asked: Result<Asked, PathRejection>, request: Request) -> Response {
    match asked {
        Ok(asked) => infer_of(app, asked, request).await,
        Err(rejection) => bad_path(&rejection),
    }
}

/// Answers an inference request, whose path is read.
pub(crate) async fn infer_of(app: App, asked: Asked, request: Request) -> Response {
    answer(&app, Surface::Oip, asked, request, |_| Ok(()), Infer).await
}

async fn index(State(app): State<App>, request: Request) -> Response {
    let index = async {
        let body = object(&app, request).await?;
        let ready = body.get("ready").and_then(Value::as_bool).unwrap_or(false);
        blocking(move || Ok(describe::index(&app.server, ready))).await
    };
    told(index.await.map(Json))
}

async fn load(State(app): State<App>, path: Named<String>, request: Request) -> Response {
    let model = match path {
        Ok(Path(model)) => model,
        Err(rejection) => return bad_path(&rejection),
    };
    let load = async {
        let body = object(&app, request).await?;
        let parameters = match body.get("parameters") {
            Some(Value::Object(parameters)) => parameters.keys().cloned().collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let server = Arc::clone(&app.server);
        app.loader.run(move || describe::load(&server, &model, &parameters)).await
    };
    told(load.await.map(|()| Json(json!({}))))
}

async fn unload(State(app): State<App>, path: Named<String>, request: Request) -> Response {
    let model = match path {
        Ok(Path(model)) => model,
        Err(rejection) => return bad_path(&rejection),
    };
    let unload = async {
        object(&app, request).await?;
        let server = Arc::clone(&app.server);
        app.loader.run(move || describe::unload(&server, &model)).await
    };
    told(unload.await.map(|()| Json(json!({}))))
}

async fn trace_of(State(app): State<App>, path: Named<String>, request: Request) -> Response {
    match path {
        Ok(Path(model)) => told(trace_settings(&app, Some(model), request).await.map(Json)),
        Err(rejection) => bad_path(&rejection),
    }
}

async fn trace(State(app): State<App>, request: Request) -> Response {
    told(trace_settings(&app, None, request).await.map(Json))
}

async fn trace_settings(app: &App, model: Option<String>, request: Request) -> Result<Value, ApiError> {
    if let Some(model) = &model {
        describe::is_ready(app, &Asked::of(model.clone(), None))?;
    }
    if request.method() == Method::POST {
        let changes = settings::trace_changes(object(app, request).await?)?;
        app.settings.set_trace(model.as_deref(), changes)?;
    }
    Ok(settings::trace_json(app.settings.trace(model.as_deref())))
}

async fn logging(State(app): State<App>, request: Request) -> Response {
    let settings = async {
        if request.method() == Method::POST {
            app.settings.set_log(&object(&app, request).await?)?;
        }
        Ok(Value::Object(app.settings.log()))
    };
    told(settings.await.map(Json))
}

async fn shared_memory() -> Response {
    no_shared_memory("this server shares no memory with its clients").response(Surface::Oip)
}

/// The protocol's name for a kind of column.
pub(crate) fn datatype(kind: plinth_ext::Kind) -> &'static str {
    wire::name_of(wire::dtype_of_kind(kind))
}

/// The protocol's name for a type of elements.
pub(crate) fn datatype_of(dtype: plinth_ext::DType) -> &'static str {
    wire::name_of(dtype)
}

/// The error for what asks for shared memory.
pub(crate) fn no_shared_memory(what: &str) -> ApiError {
    ApiError::bad(format!("{what}; shared memory is unsupported: send tensors as binary data"))
}

/// The protocol's way to send tensors and to get them.
struct Infer;

/// What is kept of a request until its answer is written.
struct Kept {
    rest: asked::Rest,
    chosen: answer::Chosen,
}

impl Protocol for Infer {
    type Kept = Kept;

    fn route(&self, asked: &Asked) -> &'static str {
        match asked.version {
            Some(_) => "/v2/models/{model}/versions/{version}/infer",
            None => "/v2/models/{model}/infer",
        }
    }

    fn bytes(&self, _: &HeaderMap, body: &Bytes) -> Option<usize> {
        Some(body.len())
    }

    fn read(&mut self, call: &mut Call, headers: &HeaderMap, body: &Bytes) -> Result<(Input, Kept), ApiError> {
        let Some(length) = header_length(headers, body)? else {
            if let Served::Rows(scorer) = call.deployment().served() {
                // Most who send a matrix name it otherwise than a column; reading it as columns first would be in vain.
                if !infer::begins_with_column(scorer, body)
                    && let Ok(asked) = asked::read(body, &[])
                    && feed::lone_matrix(scorer.signature().columns(), &asked.inputs).is_some()
                    && let Ok((input, rest)) = feed(call, asked)
                {
                    return kept(call, input, rest);
                }
                let (input, rest) = match infer::read(scorer, body, call.rows_max()) {
                    Ok((rows, rest)) => (Input::Rows(rows), rest),
                    // It may be written in a way that is not the quick one; if not, the first error is the one to tell.
                    Err(unread) => {
                        let other = asked::read(body, &[]).and_then(|asked| feed(call, asked));
                        other.map_err(|error| unread.told(scorer, body, error))?
                    }
                };
                return kept(call, input, rest);
            }
            let (input, rest) = feed(call, asked::read(body, &[])?)?;
            return kept(call, input, rest);
        };
        let (json, raw) = body.split_at(length);
        let asked = if json.is_empty() { lone(call, raw)? } else { asked::read(json, raw)? };
        let (input, rest) = feed(call, asked)?;
        kept(call, input, rest)
    }

    fn write(&self, call: &Call, headers: &HeaderMap, kept: Kept, scored: &Output) -> Result<Written, ApiError> {
        let Kept { rest, chosen } = kept;
        call.within(rest.parameters.timeout)?;
        let written = answer::http(call, &rest, scored, &chosen)?;
        Ok(answer::compressed(written, headers))
    }
}

/// How much of a body is JSON, if a part of it is not.
fn header_length(headers: &HeaderMap, body: &[u8]) -> Result<Option<usize>, ApiError> {
    let Some(given) = headers.get(&HEADER_LENGTH) else { return Ok(None) };
    let length = given.to_str().ok().and_then(|text| text.trim().parse::<usize>().ok());
    let Some(length) = length.filter(|length| *length <= body.len()) else {
        let message = format!("Inference-Header-Content-Length is {given:?}, and the body has {} bytes", body.len());
        return Err(ApiError::bad(message));
    };
    Ok(Some(length))
}

/// A body of nothing but the values of the only input there is: its shape follows from their number.
fn lone(call: &Call, raw: &[u8]) -> Result<asked::Asked, ApiError> {
    let many = || ApiError::bad("a body without a JSON header is for models of one input");
    let [slot] = call.deployment().tensors().ok_or_else(many)?.inputs() else { return Err(many()) };
    let dtype = slot.dtype.ok_or_else(many)?;
    let width = wire::width_of(dtype).ok_or_else(|| ApiError::bad("BYTES cannot be sent without a JSON header"))?;
    let fixed: usize = slot.shape.iter().flatten().product();
    let free = raw.len() / width / fixed.max(1);
    // The first size that is free takes it all.
    let mut taken = false;
    let size =
        |size: &Option<usize>| size.unwrap_or_else(|| if std::mem::replace(&mut taken, true) { 1 } else { free });
    let shape: Vec<usize> = slot.shape.iter().map(size).collect();
    let data = wire::read(&slot.name, dtype, shape.iter().product(), raw)?;
    let named = asked::Named { name: slot.name.clone(), dtype, shape, data };
    let parameters = asked::Parameters { binary_output: true, ..asked::Parameters::default() };
    Ok(asked::Asked { inputs: vec![named], rest: asked::Rest { parameters, ..asked::Rest::default() } })
}

/// What the call's deployment takes.
fn feed(call: &Call, asked: asked::Asked) -> Result<(Input, asked::Rest), ApiError> {
    let input = match call.deployment().served() {
        Served::Rows(scorer) => Input::Rows(feed::rows(scorer, &asked.inputs, call.rows_max())?),
        Served::Tensors(model) => {
            let tensors = feed::tensors(model, asked.inputs)?;
            if model.is_rowwise() && tensors.iter().any(|tensor| tensor.rows() > Some(call.rows_max())) {
                return Err(crate::cells::too_many_rows(call.rows_max()));
            }
            Input::Tensors(tensors)
        }
    };
    Ok((input, asked.rest))
}

/// Looks at what is asked beside the inputs before anything is scored.
fn kept(call: &mut Call, input: Input, mut rest: asked::Rest) -> Result<(Input, Kept), ApiError> {
    if let Some(id) = &rest.id {
        call.set_request_id(id);
    }
    call.within(rest.parameters.timeout)?;
    let wanted = rest.outputs.take();
    let chosen = match call.deployment().served() {
        Served::Rows(scorer) => feed::outputs(scorer.output().fields().iter().map(|f| f.name.as_str()), wanted)?,
        Served::Tensors(model) => feed::outputs(model.outputs().iter().map(|slot| slot.name.as_str()), wanted)?,
    };
    Ok((input, Kept { rest, chosen }))
}

/// The JSON object of a small body; an empty body is an empty one.
async fn object(app: &App, request: Request) -> Result<Map<String, Value>, ApiError> {
    let body = small::read(app, request.into_body()).await?;
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(ApiError::bad("the body is no JSON object")),
        Err(error) => Err(ApiError::bad(format!("the body is not JSON: {error}"))),
    }
}

/// Does what waits for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let panicked = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL, "the work panicked");
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}

async fn named<T>(path: Named<T>, then: impl AsyncFnOnce(T) -> Result<Value, ApiError>) -> Response {
    match path {
        Ok(Path(path)) => told(then(path).await.map(Json)),
        Err(rejection) => bad_path(&rejection),
    }
}

fn told<T: IntoResponse>(outcome: Result<T, ApiError>) -> Response {
    match outcome {
        Ok(answer) => answer.into_response(),
        Err(error) => error.response(Surface::Oip),
    }
}

fn bad_path(rejection: &PathRejection) -> Response {
    ApiError::bad(format!("the path names no model: {rejection}")).response(Surface::Oip)
}
