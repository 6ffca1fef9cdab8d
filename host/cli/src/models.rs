//! `plinth model ...` and `plinth runs ...`: what is recorded, and the movable names.

use std::process::ExitCode;

use plinth_core::{Micros, codes, refs::ModelRef};
use plinth_tracking::{AliasMove, Artifact, Model, ModelVersion, Run, RunSummary, Status};
use serde_json::{Value, json};

use crate::{
    args::{ModelCommand, RunsCommand},
    host::Host,
    output::{Failure, Output, io_failure, table},
};

/// `plinth model ...`
pub(crate) fn model(command: &ModelCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    match command {
        ModelCommand::List => {
            let models = tracking.models()?;
            print(output, &json!(models), || {
                if models.is_empty() {
                    return "nothing is registered yet: `plinth run` registers a model when its gates let it through\n"
                        .into();
                }
                let rows = models.iter().map(|model| {
                    let last = model.versions.last().copied().unwrap_or_default();
                    vec![model.name.clone(), format!("v{last}"), aliases(model), day(model.created)]
                });
                table(["model", "newest", "aliases", "since"], rows)
            })
        }
        ModelCommand::Show { model } if model.starts_with("models:/") => {
            let version = tracking.resolve(&model.parse::<ModelRef>()?)?;
            print(output, &json!(version), || describe(&version))
        }
        ModelCommand::Show { model } => {
            let found = tracking.model(model)?;
            let versions = found
                .versions
                .iter()
                .map(|&version| tracking.resolve(&ModelRef::Version { name: model.clone(), version }))
                .collect::<Result<Vec<_>, _>>()?;
            let value = json!({
                "name": found.name, "description": found.description, "aliases": found.aliases,
                "created": found.created, "versions": versions,
            });
            print(output, &value, || {
                let rows = versions.iter().rev().map(|version| {
                    vec![
                        format!("v{}", version.version),
                        version.aliases.join(", "),
                        text(&version.spec["model"]["trainer"]),
                        metrics(&version.spec["metrics"]),
                        day(version.created),
                        version.run_id.clone().unwrap_or_default(),
                    ]
                });
                table(["version", "aliases", "trainer", "measured", "made", "run"], rows)
            })
        }
        ModelCommand::Promote { name, version, alias } => move_alias(host, name, *version, alias, output),
        ModelCommand::Alias { name, alias, version } => move_alias(host, name, *version, alias, output),
    }
}

fn move_alias(host: &Host, name: &str, version: u64, alias: &str, output: Output) -> Result<ExitCode, Failure> {
    let principal = principal();
    host.tracking().set_alias(&AliasMove {
        model: name,
        alias,
        version,
        principal: &principal,
        reason: "set on the command line",
        evidence: None,
    })?;
    print(output, &json!({"model": name, "alias": alias, "version": version}), || {
        format!("models:/{name}@{alias} is version {version} now\n")
    })
}

/// Who acts, for the audit log.
pub(crate) fn principal() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// The version that a name or a reference means: for a bare name its champion, else its newest version.
pub(crate) fn resolve(host: &Host, text: &str) -> Result<ModelVersion, Failure> {
    if text.starts_with("models:/") {
        return Ok(host.tracking().resolve(&text.parse::<ModelRef>()?)?);
    }
    let model = host.tracking().model(text)?;
    let champion = model.aliases.iter().find(|alias| alias.alias == "champion").map(|alias| alias.version);
    let version = champion.or(model.versions.last().copied()).unwrap_or(1);
    Ok(host.tracking().resolve(&ModelRef::Version { name: model.name, version })?)
}

/// `plinth runs ...`
pub(crate) fn runs(command: &RunsCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    match command {
        RunsCommand::List { experiment, limit } => {
            let experiment = match experiment {
                None => None,
                Some(name) => {
                    let found =
                        tracking.experiments()?.into_iter().find(|e| e.name == *name || e.experiment_id == *name);
                    Some(found.ok_or_else(|| {
                        Failure::new(codes::EXPERIMENT_NOT_FOUND, format!("there is no experiment `{name}`"))
                    })?)
                }
            };
            let runs = tracking.runs(experiment.as_ref().map(|e| e.experiment_id.as_str()), *limit)?;
            print(output, &json!(runs), || {
                if runs.is_empty() {
                    return "no run is recorded yet\n".into();
                }
                let rows = runs.iter().map(|run| {
                    vec![run.run_id.clone(), run.name.clone(), status(run.status), day(run.start), took(run)]
                });
                table(["run", "name", "status", "started", "took"], rows)
            })
        }
        RunsCommand::Show { run } => {
            let run = tracking.run(&full_id(host, run)?)?;
            let artifacts = tracking.run_artifacts(&run.summary.run_id)?;
            let mut value = json!(run);
            value["artifacts"] = json!(artifacts);
            print(output, &value, || describe_run(&run, &artifacts))
        }
    }
}

