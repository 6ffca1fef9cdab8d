//! What is written to the servers: the same for each of them.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::load;

/// A metric's value in a run, somewhere between 0 and 1.
fn value(run: usize, metric: usize) -> f64 {
    ((run * 7919 + metric * 104_729) % 10_007) as f64 / 10_007.0
}

/// Posts JSON to one of MLflow's endpoints.
pub(super) fn post(port: u16, path: &str, body: &Value) -> Result<Value> {
    let answer = load::once(port, "POST", &format!("/api/2.0/mlflow/{path}"), &body.to_string())?;
    serde_json::from_slice(&answer).with_context(|| format!("the answer of {path}"))
}

/// A new experiment; its id.
pub(super) fn experiment(port: u16, name: &str) -> Result<String> {
    let made = post(port, "experiments/create", &json!({"name": name}))?;
    Ok(made["experiment_id"].as_str().context("the experiment's id")?.to_owned())
}

/// A new run; its id.
pub(super) fn run(port: u16, experiment: &str, start: usize) -> Result<String> {
    let body = json!({"experiment_id": experiment, "start_time": start, "run_name": format!("run {start}")});
    let made = post(port, "runs/create", &body)?;
    Ok(made["run"]["info"]["run_id"].as_str().context("the run's id")?.to_owned())
}

/// Runs of ten metrics and ten parameters each.
pub(super) fn fill_runs(port: u16, experiment: &str, runs: usize) -> Result<()> {
    const WRITERS: usize = 8;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || (writer..runs).step_by(WRITERS).try_for_each(|at| full_run(port, experiment, at)))
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
    })
}

fn full_run(port: u16, experiment: &str, at: usize) -> Result<()> {
    let run = run(port, experiment, 1_000 + at)?;
    let metrics: Vec<_> =
        (0..10).map(|k| json!({"key": format!("m{k}"), "value": value(at, k), "timestamp": 1, "step": 0})).collect();
    let params: Vec<_> =
        (0..10).map(|k| json!({"key": format!("p{k}"), "value": format!("v{}", (at + k) % 10)})).collect();
    post(port, "runs/log-batch", &json!({"run_id": run, "metrics": metrics, "params": params})).map(drop)
}

/// A run with a metric of so many points; its id.
pub(super) fn fill_history(port: u16, experiment: &str, points: usize) -> Result<String> {
    let run = run(port, experiment, 1)?;
    for first in (0..points).step_by(1_000) {
        post(port, "runs/log-batch", &serde_json::from_str(&batch(&run, "loss", first, 1_000))?)?;
    }
    Ok(run)
}

/// A batch of points of one metric. FastTrackML takes a time of 0 for none.
pub(super) fn batch(run: &str, key: &str, first: usize, points: usize) -> String {
    let metrics: Vec<_> = (first..first + points)
        .map(|at| format!(r#"{{"key":"{key}","value":{},"timestamp":{},"step":{at}}}"#, at as f64 / 7.0, at + 1))
        .collect();
    format!(r#"{{"run_id":"{run}","metrics":[{}]}}"#, metrics.join(","))
}
