//! Scoring requests as OpenTelemetry's spans, sent to a collector by OTLP over HTTP.
//!
//! What a request took is measured anyway, so its spans are made when it is answered, out of those times. A request that
//! is not told of costs a look at one header.

mod export;
mod tell;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::http::HeaderMap;
use opentelemetry::{
    InstrumentationScope,
    propagation::TextMapPropagator,
    trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceId, TraceState},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{
        BatchSpanProcessor, IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample, SpanData,
        SpanProcessor,
    },
};

pub(crate) use tell::{Happened, Moments};

use crate::{error::Surface, oip::Settings};

/// Where spans go, and of which requests they tell.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanConfig {
    /// The collector's address for traces, `http://HOST:4318/v1/traces`.
    pub endpoint: String,
    /// Of which requests.
    pub sampling: Sampling,
    /// How long stopping may wait for spans that are not sent yet.
    pub flush_max: Duration,
}

/// Which requests are told of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether a caller who is traced decides.
    pub by_parent: bool,
    /// The part of the others, from 0 to 1. Decided by the trace's id, so that all who take part in a trace decide alike.
    pub share: f64,
}

/// Why no spans can be sent.
#[derive(Debug)]
pub struct SpanError(String);

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SpanError {}

/// Tells a collector of requests.
pub struct Spans {
    processor: BatchSpanProcessor,
    ids: RandomIdGenerator,
    propagator: TraceContextPropagator,
    scope: InstrumentationScope,
    counts: Arc<export::Counts>,
    queue_max: usize,
    sampling: Sampling,
    flush_max: Duration,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("sampling", &self.sampling).finish_non_exhaustive()
    }
}

impl Spans {
    /// Starts the thread that sends. Has to be called within the runtime on which connections are to live. The headers to
    /// send, the resource, the size of batches and of the queue, and time limits are read from OpenTelemetry's variables
    /// of the environment.
    ///
    /// # Errors
    /// [`SpanError`] if the address is none.
    pub fn start(config: SpanConfig) -> Result<Arc<Self>, SpanError> {
        let SpanConfig { endpoint, sampling, flush_max } = config;
        let (processor, counts, queue_max) = export::start(&endpoint)?;
        Ok(Arc::new(Self {
            processor,
            ids: RandomIdGenerator::default(),
            propagator: TraceContextPropagator::new(),
            scope: InstrumentationScope::builder("plinth").with_version(env!("CARGO_PKG_VERSION")).build(),
            counts,
            queue_max,
            sampling,
            flush_max,
        }))
    }

    /// Which requests are told of unless somebody says otherwise.
    pub(crate) const fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// Spans that were sent, that could not be sent, and that found no room in the queue.
    pub(crate) fn counts(&self) -> [u64; 3] {
        self.counts.told()
    }

    /// A request that is to be told of; nothing if it is not.
    pub(crate) fn begin(
        self: &Arc<Self>,
        settings: &Settings,
        endpoint: &str,
        headers: &HeaderMap,
        came: Came,
        now_us: i64,
    ) -> Option<Begun> {
        let sampling = settings.sampling(endpoint, self.sampling)?;
        let parent = headers.contains_key("traceparent").then(|| {
            let context = self.propagator.extract(&HeaderExtractor(headers));
            context.span().span_context().clone()
        });
        let parent = parent.filter(SpanContext::is_valid);
        let trace = parent.as_ref().map_or_else(|| self.ids.new_trace_id(), SpanContext::trace_id);
        let sampled = match parent.as_ref().filter(|_| sampling.by_parent) {
            Some(parent) => parent.is_sampled(),
            None => drawn(sampling.share, trace),
        };
        if !sampled || !settings.take_trace(endpoint) {
            return None;
        }
        Some(Begun {
            spans: Arc::clone(self),
            trace,
            root: self.ids.new_span_id(),
            parent: parent.as_ref().map(SpanContext::span_id),
            state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
            at: SystemTime::UNIX_EPOCH + Duration::from_micros(now_us.max(0).unsigned_abs()),
            came,
            ended: false,
        })
    }

    /// Puts the spans of one request into the queue: all of them, or none.
    fn put(&self, spans: Vec<SpanData>) {
        if !self.counts.reserve(spans.len(), self.queue_max) {
            return;
        }
        spans.into_iter().for_each(|span| self.processor.on_end(span));
    }

    /// Sends what waits, for a bounded time, and ends. Blocks.
    pub(crate) fn stop(&self) {
        if self.processor.shutdown_with_timeout(self.flush_max).is_err() {
            let waiting = self.counts.waiting();
            tracing::warn!(waiting, "spans were not sent before the server stopped");
        }
    }
}

