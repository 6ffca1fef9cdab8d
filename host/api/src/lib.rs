//! The HTTP surfaces: of a scoring server (MLflow's scoring protocol, the Open Inference Protocol V2, metrics) and of
//! the tracking server (MLflow's REST API).
//!
//! Deliberately knows nothing of models, plugins, catalogs or files: a [`Server`] scores, this crate reads requests
//! and writes answers. Each surface answers errors in its own protocol's form.
//!
//! Start at [`serve`], or [`router`] to put the routes into a server of your own. The few paths that nearly all requests
//! take lead to the same handlers without a look at the routes (`front`).
//!
//! Invariants: no body, however wrong, is answered 500; values go from JSON or CSV straight into columns, with no
//! tree of values in between; reading, scoring and writing of one request happen on one scoring thread in one go; a
//! request that cannot be admitted is answered at once with 503 and Retry-After.
#![warn(missing_docs)]

mod access_log;
mod cells;
mod connections;
mod control;
mod encode;
mod error;
mod front;
mod key;
mod metrics;
mod mlflow;
mod oip;
mod openapi;
mod request;
mod scoring;
mod small;
mod spans;
mod timings;
mod tls;
mod webhooks;

use std::{io, ops::Deref, sync::Arc, time::Duration};

use crate::{front::Front, metrics::Metrics};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::IntoResponse,
    routing::{get, post},
};
use plinth_core::codes;
use plinth_serve::{Endpoint, Server};

pub use access_log::AccessLog;
pub use connections::Door;
pub use control::{FindAnswerer, Serving, endpoint_figures, evidence_figures, experiment_figures};
pub use mlflow::{Tracker, TrackerConfig, endpoints, tracking_router};
pub use oip::LogControl;
pub use spans::{Sampling, SpanConfig, SpanError, Spans};
pub use tls::{Tls, TlsError, install_crypto};
pub use webhooks::{AllowedHost, Answer, NoAnswer, Outgoing, OutgoingClient, Tested, WebhookConfig, Webhooks};

/// What every handler shares. It is cloned several times a request, so it is one pointer.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

pub(crate) struct Parts {
    server: Arc<Server>,
    metrics: Arc<Metrics>,
    /// Whether errors keep to themselves what a model takes.
    hide_schema: bool,
    /// Whether there is a log of all requests, which wants to know who answered.
    logged: bool,
    control: control::Control,
    settings: oip::Settings,
    spans: Option<Arc<Spans>>,
    loader: oip::Loader,
}

impl App {
    /// Puts the endpoint that is asked for in service, if it sleeps.
    async fn awake(&self, asked: &request::Asked) -> Result<Option<Arc<Endpoint>>, error::ApiError> {
        let Some(name) = asked.endpoint.as_deref().filter(|name| self.server.sleeps(name)) else { return Ok(None) };
        let (server, name) = (Arc::clone(&self.server), name.to_owned());
        let ms = self.server.limits().request_ms_max;
        // Whatever keeps it from being loaded is not the caller's fault.
        let away = |error| error::ApiError::from(error).with_status(StatusCode::SERVICE_UNAVAILABLE);
        let waking = self.loader.run(move || server.wake(&name).map_err(away));
        tokio::time::timeout(Duration::from_millis(ms), waking).await.unwrap_or_else(|_| {
            let message = format!("the model is being loaded, for longer than {ms} ms; try again after a moment");
            Err(error::ApiError::new(StatusCode::SERVICE_UNAVAILABLE, codes::OVERLOADED, message))
        })
    }
}

/// How a scoring server is set up beside what it serves.
#[derive(Default)]
pub struct Surroundings {
    /// A second place to reach it, such as where clients of gRPC look. Both speak everything.
    pub also: Option<Door>,
    /// How much is logged, if callers may change that.
    pub log: Option<LogControl>,
    /// Whose pages may ask the server (`*` is any).
    pub cors_origins: Vec<String>,
}

