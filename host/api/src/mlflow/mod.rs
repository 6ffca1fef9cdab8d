//! MLflow's REST API over a tracking store.
//!
//! Each noun has a file with its handlers and its [`Route`]s. A handler reads [`Fields`], asks the domain, and writes
//! JSON; it runs on a blocking thread, because the catalog blocks. Which route needs which right stands beside the
//! route, and is checked before the handler is called.

mod access;
mod artifacts;
mod assessments;
mod batch;
mod download;
mod error;
mod evaluation;
mod experiments;
mod fields;
mod graphql;
mod guard;
mod intake;
mod logged_models;
mod metrics;
mod otlp;
mod otlp_json;
mod outside;
mod page;
mod plain;
mod promptlab;
mod rates;
mod registry;
mod runs;
mod schema;
mod server;
mod spans;
mod trace_artifacts;
mod trace_metrics;
mod traces;
mod translate;
mod ui;
mod upload;
mod users;
mod webhooks;
mod wire;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::{RawPathParams, Request, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on, post},
};
use plinth_core::{HttpLimits, RequestLimits};
use plinth_tracking::{Principal, Tracking};
use serde::Serialize;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use self::fields::Fields;
pub(crate) use self::{
    access::Doorkeeper,
    error::MlflowError,
    guard::{allowed_host, allowed_origin},
};
use crate::webhooks::{WebhookConfig, Webhooks};

/// What every handler shares.
#[derive(Clone)]
pub struct Tracker {
    tracking: Tracking,
    config: Arc<TrackerConfig>,
    doorkeeper: Arc<access::Doorkeeper>,
    intake: Arc<intake::Intake>,
    webhooks: Arc<Webhooks>,
    /// Whoever comes, where access control is off.
    anyone: Arc<Principal>,
}

/// How a tracking server behaves.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Size of a JSON body; artifacts have no such bound.
    pub body_bytes_max: usize,
    /// Size of one artifact.
    pub artifact_bytes_max: u64,
    /// What connections may be.
    pub http: HttpLimits,
    /// What callers may ask.
    pub requests: RequestLimits,
    /// Whether callers have to say who they are.
    pub access: bool,
    /// Names that the server may be called by, beside those of this machine and private addresses; `*` for any.
    pub allowed_hosts: Vec<String>,
    /// Sites whose pages may call the server, beside those of this machine; `*` for any.
    pub cors_origins: Vec<String>,
    /// The folder of MLflow's web interface as it is built; nothing where there is none.
    pub ui: Option<PathBuf>,
    /// Where webhooks may lead.
    pub webhooks: WebhookConfig,
    /// Whether clients are told to read artifacts from the bucket, where they are in one, by URLs that this server signs.
    pub direct_downloads: bool,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            artifact_bytes_max: 100 << 30,
            http: HttpLimits::default(),
            requests: RequestLimits::default(),
            access: false,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            ui: None,
            webhooks: WebhookConfig::default(),
            direct_downloads: false,
        }
    }
}

impl Tracker {
    /// A server over a tracking store.
    pub fn new(tracking: Tracking, config: TrackerConfig) -> Self {
        let doorkeeper = Arc::new(access::Doorkeeper::new(&config.requests));
        let intake = Arc::new(intake::Intake::new(&config.requests));
        let anyone = Arc::new(Principal::anyone());
        let webhooks = Arc::new(Webhooks::new(config.webhooks.clone(), tracking.limits().webhooks.clone()));
        Self { tracking, config: Arc::new(config), doorkeeper, intake, webhooks, anyone }
    }

    pub(crate) fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    pub(crate) fn webhooks(&self) -> &Arc<Webhooks> {
        &self.webhooks
    }

    pub(crate) fn http_limits(&self) -> &HttpLimits {
        &self.config.http
    }
}

/// One request, on its way to a handler.
struct Call<'a> {
    tracking: &'a Tracking,
    fields: Fields,
    principal: &'a Principal,
    webhooks: &'a Webhooks,
}

