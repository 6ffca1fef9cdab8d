//! What the server did, in the form that Prometheus reads.
//!
//! Labels are `model_name` and `model_version`, as KServe names them. Only what is in service becomes a label: a
//! caller cannot make new series by asking for models that do not exist.

mod traffic;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use axum::http::StatusCode;
use plinth_serve::{Deployment, Server, Stages, Target};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::{AccessLog, Spans, error::Surface};

/// From ten microseconds, which a small model takes, to ten seconds.
const SECONDS: [f64; 19] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Counters and histograms of the HTTP side; the server's own numbers are read when asked for.
pub(crate) struct Metrics {
    registry: Registry,
    known: RwLock<HashMap<ModelLabels, Arc<Series>>>,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<ModelLabels, Histogram, fn() -> Histogram>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    rows: Family<ModelLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model_name: Arc<str>,
    model_version: Arc<str>,
    protocol: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model_name: Arc<str>,
    model_version: Arc<str>,
}

impl ModelLabels {
    fn requests(&self, surface: Surface, status: StatusCode) -> RequestLabels {
        let Self { model_name, model_version } = self.clone();
        RequestLabels { model_name, model_version, protocol: surface.name(), code: status.as_u16() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    model_name: Arc<str>,
    model_version: Arc<str>,
    stage: &'static str,
}

/// What is counted of every request to one version, found at once: each family would look for its names by itself.
struct Series {
    /// Requests that were answered, by how they came.
    answered: [OnceLock<Counter>; Surface::ALL.len()],
    seconds: Histogram,
    rows: Counter,
    /// In the order of [`STAGES`].
    stages: [Histogram; STAGES.len()],
}

const STAGES: [&str; 5] = ["queue", "decode", "transform", "model", "encode"];

impl Metrics {
    pub(crate) fn new(server: Arc<Server>, access_log: Option<Arc<AccessLog>>, spans: Option<Arc<Spans>>) -> Self {
        let mut registry = Registry::with_prefix("plinth");
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            stages: Family::new_with_constructor(histogram),
            rows: Family::default(),
            known: RwLock::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Scoring requests by status code", metrics.requests.clone());
        let help = "Time from a request's head to its answer";
        registry.register_with_unit("request", help, Unit::Seconds, metrics.seconds.clone());
        let help = "Time in one part of a request: queue, decode, transform, model, encode";
        registry.register_with_unit("stage", help, Unit::Seconds, metrics.stages.clone());
        registry.register("rows", "Rows scored", metrics.rows.clone());
        registry.register_collector(Box::new(ServerNumbers { server, access_log, spans }));
        Self { registry, ..metrics }
    }

    pub(crate) fn observe(
        &self,
        deployment: &Deployment,
        surface: Surface,
        status: StatusCode,
        total: Duration,
        stages: &Stages,
    ) {
        let model =
            ModelLabels { model_name: Arc::clone(deployment.model()), model_version: Arc::clone(deployment.version()) };
        let series = self.series(&model);
        series.seconds.observe(total.as_secs_f64());
        if status != StatusCode::OK {
            self.requests.get_or_create(&model.requests(surface, status)).inc();
            return;
        }
        let answered = || self.requests.get_or_create_owned(&model.requests(surface, status));
        series.answered[surface as usize].get_or_init(answered).inc();
        series.rows.inc_by(stages.rows);
        let times = [stages.queue, stages.decode, stages.transform, stages.model, stages.encode];
        series.stages.iter().zip(times).for_each(|(stage, time)| stage.observe(time.as_secs_f64()));
    }

    fn series(&self, model: &ModelLabels) -> Arc<Series> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned();
        known.unwrap_or_else(|| {
            let stage = |stage| {
                let ModelLabels { model_name, model_version } = model.clone();
                self.stages.get_or_create_owned(&StageLabels { model_name, model_version, stage })
            };
            let series = Series {
                answered: Default::default(),
                seconds: self.seconds.get_or_create_owned(model),
                rows: self.rows.get_or_create_owned(model),
                stages: STAGES.map(stage),
            };
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(model.clone()).or_insert_with(|| Arc::new(series)))
        })
    }

    /// Counts a request that names nothing that is served: without names, which callers choose.
    pub(crate) fn nobody(&self, surface: Surface, status: StatusCode) {
        let none: Arc<str> = "".into();
        let (model_name, model_version) = (Arc::clone(&none), none);
        let labels = ModelLabels { model_name, model_version }.requests(surface, status);
        self.requests.get_or_create(&labels).inc();
    }

    /// Everything as OpenMetrics text.
    pub(crate) fn expose(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

/// Numbers that the server keeps anyway.
struct ServerNumbers {
    server: Arc<Server>,
    access_log: Option<Arc<AccessLog>>,
    spans: Option<Arc<Spans>>,
}

impl fmt::Debug for ServerNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerNumbers")
    }
}

