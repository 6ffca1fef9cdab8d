//! Numbers of many traces: how many, how long, how dear, what was said of them; in groups by time and by what they are.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value as Json;

use crate::{
    Assessment, Span, TraceInfo, TraceSearch, Tracking, TrackingError,
    names::cut,
    traces::{NAME_TAG, SESSION_KEY},
};

/// Traces that one question looks at, newest first.
const TRACES_MAX: u64 = 50_000;
/// Where a trace says how many tokens it took.
const USAGE_KEY: &str = "mlflow.trace.tokenUsage";

/// Of what there is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricView {
    /// Of each trace.
    Traces,
    /// Of each span.
    Spans,
    /// Of each assessment that holds.
    Assessments,
}

/// A question for numbers. Names are MLflow's.
#[derive(Debug, Clone)]
pub struct TraceMetrics {
    /// Experiments to look in.
    pub experiment_ids: Vec<String>,
    /// Of what.
    pub view: MetricView,
    /// Which number.
    pub metric: String,
    /// What the groups are of one kind in.
    pub dimensions: Vec<String>,
    /// One comparison each, such as `trace.status = 'OK'`.
    pub filters: Vec<String>,
    /// Milliseconds that a group spans.
    pub interval: Option<i64>,
    /// The first millisecond.
    pub start: Option<i64>,
    /// The last millisecond.
    pub end: Option<i64>,
}

/// Numbers that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricGroup {
    /// When its time begins, in milliseconds.
    pub bucket: Option<i64>,
    /// What it is, by dimension.
    pub dimensions: Vec<(String, String)>,
    /// At least one.
    pub values: Vec<f64>,
}

/// A comparison with something that is no trace.
struct Only {
    field: String,
    value: String,
}

impl Tracking {
    /// Numbers of traces, in groups sorted by time and by what they are.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a filter that is none.
    pub fn trace_metrics(&self, asked: &TraceMetrics) -> Result<Vec<MetricGroup>, TrackingError> {
        let (mut clauses, mut only) = (Vec::new(), Vec::new());
        for filter in &asked.filters {
            match filter.trim().strip_prefix("trace.") {
                Some(rest) => clauses.push(rest.to_owned()),
                None => only.push(Only::read(filter, asked.view)?),
            }
        }
        clauses.extend(asked.start.map(|start| format!("timestamp_ms >= {start}")));
        clauses.extend(asked.end.map(|end| format!("timestamp_ms <= {end}")));
        let found = self.search_traces(&TraceSearch {
            experiment_ids: asked.experiment_ids.clone(),
            filter: clauses.join(" AND "),
            order_by: Vec::new(),
            skip: 0,
            most: TRACES_MAX,
        })?;
        let mut groups = Groups { asked, found: BTreeMap::new() };
        let mut sessions = HashSet::new();
        for trace in &found.items {
            match asked.view {
                // Each conversation once, in the group of its newest trace.
                MetricView::Traces if asked.metric == "session_count" => {
                    if of(&trace.metadata, SESSION_KEY).is_some_and(|session| sessions.insert(session)) {
                        groups.add(trace, |name| dimension_of_trace(trace, name), Some(1.0));
                    }
                }
                MetricView::Traces => {
                    let value = number_of_trace(trace, &asked.metric);
                    groups.add(trace, |name| dimension_of_trace(trace, name), value);
                }
                MetricView::Spans => {
                    for span in self.spans(&trace.trace_id)?.iter().filter(|span| only.iter().all(|o| o.span(span))) {
                        let value = number_of_span(span, &asked.metric);
                        groups.add(trace, |name| dimension_of_span(span, name), value);
                    }
                }
                MetricView::Assessments => {
                    let valid = trace.assessments.iter().filter(|assessment| assessment.valid);
                    for assessment in valid.filter(|assessment| only.iter().all(|o| o.assessment(assessment))) {
                        let value = number_of_assessment(assessment, &asked.metric);
                        groups.add(trace, |name| dimension_of_assessment(assessment, name), value);
                    }
                }
            }
        }
        Ok(groups.sorted())
    }
}

