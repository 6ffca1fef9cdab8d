//! Histories of metrics.

use plinth_tracking::TrackingError;
use serde_json::json;

use super::{Answer, Call, MlflowError, Need, Route, Thing, page, wire::MetricWire};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/mlflow/metrics/get-history", Need::Read(Thing::Run), history),
    Route::get("/mlflow/metrics/get-history-bulk", Need::Read(Thing::All), bulk),
    Route::get("/mlflow/metrics/get-history-bulk-interval", Need::Read(Thing::All), interval),
];

/// Runs that one request may ask for.
const RUNS_MAX: usize = 100;
/// Points that one request for many runs may get.
const BULK_POINTS_MAX: i64 = 25_000;
/// Points of each run that a plot gets unless it asks for another number.
const INTERVAL_POINTS: i64 = 320;
/// The most it may ask for.
const INTERVAL_POINTS_MAX: i64 = 2_500;

fn history(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let run_id = fields.run_id()?;
    let most =
        fields.int("max_results")?.map(|most| most.clamp(0, i64::from(call.tracking.limits().history_points_max)));
    let skip = page::start(fields.text("page_token")?)?;
    let found =
        call.tracking.metric_page(run_id, fields.required("metric_key")?, skip, most.map(|most| most as u64))?;
    let metrics: Vec<_> = found.points.iter().map(|metric| MetricWire::of_run(metric, run_id)).collect();
    let mut answer = json!({"metrics": metrics});
    if let Some(next) = found.next {
        answer["next_page_token"] = page::token(next).into();
    }
    Answer::of(&answer)
}

fn bulk(call: &Call<'_>) -> Outcome {
    let runs = run_ids(call, "run_id")?;
    let key = call.fields.required("metric_key")?;
    let most = call.fields.int("max_results")?.unwrap_or(BULK_POINTS_MAX).clamp(0, BULK_POINTS_MAX) as usize;
    let mut found = Vec::new();
    for run_id in runs.iter().take(RUNS_MAX) {
        let left = (most - found.len()) as u64;
        let points = points(call, run_id, key, Some(left))?;
        found.extend(points.into_iter().map(|metric| (run_id, metric)));
    }
    let metrics: Vec<_> = found.iter().map(|(run_id, metric)| MetricWire::of_run(metric, run_id)).collect();
    Answer::of(&json!({"metrics": metrics}))
}

/// A run that is not there has no points.
fn points(
    call: &Call<'_>,
    run_id: &str,
    key: &str,
    most: Option<u64>,
) -> Result<Vec<plinth_tracking::Metric>, MlflowError> {
    match call.tracking.metric_page(run_id, key, 0, most) {
        Err(TrackingError::RunNotFound(_)) => Ok(Vec::new()),
        found => Ok(found?.points),
    }
}

/// Points at steps that all the runs share, so that their curves can be compared, thinned to a number that a plot can
/// show; first and last are always among them.
fn interval(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let runs = run_ids(call, "run_ids")?;
    if runs.len() > RUNS_MAX {
        let message = format!(
            "GetMetricHistoryBulkInterval request must specify at most {RUNS_MAX} run_ids. Received {} run_ids.",
            runs.len()
        );
        return Err(MlflowError::invalid(message));
    }
    let key = fields.required("metric_key")?;
    let (start, end) = (fields.int("start_step")?, fields.int("end_step")?);
    if start.is_some() != end.is_some() {
        return Err(MlflowError::invalid("If either start step or end step are specified, both must be specified."));
    }
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        let message = format!("end_step must be greater than start_step. Found start_step={start} and end_step={end}.");
        return Err(MlflowError::invalid(message));
    }
    let most = fields.int("max_results")?.unwrap_or(INTERVAL_POINTS);
    if !(1..=INTERVAL_POINTS_MAX).contains(&most) {
        let message = format!("max_results must be between 1 and {INTERVAL_POINTS_MAX}.");
        return Err(MlflowError::invalid(message));
    }
    let mut histories = Vec::new();
    for run_id in &runs {
        let mut found = points(call, run_id, key, None)?;
        found.retain(|point| start.is_none_or(|s| point.step >= s) && end.is_none_or(|e| point.step <= e));
        histories.push((run_id, found));
    }
    let steps = thinned(&histories, most as usize);
    let mut metrics = Vec::new();
    for (run_id, history) in &histories {
        let (first, last) = (history.iter().map(|p| p.step).min(), history.iter().map(|p| p.step).max());
        let wanted = history
            .iter()
            .filter(|p| steps.binary_search(&p.step).is_ok() || Some(p.step) == first || Some(p.step) == last);
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by_key(|point| (point.step, point.time));
        metrics.extend(wanted.into_iter().map(|point| MetricWire::of_run(point, run_id)));
    }
    Answer::of(&json!({"metrics": metrics}))
}

/// Steps of all histories, at most `most`, evenly spread.
fn thinned(histories: &[(&String, Vec<plinth_tracking::Metric>)], most: usize) -> Vec<i64> {
    let mut steps: Vec<i64> = histories.iter().flat_map(|(_, points)| points.iter().map(|p| p.step)).collect();
    steps.sort_unstable();
    steps.dedup();
    if steps.len() <= most {
        return steps;
    }
    let stride = steps.len() as f64 / most as f64;
    let mut chosen: Vec<i64> = (0..most).map(|at| steps[(at as f64 * stride) as usize]).collect();
    chosen.extend(steps.last());
    chosen.dedup();
    chosen
}

fn run_ids(call: &Call<'_>, field: &str) -> Result<Vec<String>, MlflowError> {
    let runs = call.fields.texts(field)?;
    if runs.is_empty() {
        return Err(MlflowError::invalid(format!("GetMetricHistoryBulk request must specify at least one {field}.")));
    }
    Ok(runs)
}