impl Collector for ServerNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let server = &self.server;
        if let Some(log) = &self.access_log {
            let [written, lost] = log.counts();
            let help = "Lines of the access log";
            labelled(&mut encoder, "access_log_lines", help, &[("written", written), ("lost", lost)])?;
        }
        if let Some(spans) = &self.spans {
            let [sent, failed, dropped] = spans.counts();
            let help = "Spans of requests that a collector took, that it did not, and that found no room in the queue";
            let told = [("sent", sent), ("failed", failed), ("dropped", dropped)];
            labelled(&mut encoder, "spans", help, &told)?;
        }
        gauge(&mut encoder, "requests_in_flight", "Requests in flight", server.in_flight().into())?;
        let waiting = i64::try_from(server.waiting()).unwrap_or(i64::MAX);
        gauge(&mut encoder, "requests_waiting", "Requests in flight that wait to be scored", waiting)?;
        counter(&mut encoder, "requests_shed", "Requests turned away because too many were in flight", server.shed())?;
        let swaps = server.swap_stats();
        labelled(
            &mut encoder,
            "model_swaps",
            "Times another model version was put in service, or was not",
            &[("swapped", swaps.swapped), ("failed", swaps.failed)],
        )?;
        if let Some(capture) = server.capture_stats() {
            labelled(
                &mut encoder,
                "capture_rows",
                "Rows kept for monitoring, or lost",
                &[("stored", capture.stored), ("dropped", capture.dropped), ("failed", capture.failed)],
            )?;
            let waiting = i64::try_from(capture.waiting).unwrap_or(i64::MAX);
            gauge(&mut encoder, "capture_waiting_rows", "Rows waiting to be kept", waiting)?;
            if let Some(explained) = capture.explained {
                labelled(
                    &mut encoder,
                    "explained_rows",
                    "Rows, of the part that is to be explained, whose attributions are kept, or which are lost",
                    &[("stored", explained.stored), ("dropped", explained.dropped), ("failed", explained.failed)],
                )?;
                let waiting = i64::try_from(explained.waiting).unwrap_or(i64::MAX);
                gauge(&mut encoder, "explained_waiting_rows", "Rows waiting to be explained", waiting)?;
            }
        }
        let routes = server.routes();
        let deployed = || {
            routes
                .endpoints()
                .iter()
                .flat_map(|endpoint| endpoint.targets().iter().map(move |target| (endpoint.name(), target)))
        };
        let help = "Part of the requests that a deployment answers, relative to the others of its endpoint";
        let mut family = encoder.encode_descriptor("deployment_weight", help, None, MetricType::Gauge)?;
        for (endpoint, target) in deployed() {
            let labels = names(endpoint, target);
            ConstGauge::new(i64::from(target.plan().weight)).encode(family.encode_family(&labels)?)?;
        }
        let help = "Times a model was run; requests that wait together are scored together";
        let mut family = encoder.encode_descriptor("batches", help, None, MetricType::Counter)?;
        for (endpoint, target) in deployed() {
            let labels = names(endpoint, target);
            let batches = target.deployment().stats().snapshot().batches;
            ConstCounter::new(batches).encode(family.encode_family(&labels)?)?;
        }
        let help = "Rows that a model was run on, also those that are only shadowed";
        let mut family = encoder.encode_descriptor("batch_rows", help, None, MetricType::Counter)?;
        for (endpoint, target) in deployed() {
            let rows = target.deployment().stats().snapshot().batch_rows;
            ConstCounter::new(rows).encode(family.encode_family(&names(endpoint, target))?)?;
        }
        let help = "Memory that a model takes, as far as that is known";
        let mut family = encoder.encode_descriptor("model_memory_bytes", help, None, MetricType::Gauge)?;
        for (endpoint, target) in deployed() {
            let bytes = i64::try_from(target.deployment().memory_bytes()).unwrap_or(i64::MAX);
            ConstGauge::new(bytes).encode(family.encode_family(&names(endpoint, target))?)?;
        }
        let help = "Requests that wait to be scored by a deployment";
        let mut family = encoder.encode_descriptor("deployment_waiting_requests", help, None, MetricType::Gauge)?;
        for (endpoint, target) in deployed() {
            let waiting = i64::from(target.deployment().waiting());
            ConstGauge::new(waiting).encode(family.encode_family(&names(endpoint, target))?)?;
        }
        let help = "Rows that were answered and looked up by their entity, which is known or is not";
        let mut family = encoder.encode_descriptor("looked_up_rows", help, None, MetricType::Counter)?;
        for (endpoint, target) in deployed() {
            if target.plan().lookup.is_none() {
                continue;
            }
            let [known, unknown] = target.traffic().looked_up();
            for (entity, rows) in [("known", known), ("unknown", unknown)] {
                let mut labels = names(endpoint, target).to_vec();
                labels.push(("entity".into(), entity.to_owned()));
                ConstCounter::new(rows).encode(family.encode_family(&labels)?)?;
            }
        }
        let asleep = i64::try_from(server.asleep().len()).unwrap_or(i64::MAX);
        gauge(&mut encoder, "endpoints_asleep", "Endpoints that are loaded once they are asked", asleep)?;
        let help = "Times an endpoint was put to sleep for want of memory";
        counter(&mut encoder, "endpoints_put_to_sleep", help, server.put_to_sleep())?;
        traffic::encode(&mut encoder, &routes)?;
        let help = "What is in service, by content hash";
        let mut family = encoder.encode_descriptor("model_info", help, None, MetricType::Gauge)?;
        for (endpoint, target) in deployed() {
            let mut labels = names(endpoint, target).to_vec();
            let hashes = target.deployment().hashes().iter();
            labels.extend(hashes.map(|(part, hash)| (label_name(part), hash.to_hex())));
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Labels of a deployment.
fn names(endpoint: &Arc<str>, target: &Target) -> [(String, String); 4] {
    let deployment = target.deployment();
    [
        ("endpoint", endpoint.to_string()),
        ("deployment", target.name().to_string()),
        ("model_name", deployment.model().to_string()),
        ("model_version", deployment.version().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn labelled(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: &[(&str, u64)]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (outcome, value) in values {
        ConstCounter::new(*value).encode(family.encode_family(&[("outcome", *outcome)])?)?;
    }
    Ok(())
}

fn label_name(part: &str) -> String {
    let name: String = part.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{name}_hash")
}
