//! What every scoring request goes through, whatever it speaks: admission, body, work, answer, measurements.

use std::{
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
use plinth_serve::{Deployment, Server};

use crate::{
    App,
    error::{ApiError, Surface},
    metrics::Stages,
};

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static MODEL_NAME: HeaderName = HeaderName::from_static("x-model-name");
static MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

/// Longest request id that is taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// One scoring request on its scoring thread.
pub(crate) struct Call {
    server: Arc<Server>,
    deployment: Arc<Deployment>,
    request_id: Arc<str>,
    began: Instant,
    stages: Stages,
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

    /// Scores the rows that were read, and keeps them for monitoring.
    pub(crate) fn score(&mut self, rows: &Batch) -> Result<Batch, ApiError> {
        self.stages.decode = self.began.elapsed();
        if rows.num_rows() == 0 {
            return Ok(Batch::empty(self.deployment.scorer().output().clone()));
        }
        let scored = self.deployment.scorer().score_timed(rows)?;
        self.stages.transform = scored.transform;
        self.stages.model = scored.model;
        self.stages.rows = rows.num_rows() as u64;
        self.server.capture(&self.deployment, &self.request_id, rows, &scored.predictions);
        self.began = Instant::now();
        Ok(scored.predictions)
    }
}

/// Answers one scoring request: `check` looks at the head before anything is read, `work` turns the body into an
/// answer on a scoring thread.
pub(crate) async fn answer<C, W>(app: &App, surface: Surface, request: Request, check: C, work: W) -> Response
where
    C: FnOnce(&HeaderMap, &Deployment) -> Result<(), ApiError>,
    W: FnOnce(&mut Call, &HeaderMap, &Bytes) -> Result<Vec<u8>, ApiError> + Send + 'static,
{
    let began = Instant::now();
    let deployment = app.server.deployment();
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| acceptable(id));
    let request_id: Arc<str> = given.map_or_else(|| app.server.next_id().into(), Into::into);
    let outcome = try_answer(app, &deployment, &request_id, request, check, work).await;
    let (status, stages, request_id, mut response) = match outcome {
        Ok((body, stages, request_id)) => {
            let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (StatusCode::OK, stages, request_id, (json, body).into_response())
        }
        Err(error) => {
            tracing::debug!(request.id = %request_id, status = error.status().as_u16(), ?error, "refused");
            (error.status(), Stages::default(), request_id, error.response(surface))
        }
    };
    app.metrics.observe(&deployment, surface, status, began.elapsed(), &stages);
    let headers = response.headers_mut();
    for (name, value) in
        [(&REQUEST_ID, &*request_id), (&MODEL_NAME, deployment.model()), (&MODEL_VERSION, deployment.version())]
    {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(name, value);
        }
    }
    response
}

async fn try_answer<C, W>(
    app: &App,
    deployment: &Arc<Deployment>,
    request_id: &Arc<str>,
    request: Request,
    check: C,
    work: W,
) -> Result<(Vec<u8>, Stages, Arc<str>), ApiError>
where
    C: FnOnce(&HeaderMap, &Deployment) -> Result<(), ApiError>,
    W: FnOnce(&mut Call, &HeaderMap, &Bytes) -> Result<Vec<u8>, ApiError> + Send + 'static,
{
    let admission = app.server.admit()?;
    check(request.headers(), deployment)?;
    let limits = app.server.limits();
    let deadline = tokio::time::Instant::now() + Duration::from_millis(limits.request_ms_max);
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout_at(deadline, read(&head.headers, body, limits.body_bytes_max)).await;
    let body = body.map_err(|_| {
        let message = format!("the body did not arrive within {} ms", limits.request_ms_max);
        ApiError::new(StatusCode::REQUEST_TIMEOUT, codes::BAD_REQUEST, message)
    })??;
    let mut call = Call {
        server: Arc::clone(&app.server),
        deployment: Arc::clone(deployment),
        request_id: Arc::clone(request_id),
        began: Instant::now(),
        stages: Stages::default(),
    };
    let job = move || {
        // Held until the work is done, also when the caller has left: what counts is the work in hand.
        let _admission = admission;
        call.began = Instant::now();
        let body = work(&mut call, &head.headers, &body)?;
        call.stages.encode = call.began.elapsed();
        Ok((body, call.stages, call.request_id))
    };
    let done = tokio::time::timeout_at(deadline, app.server.run(job)).await;
    done.map_err(|_| {
        let message = format!("the answer was not ready within {} ms", limits.request_ms_max);
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, codes::OVERLOADED, message)
    })??
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
