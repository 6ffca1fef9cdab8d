//! Numbers of many traces, as the overview of MLflow's web interface draws them.

use chrono::DateTime;
use plinth_tracking::{MetricGroup, MetricView, TraceMetrics};
use serde_json::{Map, Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route,
    fields::{Fields, float, missing},
};

pub(super) const ROUTES: &[Route] = &[Route::post("/mlflow/traces/metrics", Need::Narrow, query)];

/// Groups of an answer, unless another number is asked for.
const GROUPS: i64 = 1_000;

/// A number that may be asked for, by what, and in which dimensions.
struct Metric {
    view: MetricView,
    name: &'static str,
    aggregations: &'static [&'static str],
    dimensions: &'static [&'static str],
}

const COUNT: &[&str] = &["COUNT"];
const SPREAD: &[&str] = &["AVG", "MAX", "MIN", "PERCENTILE"];
const TOTALS: &[&str] = &["AVG", "MAX", "MIN", "PERCENTILE", "SUM"];
const MODEL: &[&str] = &["span_model_name", "span_model_provider"];
const OF_SPANS: &[&str] = &["span_model_name", "span_model_provider", "span_name", "span_status", "span_type"];
const NAME: &[&str] = &["trace_name"];

const fn metric(
    view: MetricView,
    name: &'static str,
    aggregations: &'static [&'static str],
    dimensions: &'static [&'static str],
) -> Metric {
    Metric { view, name, aggregations, dimensions }
}

const METRICS: &[Metric] = &[
    metric(MetricView::Traces, "trace_count", COUNT, &["trace_name", "trace_status"]),
    metric(MetricView::Traces, "session_count", COUNT, &[]),
    metric(MetricView::Traces, "latency", SPREAD, NAME),
    metric(MetricView::Traces, "input_tokens", TOTALS, NAME),
    metric(MetricView::Traces, "output_tokens", TOTALS, NAME),
    metric(MetricView::Traces, "total_tokens", TOTALS, NAME),
    metric(MetricView::Traces, "cache_read_input_tokens", TOTALS, NAME),
    metric(MetricView::Traces, "cache_creation_input_tokens", TOTALS, NAME),
    metric(MetricView::Spans, "span_count", COUNT, OF_SPANS),
    metric(MetricView::Spans, "latency", SPREAD, &["span_name", "span_status"]),
    metric(MetricView::Spans, "input_cost", TOTALS, MODEL),
    metric(MetricView::Spans, "output_cost", TOTALS, MODEL),
    metric(MetricView::Spans, "total_cost", TOTALS, MODEL),
    metric(MetricView::Assessments, "assessment_count", COUNT, &["assessment_name", "assessment_value"]),
    metric(MetricView::Assessments, "assessment_value", SPREAD, &["assessment_name"]),
];

/// One number of a group.
enum Aggregation {
    Count,
    Sum,
    Mean,
    Least,
    Most,
    Percentile(f64),
}

fn query(call: &Call<'_>) -> Result<Answer, MlflowError> {
    let fields = &call.fields;
    let experiment_ids = fields.texts("experiment_ids")?;
    if experiment_ids.is_empty() {
        return Err(missing("experiment_ids"));
    }
    let metric = known(view(fields)?, fields.required("metric_name")?)?;
    let aggregations = aggregations(fields, metric)?;
    let dimensions = fields.texts("dimensions")?;
    refuse("dimension(s)", "dimensions", &dimensions, metric.dimensions)?;
    let interval = fields.int("time_interval_seconds")?.filter(|seconds| *seconds != 0);
    let (start, end) = (fields.int("start_time_ms")?, fields.int("end_time_ms")?);
    if interval.is_some() && (start.is_none() || end.is_none()) {
        let message = "start_time_ms and end_time_ms are required if time_interval_seconds is set";
        return Err(MlflowError::invalid(message));
    }
    let most = fields.int("max_results")?.unwrap_or(GROUPS).clamp(0, GROUPS) as usize;
    let groups = call.tracking.trace_metrics(&TraceMetrics {
        experiment_ids: call.visible(experiment_ids)?,
        view: metric.view,
        metric: metric.name.to_owned(),
        dimensions,
        filters: fields.texts("filters")?,
        // A time of no or of less than no length, or of more than there is, is none.
        interval: interval.and_then(|seconds| seconds.checked_mul(1_000)).filter(|millis| *millis > 0),
        start,
        end,
    })?;
    let points: Vec<Value> = groups.iter().take(most).map(|group| point(metric.name, group, &aggregations)).collect();
    Answer::of(&if points.is_empty() { json!({}) } else { json!({"data_points": points}) })
}

