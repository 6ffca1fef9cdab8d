//! `plinth run`: a pipeline file, with what happens shown as it happens.

use std::{
    collections::HashMap,
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use comfy_table::{Cell, Color};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use plinth_core::{closest, codes};
use plinth_pipeline::{
    Cancel, Graph, Observer, Overrides, Pipeline, PipelineError, Report, RunOptions, StageFailure, StageReport,
};
use serde_json::{Value, json};

use crate::{
    args::RunArgs,
    config::Settings,
    host::Host,
    output::{Failure, Output, bars, io_failure, table},
    record::Recorder,
    stages,
    tracked::args::RUN_VERBS,
};

/// Set by ctrl-C and SIGTERM; there is one for the process, as there is one keyboard.
pub(crate) static CANCEL: Cancel = Cancel::new();

/// `plinth run`
pub(crate) fn run(args: &RunArgs, settings: Settings, output: Output) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    // Before anything is written, so that ctrl-C always ends in the same orderly way.
    stop_on_ctrl_c();
    let overrides = Overrides { params: args.param.clone(), settings: args.set.clone() };
    let pipeline = Pipeline::read(&args.file, &overrides).map_err(|error| meant_a_verb(&args.file, failure(error)))?;
    let host = Arc::new(Host::open(settings, args.device.as_deref(), Some("plinth run"))?);
    let options = RunOptions { only: args.stage.as_deref(), force: args.force };
    let report = execute(&host, &pipeline, &options, output)?;
    show(&report, start.elapsed(), output)?;
    Ok(ExitCode::SUCCESS)
}

/// A file that is not there may be a verb with a slip in it, or one that stands in the wrong place.
fn meant_a_verb(file: &Path, told: Failure) -> Failure {
    let Some(word) = file.to_str().filter(|_| told.code == codes::FILE_NOT_FOUND) else { return told };
    if RUN_VERBS.contains(&word) {
        return told.hint(format!("write the verb right after `run`, as in `plinth run {word} --json`"));
    }
    match closest(word, RUN_VERBS) {
        Some(verb) => told.hint(format!("did you mean `plinth run {verb}`?")),
        None => told,
    }
}

/// Runs a pipeline and records the run; what happens is said on stderr.
pub(crate) fn execute(
    host: &Arc<Host>,
    pipeline: &Pipeline,
    options: &RunOptions<'_>,
    output: Output,
) -> Result<Report, Failure> {
    let handlers = stages::handlers(host);
    let graph = Graph::new(pipeline, &handlers).map_err(failure)?;
    stop_on_ctrl_c();
    let observer = Show::new(&graph, output, Recorder::new(host.clone(), pipeline));
    let result = plinth_pipeline::run(&graph, host.cache(), &observer, &CANCEL, options);
    let ended = observer.recorder.end(&result);
    observer.clear();
    match (&result, ended) {
        (Ok(_), ended) => ended?,
        // Why the run stopped matters more than that its record is not closed.
        (Err(_), Err(error)) => tracing::warn!(error = %error.message, "the run was not closed"),
        (Err(_), Ok(())) => {}
    }
    result.map_err(|error| {
        if let PipelineError::Stage { failure, .. } = &error
            && let Some(checks) = failure.details.as_ref().and_then(|details| details["checks"].as_array())
        {
            output.say(checks_table(checks, output.color));
        }
        let mut told = failure(error);
        let dir = host.store().dir().display().to_string();
        if told.code == codes::DISK_FULL && !told.message.contains(&dir) {
            told.message = format!("{} (state directory {dir})", told.message);
        }
        told
    })
}

/// The table of checks of a gate.
pub(crate) fn checks_table(checks: &[Value], color: bool) -> String {
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    table(
        ["check", "result", "observed", "expected", "reason"],
        checks.iter().map(|check| {
            let outcome = text(check, "outcome");
            let mut cell = Cell::new(&outcome);
            if color {
                cell = cell.fg(match outcome.as_str() {
                    "pass" => Color::Green,
                    "warn" => Color::Yellow,
                    _ => Color::Red,
                });
            }
            vec![
                Cell::new(text(check, "name")),
                cell,
                Cell::new(text(check, "observed")),
                Cell::new(text(check, "expected")),
                Cell::new(text(check, "reason")),
            ]
        }),
    )
}

/// A pipeline's error as a user sees it.
pub(crate) fn failure(error: PipelineError) -> Failure {
    let mut failure = Failure::of(&error);
    if let PipelineError::Stage { failure: inner, .. } = error {
        failure.details = inner.details.map(Box::new);
    }
    failure
}

