//! Endpoints over HTTP: what they are, how they do on this server, and changes of them, which every server follows.
//!
//! Changes are written to the catalog and take effect like those of the command line. A server of models that the
//! command line names has no endpoints in a catalog; there only figures are told.

mod access;
mod feedback;
mod figures;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Extension, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use plinth_core::{Coded, RequestLimits, codes};
use plinth_serve::{Answerer, Server};
use plinth_tracking::{EndpointChange, EndpointRecord, EndpointSpec, Principal, Role, Tracking, TrackingError};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    AccessLog, App, Spans,
    error::{ApiError, Surface},
    small,
};

pub(crate) use access::{Access, guard};
pub use figures::{endpoint_figures, evidence_figures, experiment_figures};

/// Who answered requests that were captured: their endpoint and their ids. May block.
pub type FindAnswerer = dyn Fn(&str, &[&str]) -> HashMap<String, Answerer> + Send + Sync;

/// What a scoring server offers besides scoring.
pub struct Serving {
    /// What scores.
    pub server: Arc<Server>,
    /// Where its endpoints are kept, if they are in a catalog.
    pub tracking: Option<Tracking>,
    /// Where users are kept, if callers have to say who they are.
    pub access: Option<Tracking>,
    /// How often callers may ask.
    pub requests: RequestLimits,
    /// Finds who answered requests that this server does not remember.
    pub find_answerer: Option<Arc<FindAnswerer>>,
    /// Where each request is told of, if anywhere.
    pub access_log: Option<Arc<AccessLog>>,
    /// What tells a collector of requests, if anything does.
    pub spans: Option<Arc<Spans>>,
}

impl From<Arc<Server>> for Serving {
    fn from(server: Arc<Server>) -> Self {
        Self {
            server,
            tracking: None,
            access: None,
            requests: RequestLimits::default(),
            find_answerer: None,
            access_log: None,
            spans: None,
        }
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("access", &self.access.is_some()).finish_non_exhaustive()
    }
}

/// What the handlers here share.
pub(crate) struct Control {
    tracking: Option<Tracking>,
    find_answerer: Option<Arc<FindAnswerer>>,
}

impl Control {
    pub(crate) fn new(serving: &Serving) -> Self {
        Self { tracking: serving.tracking.clone(), find_answerer: serving.find_answerer.clone() }
    }
}

/// Its routes; those that change something answer no page of another site. `open` if nobody has to say who they are.
pub(crate) fn routes(open: bool) -> Router<App> {
    let routes = Router::new()
        .route("/endpoints", get(list).post(create))
        .route("/endpoints/{endpoint}", get(show).put(replace).delete(delete))
        .route("/endpoints/{endpoint}/logs", get(logs))
        .route("/endpoints/{endpoint}/promote", post(promote))
        .route("/endpoints/{endpoint}/rollback", post(rollback))
        .route("/endpoints/{endpoint}/approve", post(approve))
        .route("/endpoints/{endpoint}/pause", post(pause))
        .route("/endpoints/{endpoint}/resume", post(resume))
        .route("/endpoints/{endpoint}/feedback", post(feedback::feedback))
        .layer(middleware::from_fn(access::same_site));
    if open { routes.layer(Extension(Caller::from(Arc::new(Principal::anyone())))) } else { routes }
}

/// Whoever sends a request, and their role for what it is about, which grants may have raised.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) Arc<Principal>, pub(crate) Role);

impl From<Arc<Principal>> for Caller {
    fn from(principal: Arc<Principal>) -> Self {
        let role = principal.role;
        Self(principal, role)
    }
}

impl From<TrackingError> for ApiError {
    fn from(error: TrackingError) -> Self {
        Self::coded(&error)
    }
}

/// Reads a JSON body, strictly.
async fn body<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.is_empty() && !kind.starts_with("application/json") {
        let message = format!("the body is `{kind}`; send application/json");
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let bytes = small::read(app, request.into_body()).await?;
    let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
    serde_json::from_slice(&bytes).map_err(|error| ApiError::bad(format!("the body does not read: {error}")))
}

