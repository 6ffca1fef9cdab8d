//! `plinth run list`, `search`, `show`, `delete`, `restore`, `tag`.

use std::{collections::BTreeMap, process::ExitCode};

use plinth_core::codes;
use plinth_tracking::{
    Artifact, Batch, ExperimentSearch, Page, PageStart, Run, RunSearch, RunSummary, Tracking, TrackingError, View,
};
use serde_json::{Value, json};

use super::{
    args::{RunVerb, RunsArgs, SearchArgs, TagArgs},
    columns, compare, confirm, names, page, print, show, watch,
};
use crate::{
    access::operator,
    host::Host,
    models::day,
    output::{Failure, Output, table},
};

/// `plinth run VERB`
pub(crate) fn run(verb: &RunVerb, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = &host.tracking().by(&operator());
    match verb {
        RunVerb::List { runs, limit } => {
            let search = RunSearch { most: u64::from(*limit), ..RunSearch::default() };
            let found = find(tracking, runs, search)?;
            page::cut(output, found.runs.next.is_some(), "plinth run search");
            let value = found.runs.items.iter().map(|run| json!(run.summary)).collect();
            print(output, &value, || found.text("no run is recorded yet\n", output))
        }
        RunVerb::Search { search: SearchArgs { filter, order_by, page }, runs } => {
            let search = RunSearch {
                filter: filter.clone(),
                order_by: order_by.clone(),
                start: page::start(page)?,
                most: u64::from(page.limit),
                ..RunSearch::default()
            };
            let found = find(tracking, runs, search)?;
            let value = page::json("runs", found.runs.items.iter().map(show::run), found.runs.next.as_ref());
            let code = print(output, &value, || found.text("no run matches\n", output))?;
            page::more(output, found.runs.next.as_ref());
            Ok(code)
        }
        RunVerb::Show { run } => {
            let run = tracking.run(&names::run(tracking, run)?.run_id)?;
            let artifacts = artifacts(tracking, &run.summary.run_id)?;
            let mut value = show::run(&run);
            value["artifacts"] = json!(artifacts);
            print(output, &value, || describe(&run, &artifacts))
        }
        RunVerb::Compare { runs, differences } => compare::compare(tracking, runs, *differences, output),
        RunVerb::Watch { run, metric, interval, exit_status } => {
            let run = names::run(tracking, run)?;
            watch::watch(tracking, &run.run_id, metric, *interval, *exit_status, output)
        }
        RunVerb::Delete { runs, yes } => {
            let found = each(tracking, runs)?;
            confirm(yes.yes, &format!("delete {}", told(&found)))?;
            for run in &found {
                tracking.delete_run(&run.run_id)?;
            }
            heads(tracking, &found, output, "deleted", "; `plinth run restore` brings it back")
        }
        RunVerb::Restore { runs } => {
            let found = each(tracking, runs)?;
            for run in &found {
                tracking.restore_run(&run.run_id)?;
            }
            heads(tracking, &found, output, "restored", "")
        }
        RunVerb::Tag { run, tags: TagArgs { set, remove } } => {
            let id = names::run(tracking, run)?.run_id;
            for pairs in set.chunks(tracking.limits().batch_params_max.max(1) as usize) {
                tracking.log(&id, &Batch { tags: pairs.to_vec(), ..Batch::default() })?;
            }
            for key in remove {
                tracking.delete_tag(&id, key)?;
            }
            let run = tracking.run(&id)?;
            let value = json!({"run_id": id, "tags": show::object(&run.tags)});
            print(output, &value, || format!("tags of run {id}: {}\n", show::own_tags(&run.tags).join(", ")))
        }
    }
}

/// The runs that words name, each once.
fn each(tracking: &Tracking, words: &[String]) -> Result<Vec<RunSummary>, Failure> {
    let mut found: Vec<RunSummary> = Vec::new();
    for word in words {
        let run = names::run(tracking, word)?;
        if !found.iter().any(|other| other.run_id == run.run_id) {
            found.push(run);
        }
    }
    Ok(found)
}

fn told(runs: &[RunSummary]) -> String {
    match runs {
        [run] => format!("run {} ({})", run.run_id, run.name),
        many => format!("{} runs", many.len()),
    }
}

