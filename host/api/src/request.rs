//! What every scoring request goes through, whatever it speaks: admission, body, work, answer, measurements.

use std::{
    borrow::Cow,
    future::poll_fn,
    io::Read,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use plinth_core::codes;
use plinth_ext::Batch;
use plinth_score::{ScoreError, Scored};
use plinth_serve::{
    Admission, Deployment, Endpoint, Input, KeySource, Outcome, Output, ServeError, Server, Stages, Target, Work,
};
use tokio::sync::oneshot;

use crate::{
    App,
    error::{ApiError, Surface},
    key,
    spans::{Came, Happened, Moments},
    timings,
};

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static MODEL_NAME: HeaderName = HeaderName::from_static("x-model-name");
static DEPLOYMENT: HeaderName = HeaderName::from_static("x-deployment");
static MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

/// Headers of an answer, with those that are set on its way out.
const HEADERS: usize = 8;
/// How often an endpoint is looked for that is known and not there.
const LOOKS_MAX: u32 = 8;
/// Longest body that is read although its request is refused, and how long it may take to come.
const DISCARDED_BYTES_MAX: u64 = 256 << 10;
const DISCARD_TIME: Duration = Duration::from_millis(100);
/// Longest request id that is taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// One scoring request on its way through the model.
pub(crate) struct Call {
    server: Arc<Server>,
    endpoint: Arc<str>,
    deployment: Arc<Deployment>,
    request_id: Arc<str>,
    began: Instant,
    /// How long it waited, and how long its body took to read, once that is known.
    queue: Duration,
    decode: Duration,
}

impl Call {
    /// The name that was asked.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

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

    /// Whether there is time left for a caller who gave a time.
    pub(crate) fn within(&self, timeout: Option<Duration>) -> Result<(), ApiError> {
        match timeout.filter(|timeout| self.began.elapsed() > *timeout) {
            None => Ok(()),
            Some(timeout) => {
                Err(ApiError::timed_out(format!("the request's timeout of {} µs has passed", timeout.as_micros())))
            }
        }
    }

    /// When nobody waits for the answer any more.
    pub(crate) fn deadline(&self) -> Instant {
        self.began + Duration::from_millis(self.server.limits().request_ms_max)
    }

    /// What the parts took that are over when the answer is written.
    pub(crate) fn timings(&self, scored: &Output) -> [(&'static str, i64); 4] {
        timings::parameters(self.queue, self.decode, scored)
    }

    pub(crate) fn explain_rows_max(&self) -> u32 {
        self.server.limits().explain_rows_max
    }

    pub(crate) fn body_bytes_max(&self) -> u64 {
        self.server.limits().body_bytes_max
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
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Vec<u8>> for Written {
    fn from(body: Vec<u8>) -> Self {
        Self { body, content_type: None, headers: Vec::new() }
    }
}

/// How a protocol reads and writes. Both run where it is scored.
pub(crate) trait Protocol: Send + 'static {
    /// What is read from the body beside what is scored, kept until the answer is written.
    type Kept: Send + 'static;

    /// The path of such a request with names in place of what callers choose, or the method of gRPC.
    fn route(&self, asked: &Asked) -> &'static str;

    /// Bytes of what is to be read; none where few of them may ask for much.
    fn bytes(&self, headers: &HeaderMap, body: &Bytes) -> Option<usize>;

    /// Reads what is to be scored: what the call's deployment takes.
    fn read(&mut self, call: &mut Call, headers: &HeaderMap, body: &Bytes) -> Result<(Input, Self::Kept), ApiError>;

    /// Writes the answer.
    fn write(&self, call: &Call, headers: &HeaderMap, kept: Self::Kept, scored: &Output) -> Result<Written, ApiError>;
}

struct Done {
    written: Written,
    stages: Stages,
    /// None if nothing was scored.
    moments: Option<Moments>,
    /// Rows that were looked up, by whether their entity is known; none if nothing was.
    looked_up: Option<[u64; 2]>,
    request_id: Arc<str>,
}

/// A request in the queue of those to be scored.
struct Job<P: Protocol> {
    /// Held until the work is done, also when the caller has left: what counts is the work in hand. Given back before
    /// the caller is told, by whatever way, so that who has an answer is in flight no more; so it is the first to go.
    admission: Option<Admission>,
    protocol: P,
    call: Call,
    headers: HeaderMap,
    body: Bytes,
    bytes: Option<usize>,
    /// The rows that were read, to be captured; of tensors nothing is.
    read: Option<(Option<Batch>, P::Kept)>,
    /// When it was put into the queue, and when it was begun to be read.
    queued: Instant,
    decoded: Instant,
    answer: Option<oneshot::Sender<Result<Done, ApiError>>>,
    /// Who looks at the answer besides the caller, if anybody does.
    aside: Option<Aside>,
}

/// What an endpoint with a rollout or with shadows needs of a request once that is answered.
struct Aside {
    endpoint: Arc<Endpoint>,
    target: Target,
    key: Box<[u8]>,
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

    fn bytes(&self) -> Option<usize> {
        self.bytes
    }

    fn input(&mut self) -> Option<Input> {
        self.decoded = Instant::now();
        let (input, kept) = match self.protocol.read(&mut self.call, &self.headers, &self.body) {
            Ok(read) => read,
            Err(error) => {
                self.tell(Err(error));
                return None;
            }
        };
        // Not needed any more, and large.
        self.body = Bytes::new();
        self.call.decode = self.decoded.elapsed();
        if let (Input::Rows(rows), Some(scorer)) = (&input, self.call.deployment.scorer())
            && rows.num_rows() == 0
        {
            let predictions = Batch::empty(scorer.output().clone());
            let (began, transform, model) = (Instant::now(), Duration::ZERO, Duration::ZERO);
            let none = Output::Rows(Scored { predictions, joined: None, began, inferred: began, transform, model });
            let written = self.protocol.write(&self.call, &self.headers, kept, &none);
            let request_id = Arc::clone(&self.call.request_id);
            let stages = Stages::default();
            self.tell(written.map(|written| Done { written, stages, moments: None, looked_up: None, request_id }));
            return None;
        }
        let rows = match &input {
            Input::Rows(rows) => Some(rows.clone()),
            Input::Tensors(_) => None,
        };
        self.read = Some((rows, kept));
        Some(input)
    }

    fn answer(mut self: Box<Self>, scored: Result<Output, ScoreError>, waited: Duration, together: usize) {
        let Some((rows, kept)) = self.read.take() else { return };
        let scored = match scored {
            Ok(scored) => scored,
            Err(error) if self.call.deployment.tensors().is_some() => {
                return self.tell(Err(ApiError::of_tensors(&error)));
            }
            Err(error) => return self.tell(Err(error.into())),
        };
        self.call.queue = waited;
        let Call { server, deployment, request_id, .. } = &self.call;
        let (scored_at, inferred, transform, model, count) = match (&rows, &scored) {
            (Some(rows), Output::Rows(scored)) => {
                // With what was looked up: it is the model's rows that are watched and asked again.
                let kept = scored.joined.as_ref().unwrap_or(rows);
                server.capture(deployment, request_id, kept, &scored.predictions);
                (scored.began, scored.inferred, scored.transform, scored.model, rows.num_rows() as u64)
            }
            (_, Output::Rows(scored)) => {
                let rows = scored.predictions.num_rows() as u64;
                (scored.began, scored.inferred, scored.transform, scored.model, rows)
            }
            (_, Output::Tensors { tensors, began, model }) => {
                let rowwise = deployment.tensors().is_some_and(plinth_serve::TensorModel::is_rowwise);
                let rows = tensors.first().and_then(plinth_ext::Tensor::rows).filter(|_| rowwise);
                (*began, *began, Duration::ZERO, *model, rows.unwrap_or(1) as u64)
            }
        };
        let encoded = Instant::now();
        let written = self.protocol.write(&self.call, &self.headers, kept, &scored);
        let stages = Stages {
            queue: waited,
            decode: self.call.decode,
            transform,
            model,
            encode: encoded.elapsed(),
            rows: count,
            batch_rows: together as u64,
        };
        let (queued, decoded) = (self.queued, self.decoded);
        let moments = Some(Moments { queued, decoded, scored: scored_at, inferred, encoded });
        let request_id = Arc::clone(&self.call.request_id);
        let good = written.is_ok();
        let looked_up = rows.as_ref().and_then(|rows| self.call.deployment.scorer()?.known(rows));
        self.tell(written.map(|written| Done { written, stages, moments, looked_up, request_id }));
        // What tensors say is compared with nothing.
        if let (true, Some(aside), Some(rows), Output::Rows(scored)) = (good, &self.aside, &rows, &scored) {
            let Call { server, request_id, .. } = &self.call;
            let rows = (rows, scored.joined.as_ref());
            server.answered(&aside.endpoint, &aside.target, &aside.key, request_id, rows, &scored.predictions);
        }
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
    /// An endpoint by name, and a version; an empty one is any.
    pub(crate) fn of(endpoint: String, version: Option<String>) -> Self {
        Self { endpoint: Some(endpoint), version: version.filter(|version| !version.is_empty()) }
    }

    /// The endpoint, and the deployment of the version if one was asked for.
    pub(crate) fn find(&self, server: &Server) -> Result<(Arc<Endpoint>, Option<Target>), ApiError> {
        self.find_in(None, server)
    }

    /// The same, where the endpoint was just woken: it may sleep again by now.
    pub(crate) fn find_in(
        &self,
        woken: Option<Arc<Endpoint>>,
        server: &Server,
    ) -> Result<(Arc<Endpoint>, Option<Target>), ApiError> {
        let endpoint = woken.map_or_else(|| server.endpoint(self.endpoint.as_deref()), Ok)?;
        let Some(version) = &self.version else { return Ok((endpoint, None)) };
        let Some(target) = endpoint.version(version).cloned() else {
            let mut served: Vec<&str> =
                endpoint.targets().iter().map(|target| &**target.deployment().version()).collect();
            served.sort_unstable_by_key(|version| (version.len(), *version));
            served.dedup();
            return Err(not_served(endpoint.name(), version, &served));
        };
        Ok((endpoint, Some(target)))
    }
}

/// What is told whoever asks for a version that an endpoint does not answer with.
pub(crate) fn not_served(endpoint: &str, version: &str, served: &[impl AsRef<str>]) -> ApiError {
    let served: Vec<&str> = served.iter().map(AsRef::as_ref).collect();
    let served = served.join(", ");
    ApiError::not_found(format!("version {version} of `{endpoint}` is not served; served: {served}"))
}

/// What a caller sent, as far as it is there already.
pub(crate) enum Sent {
    /// It is still coming.
    Coming(Body),
    /// All of it.
    Whole(Bytes),
}

/// How a request went.
pub(crate) struct Told {
    pub(crate) request_id: Arc<str>,
    /// Who answered, or would have; none if nobody of that name is there.
    target: Option<Target>,
    /// How long its parts took, if something was scored, and all of it.
    stages: Option<Stages>,
    total: Duration,
    pub(crate) outcome: Result<Written, ApiError>,
}

impl Told {
    /// What there is to say of it beside the answer.
    pub(crate) fn who(&self) -> Who {
        Who { request_id: Some(Arc::clone(&self.request_id)), target: self.target.clone() }
    }
}

/// Who answered, in the extensions of a response whose head does not say it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Who {
    pub(crate) request_id: Option<Arc<str>>,
    pub(crate) target: Option<Target>,
}

/// Answers one scoring request over HTTP: `check` looks at the head before anything is read.
pub(crate) async fn answer<P: Protocol>(
    app: &App,
    surface: Surface,
    asked: Asked,
    request: Request,
    check: impl FnOnce(&HeaderMap) -> Result<(), ApiError>,
    protocol: P,
) -> Response {
    let (head, body) = request.into_parts();
    let timed = match timings::asked(&head.headers, head.uri.query()) {
        Ok(timed) => timed,
        Err(error) => return error.response(surface),
    };
    // In memory of its own: it is large, and would be moved from each function's future into the next one's.
    let told = Box::pin(ask(app, surface, &asked, head.headers, Sent::Coming(body), check, protocol)).await;
    let mut response = match told.outcome {
        Ok(written) => {
            let kind = HeaderValue::from_static(written.content_type.unwrap_or("application/json"));
            let mut response = Response::new(Body::from(written.body));
            let headers = response.headers_mut();
            headers.reserve(HEADERS);
            headers.insert(header::CONTENT_TYPE, kind);
            headers.extend(written.headers);
            response
        }
        Err(error) => error.response(surface),
    };
    let headers = response.headers_mut();
    set(headers, &REQUEST_ID, &told.request_id);
    if timed {
        headers.insert(&timings::SERVER_TIMING, timings::header(told.stages.as_ref(), told.total));
    }
    if let Some(target) = told.target {
        set(headers, &MODEL_NAME, target.deployment().model());
        set(headers, &MODEL_VERSION, target.deployment().version());
        set(headers, &DEPLOYMENT, target.name());
    }
    response
}

/// Answers one scoring request, whatever brought it, and counts it.
pub(crate) async fn ask<P: Protocol>(
    app: &App,
    surface: Surface,
    asked: &Asked,
    headers: HeaderMap,
    sent: Sent,
    check: impl FnOnce(&HeaderMap) -> Result<(), ApiError>,
    protocol: P,
) -> Told {
    let began = Instant::now();
    let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| acceptable(id));
    let request_id: Arc<str> = given.map_or_else(|| app.server.next_id().into(), Into::into);
    let route = protocol.route(asked);
    let begin = |name: &str| {
        let spans = app.spans.as_ref()?;
        let came = Came { surface, route, request_id: Arc::clone(&request_id), began };
        spans.begin(&app.settings, name, &headers, came, app.server.clock().now())
    };
    let mut found = asked.find(&app.server);
    // It may be woken or sent to sleep between two looks; what is not wanted at all is not looked for again.
    for _ in 0..LOOKS_MAX {
        if found.is_ok() || app.server.models(asked.endpoint.as_deref()).is_none() {
            break;
        }
        found = match app.awake(asked).await {
            Ok(woken) => asked.find_in(woken, &app.server),
            Err(error) => Err(error),
        };
    }
    let (endpoint, pinned) = match found {
        Ok(found) => found,
        Err(error) => {
            app.metrics.nobody(surface, error.status());
            let total = began.elapsed();
            if let Some(begun) = begin(asked.endpoint.as_deref().unwrap_or_default()) {
                begun.end(&Happened {
                    asked: None,
                    request_id: &request_id,
                    failure: Some((error.status(), error.code())),
                    stages: &Stages::default(),
                    moments: None,
                    total,
                });
            }
            return Told { request_id, target: None, stages: None, total, outcome: Err(error) };
        }
    };
    let begun = begin(endpoint.name());
    let mut chosen = None;
    let outcome =
        try_answer(app, &endpoint, pinned.as_ref(), &mut chosen, &request_id, headers, sent, check, protocol).await;
    let routed = chosen.is_some();
    // Where a request fails before it is known who answers, it is the first that is meant.
    let target = chosen.or(pinned).unwrap_or_else(|| endpoint.main().clone());
    let (status, stages, moments, request_id, outcome) = match outcome {
        Ok(Done { written, stages, moments, looked_up, request_id }) => {
            if let Some(rows) = looked_up {
                target.traffic().count_looked_up(rows);
            }
            (StatusCode::OK, stages, moments, request_id, Ok(written))
        }
        Err(mut error) => {
            tracing::debug!(request.id = %request_id, status = error.status().as_u16(), ?error, "refused");
            if app.hide_schema {
                error.hide();
            }
            (error.status(), Stages::default(), None, request_id, Err(error))
        }
    };
    let deployment = target.deployment();
    let total = began.elapsed();
    if routed {
        let outcome = match status {
            StatusCode::OK => Outcome::Answered,
            status if status.is_client_error() => Outcome::Refused,
            _ => Outcome::Fault,
        };
        target.traffic().count(outcome, total);
    }
    if status == StatusCode::OK {
        app.server.remember(&endpoint, &target, &request_id);
    }
    match status {
        StatusCode::OK => deployment.stats().answered(&stages, total, app.server.clock().now()),
        _ => deployment.stats().failed(total),
    }
    app.metrics.observe(deployment, surface, status, total, &stages);
    if let Some(begun) = begun {
        begun.end(&Happened {
            asked: Some((endpoint.name(), &target)),
            request_id: &request_id,
            failure: outcome.as_ref().err().map(|error| (error.status(), error.code())),
            stages: &stages,
            moments,
            total,
        });
    }
    Told { request_id, target: Some(target), stages: moments.map(|_| stages), total, outcome }
}

fn set(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request, in one place")]
async fn try_answer<P: Protocol>(
    app: &App,
    endpoint: &Arc<Endpoint>,
    pinned: Option<&Target>,
    chosen: &mut Option<Target>,
    request_id: &Arc<str>,
    headers: HeaderMap,
    sent: Sent,
    check: impl FnOnce(&HeaderMap) -> Result<(), ApiError>,
    protocol: P,
) -> Result<Done, ApiError> {
    let began = Instant::now();
    let limits = app.server.limits();
    let admission = match app.server.admit() {
        Ok(admission) => admission,
        Err(error) => {
            if let Sent::Coming(body) = sent {
                discard(&headers, body).await;
            }
            return Err(error.into());
        }
    };
    check(&headers)?;
    let deadline = tokio::time::Instant::from_std(began) + Duration::from_millis(limits.request_ms_max);
    let body = match sent {
        Sent::Whole(body) => body,
        Sent::Coming(body) => {
            let body = tokio::time::timeout_at(deadline, read(&headers, body, limits.body_bytes_max)).await;
            let body = body.map_err(|_| {
                let message = format!("the body did not arrive within {} ms", limits.request_ms_max);
                ApiError::new(StatusCode::REQUEST_TIMEOUT, codes::BAD_REQUEST, message)
            })??;
            match headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
                None => body,
                Some(encoding) => {
                    let (encoding, bytes_max) = (encoding.clone(), limits.body_bytes_max);
                    app.server.run(move || inflated(&encoding, &body, bytes_max)).await??
                }
            }
        }
    };
    let key = routing_key(endpoint, &headers, &body, request_id);
    let target = pinned.unwrap_or_else(|| endpoint.choose(|name| text(&headers, name), &key));
    *chosen = Some(target.clone());
    let own_ms = target.deployment().capacity().request_ms_max.map_or(u64::MAX, |ms| ms.get().into());
    let ms = limits.request_ms_max.min(own_ms);
    let deadline = deadline - Duration::from_millis(limits.request_ms_max - ms);
    let aside = Server::looks_at_answers(endpoint).then(|| Aside {
        endpoint: Arc::clone(endpoint),
        target: target.clone(),
        key: (&*key).into(),
    });
    drop(key);
    let (answer, wait) = oneshot::channel();
    let bytes = protocol.bytes(&headers, &body);
    let job = Job {
        admission: Some(admission),
        protocol,
        call: Call {
            server: Arc::clone(&app.server),
            endpoint: Arc::clone(endpoint.name()),
            deployment: Arc::clone(target.deployment()),
            request_id: Arc::clone(request_id),
            began,
            queue: Duration::ZERO,
            decode: Duration::ZERO,
        },
        headers,
        body,
        bytes,
        read: None,
        queued: Instant::now(),
        decoded: began,
        answer: Some(answer),
        aside,
    };
    app.server.score(Arc::clone(target.deployment()), Box::new(job))?.told().await;
    match tokio::time::timeout_at(deadline, wait).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) => Err(ServeError::GivenUp { reason: "its work panicked; the log says where" }.into()),
        Err(_) => {
            let message = format!("the answer was not ready within {ms} ms");
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

/// A body that was made smaller, as it was before; no larger than a body may be.
pub(crate) fn inflated(encoding: &HeaderValue, body: &[u8], bytes_max: u64) -> Result<Bytes, ApiError> {
    let mut whole = Vec::new();
    // One more byte than may be tells what is too large.
    let outcome = match encoding.as_bytes() {
        b"gzip" | b"x-gzip" => MultiGzDecoder::new(body).take(bytes_max + 1).read_to_end(&mut whole),
        b"deflate" => ZlibDecoder::new(body).take(bytes_max + 1).read_to_end(&mut whole),
        _ => {
            let message =
                format!("the content encoding {encoding:?} is not known; send gzip, deflate, or the plain body");
            let code = codes::UNSUPPORTED_MEDIA_TYPE;
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message));
        }
    };
    outcome.map_err(|error| ApiError::bad(format!("the body is not {encoding:?}: {error}")))?;
    if whole.len() as u64 > bytes_max {
        return Err(ApiError::too_large(format!("the body is larger than {bytes_max} bytes once it is unpacked")));
    }
    Ok(whole.into())
}

/// Reads a body that nobody wants, if it is small and comes at once: a connection that has to be closed because of what is
/// left in it costs the next request, which comes when the server has too much to do, more than these bytes do.
async fn discard(headers: &HeaderMap, mut body: Body) {
    // Who waits to be told to go on has sent nothing yet.
    if headers.contains_key(header::EXPECT) || declared(headers).is_none_or(|length| length > DISCARDED_BYTES_MAX) {
        return;
    }
    let all = async { while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {} };
    // Who sends it slowly gets the answer without being read to the end.
    let _ = tokio::time::timeout(DISCARD_TIME, all).await;
}

/// How long a body is, as its sender says.
fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok())
}

/// A body, no larger than a body may be.
pub(crate) async fn read(headers: &HeaderMap, mut body: Body, bytes_max: u64) -> Result<Bytes, ApiError> {
    let too_large = || {
        let hint = "send fewer rows at a time, or raise limits.serve.body-bytes-max";
        ApiError::too_large(format!("the body is larger than {bytes_max} bytes; {hint}"))
    };
    if declared(headers).is_some_and(|length| length > bytes_max) {
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