impl Only {
    /// `span.name = 'x'`, `assessment.type = "y"`.
    fn read(filter: &str, view: MetricView) -> Result<Self, TrackingError> {
        let (kind, wanted) = match view {
            MetricView::Traces => ("trace", &["status", "tag", "metadata"][..]),
            MetricView::Spans => ("span", &["name", "status", "type"][..]),
            MetricView::Assessments => ("assessment", &["name", "type"][..]),
        };
        let invalid = || {
            let message = format!("Invalid filter: '{}'. Compare {kind}.{} with a text by =.", cut(filter), wanted[0]);
            TrackingError::Invalid(message)
        };
        let (field, value) = filter.split_once('=').ok_or_else(invalid)?;
        let field = field.trim().strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')).ok_or_else(invalid)?;
        let value = value.trim();
        let quoted = ['\'', '"'].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).ok_or_else(invalid)?;
        if view == MetricView::Traces || !wanted.contains(&field) {
            return Err(invalid());
        }
        Ok(Self { field: field.to_owned(), value: quoted.to_owned() })
    }

    fn span(&self, span: &Span) -> bool {
        match self.field.as_str() {
            "name" => span.name == self.value,
            "status" => span.status == self.value,
            _ => span.kind.as_deref() == Some(&self.value),
        }
    }

    fn assessment(&self, assessment: &Assessment) -> bool {
        match self.field.as_str() {
            "name" => assessment.name == self.value,
            _ => assessment.kind == self.value,
        }
    }
}

struct Groups<'a> {
    asked: &'a TraceMetrics,
    found: BTreeMap<(Option<i64>, Vec<String>), Vec<f64>>,
}

impl Groups<'_> {
    /// Adds a number, unless there is none, or something of what it is is not known.
    fn add(&mut self, trace: &TraceInfo, dimension: impl Fn(&str) -> Option<String>, value: Option<f64>) {
        let Some(value) = value else { return };
        let dimensions: Option<Vec<String>> = self.asked.dimensions.iter().map(|name| dimension(name)).collect();
        let Some(dimensions) = dimensions else { return };
        let millis = trace.request.div_euclid(1_000);
        let bucket = self.asked.interval.map(|interval| millis.div_euclid(interval) * interval);
        self.found.entry((bucket, dimensions)).or_default().push(value);
    }

    fn sorted(self) -> Vec<MetricGroup> {
        let names = &self.asked.dimensions;
        self.found
            .into_iter()
            .map(|((bucket, dimensions), values)| {
                let dimensions = names.iter().cloned().zip(dimensions).collect();
                MetricGroup { bucket, dimensions, values }
            })
            .collect()
    }
}

fn of<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

/// A number of a JSON object in text.
fn member(object: Option<&str>, name: &str) -> Option<f64> {
    serde_json::from_str::<Json>(object?).ok()?.get(name)?.as_f64()
}

fn number_of_trace(trace: &TraceInfo, metric: &str) -> Option<f64> {
    match metric {
        "trace_count" => Some(1.0),
        "latency" => trace.duration.map(|micros| micros.div_euclid(1_000) as f64),
        tokens => member(of(&trace.metadata, USAGE_KEY), tokens),
    }
}

fn dimension_of_trace(trace: &TraceInfo, name: &str) -> Option<String> {
    match name {
        "trace_status" => Some(trace.state.clone()),
        _ => of(&trace.tags, NAME_TAG).map(str::to_owned),
    }
}

fn number_of_span(span: &Span, metric: &str) -> Option<f64> {
    match metric {
        "span_count" => Some(1.0),
        "latency" => span.end_ns.map(|end| (end - span.start_ns) as f64 / 1e6),
        cost => member(span.cost.as_deref(), cost),
    }
}

fn dimension_of_span(span: &Span, name: &str) -> Option<String> {
    match name {
        "span_name" => Some(span.name.clone()),
        "span_status" => Some(span.status.clone()),
        "span_type" => span.kind.clone(),
        model => attribute(span, if model == "span_model_name" { "mlflow.llm.model" } else { "mlflow.llm.provider" }),
    }
}

/// An attribute of a span that is a text; attributes are JSON in text.
fn attribute(span: &Span, name: &str) -> Option<String> {
    let content: Json = serde_json::from_str(&span.content).ok()?;
    let value = content.get("attributes")?.get(name)?;
    match value.as_str().map(serde_json::from_str) {
        Some(Ok(Json::String(text))) => Some(text),
        _ => value.as_str().map(str::to_owned),
    }
}

fn number_of_assessment(assessment: &Assessment, metric: &str) -> Option<f64> {
    if metric == "assessment_count" {
        return Some(1.0);
    }
    match serde_json::from_str(&assessment.value).ok()? {
        Json::Bool(flag) => Some(f64::from(u8::from(flag))),
        Json::Number(number) => number.as_f64(),
        Json::String(word) if word == "yes" => Some(1.0),
        Json::String(word) if word == "no" => Some(0.0),
        _ => None,
    }
}

fn dimension_of_assessment(assessment: &Assessment, name: &str) -> Option<String> {
    Some(if name == "assessment_name" { assessment.name.clone() } else { assessment.value.clone() })
}
