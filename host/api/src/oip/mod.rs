//! The Open Inference Protocol V2 over HTTP, in its JSON form.

mod infer;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use plinth_ext::{Kind, Schema};
use plinth_serve::Deployment;
use serde_json::{Value, json};

use crate::{
    App,
    error::{ApiError, Surface},
    request::{Call, answer},
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
    named(path, |model| metadata(&app, &model, None))
}

pub(crate) async fn model_version(State(app): State<App>, path: Named<(String, String)>) -> Response {
    named(path, |(model, version)| metadata(&app, &model, Some(&version)))
}

pub(crate) async fn model_ready(State(app): State<App>, path: Named<String>) -> Response {
    named(path, |model| is_ready(&app, &model, None))
}

pub(crate) async fn model_version_ready(State(app): State<App>, path: Named<(String, String)>) -> Response {
    named(path, |(model, version)| is_ready(&app, &model, Some(&version)))
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
    let check = move |headers: &HeaderMap, deployment: &Deployment| {
        is_served(deployment, &model, version.as_deref())?;
        match headers.get("inference-header-content-length") {
            None => Ok(()),
            Some(_) => {
                Err(ApiError::bad("binary tensors are not supported; send every tensor's values as JSON `data`"))
            }
        }
    };
    let work = |call: &mut Call, _: &HeaderMap, body: &bytes::Bytes| {
        let deployment = Arc::clone(call.deployment());
        let asked = infer::read(deployment.scorer(), body, call.rows_max())?;
        if let Some(id) = &asked.id {
            call.set_request_id(id);
        }
        let scored = call.score(&asked.rows)?;
        Ok(infer::write(&deployment, call.request_id(), asked.id.as_deref(), &scored, asked.outputs.as_deref()))
    };
    answer(&app, Surface::Oip, request, check, work).await
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

fn metadata(app: &App, model: &str, version: Option<&str>) -> Result<Value, ApiError> {
    let deployment = app.server.deployment();
    is_served(&deployment, model, version)?;
    let tensors = |schema: &Schema| -> Vec<Value> {
        let fields = schema.fields().iter();
        fields.map(|f| json!({"name": f.name, "datatype": datatype(f.kind), "shape": [-1]})).collect()
    };
    let scorer = deployment.scorer();
    Ok(json!({
        "name": &**deployment.model(),
        "versions": [&**deployment.version()],
        "platform": "plinth",
        "inputs": tensors(scorer.signature().columns()),
        "outputs": tensors(scorer.output()),
    }))
}

fn is_ready(app: &App, model: &str, version: Option<&str>) -> Result<Value, ApiError> {
    is_served(&app.server.deployment(), model, version)?;
    Ok(json!({"name": model, "ready": true}))
}

fn is_served(deployment: &Deployment, model: &str, version: Option<&str>) -> Result<(), ApiError> {
    let (served, served_version) = (&**deployment.model(), &**deployment.version());
    if model != served {
        return Err(ApiError::not_found(format!("model `{model}` is not served here; `{served}` is")));
    }
    match version {
        Some(version) if version != served_version => {
            let message = format!("version {version} of model `{model}` is not served; version {served_version} is");
            Err(ApiError::not_found(message))
        }
        _ => Ok(()),
    }
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
