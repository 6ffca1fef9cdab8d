//! `plinth experiment`

use std::process::ExitCode;

use plinth_tracking::{Experiment, ExperimentSearch, NewExperiment, RunSearch, Tracking, View};
use serde_json::{Value, json};

use super::{
    args::{ExperimentCommand, SearchArgs, TagArgs, ViewArg},
    confirm, names, page, print, show,
};
use crate::{
    access::operator,
    host::Host,
    models::day,
    output::{Failure, Output, table},
};

/// `plinth experiment`
pub(crate) fn experiment(command: &ExperimentCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = &host.tracking().by(&operator());
    match command {
        ExperimentCommand::List { view, limit } => {
            let search =
                ExperimentSearch { view: (*view).into(), most: u64::from(*limit), ..ExperimentSearch::default() };
            let found = tracking.search_experiments(&search)?;
            page::cut(output, found.next.is_some(), "plinth experiment search");
            let value = found.items.iter().map(json_of).collect();
            print(output, &value, || listing(&found.items, *view))
        }
        ExperimentCommand::Search { search: SearchArgs { filter, order_by, page }, view } => {
            let search = ExperimentSearch {
                filter: filter.clone(),
                order_by: order_by.clone(),
                only: None,
                view: (*view).into(),
                skip: page::skip(page)?,
                most: u64::from(page.limit),
            };
            let found = tracking.search_experiments(&search)?;
            let value = page::json("experiments", found.items.iter().map(json_of), found.next);
            let code = print(output, &value, || listing(&found.items, *view))?;
            page::more(output, found.next);
            Ok(code)
        }
        ExperimentCommand::Show { experiment, limit } => {
            let found = names::experiment(tracking, experiment)?;
            show_one(tracking, &found, *limit, output)
        }
        ExperimentCommand::Create { name, artifact_location, tag } => {
            let new =
                NewExperiment { name: name.clone(), artifact_location: artifact_location.clone(), tags: tag.clone() };
            let id = tracking.create_experiment(&new)?;
            print(output, &json_of(&tracking.get_experiment(&id)?), || format!("{id}\n"))
        }
        ExperimentCommand::Rename { experiment, name } => {
            let found = names::experiment(tracking, experiment)?;
            tracking.rename_experiment(&found.experiment_id, name)?;
            changed(tracking, &found.experiment_id, output, |now| format!("`{}` is `{}` now", found.name, now.name))
        }
        ExperimentCommand::Delete { experiment, yes } => {
            let found = names::experiment(tracking, experiment)?;
            confirm(yes.yes, &format!("delete experiment `{}` and its runs", found.name))?;
            tracking.delete_experiment(&found.experiment_id)?;
            changed(tracking, &found.experiment_id, output, |now| {
                format!("deleted `{0}`; `plinth experiment restore {0}` brings it back", now.name)
            })
        }
        ExperimentCommand::Restore { experiment } => {
            let found = names::experiment(tracking, experiment)?;
            tracking.restore_experiment(&found.experiment_id)?;
            changed(tracking, &found.experiment_id, output, |now| format!("`{}` is back", now.name))
        }
        ExperimentCommand::Tag { experiment, tags: TagArgs { set, remove } } => {
            let id = names::experiment(tracking, experiment)?.experiment_id;
            for (key, value) in set {
                tracking.set_experiment_tag(&id, key, value)?;
            }
            for key in remove {
                tracking.delete_experiment_tag(&id, key)?;
            }
            changed(tracking, &id, output, |now| {
                let tags = now.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
                format!("tags of `{}`: {}", now.name, tags.join(", "))
            })
        }
    }
}

/// What a change left: the experiment as JSON, a sentence for a person.
fn changed(
    tracking: &Tracking,
    id: &str,
    output: Output,
    words: impl FnOnce(&Experiment) -> String,
) -> Result<ExitCode, Failure> {
    let now = tracking.get_experiment(id)?;
    print(output, &json_of(&now), || format!("{}\n", words(&now)))
}

fn show_one(tracking: &Tracking, experiment: &Experiment, limit: u32, output: Output) -> Result<ExitCode, Failure> {
    let search = RunSearch {
        experiment_ids: vec![experiment.experiment_id.clone()],
        view: View::All,
        most: u64::from(limit),
        ..RunSearch::default()
    };
    let runs = tracking.search_runs(&search)?;
    let mut value = json_of(experiment);
    value["runs"] = runs.items.iter().map(|run| json!(run.summary)).collect();
    value["more_runs"] = json!(runs.next.is_some());
    print(output, &value, || {
        let location = match experiment.artifact_location.as_str() {
            "" => "the state directory",
            uri => uri,
        };
        let mut text = format!(
            "experiment {} `{}`, {}\n  made {}, changed {}\n  artifacts in {location}\n",
            experiment.experiment_id,
            experiment.name,
            experiment.lifecycle.name(),
            day(experiment.created),
            day(experiment.updated),
        );
        text.push_str(&show::part("tags", experiment.tags.iter().map(|(key, value)| format!("{key} = {value}"))));
        if !runs.items.is_empty() {
            text.push_str(if runs.next.is_some() { "latest runs\n" } else { "runs\n" });
            let heads: Vec<_> = runs.items.iter().map(|run| &run.summary).collect();
            text.push_str(&super::runs::listing(heads));
        }
        text
    })
}

fn json_of(experiment: &Experiment) -> Value {
    json!({
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle": experiment.lifecycle,
        "created": experiment.created,
        "updated": experiment.updated,
        "tags": show::tags(&experiment.tags),
    })
}

fn listing(experiments: &[Experiment], view: ViewArg) -> String {
    if experiments.is_empty() {
        return "no experiment matches\n".into();
    }
    let rows = experiments.iter().map(|experiment| {
        let mut row = vec![
            experiment.experiment_id.clone(),
            experiment.name.clone(),
            day(experiment.created),
            day(experiment.updated),
            show::own_tags(experiment.tags.iter().map(|(key, value)| (key, value))).join(", "),
        ];
        if view != ViewArg::Active {
            row.push(experiment.lifecycle.name().to_owned());
        }
        row
    });
    let mut header = vec!["id", "experiment", "made", "changed", "tags"];
    if view != ViewArg::Active {
        header.push("state");
    }
    table(header, rows)
}