impl Call<'_> {
    /// Who changes what the call changes.
    fn who(&self) -> &str {
        &self.principal.name
    }

    /// Refuses what the caller may not do with something that the route's own need does not name.
    fn must(&self, need: Need, field: &str, value: &str) -> Result<(), MlflowError> {
        let mut fields = Fields::default();
        fields.set(field, value);
        access::authorize(self.tracking, self.principal, need, &fields)
    }

    /// Of some experiments those that the caller may see.
    fn visible(&self, experiment_ids: Vec<String>) -> Result<Vec<String>, MlflowError> {
        let (found, most) = (experiment_ids.len(), self.tracking.limits().search_experiments_max);
        if found > most as usize {
            return Err(MlflowError::invalid(format!("a request names at most {most} experiments, not {found}")));
        }
        Ok(match self.principal.experiments() {
            None => experiment_ids,
            Some(seen) => experiment_ids.into_iter().filter(|id| seen.contains(id)).collect(),
        })
    }
}

/// An answer: JSON that is written already.
struct Answer(Vec<u8>);

impl Answer {
    fn of(value: &impl Serialize) -> Result<Self, MlflowError> {
        serde_json::to_vec(value)
            .map(Self)
            .map_err(|error| MlflowError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error.to_string()))
    }

    fn empty() -> Self {
        Self(b"{}".to_vec())
    }
}

type Handler = fn(&Call<'_>) -> Result<Answer, MlflowError>;

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing more than to be someone: the handler narrows its answer down to what the caller may see.
    Narrow,
    /// See a thing.
    Read(Thing),
    /// Change a thing.
    Edit(Thing),
    /// Decide what is in production.
    Approve(Thing),
    /// Delete for good, manage users.
    Admin,
}

/// What a request is about: the field that names it decides which experiment or model that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    /// Everything.
    All,
    /// `experiment_id`
    Experiment,
    /// `experiment_name`
    ExperimentName,
    /// `run_id` or `run_uuid`
    Run,
    /// `name`, of a registered model
    Model,
    /// `model_id`, of a logged model
    LoggedModel,
    /// `trace_id` or `request_id`
    Trace,
}

/// One endpoint.
struct Route {
    method: Method,
    /// Below `/api/2.0`, `/api/3.0` and their `/ajax-api` twins.
    path: &'static str,
    need: Need,
    handler: Handler,
}

impl Route {
    const fn new(method: Method, path: &'static str, need: Need, handler: Handler) -> Self {
        Self { method, path, need, handler }
    }

    const fn get(path: &'static str, need: Need, handler: Handler) -> Self {
        Self::new(Method::GET, path, need, handler)
    }

    const fn post(path: &'static str, need: Need, handler: Handler) -> Self {
        Self::new(Method::POST, path, need, handler)
    }
}

/// Every noun's routes.
const ROUTES: &[&[Route]] = &[
    experiments::ROUTES,
    runs::ROUTES,
    promptlab::ROUTES,
    metrics::ROUTES,
    artifacts::ROUTES,
    registry::ROUTES,
    logged_models::ROUTES,
    traces::ROUTES,
    trace_metrics::ROUTES,
    assessments::ROUTES,
    evaluation::ROUTES,
    users::ROUTES,
    webhooks::ROUTES,
];

/// Where MLflow's clients and its web interface look for the same endpoints.
const PREFIXES: [&str; 4] = ["/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"];

/// The endpoints whose fields are read from JSON, a query and the path: method, and path below `/api/2.0`, in which
/// braces stand for a name.
pub fn endpoints() -> impl Iterator<Item = (&'static Method, &'static str)> {
    ROUTES.iter().copied().flatten().map(|route| (&route.method, route.path))
}

/// The routes of a tracking server.
pub fn tracking_router(tracker: Tracker) -> Router {
    let mut router = Router::new();
    for route in ROUTES.iter().copied().flatten() {
        let rules = schema::of(&route.method, route.path);
        let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
        for prefix in PREFIXES {
            let endpoint = move |State(tracker): State<Tracker>, parameters: RawPathParams, request: Request| {
                answer(tracker, route, rules, parameters, request)
            };
            router = router.route(&format!("{prefix}{}", route.path), on(filter, endpoint));
        }
    }
    router
        .merge(artifacts::proxy())
        .merge(server::routes())
        .merge(graphql::routes())
        .merge(plain::routes())
        .merge(ui::routes())
        .merge(trace_artifacts::routes())
        .route("/v1/traces", post(otlp::export))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(axum::middleware::from_fn_with_state(tracker.clone(), guard::guard))
        .layer(cors(tracker.config.cors_origins.clone()))
        .layer(axum::middleware::from_fn_with_state(tracker.clone(), guard::same_site))
        .with_state(tracker)
}

