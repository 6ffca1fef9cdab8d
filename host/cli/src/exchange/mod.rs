//! `plinth import` and `plinth export`: MLflow's own stores, read and written.
//!
//! A source hands on records, a sink takes them: `database.rs` and `tree.rs` read a database and a folder `mlruns`,
//! `intake.rs` puts what they say into the state directory, `outlet.rs` writes a database that MLflow opens.

mod artifacts;
mod database;
mod intake;
mod outlet;
mod revisions;
mod span;
mod tree;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use plinth_core::{SystemClock, UuidIds, codes};
use plinth_store::{Access, Store};
use plinth_tracking::{Record, Tracking};
use serde::Serialize;
use serde_json::json;

use crate::{
    args::{ExportArgs, ImportArgs},
    config::Settings,
    output::{Failure, Output, io_failure},
};

/// Problems that are told one by one on a terminal; all of them are in the JSON report, up to `PROBLEMS_KEPT_MAX`.
const PROBLEMS_SHOWN_MAX: usize = 20;
/// Problems that are kept with their words; more are counted.
const PROBLEMS_KEPT_MAX: usize = 10_000;

/// Something that is not handed on, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Problem {
    what: String,
    reason: String,
}

/// Where records go.
trait Sink {
    /// Takes some records. A record comes after what it belongs to.
    fn take(&mut self, records: Vec<Record>) -> Result<(), Failure>;
    /// Notes what is left out.
    fn problem(&mut self, what: String, reason: String);
    /// How many records of all kinds there will be, as far as that is known.
    fn expect(&mut self, records: u64);
}

/// What is left out, bounded.
#[derive(Debug, Default)]
struct Problems {
    kept: Vec<Problem>,
    more: u64,
}

impl Problems {
    fn add(&mut self, what: String, reason: String) {
        if self.kept.len() < PROBLEMS_KEPT_MAX {
            self.kept.push(Problem { what, reason });
        } else {
            self.more += 1;
        }
    }

    fn count(&self) -> u64 {
        self.kept.len() as u64 + self.more
    }

    fn say(&self, output: Output) {
        for problem in self.kept.iter().take(PROBLEMS_SHOWN_MAX) {
            output.say(format!("left out: {}: {}", problem.what, problem.reason));
        }
        let more = self.count().saturating_sub(PROBLEMS_SHOWN_MAX as u64);
        if more > 0 {
            output.say(format!("left out: {more} more; --json lists them"));
        }
    }
}

/// A store as a command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Database(PathBuf),
    Tree(PathBuf),
}

impl Named {
    /// `sqlite:///relative.db`, `sqlite:////absolute.db`, `file:///folder` or a path.
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("///").unwrap_or(rest);
            let path = path.split('?').next().unwrap_or_default();
            if path.is_empty() || path.starts_with("//") {
                return Err(Failure::new(codes::USAGE, format!("'{text}' names no file"))
                    .hint("write sqlite:///relative.db or sqlite:////absolute.db"));
            }
            return Ok(Self::Database(path.into()));
        }
        if let Some(rest) = text.strip_prefix("file:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return Ok(Self::Tree(artifacts::unescaped(path).into()));
        }
        if text.contains("://") {
            return Err(Failure::new(codes::USAGE, format!("'{text}' is no store that can be read or written"))
                .hint("name a database as sqlite:///mlflow.db, or a folder such as mlruns"));
        }
        let path = PathBuf::from(text);
        Ok(if path.is_file() { Self::Database(path) } else { Self::Tree(path) })
    }
}

