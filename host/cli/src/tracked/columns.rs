//! Columns of a table of runs.

use std::collections::{BTreeMap, BTreeSet};

use plinth_core::{codes, did_you_mean};
use plinth_tracking::Run;

use super::{names::suggest, show};
use crate::{
    models::day,
    output::{Failure, Output, table},
};

/// What stands in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    /// One of [`FIELDS`].
    Field(&'static str),
    Metric(String),
    Param(String),
    Tag(String),
}

const FIELDS: [&str; 10] =
    ["run", "name", "experiment", "status", "start", "end", "took", "user", "source", "lifecycle"];
const USUAL: [&str; 6] = ["run", "name", "experiment", "status", "start", "took"];

impl Column {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (kind, key) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let key = unquoted(key);
        match kind {
            "metrics" | "metric" if !key.is_empty() => return Ok(Self::Metric(key)),
            "params" | "param" if !key.is_empty() => return Ok(Self::Param(key)),
            "tags" | "tag" if !key.is_empty() => return Ok(Self::Tag(key)),
            _ => {}
        }
        let name = match text.trim() {
            "run_id" | "id" => "run",
            "start_time" | "started" => "start",
            "end_time" | "ended" => "end",
            other => other,
        };
        FIELDS.into_iter().find(|field| *field == name).map(Self::Field).ok_or_else(|| {
            Failure::new(codes::USAGE, format!("`{text}` is no column"))
                .hint(format!("{}; or metrics.KEY, params.KEY, tags.KEY", did_you_mean(text, FIELDS)))
        })
    }

    fn title(&self) -> String {
        match self {
            Self::Field(name) => (*name).to_owned(),
            Self::Metric(key) | Self::Param(key) | Self::Tag(key) => key.clone(),
        }
    }

    fn cell(&self, run: &Run, experiments: &BTreeMap<String, String>) -> String {
        let head = &run.summary;
        let some = |value: Option<&String>| value.cloned().unwrap_or_else(|| "-".to_owned());
        match self {
            Self::Field("run") => head.run_id.clone(),
            Self::Field("name") => head.name.clone(),
            Self::Field("experiment") => experiments.get(&head.experiment_id).unwrap_or(&head.experiment_id).clone(),
            Self::Field("status") => show::status(head),
            Self::Field("start") => day(head.start),
            Self::Field("end") => show::when(head.end),
            Self::Field("took") => show::took(head),
            Self::Field("user") => head.user.clone(),
            Self::Field("source") => head.source.clone(),
            Self::Field(_) => head.lifecycle.name().to_owned(),
            Self::Metric(key) => run.metric(key).map_or_else(|| "-".to_owned(), show::short),
            Self::Param(key) => some(run.params.get(key)),
            Self::Tag(key) => some(run.tags.get(key)),
        }
    }

    /// A hint, if no run has what the column asks for.
    fn missing(&self, runs: &[Run]) -> Option<String> {
        let (kind, key, known): (_, _, BTreeSet<&String>) = match self {
            Self::Field(_) => return None,
            Self::Metric(key) => {
                ("metric", key, runs.iter().flat_map(|run| run.metrics.iter().map(|m| &m.key)).collect())
            }
            Self::Param(key) => ("parameter", key, runs.iter().flat_map(|run| run.params.keys()).collect()),
            Self::Tag(key) => ("tag", key, runs.iter().flat_map(|run| run.tags.keys()).collect()),
        };
        if runs.is_empty() || known.contains(key) {
            return None;
        }
        let known: Vec<String> = known.into_iter().cloned().collect();
        Some(format!("none of these runs has a {kind} `{key}`: {}", suggest(key, &known, "plinth run show")))
    }
}

/// Back-ticks or double quotes around a key, as in filters.
fn unquoted(key: &str) -> String {
    let inner = ['`', '"'].iter().find_map(|quote| key.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(key).to_owned()
}

/// The columns that were asked for.
pub(super) fn parse(words: &[String]) -> Result<Vec<Column>, Failure> {
    if words.is_empty() {
        return Ok(USUAL.into_iter().map(Column::Field).collect());
    }
    words.iter().map(|word| Column::parse(word)).collect()
}

/// Runs as a table. What no run has is told on stderr.
pub(super) fn listing(
    columns: &[Column],
    runs: &[Run],
    experiments: &BTreeMap<String, String>,
    output: Output,
) -> String {
    for hint in columns.iter().filter_map(|column| column.missing(runs)) {
        output.say(hint);
    }
    let rows = runs.iter().map(|run| columns.iter().map(|column| column.cell(run, experiments)).collect());
    table(columns.iter().map(Column::title), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_fields_or_keys_as_filters_name_them() {
        let parse = |text: &str| Column::parse(text);
        assert_eq!(parse("run_id").unwrap(), Column::Field("run"));
        assert_eq!(parse("metrics.val.loss").unwrap(), Column::Metric("val.loss".into()));
        assert_eq!(parse("params.`learning rate`").unwrap(), Column::Param("learning rate".into()));
        assert_eq!(parse("tags.\"a\"").unwrap(), Column::Tag("a".into()));
        let error = parse("staus").unwrap_err();
        assert!(error.hint.unwrap().contains("did you mean `status`?"));
        assert!(parse("metrics.").is_err());
    }
}