/// Answers browsers that ask what pages of other sites may do.
pub(crate) fn cors(origins: Vec<String>) -> CorsLayer {
    let origin = AllowOrigin::predicate(move |origin, _| {
        origin.to_str().is_ok_and(|origin| guard::allowed_origin(&origins, origin))
    });
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        // What else a browser asks first with only answers to OPTIONS depend on, which are kept nowhere.
        .vary([header::ORIGIN])
}

/// Reads a request, calls its handler on a blocking thread, writes the answer.
async fn answer(
    tracker: Tracker,
    route: &'static Route,
    rules: &'static [schema::Rule],
    parameters: RawPathParams,
    request: Request,
) -> Response {
    let path: HashMap<String, String> =
        parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (mut head, body) = request.into_parts();
    if let Err(error) = content_type(&head) {
        return error.into_response();
    }
    let caller = head.extensions.remove::<guard::Caller>();
    let body = match tracker.intake.whole(body, tracker.config.body_bytes_max).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let work = move || {
        // What has no body says everything in its query.
        let query = head.uri.query().filter(|query| !query.is_empty());
        let mut fields = match query.filter(|_| route.method == Method::GET || body.is_empty()) {
            Some(query) => Fields::from_query(query),
            None => Fields::from_json_of(route.path, &body)?,
        };
        for (name, value) in &path {
            fields.set(name, value);
        }
        schema::check(rules, &fields)?;
        // Nobody comes here without having passed the guard.
        let guard::Caller(principal) = caller.ok_or_else(|| MlflowError::not_found("the caller is unknown"))?;
        access::authorize(&tracker.tracking, &principal, route.need, &fields)?;
        let tracking = tracker.tracking.by(&principal.name);
        let webhooks = &*tracker.webhooks;
        let answer = (route.handler)(&Call { tracking: &tracking, fields, principal: &principal, webhooks })?;
        if webhooks::makes_events(route) {
            webhooks.wake();
        }
        Ok(answer)
    };
    match blocking(work).await {
        Ok(Answer(body)) => json(body),
        Err(error) => error.into_response(),
    }
}

/// What a client posts or puts is JSON and says so.
fn content_type(head: &axum::http::request::Parts) -> Result<(), MlflowError> {
    if head.method != Method::POST && head.method != Method::PUT {
        return Ok(());
    }
    let Some(given) = head.headers.get(header::CONTENT_TYPE) else {
        return Err(MlflowError::invalid("Bad Request. Content-Type header is missing."));
    };
    match given.to_str().ok().and_then(|given| given.split(';').next()) {
        Some("application/json") => Ok(()),
        _ => Err(MlflowError::invalid("Bad Request. Content-Type must be one of ['application/json'].")),
    }
}

fn json(body: Vec<u8>) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Work that blocks, off the reactor.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MlflowError> + Send + 'static,
) -> Result<T, MlflowError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        // The panic itself was told on stderr.
        Err(MlflowError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "a defect; the server's log says where",
        ))
    })
}

/// Parts of MLflow that this server leaves out: its clients see that they are not there, rather than that a path is
/// wrong.
const LEFT_OUT: [&str; 13] = [
    "assistant",
    "demo",
    "gateway",
    "genai",
    "get-online-trace-details",
    "issues",
    "label-schemas",
    "mcp-servers",
    "prompt-optimization",
    "review-queues",
    "scorer",
    "scorers",
    "workspaces",
];

async fn not_found(uri: Uri) -> MlflowError {
    let rest = PREFIXES.iter().find_map(|prefix| uri.path().strip_prefix(prefix)?.strip_prefix("/mlflow/"));
    let part = rest.and_then(|rest| rest.split('/').next()).filter(|part| LEFT_OUT.contains(part));
    if let Some(part) = part {
        return MlflowError::left_out(part);
    }
    let message = format!("there is nothing at {}", uri.path());
    MlflowError::new(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", message)
}

async fn method_not_allowed(method: Method, uri: Uri) -> MlflowError {
    let message = format!("{} does not take {method}", uri.path());
    MlflowError::new(StatusCode::METHOD_NOT_ALLOWED, "BAD_REQUEST", message)
}
