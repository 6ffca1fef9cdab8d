//! Histories of metrics.

use plinth_tracking::{Metric, TrackingError};
use serde_json::json;

use super::{Answer, Call, MlflowError, Need, Route, Thing, fields::SEE, page, wire::MetricWire};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/mlflow/metrics/get-history", Need::Read(Thing::Run), history),
    Route::get("/mlflow/metrics/get-history-bulk", Need::Narrow, bulk),
    Route::get("/mlflow/metrics/get-history-bulk-interval", Need::Narrow, interval),
];

/// Runs that one request may ask for.
const RUNS_MAX: usize = 100;
/// Points that one request for many runs may get.
const BULK_POINTS_MAX: i64 = 25_000;
/// Points of each run that a plot gets, unless it asks for fewer.
const INTERVAL_POINTS_MAX: i64 = 2_500;

fn history(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let points_max = i64::from(call.tracking.limits().history_points_max);
    let most = match fields.int("max_results")? {
        Some(most) if most < 1 => {
            return Err(MlflowError::invalid(format!(
                "Invalid value {most} for parameter 'max_results' supplied. It must be a positive integer."
            )));
        }
        most => most.map(|most| most.min(points_max) as u64),
    };
    let skip = page::start(fields.text("page_token")?)?;
    let key = fields.required("metric_key")?;
    let mut metrics = page::Listing::new("metrics");
    let write = &mut |point: &plinth_tracking::Metric| metrics.push(&MetricWire::of(point));
    match call.tracking.each_point(fields.run_id()?, key, skip, most, write) {
        // A run that is not there has no points.
        Err(TrackingError::RunNotFound(_)) => Ok(Answer::empty()),
        next => metrics.end(next?.map(page::token)),
    }
}

fn bulk(call: &Call<'_>) -> Outcome {
    let mut runs = call.fields.texts("run_id")?;
    if runs.is_empty() {
        return Err(MlflowError::invalid("GetMetricHistoryBulk request must specify at least one run_id."));
    }
    if runs.len() > RUNS_MAX {
        return Err(MlflowError::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {RUNS_MAX} run_ids. Received {} run_ids.",
            runs.len()
        )));
    }
    runs.sort_unstable();
    let Some(key) = call.fields.text("metric_key")? else {
        return Err(MlflowError::invalid("GetMetricHistoryBulk request must specify a metric_key."));
    };
    let most = call.fields.int("max_results")?.unwrap_or(BULK_POINTS_MAX).clamp(0, BULK_POINTS_MAX) as usize;
    let mut found = Vec::new();
    may_read(call, &runs)?;
    for run_id in &runs {
        let left = (most - found.len()) as u64;
        let points = of_a_run(call.tracking.metric_page(run_id, key, 0, Some(left)).map(|page| page.points))?;
        found.extend(points.into_iter().map(|metric| (run_id, metric)));
    }
    let metrics: Vec<_> = found.iter().map(|(run_id, metric)| MetricWire::of_run(metric, run_id)).collect();
    Answer::of(&json!({"metrics": metrics}))
}

fn may_read(call: &Call<'_>, runs: &[String]) -> Result<(), MlflowError> {
    runs.iter().try_for_each(|run_id| call.must(Need::Read(Thing::Run), "run_id", run_id))
}

/// A run that is not there has no points.
fn of_a_run(found: Result<Vec<Metric>, TrackingError>) -> Result<Vec<Metric>, MlflowError> {
    match found {
        Err(TrackingError::RunNotFound(_)) => Ok(Vec::new()),
        found => Ok(found?),
    }
}

/// Of each run as many points as a plot can show.
fn interval(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let runs = fields.texts("run_ids")?;
    if runs.len() > RUNS_MAX {
        let message = format!(
            "GetMetricHistoryBulkInterval request must specify at most {RUNS_MAX} run_ids. Received {} \
             run_ids.{SEE}",
            runs.len()
        );
        return Err(MlflowError::invalid(message));
    }
    let key = fields.required("metric_key")?;
    let steps = match (fields.int("start_step")?, fields.int("end_step")?) {
        (Some(start), Some(end)) if start > end => {
            let message =
                format!("end_step must be greater than start_step. Found start_step={start} and end_step={end}.");
            return Err(MlflowError::invalid(message));
        }
        (Some(start), Some(end)) => Some((start, end)),
        (None, None) => None,
        _ => {
            let message = "If either start step or end step are specified, both must be specified.";
            return Err(MlflowError::invalid(message));
        }
    };
    let most = fields.int("max_results")?.unwrap_or(INTERVAL_POINTS_MAX);
    if !(1..=INTERVAL_POINTS_MAX).contains(&most) {
        let message = format!("max_results must be between 1 and {INTERVAL_POINTS_MAX}.{SEE}");
        return Err(MlflowError::invalid(message));
    }
    may_read(call, &runs)?;
    let mut found = Vec::new();
    for run_id in &runs {
        let points = of_a_run(call.tracking.metric_sample(run_id, key, steps, most as u32))?;
        found.extend(points.into_iter().map(|metric| (run_id, metric)));
    }
    let metrics: Vec<_> = found.iter().map(|(run_id, metric)| MetricWire::of_run(metric, run_id)).collect();
    page::answer("metrics", &metrics, None)
}
