//! `plinth metrics`

use std::process::ExitCode;

use plinth_tracking::{Run, Tracking};
use serde_json::json;

use super::{args::MetricsCommand, names, page, plot, print, show};
use crate::{
    host::Host,
    models::day,
    output::{Failure, Output, table},
};

/// `plinth metrics`
pub(crate) fn metrics(command: &MetricsCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    match command {
        MetricsCommand::History { run, key, page } => {
            let run = tracking.run(&names::run(tracking, run)?.run_id)?;
            known(&[&run], key)?;
            let id = &run.summary.run_id;
            let found = tracking.metric_page(id, key, page::skip(page)?, Some(u64::from(page.limit)))?;
            let mut value = page::json("points", found.points.iter().map(show::point), found.next);
            value["run_id"] = json!(id);
            value["key"] = json!(key);
            let code = print(output, &value, || {
                let rows = found
                    .points
                    .iter()
                    .map(|point| vec![point.step.to_string(), show::short(point.value), day(point.time)]);
                table(["step", "value", "time"], rows)
            })?;
            page::more(output, found.next);
            Ok(code)
        }
        MetricsCommand::Plot { words, key, x, width, height } => {
            let (runs, keys) = sort_out(tracking, words, key)?;
            plot::plot(tracking, &runs, &keys, plot::Look { x: *x, width: *width, height: *height }, output)
        }
    }
}

/// Which words are runs and which are metrics. The first is a run; a word after it is a metric if a run so far has one
/// of that name. Where metrics are given as such, every word is a run.
fn sort_out(tracking: &Tracking, words: &[String], keys: &[String]) -> Result<(Vec<Run>, Vec<String>), Failure> {
    let mut runs: Vec<Run> = Vec::new();
    let mut found: Vec<String> = Vec::new();
    for word in words {
        if keys.is_empty() && runs.iter().any(|run| run.metric(word).is_some()) {
            if !found.contains(word) {
                found.push(word.clone());
            }
            continue;
        }
        let run = match names::find_run(tracking, word)? {
            Some(run) => run,
            // More likely a metric with a slip in it, unless it comes first.
            None if keys.is_empty() && !runs.is_empty() => return Err(unknown(&runs.iter().collect::<Vec<_>>(), word)),
            None => names::run(tracking, word)?,
        };
        if !runs.iter().any(|known| known.summary.run_id == run.run_id) {
            runs.push(tracking.run(&run.run_id)?);
        }
    }
    let all: Vec<&Run> = runs.iter().collect();
    for key in keys {
        known(&all, key)?;
        found.push(key.clone());
    }
    if found.is_empty() {
        return Err(Failure {
            code: plinth_core::codes::USAGE,
            message: "no metric is named".into(),
            ..unknown(&all, "")
        });
    }
    Ok((runs, found))
}

/// Fails unless one of the runs has the metric.
fn known(runs: &[&Run], key: &str) -> Result<(), Failure> {
    if runs.iter().any(|run| run.metric(key).is_some()) { Ok(()) } else { Err(unknown(runs, key)) }
}

fn unknown(runs: &[&Run], key: &str) -> Failure {
    let mut keys: Vec<String> = runs.iter().flat_map(|run| run.metrics.iter().map(|m| m.key.clone())).collect();
    keys.sort_unstable();
    keys.dedup();
    names::unknown_metric(key, &keys)
}