/// Asks the catalog, off the threads that connections are served on.
async fn ask<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Tracking) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let Some(tracking) = app.control.tracking.clone() else {
        let message = "this server serves models that its command line names; their endpoints are in no catalog";
        return Err(ApiError::new(StatusCode::CONFLICT, codes::INVALID_STATE, message));
    };
    let done = tokio::task::spawn_blocking(move || work(&tracking)).await;
    done.unwrap_or_else(|_| {
        Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL, "the request's work panicked"))
    })
}

/// An endpoint as the catalog has it, how it does here, and what its deployments have earned.
async fn described(app: &App, record: Option<EndpointRecord>, name: &str) -> Result<Value, ApiError> {
    let live = app.server.routes().get(name).map(|endpoint| endpoint_figures(&app.server, endpoint));
    let asleep = app.server.sleeps(name);
    if record.is_none() && live.is_none() && !asleep {
        app.server.endpoint(Some(name))?;
    }
    let earned = match (&record, &app.control.tracking) {
        (Some(_), Some(_)) => {
            let name = name.to_owned();
            ask(app, move |tracking| Ok(tracking.earned(&name)?)).await?
        }
        _ => Vec::new(),
    };
    let failure = app.server.failures().into_iter().find(|(failed, _)| **failed == *name);
    let mut told = record.as_ref().map_or_else(|| json!({"name": name}), |record| json!(record));
    told["serving"] = live.unwrap_or(Value::Null);
    if asleep {
        told["asleep"] = json!(true);
    }
    if let Some((_, error)) = failure {
        told["failure"] = json!({"code": error.code().name(), "message": error.to_string()});
    }
    if let Some(record) = &record {
        told["experiment"] = experiment_figures(&record.spec, &earned);
    }
    Ok(told)
}

async fn known(app: &App, name: &str) -> Result<Option<EndpointRecord>, ApiError> {
    if app.control.tracking.is_none() {
        return Ok(None);
    }
    let name = name.to_owned();
    ask(app, move |tracking| match tracking.endpoint(&name) {
        Ok(record) => Ok(Some(record)),
        Err(TrackingError::EndpointNotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    })
    .await
}

async fn list(State(app): State<App>) -> Response {
    let routes = app.server.routes();
    let all: Vec<Value> = routes
        .endpoints()
        .iter()
        .map(|endpoint| {
            let mut told = endpoint_figures(&app.server, endpoint);
            told["name"] = json!(**endpoint.name());
            told
        })
        .collect();
    let failed: Vec<Value> = app
        .server
        .failures()
        .iter()
        .map(|(name, error)| json!({"name": **name, "code": error.code().name(), "message": error.to_string()}))
        .collect();
    let asleep: Vec<String> = app.server.asleep().iter().map(ToString::to_string).collect();
    Json(json!({"endpoints": all, "failed": failed, "asleep": asleep})).into_response()
}

async fn show(State(app): State<App>, Path(endpoint): Path<String>) -> Response {
    finish(async { described(&app, known(&app, &endpoint).await?, &endpoint).await }.await, StatusCode::OK)
}

async fn logs(
    State(app): State<App>,
    Path(endpoint): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(50_u64).min(1_000);
    let log = ask(&app, move |tracking| Ok(json!({"events": tracking.endpoint_events(&endpoint, limit)?}))).await;
    finish(log, StatusCode::OK)
}

/// A new endpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    spec: EndpointSpec,
    #[serde(default)]
    reason: String,
}

async fn create(State(app): State<App>, Extension(caller): Extension<Caller>, request: Request) -> Response {
    let made = async {
        let New { name, mut spec, reason } = body(&app, request).await?;
        let record = ask(&app, move |tracking| {
            begin(&mut spec, None, tracking)?;
            let who = &caller.0.name;
            let change = EndpointChange { who, action: "create", reason: &reason, evidence: None };
            Ok(tracking.create_endpoint(&name, &spec, change)?)
        })
        .await?;
        Ok(json!(record))
    };
    finish(made.await, StatusCode::CREATED)
}

/// What an endpoint is to be from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    spec: EndpointSpec,
    /// The revision that this replaces; the newest if none is told.
    revision: Option<u64>,
    #[serde(default)]
    reason: String,
}

