//! What every scoring request goes through, whatever it speaks: admission, body, work, answer, measurements.

use std::{
    borrow::Cow,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use plinth_core::codes;
use plinth_ext::Batch;
use plinth_score::{ScoreError, Scored};
use plinth_serve::{Admission, Deployment, Endpoint, KeySource, ServeError, Server, Stages, Target, Work};
use tokio::sync::oneshot;

use crate::{
    App,
    error::{ApiError, Surface},
    key,
};

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static MODEL_NAME: HeaderName = HeaderName::from_static("x-model-name");
static DEPLOYMENT: HeaderName = HeaderName::from_static("x-deployment");
static MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

/// Longest request id that is taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// One scoring request on its scoring thread.
pub(crate) struct Call {
    server: Arc<Server>,
    deployment: Arc<Deployment>,
    request_id: Arc<str>,
}

impl Call {
    pub(crate) fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Takes another id, which the protocol carries in the body.
    pub(crate) fn set_request_id(&mut self, id: &str) {
        if acceptable(id) {
            self.request_id = id.into();
        }
    }

    pub(crate) fn rows_max(&self) -> usize {
        self.server.limits().request_rows_max as usize
    }
}

/// An answer as it goes to the caller.
pub(crate) struct Written {
    pub(crate) body: Vec<u8>,
    /// None for JSON.
    pub(crate) content_type: Option<&'static str>,
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
}

impl From<Vec<u8>> for Written {
    fn from(body: Vec<u8>) -> Self {
        Self { body, content_type: None, header: None }
    }
}

/// How a protocol reads and writes. Both run on a scoring thread.
pub(crate) trait Protocol: Send + 'static {
    /// What the rows are read from the body with, kept until the answer is written.
    type Kept: Send + 'static;

    /// Reads the rows.
    fn read(&self, call: &mut Call, headers: &HeaderMap, body: &Bytes) -> Result<(Batch, Self::Kept), ApiError>;

    /// Writes the answer.
    fn write(&self, call: &Call, kept: Self::Kept, scored: &Batch) -> Result<Written, ApiError>;
}

type Done = (Written, Stages, Arc<str>);

/// A request in the queue of those to be scored.
struct Job<P: Protocol> {
    /// Held until the work is done, also when the caller has left: what counts is the work in hand. Given back before
    /// the caller is told, by whatever way, so that who has an answer is in flight no more; so it is the first to go.
    admission: Option<Admission>,
    protocol: P,
    call: Call,
    headers: HeaderMap,
    body: Bytes,
    read: Option<(Batch, P::Kept)>,
    decode: Duration,
    answer: Option<oneshot::Sender<Result<Done, ApiError>>>,
}

impl<P: Protocol> Job<P> {
    fn tell(&mut self, told: Result<Done, ApiError>) {
        self.admission = None;
        if let Some(answer) = self.answer.take() {
            // A caller who left meanwhile does not want it.
            let _ = answer.send(told);
        }
    }
}

impl<P: Protocol> Work for Job<P> {
    fn abandoned(&self) -> bool {
        self.answer.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn rows(&mut self) -> Option<Batch> {
        let began = Instant::now();
        let (rows, kept) = match self.protocol.read(&mut self.call, &self.headers, &self.body) {
            Ok(read) => read,
            Err(error) => {
                self.tell(Err(error));
                return None;
            }
        };
        // Not needed any more, and large.
        self.body = Bytes::new();
        self.decode = began.elapsed();
        if rows.num_rows() == 0 {
            let none = Batch::empty(self.call.deployment.scorer().output().clone());
            let written = self.protocol.write(&self.call, kept, &none);
            let id = Arc::clone(&self.call.request_id);
            self.tell(written.map(|written| (written, Stages::default(), id)));
            return None;
        }
        self.read = Some((rows.clone(), kept));
        Some(rows)
    }

    fn answer(mut self: Box<Self>, scored: Result<Scored, ScoreError>, waited: Duration, together: usize) {
        let Some((rows, kept)) = self.read.take() else { return };
        let scored = match scored {
            Ok(scored) => scored,
            Err(error) => return self.tell(Err(error.into())),
        };
        let Call { server, deployment, request_id } = &self.call;
        server.capture(deployment, request_id, &rows, &scored.predictions);
        let began = Instant::now();
        let written = self.protocol.write(&self.call, kept, &scored.predictions);
        let stages = Stages {
            queue: waited,
            decode: self.decode,
            transform: scored.transform,
            model: scored.model,
            encode: began.elapsed(),
            rows: rows.num_rows() as u64,
            batch_rows: together as u64,
        };
        let id = Arc::clone(&self.call.request_id);
        self.tell(written.map(|written| (written, stages, id)));
    }
}

/// Whom a request asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// The endpoint; none if the protocol names none.
    pub(crate) endpoint: Option<String>,
    /// The version of its model; none if any will do.
    pub(crate) version: Option<String>,
}

impl Asked {
    /// The endpoint, and the deployment of the version if one was asked for.
    pub(crate) fn find(&self, server: &Server) -> Result<(Arc<Endpoint>, Option<Target>), ApiError> {
        let endpoint = server.endpoint(self.endpoint.as_deref())?;
        let Some(version) = &self.version else { return Ok((endpoint, None)) };
        let Some(target) = endpoint.version(version).cloned() else {
            let served: Vec<&str> = endpoint.targets().iter().map(|target| &**target.deployment().version()).collect();
            let (name, served) = (endpoint.name(), served.join(", "));
            return Err(ApiError::not_found(format!("version {version} of `{name}` is not served; served: {served}")));
        };
        Ok((endpoint, Some(target)))
    }
}

