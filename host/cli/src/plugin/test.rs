//! `plinth plugin test`: the suite of a plugin's extension points, and its author's cases.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use plinth_author::{Body, Case, CaseError, Source, suite};
use plinth_core::codes;
use plinth_ext::{Batch, ExtError};
use plinth_plugin::ExtensionPoint;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::PluginTestArgs;
use crate::{
    components::{About, Components},
    config::Settings,
    output::{Failure, Output, io_failure, read_failure, table},
    plugins::PluginRef,
    predict::read_all,
};

/// A case's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fate {
    Pass,
    Fail,
    /// What came out is now what is to come out.
    Blessed,
}

#[derive(Debug, Serialize)]
struct Tried {
    fate: Fate,
    /// `suite`, or the case's name.
    test: String,
    item: String,
    found: String,
}

/// `plinth plugin test`
pub(super) fn test(
    args: &PluginTestArgs,
    components: &Components,
    settings: &Settings,
    output: Output,
) -> Result<ExitCode, Failure> {
    let plugin = PluginRef::named(&super::component_of(&args.plugin)?);
    let found = plugin.find(settings)?;
    let about = components.inspect(&found)?;
    let folder = match &args.cases {
        Some(folder) => Some(folder.clone()),
        None => found.path.parent().map(|folder| folder.join("cases")).filter(|folder| folder.is_dir()),
    };
    let files = folder.map_or_else(|| Ok(Vec::new()), |folder| case_files(&folder))?;
    let mut cases = Vec::new();
    for path in &files {
        let text = std::fs::read_to_string(path).map_err(|error| read_failure(path, &error))?;
        let rows = |path: &Path| -> Result<Batch, CaseFailure> { Ok(read_all(components, path, "{}")?) };
        cases.push((path.as_path(), Case::read(path, &text, &rows).map_err(|CaseFailure(failure)| failure)?));
    }
    let mut tried = Vec::new();
    for (path, case) in &cases {
        if args.item.as_ref().is_some_and(|item| *item != case.item) {
            continue;
        }
        tried.push(try_case(case, path, args.bless, &plugin, components)?);
    }
    if !args.cases_only {
        let own: Vec<Case> = cases.into_iter().map(|(_, case)| case).collect();
        for (point, item) in &about.items {
            if args.item.as_ref().is_none_or(|wanted| *wanted == item.name) {
                let own: Vec<Case> = own.iter().filter(|case| case.item == item.name).cloned().collect();
                tried.extend(try_suite(point, &item.name, &own, &plugin, components)?.into_iter().map(told));
            }
        }
    }
    report(&about, &tried, files.is_empty(), output)
}

fn report(about: &About, tried: &[Tried], no_cases: bool, output: Output) -> Result<ExitCode, Failure> {
    let failed = tried.iter().filter(|one| one.fate == Fate::Fail).count();
    output
        .data(&json!({"plugin": about.name, "passed": tried.len() - failed, "failed": failed, "tests": tried}), || {
            let rows = tried.iter().map(|one| {
                let fate = match one.fate {
                    Fate::Pass => "ok",
                    Fate::Fail => "FAIL",
                    Fate::Blessed => "blessed",
                };
                vec![fate.to_owned(), one.item.clone(), one.test.clone(), one.found.clone()]
            });
            table(["", "item", "test", "found"], rows)
        })
        .map_err(|error| io_failure("stdout", &error))?;
    if no_cases {
        output.say("no cases: put them in a folder `cases` beside the component, or name a folder with --cases");
    }
    output.say(format!("{} passed, {failed} failed", tried.len() - failed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(codes::PLUGIN_TEST_FAILED.class().exit_code()) })
}

fn told(finding: suite::Finding) -> Tried {
    Tried {
        fate: if finding.broken.is_none() { Fate::Pass } else { Fate::Fail },
        test: finding.promise.to_owned(),
        item: finding.item,
        found: finding.broken.map(short).unwrap_or_default(),
    }
}

/// A table cell's worth.
fn short(text: String) -> String {
    const CHARS_MAX: usize = 600;
    if text.chars().count() <= CHARS_MAX { text } else { text.chars().take(CHARS_MAX).chain(['…']).collect() }
}

/// A failure that a case's file may end with, too.
struct CaseFailure(Failure);

impl From<CaseError> for CaseFailure {
    fn from(error: CaseError) -> Self {
        Self(Failure::of(&error).hint("`plinth plugin test --help` shows what a case looks like"))
    }
}

impl From<Failure> for CaseFailure {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

/// The cases of a folder, sorted.
fn case_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| read_failure(folder, &error))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    Ok(files)
}