/// Answers scoring requests at `door` until `shutdown` is ready, lets those in flight finish (for as long as the
/// limits allow), and stores what was captured.
///
/// # Errors
/// [`io::Error`] if the listener fails.
pub async fn serve(
    door: impl Into<Door>,
    serving: impl Into<Serving>,
    around: Surroundings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let serving = serving.into();
    let (server, log, spans) = (Arc::clone(&serving.server), serving.access_log.clone(), serving.spans.clone());
    let drain_max = Duration::from_millis(server.limits().drain_ms_max);
    let draining = Arc::clone(&server);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let wait = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
        // An error says that nobody can tell any more, which is as good as being told.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let telling = tokio::spawn(async move {
        shutdown.await;
        draining.drain();
        let _ = stop.send(true);
    });
    let limits = server.limits().http.clone();
    let (routes, straight) = routes_of(serving, around.log, around.cors_origins);
    let app = Front::new(routes, straight);
    let open =
        |door: Door| connections::serve(door.with_http2(), app.clone(), wait(stopped.clone()), drain_max, &limits);
    let also = async {
        match around.also {
            Some(door) => open(door).await,
            None => Ok(()),
        }
    };
    let (outcome, other) = tokio::join!(open(door.into()), also);
    telling.abort();
    let finish = move || {
        server.shutdown();
        if let Some(log) = log {
            log.stop();
        }
        if let Some(spans) = spans {
            spans.stop();
        }
    };
    let stopped = tokio::task::spawn_blocking(finish).await;
    outcome.and(other).and(stopped.map_err(io::Error::other))
}

/// How long requests in flight may take when a tracking server stops.
const TRACKING_DRAIN: Duration = Duration::from_secs(10);

/// Answers MLflow's clients at `door`, and tells webhooks of events, until `shutdown` is ready; lets requests in flight
/// finish.
///
/// # Errors
/// [`io::Error`] if the listener fails.
pub async fn serve_tracking(
    door: impl Into<Door>,
    tracker: Tracker,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let limits = tracker.http_limits().clone();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let shutdown = async move {
        shutdown.await;
        let _ = stop.send(true);
    };
    let (tracking, hooks) = (tracker.tracking().clone(), tracker.webhooks().clone());
    let telling = tokio::spawn(webhooks::run(tracking, hooks, stopped, TRACKING_DRAIN));
    let outcome =
        connections::serve(door.into(), Front::new(tracking_router(tracker), None), shutdown, TRACKING_DRAIN, &limits)
            .await;
    // Both were told to end at the same time, and both end in time.
    let told = telling.await.map_err(io::Error::other);
    outcome.and(told)
}

/// The routes; pages of `cors_origins` may ask them (`*` is any).
pub fn router(serving: impl Into<Serving>, cors_origins: Vec<String>) -> Router {
    routes_of(serving.into(), None, cors_origins).0
}

/// The routes; and what answers without them, if nothing is to be seen to on the way.
fn routes_of(serving: Serving, log: Option<LogControl>, cors_origins: Vec<String>) -> (Router, Option<App>) {
    let server = Arc::clone(&serving.server);
    let cors = mlflow::cors(cors_origins);
    let metrics = Arc::new(Metrics::new(Arc::clone(&server), serving.access_log.clone(), serving.spans.clone()));
    let access = control::Access::new(&serving).map(Arc::new);
    let control = control::Control::new(&serving);
    let app = App(Arc::new(Parts {
        hide_schema: server.hides_schema(),
        logged: serving.access_log.is_some(),
        server,
        metrics,
        control,
        settings: oip::Settings::new(log, serving.spans.as_ref().map(|spans| spans.sampling())),
        spans: serving.spans.clone(),
        loader: oip::Loader::default(),
    }));
    let straight = (access.is_none() && serving.access_log.is_none()).then(|| app.clone());
    let routes = Router::new()
        .route("/invocations", post(scoring::invocations))
        .route("/endpoints/{endpoint}/invocations", post(scoring::endpoint_invocations))
        .route("/ping", get(scoring::ping))
        .route("/health", get(scoring::ping))
        .route("/version", get(scoring::version))
        .route("/metrics", get(expose))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .merge(oip::routes())
        .merge(control::routes(access.is_none()))
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::not_found)
        .with_state(app.clone());
    let grpc = oip::grpc_routes().method_not_allowed_fallback(error::method_not_allowed).with_state(app);
    // Where everyone may do everything, scoring pays nothing for it.
    let guarded = |routes: Router| match &access {
        Some(access) => routes.layer(middleware::from_fn_with_state(Arc::clone(access), control::guard)),
        None => routes,
    };
    // What a browser asks before it asks carries no token.
    let routes = guarded(routes).layer(cors).merge(guarded(grpc));
    let routes = match serving.access_log {
        Some(log) => routes.layer(middleware::from_fn_with_state(log, access_log::tell)),
        None => routes,
    };
    (routes, straight)
}

async fn expose(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], app.metrics.expose())
}