async fn replace(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Response {
    let made = async {
        let Other { mut spec, revision, reason } = body(&app, request).await?;
        let record = ask(&app, move |tracking| {
            let there = tracking.endpoint(&endpoint)?;
            // Whoever may not approve a rollout may not write down that it is over, either.
            if there.spec.active_rollout().is_some_and(|rollout| rollout.approval) {
                access::require(caller.1, Role::Approver)?;
            }
            access::require_models(&caller.0, &spec)?;
            begin(&mut spec, Some(&there.spec), tracking)?;
            let change = EndpointChange { who: &caller.0.name, action: "replace", reason: &reason, evidence: None };
            Ok(tracking.change_endpoint(&endpoint, revision.unwrap_or(there.revision), &spec, change)?)
        })
        .await?;
        Ok(json!(record))
    };
    finish(made.await, StatusCode::OK)
}

/// A rollout that was not there before begins now.
fn begin(spec: &mut EndpointSpec, there: Option<&EndpointSpec>, tracking: &Tracking) -> Result<(), ApiError> {
    let new = spec.active_rollout().is_some_and(|rollout| rollout.since == 0);
    if new && let Some(rollout) = spec.rollout.take() {
        if let Some(there) = there {
            there.without_rollout("another one begins")?;
        }
        spec.begin_rollout(rollout, tracking.now())?;
    }
    Ok(())
}

/// What is said with a change.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    reason: String,
    deployment: Option<String>,
    alias: Option<String>,
    to: Option<u64>,
}

/// A change that is one call of the catalog.
async fn change(
    app: App,
    caller: Caller,
    endpoint: String,
    request: Request,
    action: &'static str,
    work: impl FnOnce(&Tracking, &str, &Said, EndpointChange<'_>) -> Result<EndpointRecord, ApiError> + Send + 'static,
) -> Response {
    let made = async {
        let said: Said = body(&app, request).await?;
        let record = ask(&app, move |tracking| {
            let change = EndpointChange { who: &caller.0.name, action, reason: &said.reason, evidence: None };
            work(tracking, &endpoint, &said, change)
        })
        .await?;
        Ok(json!(record))
    };
    finish(made.await, StatusCode::OK)
}

async fn promote(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Response {
    change(app, caller, endpoint, request, "promote", |tracking, endpoint, said, change| {
        let Some(deployment) = said.deployment.as_deref() else {
            return Err(ApiError::bad("say which `deployment` is to be promoted"));
        };
        Ok(tracking.promote_endpoint(endpoint, None, deployment, said.alias.as_deref(), change)?)
    })
    .await
}

async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Response {
    let principal = Arc::clone(&caller.0);
    change(app, caller, endpoint, request, "rollback", move |tracking, endpoint, said, change| {
        let to = tracking.goes_back_to(&tracking.endpoint(endpoint)?, said.to)?;
        if let Some(to) = to {
            // It may have had models then that it has not now.
            access::require_models(&principal, &tracking.endpoint_revision(endpoint, to)?)?;
        }
        Ok(tracking.roll_back_endpoint(endpoint, to, change)?)
    })
    .await
}

async fn approve(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Response {
    change(app, caller, endpoint, request, "approve", |tracking, endpoint, _, change| {
        Ok(tracking.approve_endpoint(endpoint, change)?)
    })
    .await
}

async fn pause(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Response {
    change(app, caller, endpoint, request, "pause", |tracking, endpoint, _, change| {
        Ok(tracking.alter_endpoint(endpoint, change, EndpointSpec::pause)?)
    })
    .await
}

async fn resume(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Response {
    change(app, caller, endpoint, request, "resume", |tracking, endpoint, _, change| {
        Ok(tracking.alter_endpoint(endpoint, change, EndpointSpec::resume)?)
    })
    .await
}

async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Response {
    let made = async {
        let said: Said = body(&app, request).await?;
        ask(&app, move |tracking| {
            let change = EndpointChange { who: &caller.0.name, action: "delete", reason: &said.reason, evidence: None };
            tracking.delete_endpoint(&endpoint, change)?;
            Ok(json!({"deleted": endpoint}))
        })
        .await
    };
    finish(made.await, StatusCode::OK)
}

fn finish(told: Result<Value, ApiError>, status: StatusCode) -> Response {
    match told {
        Ok(value) => (status, Json(value)).into_response(),
        Err(error) => error.response(Surface::Mlflow),
    }
}

/// A header's text.
fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
