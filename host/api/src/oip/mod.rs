//! The Open Inference Protocol V2 over HTTP, in its JSON form.

mod infer;

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use plinth_ext::{Batch, Kind, Schema};
use serde_json::{Value, json};

use crate::{
    App,
    error::{ApiError, Surface},
    request::{Asked, Call, Protocol, Written, answer},
};

type Named<T> = Result<Path<T>, PathRejection>;

pub(crate) async fn live() -> impl IntoResponse {
    Json(json!({"live": true}))
}

pub(crate) async fn ready(State(app): State<App>) -> impl IntoResponse {
    let ready = !app.server.is_draining();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready})))
}

pub(crate) async fn server() -> impl IntoResponse {
    Json(json!({"name": "plinth", "version": env!("CARGO_PKG_VERSION"), "extensions": []}))
}

pub(crate) async fn model(State(app): State<App>, path: Named<String>) -> Response {
    named(path, |model| metadata(&app, model, None))
}

pub(crate) async fn model_version(State(app): State<App>, path: Named<(String, String)>) -> Response {
    named(path, |(model, version)| metadata(&app, model, Some(version)))
}

pub(crate) async fn model_ready(State(app): State<App>, path: Named<String>) -> Response {
    named(path, |model| is_ready(&app, model, None))
}

pub(crate) async fn model_version_ready(State(app): State<App>, path: Named<(String, String)>) -> Response {
    named(path, |(model, version)| is_ready(&app, model, Some(version)))
}

pub(crate) async fn infer(State(app): State<App>, path: Named<String>, request: Request) -> Response {
    run(app, path.map(|Path(model)| (model, None)), request).await
}

pub(crate) async fn infer_version(State(app): State<App>, path: Named<(String, String)>, request: Request) -> Response {
    run(app, path.map(|Path((model, version))| (model, Some(version))), request).await
}

async fn run(app: App, path: Result<(String, Option<String>), PathRejection>, request: Request) -> Response {
    let (model, version) = match path {
        Ok(path) => path,
        Err(rejection) => return bad_path(&rejection),
    };
    let check = |headers: &HeaderMap| match headers.get("inference-header-content-length") {
        None => Ok(()),
        Some(_) => Err(ApiError::bad("binary tensors are not supported; send every tensor's values as JSON `data`")),
    };
    answer(&app, Surface::Oip, Asked { endpoint: Some(model), version }, request, check, Infer).await
}

/// The protocol's way to send tensors and to get them.
struct Infer;

impl Protocol for Infer {
    /// The request's own id, and the outputs it asks for.
    type Kept = (Option<String>, Option<Vec<usize>>);

    fn read(&self, call: &mut Call, _: &HeaderMap, body: &Bytes) -> Result<(Batch, Self::Kept), ApiError> {
        let asked = infer::read(call.deployment().scorer(), body, call.rows_max())?;
        if let Some(id) = &asked.id {
            call.set_request_id(id);
        }
        Ok((asked.rows, (asked.id, asked.outputs)))
    }

    fn write(&self, call: &Call, (id, outputs): Self::Kept, scored: &Batch) -> Result<Written, ApiError> {
        Ok(infer::write(call.deployment(), call.request_id(), id.as_deref(), scored, outputs.as_deref()).into())
    }
}

fn named<T>(path: Named<T>, then: impl FnOnce(T) -> Result<Value, ApiError>) -> Response {
    match path {
        Ok(Path(path)) => match then(path) {
            Ok(body) => Json(body).into_response(),
            Err(error) => error.response(Surface::Oip),
        },
        Err(rejection) => bad_path(&rejection),
    }
}

fn bad_path(rejection: &PathRejection) -> Response {
    ApiError::bad(format!("the path names no model: {rejection}")).response(Surface::Oip)
}

fn metadata(app: &App, model: String, version: Option<String>) -> Result<Value, ApiError> {
    let (endpoint, pinned) = Asked { endpoint: Some(model), version }.find(&app.server)?;
    let deployment = pinned.as_ref().unwrap_or_else(|| endpoint.main()).deployment();
    let tensors = |schema: &Schema| -> Vec<Value> {
        let fields = schema.fields().iter().filter(|_| !app.hide_schema);
        fields.map(|f| json!({"name": f.name, "datatype": datatype(f.kind), "shape": [-1]})).collect()
    };
    let versions: BTreeSet<&str> = endpoint.targets().iter().map(|target| &**target.deployment().version()).collect();
    let scorer = deployment.scorer();
    Ok(json!({
        "name": &**endpoint.name(),
        "versions": versions,
        "platform": "plinth",
        "inputs": tensors(scorer.signature().columns()),
        "outputs": tensors(scorer.output()),
    }))
}

fn is_ready(app: &App, model: String, version: Option<String>) -> Result<Value, ApiError> {
    let (endpoint, _) = Asked { endpoint: Some(model), version }.find(&app.server)?;
    Ok(json!({"name": &**endpoint.name(), "ready": true}))
}

/// The protocol's name for a kind.
pub(crate) const fn datatype(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "BOOL",
        Kind::Int64 | Kind::TimestampUs => "INT64",
        Kind::Float32 => "FP32",
        Kind::Float64 => "FP64",
        Kind::Utf8 | Kind::Binary => "BYTES",
    }
}