/// Bytes where a loader may read them.
struct Placed {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place(bytes: &[u8]) -> Result<Placed, Failure> {
    let cannot = |error: std::io::Error| io_failure("the temporary folder", &error);
    let folder = tempfile::tempdir().map_err(cannot)?;
    let path = folder.path().canonicalize().map_err(cannot)?.join("source");
    std::fs::write(&path, bytes).map_err(cannot)?;
    Ok(Placed { _folder: folder, path })
}

fn bytes_of(source: &Source) -> Result<Vec<u8>, Failure> {
    match source {
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::File(path) => std::fs::read(path).map_err(|error| read_failure(path, &error)),
    }
}

/// What a plugin makes of a case.
fn outcome(case: &Case, plugin: &PluginRef, components: &Components) -> Result<Result<Value, ExtError>, Failure> {
    let item = Some(case.item.as_str());
    Ok(match &case.body {
        Body::Transform { .. } => case.transform(&*components.transform(plugin, item).map_err(of_stage)?.0),
        Body::Gate { .. } => case.judge(&*components.gate(plugin, item).map_err(of_stage)?.0),
        Body::Drift { .. } => case.compare(&*components.drift_tests(plugin).map_err(of_stage)?),
        Body::Predict { artifact, .. } => {
            case.predict(&*components.models(plugin, item).map_err(of_stage)?.0, &bytes_of(artifact)?)
        }
        Body::Loader { source, .. } => {
            let placed = place(&bytes_of(source)?)?;
            let (loader, _) = components.loader(plugin, item, &placed.path).map_err(of_stage)?;
            case.load(&*loader, &placed.path.display().to_string())
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn of_stage(failure: plinth_pipeline::StageFailure) -> Failure {
    Failure::of(&*failure.error)
}

fn try_case(
    case: &Case,
    path: &Path,
    bless: bool,
    plugin: &PluginRef,
    components: &Components,
) -> Result<Tried, Failure> {
    let of =
        |fate, found: String| Tried { fate, test: case.name.clone(), item: case.item.clone(), found: short(found) };
    let outcome = match outcome(case, plugin, components)? {
        Ok(outcome) => outcome,
        Err(error) => return Ok(of(Fate::Fail, error.to_string())),
    };
    if case.expected.is_some() && case.difference(&outcome).is_none() {
        return Ok(of(Fate::Pass, String::new()));
    }
    if bless {
        std::fs::write(path, case.blessed(&outcome))
            .map_err(|error| io_failure(&path.display().to_string(), &error))?;
        return Ok(of(Fate::Blessed, "what came out is now what is expected: read it".into()));
    }
    let found = match case.difference(&outcome) {
        Some(difference) => difference,
        None => format!("nothing is expected yet; `--bless` takes over what came out: {outcome}"),
    };
    Ok(of(Fate::Fail, found))
}

fn try_suite(
    point: &str,
    item: &str,
    cases: &[Case],
    plugin: &PluginRef,
    components: &Components,
) -> Result<Vec<suite::Finding>, Failure> {
    let Some(point) = ExtensionPoint::ALL.iter().find(|known| known.name() == point) else { return Ok(Vec::new()) };
    let named = Some(item);
    Ok(match point {
        ExtensionPoint::Transform => {
            suite::transforms(&*components.transform(plugin, named).map_err(of_stage)?.0, item, cases)
        }
        ExtensionPoint::Gate => suite::gates(&*components.gate(plugin, named).map_err(of_stage)?.0, item, cases),
        ExtensionPoint::DriftTest => {
            suite::drift_tests(&*components.drift_tests(plugin).map_err(of_stage)?, item, cases)
        }
        ExtensionPoint::Predict => {
            let mut artifacts = Vec::new();
            for case in cases {
                if let Body::Predict { artifact, .. } = &case.body {
                    artifacts.push((case, bytes_of(artifact)?));
                }
            }
            suite::models(&*components.models(plugin, named).map_err(of_stage)?.0, item, &artifacts)
        }
        ExtensionPoint::Loader => {
            let mut sources = Vec::new();
            for case in cases {
                if let Body::Loader { source, .. } = &case.body {
                    sources.push((case, bytes_of(source)?));
                }
            }
            // All that the suite makes up lies in one folder, in which the loader may read one file after another.
            let temporary = tempfile::tempdir().map_err(|error| io_failure("the temporary folder", &error))?;
            let folder = temporary.path().canonicalize().map_err(|error| io_failure("the temporary folder", &error))?;
            let path = folder.join("source");
            let place = |bytes: &[u8]| -> Result<PathBuf, Failure> {
                std::fs::write(&path, bytes).map_err(|error| io_failure(&path.display().to_string(), &error))?;
                Ok(path.clone())
            };
            let loader = |path: &Path| Ok(components.loader(plugin, named, path).map_err(of_stage)?.0);
            suite::loaders(&loader, item, &sources, &place)?
        }
    })
}
