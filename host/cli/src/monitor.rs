//! `plinth monitor check`: current rows against the profile stored with a model version; on drift, retraining.

use std::{path::Path, process::ExitCode, sync::Arc};

use plinth_core::{Clock, Micros, SystemClock, codes};
use plinth_ext::{Batch, Verdict};
use plinth_monitor::{Performance, Report, Suite};
use plinth_pipeline::{Overrides, Pipeline, RunOptions};
use plinth_serve::Captured;
use plinth_tracking::{AliasMove, FileRole, ModelVersion};
use serde_json::{Value, json};

use crate::{
    args::{MonitorCheckArgs, Since},
    config::Settings,
    host::{Host, PluginRef},
    models::{principal, resolve},
    output::{Failure, Output, io_failure, read_failure, table},
    performance,
    predict::{read_all, version_options},
    run, scorer,
    stages::{documents::VersionDocument, registered_version},
};

/// The plugin whose tests are used.
const TESTS: &str = "drift-tests";
/// The alias that an approved challenger takes over, unless its pipeline names another.
const ALIAS: &str = "champion";

/// `plinth monitor check`
pub(crate) fn check(args: &MonitorCheckArgs, settings: Settings, output: Output) -> Result<ExitCode, Failure> {
    // Retraining runs stages, which only one process may do; a mere check runs beside it.
    let command = args.retrain.then_some("plinth monitor check --retrain");
    let mut host = Host::open(settings, args.device.as_deref(), command)?;
    host.hold_aliases();
    let host = Arc::new(host);
    let version = resolve(&host, &args.model)?;
    let report = compare(args, &host, &version)?;
    record(args, &host, &version, &report)?;

    let drifted = report.verdict == Verdict::Drift;
    // Said before retraining, which may fail: the verdict stands either way.
    if !output.json {
        crate::output::write_out(show(&report, args).as_bytes()).map_err(|error| io_failure("stdout", &error))?;
    }
    let retrained = if drifted && args.retrain { Some(retrain(args, &host, &version, output)?) } else { None };
    let value = json!({
        "model": version.reference(), "report": report,
        "retrained": retrained.as_ref().map(|new| json!({"version": new.version, "promoted": new.promoted})),
    });
    output.data(&value, String::new).map_err(|error| io_failure("stdout", &error))?;
    match &retrained {
        Some(new) => {
            output.say(&new.told);
            Ok(ExitCode::SUCCESS)
        }
        None if drifted => {
            let class = codes::DRIFT_FOUND.class();
            if report.performance.as_ref().is_some_and(Performance::is_worse) {
                output
                    .say("the model answers worse: retrain it with the truth that was told (--current FILE --retrain)");
            } else if args.captured || args.retrain {
                output.say("drift: collect labelled rows and retrain with --current FILE --retrain");
            } else {
                output.say("drift: add --retrain to train, gate and compare a challenger on these rows");
            }
            Ok(ExitCode::from(class.exit_code()))
        }
        None if report.verdict == Verdict::Inconclusive => {
            let message = "the drift tests could not decide: too few rows, or a test failed";
            Err(Failure::new(codes::DRIFT_UNKNOWN, message).hint("give more rows; with -v, what failed is said"))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Runs the tests on the columns that both sides have.
fn compare(args: &MonitorCheckArgs, host: &Host, version: &ModelVersion) -> Result<Report, Failure> {
    let spec = scorer::Spec::of(version)?;
    let profile = version.file(FileRole::Profile).map_err(|_| {
        Failure::new(codes::NO_PROFILE, format!("{} carries no reference profile", version.reference()))
            .hint("versions made by `plinth run`, or registered with --rows, carry one")
    })?;
    let reference =
        host.table_of(&profile.hash).and_then(|table| Ok(table.read_all()?)).map_err(|failure| told(&failure))?;
    let (current, performance) = match &args.current {
        Some(path) => (read_all(&host.components, path, &version_options(version, path)?)?, None),
        None => {
            let since = args.since.as_ref().map_or(0, |since| since.micros(SystemClock.now()));
            let captured = captured(host, version, args.since.as_ref(), since)?;
            let inputs: Vec<Batch> = captured.iter().map(|rows| Captured::part(rows, Captured::INPUT)).collect();
            let current = plinth_table::concat(&inputs[0].schema().clone(), &inputs)?;
            (current, performance::measure(args, host, version, &captured, since)?)
        }
    };
    let Some(signature) = spec.signature() else {
        let message = format!("{} takes tensors, whose drift is not looked at", version.reference());
        return Err(Failure::new(codes::BAD_MODEL, message).hint("register it with --rows"));
    };
    let mut current_side = signature.coerce(&current)?;
    let mut reference_side = signature.coerce(&reference)?;
    // The label tells too, where it is known.
    if let Some(label) = spec.transform().and_then(|transform| transform.label.as_ref())
        && let (Some(a), Some(b)) = (reference.schema().index_of(label), current.schema().index_of(label))
        && reference.schema().fields()[a].kind == current.schema().fields()[b].kind
    {
        reference_side = beside(&reference_side, &reference.project(&[a]))?;
        current_side = beside(&current_side, &current.project(&[b]))?;
    }
    let plugin = PluginRef::named(TESTS);
    let tests = host.components.drift_tests(&plugin).map_err(|failure| told(&failure))?;
    let mut report =
        plinth_monitor::check(&reference_side, &current_side, &Suite::new(vec![tests]), &host.settings.config.monitor)?;
    report.reference = version.reference();
    report.current = current_name(args);
    if performance.as_ref().is_some_and(Performance::is_worse) {
        report.verdict = Verdict::Drift;
    }
    report.performance = performance;
    Ok(report)
}

fn current_name(args: &MonitorCheckArgs) -> String {
    match (&args.current, &args.since) {
        (Some(path), _) => path.display().to_string(),
        (None, None) => "captured requests".into(),
        (None, Some(since)) => format!("requests captured since {}", since.text),
    }
}

/// Two batches of the same rows side by side.
fn beside(left: &Batch, right: &Batch) -> Result<Batch, Failure> {
    let fields = left.schema().fields().iter().chain(right.schema().fields()).cloned().collect();
    let columns = left.columns().iter().chain(right.columns()).cloned().collect();
    Ok(Batch::new(plinth_ext::Schema::new(fields)?, columns, left.num_rows())?)
}

/// Every row that was asked of a version, or every one since a moment; at least one.
fn captured(host: &Host, version: &ModelVersion, since: Option<&Since>, from: Micros) -> Result<Vec<Batch>, Failure> {
    let captures = host.tracking().captures(&version.model, version.version, from)?;
    let mut parts: Vec<Batch> = Vec::new();
    // The newest requests, as many as may be in memory: what was asked long ago says little about now.
    let rows_max = host.limits().table.rows_in_memory_max;
    let mut rows_left = rows_max;
    for capture in captures.iter().rev() {
        if capture.rows > rows_left {
            break;
        }
        rows_left -= capture.rows;
        let rows =
            host.table_of(&capture.blob).and_then(|table| Ok(table.read_all()?)).map_err(|failure| told(&failure))?;
        // A file may have begun before the moment.
        let rows = Captured::since(&rows, from);
        if rows.num_rows() > 0 {
            parts.push(rows);
        }
    }
    if parts.is_empty() {
        let when = since.map(|since| format!(" since {}", since.text)).unwrap_or_default();
        let message = format!("no request to {} was captured{when}", version.reference());
        return Err(Failure::new(codes::EMPTY_INPUT, message)
            .hint("serve it with `plinth serve` for a while, or name a file with --current"));
    }
    Ok(parts)
}

fn record(args: &MonitorCheckArgs, host: &Host, version: &ModelVersion, report: &Report) -> Result<(), Failure> {
    let verdict = serde_json::to_value(report.verdict).ok();
    let verdict = verdict.as_ref().and_then(Value::as_str).unwrap_or_default();
    let text = serde_json::to_string(report).map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))?;
    host.tracking().add_check(&version.model, version.version, &current_name(args), verdict, &text)?;
    if let Some(path) = &args.report {
        std::fs::write(path, plinth_monitor::html(report)?)
            .map_err(|error| io_failure(&path.display().to_string(), &error))?;
    }
    Ok(())
}

/// What became of retraining.
struct Retrained {
    version: u64,
    promoted: bool,
    told: String,
}

/// Runs the version's pipeline on the current rows; with an approval, the alias moves.
fn retrain(
    args: &MonitorCheckArgs,
    host: &Arc<Host>,
    version: &ModelVersion,
    output: Output,
) -> Result<Retrained, Failure> {
    let document = scorer::document(version)?;
    let Some(current) = &args.current else {
        return Err(Failure::new(codes::USAGE, "captured requests have no labels to learn from")
            .hint("name labelled rows with --current FILE"));
    };
    let pipeline = pipeline(&document, current, &args.param)?;
    let report = run::execute(host, &pipeline, &RunOptions::default(), output)?;
    let registered = report.stages.iter().find(|stage| stage.kind == "register").and_then(|stage| {
        let config = pipeline.stage(&stage.name)?.config.clone();
        Some((registered_version(&stage.outcome.details)?, config))
    });
    let Some(((name, challenger), config)) = registered else {
        return Err(Failure::new(codes::BAD_PIPELINE, format!("{} registers no model", pipeline.path())));
    };
    let alias = config.get("alias").and_then(Value::as_str).unwrap_or(ALIAS);
    if !args.approve {
        let told = format!(
            "models:/{name}/{challenger} passed its gate and waits for an approval: add --approve, or \
             `plinth model promote {name} {challenger} --alias {alias}`"
        );
        return Ok(Retrained { version: challenger, promoted: false, told });
    }
    // What the gate saw: the same evidence that registering the version refers to.
    let challenger_ref = plinth_core::refs::ModelRef::Version { name: name.clone(), version: challenger };
    let evidence = scorer::document(&host.tracking().resolve(&challenger_ref)?)?.evidence.to_hex();
    host.tracking().set_alias(&AliasMove {
        model: &name,
        alias,
        version: challenger,
        principal: &principal(),
        reason: &format!("approved after drift of {}", current.display()),
        evidence: Some(&evidence),
    })?;
    let told = format!("models:/{name}@{alias} is version {challenger} now; servers that follow it take it over");
    Ok(Retrained { version: challenger, promoted: true, told })
}

/// The pipeline that made a version, with the current rows as its source.
fn pipeline(document: &VersionDocument, current: &Path, params: &[String]) -> Result<Pipeline, Failure> {
    let file = Path::new(&document.pipeline.file);
    let written = Pipeline::read(file, &Overrides::default()).map_err(run::failure)?;
    let Some(retrain) = &written.retrain else {
        let message = format!("{} does not say how it is run on new data", file.display());
        return Err(Failure::new(codes::BAD_PIPELINE, message)
            .hint("add `retrain: {source: PARAM}`, where PARAM is the parameter that names the source"));
    };
    let current = std::fs::canonicalize(current).map_err(|error| read_failure(current, &error))?;
    // What the version was trained with, then what the file says about retraining, then the command line.
    let trained = document.pipeline.params.iter().filter(|(name, _)| written.params.contains_key(*name));
    let mut all: Vec<String> = trained.chain(&retrain.params).map(|(name, value)| format!("{name}={value}")).collect();
    all.push(format!("{}={}", retrain.source, Value::String(current.display().to_string())));
    all.extend(params.iter().cloned());
    let settings = document.pipeline.settings.clone();
    Pipeline::read(file, &Overrides { params: all, settings }).map_err(run::failure)
}

fn show(report: &Report, args: &MonitorCheckArgs) -> String {
    let rows = report.columns.iter().map(|column| {
        let deciding = column.tests.first();
        let outcome = deciding.and_then(|test| test.outcome.as_ref());
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        vec![
            column.name.clone(),
            verdict(column.verdict).to_owned(),
            deciding.map_or_else(|| "-".to_owned(), |test| test.test.clone()),
            number(outcome.map(|outcome| outcome.statistic)),
            column.p_adjusted.map_or_else(|| "-".to_owned(), p_value),
            number(column.effect()),
            column.notes.join("; "),
        ]
    });
    let mut text = table(["column", "verdict", "test", "statistic", "p (adjusted)", "effect", "notes"], rows);
    text.push_str(&format!(
        "{}: {} of {} columns differ between {} ({} rows) and {} ({} rows)\n",
        verdict(report.verdict),
        report.columns_drifted,
        report.columns_tested,
        report.reference,
        report.rows_reference,
        report.current,
        report.rows_current
    ));
    if let Some(seen) = &report.performance {
        text.push_str(&answers(seen));
    }
    if let Some(path) = &args.report {
        text.push_str(&format!("report: {}\n", path.display()));
    }
    text
}

/// What the answers were worth.
fn answers(seen: &Performance) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let rows = seen.metrics.iter().map(|measure| {
        vec![
            measure.name.clone(),
            number(measure.recorded),
            number(Some(measure.current)),
            measure.drop().map_or_else(|| "-".to_owned(), |drop| format!("{drop:+.4}")),
        ]
    });
    let mut text = format!("\n{}", table(["metric", "recorded", "now", "worse by"], rows));
    let unread = if seen.unread > 0 { format!("; of {} more it does not read", seen.unread) } else { String::new() };
    text.push_str(&format!("{} rows whose truth was told{unread}\n", seen.rows));
    if let Some(judged) = &seen.judged {
        let said = match judged.verdict {
            Verdict::Drift => "worse",
            Verdict::NoDrift => "not worse",
            Verdict::Inconclusive => "too few rows to say",
        };
        let (metric, drop, most) = (&judged.metric, judged.drop, judged.drop_max);
        text.push_str(&format!("{said}: {metric} by {drop:+.4}; {most:.4} may be\n"));
    }
    text
}

/// Small ones are no zeros.
fn p_value(p: f64) -> String {
    if p < 0.000_05 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Drift => "drift",
        Verdict::NoDrift => "no drift",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn told(failure: &plinth_pipeline::StageFailure) -> Failure {
    Failure::of(&*failure.error)
}