/// By name, or by MLflow's number for it.
fn view(fields: &Fields) -> Result<MetricView, MlflowError> {
    match fields.get("view_type").ok_or_else(|| missing("view_type"))? {
        Value::String(name) if name == "TRACES" => Ok(MetricView::Traces),
        Value::String(name) if name == "SPANS" => Ok(MetricView::Spans),
        Value::String(name) if name == "ASSESSMENTS" => Ok(MetricView::Assessments),
        Value::Number(number) if number.as_i64() == Some(1) => Ok(MetricView::Traces),
        Value::Number(number) if number.as_i64() == Some(2) => Ok(MetricView::Spans),
        Value::Number(number) if number.as_i64() == Some(3) => Ok(MetricView::Assessments),
        other => Err(MlflowError::invalid(format!(
            "view_type must be one of ['TRACES', 'SPANS', 'ASSESSMENTS'], got {other}"
        ))),
    }
}

fn known(view: MetricView, name: &str) -> Result<&'static Metric, MlflowError> {
    METRICS.iter().find(|metric| metric.view == view && metric.name == name).ok_or_else(|| {
        let names = METRICS.iter().filter(|metric| metric.view == view).map(|metric| metric.name);
        MlflowError::invalid(format!("metric_name must be one of {}, got '{name}'", quoted(names)))
    })
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "))
}

fn refuse(what: &str, plural: &str, given: &[String], known: &[&str]) -> Result<(), MlflowError> {
    let mut unknown: Vec<&str> = given.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    if unknown.is_empty() {
        return Ok(());
    }
    let (unknown, known) = (quoted(unknown.into_iter()), quoted(known.iter().copied()));
    Err(MlflowError::invalid(format!("Found invalid {what}: {unknown}. Supported {plural}: {known}")))
}

fn aggregations(fields: &Fields, metric: &Metric) -> Result<Vec<(String, Aggregation)>, MlflowError> {
    let given = fields.list("aggregations")?;
    if given.is_empty() {
        return Err(missing("aggregations"));
    }
    let names: Vec<String> = given
        .iter()
        .map(|one| one.get("aggregation_type").and_then(Value::as_str).unwrap_or_default().to_owned())
        .collect();
    refuse("aggregation_type(s)", "aggregation types", &names, metric.aggregations)?;
    let read = |(one, name): (&Value, String)| {
        let at = one.get("percentile_value").filter(|value| !value.is_null());
        let aggregation = match (name.as_str(), at.map(|value| float(value).ok_or(value))) {
            ("PERCENTILE", Some(Ok(at))) if (0.0..=100.0).contains(&at) => {
                return Ok((format!("P{at:?}"), Aggregation::Percentile(at)));
            }
            ("PERCENTILE", Some(_)) => {
                return Err(MlflowError::invalid("Percentile value must be between 0 and 100"));
            }
            ("PERCENTILE", None) => {
                return Err(MlflowError::invalid("Percentile value is required for PERCENTILE aggregation"));
            }
            ("SUM", _) => Aggregation::Sum,
            ("AVG", _) => Aggregation::Mean,
            ("MIN", _) => Aggregation::Least,
            ("MAX", _) => Aggregation::Most,
            _ => Aggregation::Count,
        };
        Ok((name, aggregation))
    };
    given.iter().zip(names).map(read).collect()
}

fn point(metric: &str, group: &MetricGroup, aggregations: &[(String, Aggregation)]) -> Value {
    let mut sorted = group.values.clone();
    sorted.sort_by(f64::total_cmp);
    let mut values = Map::new();
    for (name, aggregation) in aggregations {
        values.insert(name.clone(), json!(aggregation.of(&sorted)));
    }
    let mut dimensions: Map<String, Value> =
        group.dimensions.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    if let Some(time) = group.bucket.and_then(DateTime::from_timestamp_millis) {
        dimensions.insert("time_bucket".to_owned(), time.to_rfc3339().into());
    }
    let mut point = json!({"metric_name": metric, "values": values});
    if !dimensions.is_empty() {
        point["dimensions"] = dimensions.into();
    }
    point
}

impl Aggregation {
    /// Of numbers that are sorted, of which there is at least one.
    fn of(&self, sorted: &[f64]) -> f64 {
        let count = sorted.len() as f64;
        match self {
            Self::Count => count,
            Self::Sum => sorted.iter().sum(),
            Self::Mean => sorted.iter().sum::<f64>() / count,
            Self::Least => sorted.first().copied().unwrap_or_default(),
            Self::Most => sorted.last().copied().unwrap_or_default(),
            Self::Percentile(at) => {
                // Between the two that are nearest to it.
                let place = at / 100.0 * (count - 1.0);
                let low = sorted.get(place.floor() as usize).copied().unwrap_or_default();
                let high = sorted.get(place.ceil() as usize).copied().unwrap_or_default();
                low + (high - low) * place.fract()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_nearest_numbers() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (at, wanted) in [(0.0, 1.0), (50.0, 3.0), (75.0, 5.0), (100.0, 8.0)] {
            assert!((Aggregation::Percentile(at).of(&sorted) - wanted).abs() < 1e-12, "{at}");
        }
        assert!((Aggregation::Percentile(90.0).of(&[7.0]) - 7.0).abs() < 1e-12);
    }
}
