//! `plinth run watch`: what a run logs, as it arrives.
//!
//! Looks at the catalog's change counter, which costs nothing, and at the run only when something changed. What was
//! logged before is told by its latest values only.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use plinth_core::codes;
use plinth_tracking::{Lifecycle, Metric, Run, Status, Tracking};
use serde_json::{Value, json};

use super::{names::unknown_metric, show};
use crate::{
    models::day,
    output::{Failure, Output, io_failure},
    run::{CANCEL, stop_on_ctrl_c},
};

/// How long ctrl-C may go unnoticed.
const NAP: Duration = Duration::from_millis(50);
/// Points of a metric that are told at once.
const POINTS: u32 = 10_000;

/// What was told already.
#[derive(Default)]
struct Seen {
    /// The last point by metric.
    metrics: BTreeMap<String, Metric>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    /// Whether the head was told.
    head: bool,
}

/// `plinth run watch`
pub(super) fn watch(
    tracking: &Tracking,
    run_id: &str,
    only: &[String],
    interval: Duration,
    exit_status: bool,
    output: Output,
) -> Result<ExitCode, Failure> {
    stop_on_ctrl_c();
    let mut seen = Seen::default();
    let mut counter = None;
    loop {
        // Read before the run: what changes meanwhile is seen the next time.
        let now = tracking.store().catalog().change_counter()?;
        if counter.replace(now) != Some(now) {
            let run = tracking.run(run_id)?;
            let ended = !matches!(run.summary.status, Status::Running | Status::Scheduled);
            if ended && !seen.head {
                known(&run, only)?;
            }
            let told = news(tracking, &run, only, &mut seen)?;
            match write(&told, output) {
                // Whoever read has enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written.map_err(|error| io_failure("stdout", &error))?,
            }
            if run.summary.lifecycle == Lifecycle::Deleted {
                return Err(Failure::new(codes::INVALID_STATE, format!("run {run_id} was deleted"))
                    .hint("`plinth run restore` brings it back"));
            }
            if ended {
                return end(&run, only, exit_status);
            }
        }
        let looked = Instant::now();
        while looked.elapsed() < interval.max(NAP) {
            if CANCEL.is_stopped() {
                return Err(Failure::new(codes::INTERRUPTED, "stopped watching; the run goes on"));
            }
            std::thread::sleep(NAP);
        }
    }
}

/// Nothing more comes of a run that has ended: it has the metrics, or it never will.
fn known(run: &Run, only: &[String]) -> Result<(), Failure> {
    let Some(key) = only.iter().find(|key| run.metric(key).is_none()) else { return Ok(()) };
    let keys: Vec<String> = run.metrics.iter().map(|metric| metric.key.clone()).collect();
    Err(unknown_metric(key, &keys))
}

fn end(run: &Run, only: &[String], exit_status: bool) -> Result<ExitCode, Failure> {
    known(run, only)?;
    if exit_status && run.summary.status != Status::Finished {
        let message = format!("run {} ended as {}", run.summary.run_id, run.summary.status.name());
        return Err(Failure::new(codes::INVALID_STATE, message).hint("--exit-status asks for it"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What has not been told yet: an object for programs, a line for people.
fn news(tracking: &Tracking, run: &Run, only: &[String], seen: &mut Seen) -> Result<Vec<(Value, String)>, Failure> {
    let mut told = Vec::new();
    let head = &run.summary;
    let first = !std::mem::replace(&mut seen.head, true);
    if first {
        let value = event("run", json!(head));
        let line = format!("run {} ({}), {}, started {}", head.run_id, head.name, show::status(head), day(head.start));
        told.push((value, line));
    }
    let mut pairs = |kind: &str, now: &BTreeMap<String, String>, before: &mut BTreeMap<String, String>| {
        for (key, value) in now.iter().filter(|(key, _)| !key.starts_with("mlflow.")) {
            if before.get(key) != Some(value) {
                let line = format!("{kind} {key} = {}", show::head(value, 200));
                told.push((json!({"event": kind, "key": key, "value": value}), line));
            }
        }
        before.clone_from(now);
    };
    pairs("param", &run.params, &mut seen.params);
    pairs("tag", &run.tags, &mut seen.tags);
    let mut points = Vec::new();
    for latest in run.metrics.iter().filter(|metric| only.is_empty() || only.contains(&metric.key)) {
        match seen.metrics.get(&latest.key) {
            None if first => points.push(Metric {
                key: latest.key.clone(),
                value: latest.value,
                time: latest.time,
                step: latest.step,
                model: None,
            }),
            last => points.extend(tracking.metric_points_after(&head.run_id, &latest.key, last, POINTS)?),
        }
    }
    // As they came, whichever metric they belong to.
    points.sort_by_key(|point| (point.time, point.step));
    for point in points {
        let value = event("metric", show::point(&point));
        let line = format!("{}  {} {}  step {}", day(point.time), point.key, show::short(point.value), point.step);
        told.push((value, line));
        seen.metrics.insert(point.key.clone(), point);
    }
    if !matches!(head.status, Status::Running | Status::Scheduled) {
        let value = event("end", json!(head));
        told.push((value, format!("{} after {}", show::status(head), show::took(head))));
    }
    Ok(told)
}

/// An object that starts with what it tells of.
fn event(kind: &str, value: Value) -> Value {
    let mut event = json!({"event": kind});
    if let (Value::Object(event), Value::Object(value)) = (&mut event, value) {
        event.extend(value);
    }
    event
}

fn write(told: &[(Value, String)], output: Output) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for (value, line) in told {
        if output.json {
            writeln!(stdout, "{value}")?;
        } else {
            writeln!(stdout, "{line}")?;
        }
    }
    stdout.flush()
}