/// Answers one scoring request: `check` looks at the head before anything is read.
pub(crate) async fn answer<P: Protocol>(
    app: &App,
    surface: Surface,
    asked: Asked,
    request: Request,
    check: impl FnOnce(&HeaderMap) -> Result<(), ApiError>,
    protocol: P,
) -> Response {
    let began = Instant::now();
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| acceptable(id));
    let request_id: Arc<str> = given.map_or_else(|| app.server.next_id().into(), Into::into);
    let (endpoint, pinned) = match asked.find(&app.server) {
        Ok(found) => found,
        Err(error) => {
            app.metrics.nobody(surface, error.status());
            let mut response = error.response(surface);
            set(response.headers_mut(), &REQUEST_ID, &request_id);
            return response;
        }
    };
    // Until it is known who answers, and where a request fails before that, it is the first that is meant.
    let mut target = pinned.clone().unwrap_or_else(|| endpoint.main().clone());
    let outcome =
        try_answer(app, &endpoint, pinned.is_some(), &mut target, &request_id, request, check, protocol).await;
    let (status, stages, request_id, mut response) = match outcome {
        Ok((written, stages, request_id)) => {
            let kind = HeaderValue::from_static(written.content_type.unwrap_or("application/json"));
            let mut response = ([(header::CONTENT_TYPE, kind)], written.body).into_response();
            response.headers_mut().extend(written.header);
            (StatusCode::OK, stages, request_id, response)
        }
        Err(mut error) => {
            tracing::debug!(request.id = %request_id, status = error.status().as_u16(), ?error, "refused");
            if app.hide_schema {
                error.hide();
            }
            (error.status(), Stages::default(), request_id, error.response(surface))
        }
    };
    let deployment = target.deployment();
    let total = began.elapsed();
    match status {
        StatusCode::OK => deployment.stats().answered(&stages, total, app.server.clock().now()),
        _ => deployment.stats().failed(total),
    }
    app.metrics.observe(deployment, surface, status, total, &stages);
    let headers = response.headers_mut();
    set(headers, &REQUEST_ID, &request_id);
    set(headers, &MODEL_NAME, deployment.model());
    set(headers, &MODEL_VERSION, deployment.version());
    set(headers, &DEPLOYMENT, target.name());
    response
}

fn set(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request, in one place")]
async fn try_answer<P: Protocol>(
    app: &App,
    endpoint: &Endpoint,
    pinned: bool,
    target: &mut Target,
    request_id: &Arc<str>,
    request: Request,
    check: impl FnOnce(&HeaderMap) -> Result<(), ApiError>,
    protocol: P,
) -> Result<Done, ApiError> {
    let admission = app.server.admit()?;
    check(request.headers())?;
    let limits = app.server.limits();
    let deadline = tokio::time::Instant::now() + Duration::from_millis(limits.request_ms_max);
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout_at(deadline, read(&head.headers, body, limits.body_bytes_max)).await;
    let body = body.map_err(|_| {
        let message = format!("the body did not arrive within {} ms", limits.request_ms_max);
        ApiError::new(StatusCode::REQUEST_TIMEOUT, codes::BAD_REQUEST, message)
    })??;
    if !pinned {
        let key = routing_key(endpoint, &head.headers, &body, request_id);
        *target = endpoint.choose(|name| text(&head.headers, name), &key).clone();
    }
    let (answer, wait) = oneshot::channel();
    let job = Job {
        admission: Some(admission),
        protocol,
        call: Call {
            server: Arc::clone(&app.server),
            deployment: Arc::clone(target.deployment()),
            request_id: Arc::clone(request_id),
        },
        headers: head.headers,
        body,
        read: None,
        decode: Duration::ZERO,
        answer: Some(answer),
    };
    app.server.score(Arc::clone(target.deployment()), Box::new(job))?;
    match tokio::time::timeout_at(deadline, wait).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) => Err(ServeError::GivenUp { reason: "its work panicked; the log says where" }.into()),
        Err(_) => {
            let message = format!("the answer was not ready within {} ms", limits.request_ms_max);
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, codes::OVERLOADED, message))
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What says whose a request is; the request's own id where it does not say.
fn routing_key<'a>(endpoint: &Endpoint, headers: &'a HeaderMap, body: &[u8], request_id: &'a str) -> Cow<'a, [u8]> {
    let own = || Cow::Borrowed(request_id.as_bytes());
    match endpoint.key_source() {
        _ if endpoint.targets().len() == 1 => own(),
        KeySource::Request => own(),
        KeySource::Header(name) => headers.get(name).map_or_else(own, |value| Cow::Borrowed(value.as_bytes())),
        KeySource::Json(pointer) => key::at(body, pointer).map_or_else(own, Cow::Owned),
        KeySource::Column(column) => key::in_column(body, column).map_or_else(own, Cow::Owned),
    }
}

async fn read(headers: &HeaderMap, mut body: Body, bytes_max: u64) -> Result<Bytes, ApiError> {
    let too_large = || {
        let hint = "send fewer rows at a time, or raise limits.serve.body-bytes-max";
        ApiError::too_large(format!("the body is larger than {bytes_max} bytes; {hint}"))
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let mut whole = Bytes::new();
    let mut parts: Option<BytesMut> = None;
    let mut total = 0_u64;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| ApiError::bad(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len() as u64;
        if total > bytes_max {
            return Err(too_large());
        }
        // Most bodies come in one piece, which needs no copy.
        if whole.is_empty() && parts.is_none() {
            whole = data;
        } else {
            parts.get_or_insert_with(|| BytesMut::from(&*whole)).extend_from_slice(&data);
        }
    }
    Ok(parts.map_or(whole, BytesMut::freeze))
}

fn acceptable(id: &str) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic())
}