/// `plinth import mlflow`
pub(crate) fn import(args: &ImportArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let named = Named::parse(&args.store)?;
    // The source first: a state directory is not made for a store that cannot be read.
    let (mut source, root): (Box<dyn Source>, Option<PathBuf>) = match &named {
        Named::Database(path) => (Box::new(database::Database::open(path)?), None),
        Named::Tree(path) => (Box::new(tree::Tree::open(path)?), Some(path.clone())),
    };
    let root = args.artifacts.clone().or(root);
    let files = artifacts::Root::open(root.as_deref())?;
    let dir = args.data_dir.clone().unwrap_or_else(|| settings.state_dir());
    let limits = settings.config.limits.tracking.clone();
    // A dry run asks what is there; where there is nothing, an empty place answers.
    let empty = tempfile::tempdir().map_err(|error| io_failure("a temporary folder", &error))?;
    let nothing = settings.catalog().is_none() && !dir.join("catalog.db").is_file();
    let store = Arc::new(if args.dry_run && nothing {
        Store::open(empty.path(), Access::Shared)?
    } else {
        settings.open_store(&dir, Access::Shared)?
    });
    let tracking = Tracking::new(store, Arc::new(SystemClock), Arc::new(UuidIds), limits).by("import");
    let bar = progress(output, "read");
    let mut intake = intake::Intake::new(&tracking, files, args.dry_run, bar.clone());
    source.walk(&mut intake)?;
    let report = intake.finish()?;
    bar.finish_and_clear();
    let value = json!({
        "dry_run": args.dry_run, "source": args.store, "records": report.counts, "artifacts": report.files,
        "experiments_renumbered": report.renumbered, "left_out": report.problems.kept,
        "left_out_more": report.problems.more,
    });
    if !args.dry_run {
        let detail = json!({"records": report.counts, "artifacts": report.files, "left_out": report.problems.count()});
        tracking.note_transfer("import.mlflow", &args.store, &detail)?;
    }
    output.data(&value, || report.table(args.dry_run)).map_err(|error| io_failure("stdout", &error))?;
    for (theirs, ours) in &report.renumbered {
        output.say(format!("experiment {theirs} is experiment {ours} here"));
    }
    report.problems.say(output);
    Ok(ExitCode::SUCCESS)
}

/// `plinth export mlflow`
pub(crate) fn export(args: &ExportArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let path = match Named::parse(&args.store)? {
        Named::Database(path) => path,
        Named::Tree(_) => {
            return Err(Failure::new(codes::USAGE, format!("'{}' is no database", args.store))
                .hint("MLflow keeps folders of files for old stores only: export to sqlite:///FILE"));
        }
    };
    let dir = args.data_dir.clone().unwrap_or_else(|| settings.state_dir());
    if !dir.is_dir() {
        return Err(plinth_store::StoreError::NoDirectory { dir }.into());
    }
    let store = Arc::new(settings.open_store(&dir, Access::Shared)?);
    let limits = settings.config.limits.tracking.clone();
    let tracking = Tracking::new(store, Arc::new(SystemClock), Arc::new(UuidIds), limits).by("export");
    let bar = progress(output, "written");
    let extent = tracking.extent()?;
    let mut outlet =
        outlet::Outlet::create(&path, &args.artifacts, args.proxied, tracking.store().blobs(), bar.clone())?;
    outlet.expect(extent.experiments + extent.runs + extent.points + extent.traces + extent.files);
    tracking.walk(|records| outlet.take(records))?;
    let (counts, problems) = outlet.finish()?;
    bar.finish_and_clear();
    let value =
        json!({"store": args.store, "records": counts, "left_out": problems.kept, "left_out_more": problems.more});
    tracking.note_transfer("export.mlflow", &args.store, &json!({"records": counts}))?;
    let rows = || {
        let rows = counts.iter().map(|(kind, count)| vec![kind.to_string(), count.to_string()]);
        crate::output::table(["what", "written"], rows.collect::<Vec<_>>())
    };
    output.data(&value, rows).map_err(|error| io_failure("stdout", &error))?;
    problems.say(output);
    Ok(ExitCode::SUCCESS)
}

/// Something that hands on all it has.
trait Source {
    fn walk(&mut self, sink: &mut dyn Sink) -> Result<(), Failure>;
}

fn progress(output: Output, done: &str) -> ProgressBar {
    if !output.live {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let template = format!("{{bar:40}} {{human_pos}} of {{human_len}} records {done}, {{per_sec}}, {{eta}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_as_mlflow_names_them() {
        let db = |path: &str| Named::Database(path.into());
        assert_eq!(Named::parse("sqlite:///a/b.db").unwrap(), db("a/b.db"));
        assert_eq!(Named::parse("sqlite:////a/b.db").unwrap(), db("/a/b.db"));
        assert_eq!(Named::parse("file:///a%20b").unwrap(), Named::Tree("/a b".into()));
        assert_eq!(Named::parse("mlruns").unwrap(), Named::Tree("mlruns".into()));
        for bad in ["sqlite:///", "sqlite://host/x", "postgresql://h/d", "http://h"] {
            assert!(Named::parse(bad).is_err(), "{bad}");
        }
    }
}
