//! The way to the collector: a bounded queue, a thread that takes batches from it, and our HTTP client.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor},
};
use reqwest::{Url, redirect};
use tokio::runtime::Handle;

use super::SpanError;

/// Most bytes of a collector's answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Spans that wait, unless the environment says otherwise; OpenTelemetry's own default.
const QUEUE_MAX: usize = 2_048;

/// Time for one batch, unless the environment says otherwise; OpenTelemetry's own default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What became of spans.
#[derive(Debug, Default)]
pub(super) struct Counts {
    waiting: AtomicUsize,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// Whether the collector could not be told the last time; it is said once.
    away: AtomicBool,
    /// What the last attempt met.
    reason: Mutex<String>,
}

impl Counts {
    /// Room for so many spans in a queue of `most`; none are dropped, or all of them are.
    pub(super) fn reserve(&self, spans: usize, most: usize) -> bool {
        if self.waiting.fetch_add(spans, Relaxed) + spans <= most {
            return true;
        }
        self.waiting.fetch_sub(spans, Relaxed);
        self.dropped.fetch_add(spans as u64, Relaxed);
        false
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Sent, failed, dropped.
    pub(super) fn told(&self) -> [u64; 3] {
        [&self.sent, &self.failed, &self.dropped].map(|count| count.load(Relaxed))
    }

    fn met(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn done(&self, spans: usize, good: bool) {
        self.waiting.fetch_sub(spans, Relaxed);
        if good {
            self.sent.fetch_add(spans as u64, Relaxed);
            if self.away.swap(false, Relaxed) {
                tracing::info!("the collector takes spans again");
            }
            return;
        }
        self.failed.fetch_add(spans as u64, Relaxed);
        if !self.away.swap(true, Relaxed) {
            let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
            tracing::warn!(%reason, "the collector takes no spans; they are dropped and counted until it does");
        }
    }
}

/// Starts the thread that sends to `endpoint`. Gives what takes spans, what counts them, and how many may wait.
pub(super) fn start(endpoint: &str) -> Result<(BatchSpanProcessor, Arc<Counts>, usize), SpanError> {
    let told = |error: &dyn fmt::Display| SpanError(format!("spans cannot be sent to `{endpoint}`: {error}"));
    let url = Url::parse(endpoint).map_err(|error| told(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(told(&"it begins neither with http:// nor with https://"));
    }
    let counts = Arc::new(Counts::default());
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let timeout = number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| number("OTEL_EXPORTER_OTLP_TIMEOUT"));
    let timeout = timeout.map_or(TIMEOUT, Duration::from_millis);
    let client = Client::new(timeout, Arc::clone(&counts)).map_err(|error| told(&error))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_timeout(timeout)
        .with_http_client(client)
        .build()
        .map_err(|error| told(&error))?;
    let queue_max = number("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|size| usize::try_from(size).ok());
    let queue_max = queue_max.filter(|size| *size > 0).unwrap_or(QUEUE_MAX);
    let config = BatchConfigBuilder::default().with_max_queue_size(queue_max).build();
    let exporter = Counted { exporter, counts: Arc::clone(&counts) };
    let mut processor = BatchSpanProcessor::new(exporter, config);
    processor.set_resource(&resource());
    Ok((processor, counts, queue_max))
}

/// What the server is, as far as the environment does not say otherwise.
fn resource() -> Resource {
    let own = [KeyValue::new("service.name", "plinth"), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let resource = Resource::builder_empty()
        .with_attributes(own)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()) {
        Some(name) => resource.with_service_name(name),
        None => resource,
    }
    .build()
}

/// Counts what becomes of batches.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.counts.done(spans, outcome.is_ok());
        outcome
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Our HTTP client for the thread that sends: it waits there, while connections live on the server's runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    counts: Arc<Counts>,
}

impl Client {
    fn new(timeout: Duration, counts: Arc<Counts>) -> Result<Self, String> {
        crate::install_crypto();
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let builder = || {
            reqwest::Client::builder()
                .timeout(timeout)
                .redirect(redirect::Policy::none())
                .user_agent(concat!("plinth/", env!("CARGO_PKG_VERSION")))
        };
        // A machine without certificates still reaches collectors that need none.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build());
        Ok(Self { http: http.map_err(|error| error.to_string())?, runtime, counts })
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    fn send_bytes<'life, 'wait>(&'life self, request: Request<Bytes>) -> Answering<'wait>
    where
        'life: 'wait,
        Self: 'wait,
    {
        let task = self.runtime.spawn(send(self.http.clone(), request));
        Box::pin(async move {
            let outcome = task.await.map_err(HttpError::from).flatten();
            match &outcome {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => self.counts.met(format!("it answered {}", answer.status())),
                Err(error) => self.counts.met(innermost(&**error)),
            }
            outcome
        })
    }
}

async fn send(http: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut answer = http.execute(request.try_into()?).await?;
    let mut body = BytesMut::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(opentelemetry_http::ResponseBodyTooLarge::new().into());
        }
        body.extend_from_slice(&part);
    }
    let mut response = Response::builder().status(answer.status()).body(body.freeze())?;
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// The cause of all others, which says what is the matter.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_whose_spans_find_no_room_is_dropped_as_a_whole() {
        let counts = Counts::default();
        assert!(counts.reserve(6, 10));
        assert!(!counts.reserve(6, 10));
        assert!(counts.reserve(4, 10));
        counts.done(6, true);
        counts.done(4, false);
        assert_eq!((counts.told(), counts.waiting()), ([6, 4, 6], 0));
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_with_it() {
        for wrong in ["collector:4318", "ftp://collector", "", "http://"] {
            let error = start(wrong).err().unwrap().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }
}
