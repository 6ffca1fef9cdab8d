//! `plinth run compare`: runs side by side.

use std::{collections::BTreeMap, process::ExitCode};

use comfy_table::{Attribute, Cell, Color};
use plinth_tracking::{Artifact, Run, Tracking};
use serde_json::{Value, json};

use super::{names, print, runs::artifacts, show};
use crate::{
    models::day,
    output::{Failure, Output, table},
};

/// One thing that runs have or have not.
struct Line {
    key: String,
    /// For a person; `-` for a run that has none.
    cells: Vec<String>,
    json: Value,
    differs: bool,
}

/// Things of one kind.
struct Part {
    title: &'static str,
    lines: Vec<Line>,
}

/// `plinth run compare`
pub(super) fn compare(
    tracking: &Tracking,
    words: &[String],
    differences: bool,
    output: Output,
) -> Result<ExitCode, Failure> {
    let runs = words
        .iter()
        .map(|word| Ok(tracking.run(&names::run(tracking, word)?.run_id)?))
        .collect::<Result<Vec<Run>, Failure>>()?;
    let files = runs
        .iter()
        .map(|run| artifacts(tracking, &run.summary.run_id))
        .collect::<Result<Vec<Vec<Artifact>>, Failure>>()?;
    let mut parts = parts(&runs, &files);
    if differences {
        parts.iter_mut().for_each(|part| part.lines.retain(|line| line.differs));
    }
    let mut value = json!({"runs": runs.iter().map(|run| json!(run.summary)).collect::<Value>()});
    for part in &parts {
        value[part.title] = part.lines.iter().map(|line| line.json.clone()).collect();
    }
    print(output, &value, || text(&runs, &parts, output))
}

fn parts(runs: &[Run], files: &[Vec<Artifact>]) -> Vec<Part> {
    let params = runs.iter().map(|run| run.params.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
    let tags = runs.iter().map(|run| {
        let own = run.tags.iter().filter(|(key, _)| !key.starts_with("mlflow."));
        own.map(|(k, v)| (k.clone(), v.clone())).collect()
    });
    let datasets =
        runs.iter().map(|run| run.datasets.iter().map(|input| (input.name.clone(), input.digest.clone())).collect());
    let files = files.iter().map(|files| files.iter().map(|file| (file.path.clone(), file)).collect());
    vec![
        Part {
            title: "params",
            lines: lines(&params.collect::<Vec<_>>(), |value| json!(value), |value| show::head(value, 200)),
        },
        Part { title: "metrics", lines: metrics(runs) },
        Part {
            title: "tags",
            lines: lines(&tags.collect::<Vec<_>>(), |value| json!(value), |value| show::head(value, 200)),
        },
        Part {
            title: "datasets",
            lines: lines(&datasets.collect::<Vec<_>>(), |digest| json!(digest), |digest| show::head(digest, 12)),
        },
        Part {
            title: "artifacts",
            lines: lines(
                &files.collect::<Vec<_>>(),
                |file: &&Artifact| json!({"blob": file.blob, "bytes": file.bytes}),
                |file| format!("{} ({})", file.blob.short(), show::bytes(file.bytes)),
            ),
        },
    ]
}

/// One line for each key that any run has.
fn lines<T: PartialEq>(
    runs: &[BTreeMap<String, T>],
    json_of: impl Fn(&T) -> Value,
    text: impl Fn(&T) -> String,
) -> Vec<Line> {
    let keys: std::collections::BTreeSet<&String> = runs.iter().flat_map(BTreeMap::keys).collect();
    keys.into_iter()
        .map(|key| {
            let values: Vec<Option<&T>> = runs.iter().map(|run| run.get(key)).collect();
            let differs = values.windows(2).any(|two| two[0] != two[1]);
            let cells = values.iter().map(|value| value.map_or_else(|| "-".to_owned(), &text)).collect();
            let list: Value = values.iter().map(|value| value.map_or(Value::Null, &json_of)).collect();
            Line { key: key.clone(), cells, json: json!({"key": key, "values": list, "differs": differs}), differs }
        })
        .collect()
}

/// As [`lines`], with how far each run's value is from the first run's.
fn metrics(runs: &[Run]) -> Vec<Line> {
    let maps: Vec<BTreeMap<String, u64>> = runs
        .iter()
        .map(|run| run.metrics.iter().map(|metric| (metric.key.clone(), metric.value.to_bits())).collect())
        .collect();
    let firsts = maps.first().cloned().unwrap_or_default();
    let mut lines = lines(&maps, |bits| show::number(f64::from_bits(*bits)), |bits| show::short(f64::from_bits(*bits)));
    for line in &mut lines {
        let first = firsts.get(&line.key).map(|bits| f64::from_bits(*bits));
        let deltas: Vec<Option<f64>> =
            runs.iter().map(|run| Some(run.metric(&line.key)? - first?).filter(|delta| delta.is_finite())).collect();
        for (cell, delta) in line.cells.iter_mut().zip(&deltas).skip(1) {
            if let Some(delta) = delta.filter(|delta| *delta != 0.0) {
                *cell = format!("{cell} ({}{})", if delta > 0.0 { "+" } else { "" }, show::short(delta));
            }
        }
        line.json["deltas"] = json!(deltas);
    }
    lines
}

fn text(runs: &[Run], parts: &[Part], output: Output) -> String {
    let cell = |text: &str, differs: bool| {
        let cell = Cell::new(text);
        if differs && output.color { cell.fg(Color::Yellow) } else { cell }
    };
    let title = |text: &str| {
        let cell = Cell::new(text);
        if output.color { cell.add_attribute(Attribute::Bold) } else { cell }
    };
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut head = |name: &str, of: &dyn Fn(&Run) -> String| {
        let cells = runs.iter().map(|run| Cell::new(of(run)));
        rows.push([Cell::new(""), Cell::new(name)].into_iter().chain(cells).collect());
    };
    head("name", &|run| run.summary.name.clone());
    head("experiment", &|run| run.summary.experiment_id.clone());
    head("status", &|run| show::status(&run.summary));
    head("started", &|run| day(run.summary.start));
    head("took", &|run| show::took(&run.summary));
    for part in parts.iter().filter(|part| !part.lines.is_empty()) {
        rows.push(vec![Cell::new(""), title(part.title)]);
        for line in &part.lines {
            let mark = if line.differs { "*" } else { "" };
            let cells = line.cells.iter().map(|text| cell(text, line.differs));
            rows.push([cell(mark, line.differs), Cell::new(&line.key)].into_iter().chain(cells).collect());
        }
    }
    let ids = runs.iter().map(|run| run.summary.run_id.chars().take(12).collect::<String>());
    table([String::new(), "run".to_owned()].into_iter().chain(ids), rows)
}