fn drawn(share: f64, trace: TraceId) -> bool {
    let sampler = Sampler::TraceIdRatioBased(share);
    let result = sampler.should_sample(None, trace, "", &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

/// A request as it came.
pub(crate) struct Came {
    pub(crate) surface: Surface,
    /// The path with names in place of what callers choose, or the method of gRPC.
    pub(crate) route: &'static str,
    pub(crate) request_id: Arc<str>,
    pub(crate) began: Instant,
}

/// A request that is told of, once it is answered, or once its caller has left.
pub(crate) struct Begun {
    spans: Arc<Spans>,
    trace: TraceId,
    root: SpanId,
    parent: Option<SpanId>,
    state: TraceState,
    /// When it came, by the clock.
    at: SystemTime,
    came: Came,
    ended: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::Status;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{BatchConfig, SpanExporter},
    };
    use plinth_core::codes;
    use plinth_serve::Stages;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn spans(sampling: Sampling) -> (Arc<Spans>, Kept) {
        let kept = Kept::default();
        let spans = Arc::new(Spans {
            processor: BatchSpanProcessor::new(kept.clone(), BatchConfig::default()),
            ids: RandomIdGenerator::default(),
            propagator: TraceContextPropagator::new(),
            scope: InstrumentationScope::builder("plinth").build(),
            counts: Arc::default(),
            queue_max: 100,
            sampling,
            flush_max: Duration::from_secs(60),
        });
        (spans, kept)
    }

    fn begin(spans: &Arc<Spans>, surface: Surface, traceparent: &str) -> Option<Begun> {
        let mut headers = HeaderMap::new();
        if !traceparent.is_empty() {
            headers.insert("traceparent", traceparent.parse().unwrap());
        }
        let settings = Settings::new(None, Some(spans.sampling));
        let came = Came { surface, route: "service/Method", request_id: "r".into(), began: Instant::now() };
        spans.begin(&settings, "m", &headers, came, 1_700_000_000_000_000)
    }

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

    #[test]
    fn a_part_of_the_traces_is_drawn_by_their_ids() {
        let ids = RandomIdGenerator::default();
        let traces: Vec<TraceId> = (0..4_000).map(|_| ids.new_trace_id()).collect();
        let of = |share: f64| traces.iter().filter(|trace| drawn(share, **trace)).count();
        assert_eq!((of(0.0), of(1.0)), (0, 4_000));
        assert!((800..1_200).contains(&of(0.25)), "{}", of(0.25));
        assert!(traces.iter().all(|trace| !drawn(0.25, *trace) || drawn(0.5, *trace)), "a larger part holds a smaller");
    }

    #[test]
    fn a_caller_who_is_traced_decides_where_he_may() {
        let (sampled, not) = (format!("{CALLER}1"), format!("{CALLER}0"));
        for (by_parent, share, wanted) in [
            (true, 1.0, [true, true, false, true]),
            (true, 0.0, [false, true, false, false]),
            (false, 1.0, [true, true, true, true]),
            (false, 0.0, [false, false, false, false]),
        ] {
            let (spans, _) = spans(Sampling { by_parent, share });
            let found = ["", &sampled, &not, "00-00-00-01"].map(|parent| {
                let begun = begin(&spans, Surface::Oip, parent);
                begun.is_some()
            });
            assert_eq!(found, wanted, "{by_parent} {share}");
        }
    }

    #[test]
    fn who_leaves_is_told_of_and_a_fault_is_an_error_of_its_span() {
        let (spans, kept) = spans(Sampling { by_parent: true, share: 1.0 });
        drop(begin(&spans, Surface::Oip, &format!("{CALLER}1")).unwrap());
        drop(begin(&spans, Surface::Grpc, "").unwrap());
        begin(&spans, Surface::Grpc, "").unwrap().end(&Happened {
            asked: None,
            request_id: "other",
            failure: Some((axum::http::StatusCode::SERVICE_UNAVAILABLE, codes::OVERLOADED)),
            stages: &Stages::default(),
            moments: None,
            total: Duration::from_millis(2),
        });
        spans.stop();
        let kept = kept.0.lock().unwrap();
        let has = |span: &SpanData, wanted: &[(&str, &str)]| {
            for (key, value) in wanted {
                let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == *key);
                assert_eq!(found.map(|found| found.value.to_string()).as_deref(), Some(*value), "{key} of {span:?}");
            }
        };
        let [left, called, failed] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!(left.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(left.parent_span_id.to_string(), "b7ad6b7169203331");
        assert!(left.parent_span_is_remote && left.status == Status::Unset);
        has(left, &[("error.type", "cancelled"), ("plinth.request.id", "r")]);
        has(called, &[("rpc.grpc.status_code", "1"), ("error.type", "cancelled")]);
        has(failed, &[("rpc.grpc.status_code", "14"), ("error.type", "overloaded"), ("plinth.request.id", "other")]);
        assert!(matches!(failed.status, Status::Error { .. }));
        let took = failed.end_time.duration_since(failed.start_time).unwrap();
        assert_eq!(took, Duration::from_millis(2));
        assert_eq!(failed.start_time, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    }
}