/// What a change of runs left.
fn heads(tracking: &Tracking, runs: &[RunSummary], output: Output, did: &str, end: &str) -> Result<ExitCode, Failure> {
    let now: Vec<Value> =
        runs.iter().map(|run| Ok(json!(tracking.run(&run.run_id)?.summary))).collect::<Result<_, TrackingError>>()?;
    print(output, &json!(now), || {
        runs.iter().map(|run| format!("{did} run {} ({}){end}\n", run.run_id, run.name)).collect()
    })
}

/// Runs that were found, and how they are to be shown.
struct Found {
    runs: Page<Run, PageStart>,
    columns: Vec<columns::Column>,
    /// Names by id.
    experiments: BTreeMap<String, String>,
}

impl Found {
    fn text(&self, nothing: &str, output: Output) -> String {
        if self.runs.items.is_empty() {
            return nothing.to_owned();
        }
        columns::listing(&self.columns, &self.runs.items, &self.experiments, output)
    }
}

fn find(tracking: &Tracking, args: &RunsArgs, mut search: RunSearch) -> Result<Found, Failure> {
    let columns = columns::parse(&args.columns)?;
    search.view = args.view.into();
    // A deleted run's experiment may be deleted too.
    let among = if search.view == View::Active { View::Active } else { View::All };
    search.experiment_ids = names::experiment_ids(tracking, &args.experiment, among)?;
    let runs = tracking.search_runs(&search)?;
    let mut ids: Vec<String> = runs.items.iter().map(|run| run.summary.experiment_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let most = ids.len() as u64;
    let search = ExperimentSearch { only: Some(ids), view: View::All, most, ..ExperimentSearch::default() };
    let experiments = match most {
        0 => BTreeMap::new(),
        _ => tracking.search_experiments(&search)?.items.into_iter().map(|e| (e.experiment_id, e.name)).collect(),
    };
    Ok(Found { runs, columns, experiments })
}

/// Heads of runs as a table.
pub(super) fn listing(runs: Vec<&RunSummary>) -> String {
    let rows = runs
        .into_iter()
        .map(|run| vec![run.run_id.clone(), run.name.clone(), show::status(run), day(run.start), show::took(run)]);
    table(["run", "name", "status", "started", "took"], rows)
}

/// A run's files; none if they are kept where Plinth does not look.
pub(super) fn artifacts(tracking: &Tracking, run_id: &str) -> Result<Vec<Artifact>, Failure> {
    match tracking.run_artifacts(run_id) {
        Err(error) if plinth_core::Coded::code(&error) == codes::BAD_REQUEST => Ok(Vec::new()),
        found => Ok(found?),
    }
}

fn describe(run: &Run, artifacts: &[Artifact]) -> String {
    let head = &run.summary;
    let mut text = format!(
        "run {}\n  name {}, {}{}, started {}, {}\n  experiment {}, source {}\n",
        head.run_id,
        head.name,
        show::status(head),
        if head.lifecycle == plinth_tracking::Lifecycle::Deleted { ", deleted" } else { "" },
        day(head.start),
        show::took(head),
        head.experiment_id,
        if head.source.is_empty() { "-" } else { &head.source },
    );
    let metrics = run.metrics.iter().map(|metric| match metric.step {
        0 => format!("{} {}", metric.key, show::short(metric.value)),
        step => format!("{} {} (step {step})", metric.key, show::short(metric.value)),
    });
    text.push_str(&show::part("metrics", metrics));
    text.push_str(&show::part("params", run.params.iter().map(|(key, value)| format!("{key} = {value}"))));
    text.push_str(&show::part("tags", show::own_tags(&run.tags)));
    let inputs = run.datasets.iter().map(|input| {
        let digest: String = input.digest.chars().take(12).collect();
        format!("{} {digest} from {}", input.name, show::head(&input.source, 100))
    });
    text.push_str(&show::part("inputs", inputs));
    let models = run.models_in.iter().map(|link| format!("read {}", link.model_id));
    text.push_str(&show::part(
        "models",
        models.chain(run.models_out.iter().map(|link| format!("made {}", link.model_id))),
    ));
    let files = artifacts.iter().map(|file| format!("{} {} ({} bytes)", file.path, file.blob.short(), file.bytes));
    text.push_str(&show::part("artifacts", files));
    text
}