fn show(report: &Report, elapsed: Duration, output: Output) -> Result<(), Failure> {
    let ran = report.stages.iter().filter(|stage| !stage.cached).count();
    let value = json!({
        "run_id": report.run_id,
        "nothing_to_do": report.nothing_to_do(),
        "elapsed_ms": elapsed.as_millis() as u64,
        "stages": report.stages.iter().map(|stage| json!({
            "name": stage.name,
            "kind": stage.kind,
            "status": if stage.cached { "cached" } else { "ran" },
            "key": stage.key,
            "elapsed_ms": stage.elapsed.as_millis() as u64,
            "summary": stage.outcome.summary,
            "metrics": stage.outcome.metrics,
            "outputs": stage.outcome.outputs,
            "details": stage.outcome.details,
        })).collect::<Vec<_>>(),
    });
    output
        .data(&value, || {
            let mut text = String::new();
            if ran > 0 {
                let checks = report.stages.iter().filter(|stage| !stage.cached && stage.kind == "gate");
                for checks in checks.filter_map(|stage| stage.outcome.details["checks"].as_array()) {
                    text.push_str(&checks_table(checks, output.color));
                }
                for stage in report.stages.iter().filter(|stage| stage.kind == "evaluate") {
                    let shown = ["accuracy", "f1", "roc_auc", "rmse", "r2"];
                    let metrics = &stage.outcome.metrics;
                    let parts: Vec<String> = shown
                        .iter()
                        .filter_map(|name| metrics.get(*name).map(|value| format!("{name} {value:.4}")))
                        .collect();
                    text.push_str(&format!("{}: {}\n", stage.name, parts.join(", ")));
                }
                for stage in report.stages.iter().filter(|stage| stage.kind == "register") {
                    text.push_str(&format!("{}\n", stage.outcome.summary));
                }
            }
            text.push_str(&last_line(report, ran, elapsed));
            text
        })
        .map_err(|error| io_failure("stdout", &error))
}

fn last_line(report: &Report, ran: usize, elapsed: Duration) -> String {
    let all = report.stages.len();
    match &report.run_id {
        Some(run_id) if ran > 0 => format!("run {run_id}: {ran} of {all} stages ran, {}\n", seconds(elapsed)),
        _ => format!("nothing to do: all {all} stages are up to date ({})\n", seconds(elapsed)),
    }
}

/// `23 ms`, `4.2 s`, `3 min 20 s`
pub(crate) fn seconds(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0 => format!("{} ms", elapsed.as_millis()),
        1..60 => format!("{:.1} s", elapsed.as_secs_f64()),
        secs => format!("{} min {} s", secs / 60, secs % 60),
    }
}

pub(crate) fn stop_on_ctrl_c() {
    let handler = || {
        if CANCEL.is_stopped() {
            // Twice means now. State survives: rows are written after blobs, and a lease ends with its process.
            #[expect(clippy::disallowed_methods, reason = "the user asked a second time; a stage may be stuck")]
            std::process::exit(i32::from(codes::INTERRUPTED.class().exit_code()));
        }
        CANCEL.stop();
    };
    // A second pipeline in one process (retraining) finds the handler in place.
    if let Err(error) = ctrlc::try_set_handler(handler) {
        tracing::debug!(%error, "ctrl-C is handled already");
    }
}

/// Says what happens, and records it.
struct Show<'a> {
    output: Output,
    width: usize,
    bars: &'static MultiProgress,
    running: Mutex<HashMap<String, ProgressBar>>,
    recorder: Recorder<'a>,
}

impl<'a> Show<'a> {
    fn new(graph: &Graph<'_>, output: Output, recorder: Recorder<'a>) -> Self {
        let width = graph.order().map(str::len).max().unwrap_or_default();
        Self { output, width, bars: bars(), running: Mutex::default(), recorder }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: String) {
        // A line above the bars, or a plain one where there are none.
        if self.output.live {
            let _ = self.bars.println(line);
        } else {
            self.output.say(line);
        }
    }

    /// Takes away what a failed stage left on the screen.
    fn clear(&self) {
        for (_, bar) in self.running().drain() {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Show<'_> {
    fn begin(&self) -> Result<String, StageFailure> {
        self.recorder.begin()
    }

    fn started(&self, stage: &str, abandoned: Option<&str>) {
        if let Some(run_id) = abandoned {
            self.recorder.abandoned(run_id);
            self.say(format!(
                "  {stage:<0$} an earlier run died here; going on from its last finished stage",
                self.width
            ));
        }
        if self.output.live {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_message(format!("{stage:<0$}", self.width));
            bar.enable_steady_tick(Duration::from_millis(100));
            self.running().insert(stage.to_owned(), bar);
        }
    }

    fn progress(&self, stage: &str, done: u64, total: Option<u64>) {
        if let Some(bar) = self.running().get(stage) {
            if let Some(total) = total
                && bar.length() != Some(total)
            {
                bar.set_length(total);
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bar:30} {percent:>3} % {elapsed}") {
                    bar.set_style(style);
                }
            }
            bar.set_position(done);
        }
    }

    fn finished(&self, stage: &StageReport) {
        if let Some(bar) = self.running().remove(&stage.name) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        self.recorder.finished(stage);
        let (green, dim, plain) = if self.output.color { ("\x1b[32m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let (mark, how) = if stage.cached {
            (format!("{dim}={plain}"), format!("{dim}cached{plain}"))
        } else {
            (format!("{green}+{plain}"), seconds(stage.elapsed))
        };
        // Widths count escape codes too, so the padding is put after them by hand.
        let shown = if stage.cached { "cached".len() } else { how.chars().count() };
        let pad = " ".repeat(9_usize.saturating_sub(shown));
        let (name, summary) = (&stage.name, &stage.outcome.summary);
        self.say(format!("{mark} {name:<0$}  {how}{pad}  {summary}", self.width));
    }
}