/// A run's id from the start of it.
fn full_id(host: &Host, start: &str) -> Result<String, Failure> {
    if start.len() >= 32 {
        return Ok(start.to_owned());
    }
    let runs = host.tracking().runs(None, 10_000)?;
    let ids: Vec<&str> = runs.iter().map(|run| run.run_id.as_str()).filter(|id| id.starts_with(start)).collect();
    match ids[..] {
        [one] => Ok(one.to_owned()),
        [] => Err(Failure::new(codes::RUN_NOT_FOUND, format!("there is no run `{start}`"))
            .hint("`plinth runs list` shows what there is")),
        _ => {
            Err(Failure::new(codes::USAGE, format!("{} runs start with `{start}`", ids.len()))
                .hint("give more of the id"))
        }
    }
}

fn describe_run(run: &Run, artifacts: &[Artifact]) -> String {
    let mut text = format!(
        "run {}\n  name {}, {}, started {}, {}\n  source {}\n",
        run.summary.run_id,
        run.summary.name,
        status(run.summary.status),
        day(run.summary.start),
        took(&run.summary),
        run.summary.source
    );
    let mut part = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(&format!("{title}\n"));
            lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    };
    part("metrics", run.metrics.iter().map(|metric| format!("{} {:.6}", metric.key, metric.value)).collect());
    part("params", run.params.iter().map(|(key, value)| format!("{key} = {value}")).collect());
    part(
        "inputs",
        run.datasets
            .iter()
            .map(|input| {
                format!("{} {} from {}", input.name, &input.digest[..12.min(input.digest.len())], input.source)
            })
            .collect(),
    );
    part("artifacts", artifacts.iter().map(|a| format!("{} {} ({} bytes)", a.path, a.blob.short(), a.bytes)).collect());
    text
}

fn describe(version: &ModelVersion) -> String {
    let spec = &version.spec;
    let mut text = format!(
        "{} {}\n  trainer {}, {}\n  made {} by run {}\n",
        version.reference(),
        version.aliases.iter().map(|alias| format!("@{alias}")).collect::<Vec<_>>().join(" "),
        text(&spec["model"]["trainer"]),
        metrics(&spec["metrics"]),
        day(version.created),
        version.run_id.as_deref().unwrap_or("-"),
    );
    let rows = version
        .files
        .iter()
        .map(|file| vec![file.role.name().to_owned(), file.path.clone(), file.hash.to_hex(), file.bytes.to_string()]);
    text.push_str(&table(["role", "file", "blake3", "bytes"], rows));
    text
}

fn aliases(model: &Model) -> String {
    model.aliases.iter().map(|alias| format!("{} -> v{}", alias.alias, alias.version)).collect::<Vec<_>>().join(", ")
}

fn metrics(metrics: &Value) -> String {
    let shown = ["accuracy", "f1", "roc_auc", "rmse", "r2"];
    let parts = shown.iter().filter_map(|name| metrics[*name].as_f64().map(|value| format!("{name} {value:.4}")));
    parts.collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn status(status: Status) -> String {
    status.name().to_lowercase()
}

fn took(run: &RunSummary) -> String {
    match run.end {
        Some(end) => crate::run::seconds(std::time::Duration::from_micros((end - run.start).unsigned_abs())),
        None => "-".into(),
    }
}

/// `2026-11-23 21:05:21`, UTC
pub(crate) fn day(time: Micros) -> String {
    chrono::DateTime::from_timestamp_micros(time)
        .map_or_else(|| time.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// Writes data as the flags want it.
pub(crate) fn print(output: Output, value: &Value, text: impl FnOnce() -> String) -> Result<ExitCode, Failure> {
    output.data(value, text).map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}
