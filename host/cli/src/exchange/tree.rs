//! Reads MLflow's store of files, a folder `mlruns`: a folder for each experiment and each run, a file for each value.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use plinth_core::codes;
use plinth_tracking::{
    Assessment, DatasetInput, Experiment, Lifecycle, LoggedModel, Metric, ModelLink, ModelMetric, ModelStatus, Record,
    RegisteredModel, Run, RunSummary, Status, TraceInfo, VersionRecord, WholeTrace,
};
use serde_json::Value;

use super::{Sink, Source};
use crate::output::{Failure, read_failure};

/// The largest description that is read.
const META_BYTES_MAX: u64 = 16 << 20;
/// Records that are handed on at once.
const AT_ONCE: usize = 200;
/// Points of metrics that are handed on at once.
const POINTS_AT_ONCE: usize = 20_000;

/// A folder `mlruns`.
pub(super) struct Tree {
    root: PathBuf,
}

type Pairs = Vec<(String, String)>;

impl Tree {
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let entries = fs::read_dir(root).map_err(|error| read_failure(root, &error))?;
        let known = entries.flatten().any(|entry| {
            entry.path().join("meta.yaml").is_file() || matches!(entry.file_name().to_str(), Some(".trash" | "models"))
        });
        if !known {
            return Err(Failure::new(codes::NOT_A_STORE, format!("{} is no store of MLflow's", root.display()))
                .hint("name a folder `mlruns` with experiments in it, or a database as sqlite:///mlflow.db"));
        }
        Ok(Self { root: root.to_owned() })
    }

    fn experiment(&self, folder: &Path, sink: &mut dyn Sink) -> Result<(), Failure> {
        let Some(meta) = meta(folder, sink) else { return Ok(()) };
        let id = word(&meta, "experiment_id");
        let id = if id.is_empty() { name_of(folder) } else { id };
        let mut tags = pairs(&folder.join("tags"), sink);
        if let Some(Value::Object(more)) = meta.get("tags") {
            tags.extend(more.iter().map(|(key, value)| (key.clone(), text_of(value))));
            tags.dedup_by(|a, b| a.0 == b.0);
        }
        sink.take(vec![Record::Experiment(Experiment {
            experiment_id: id.clone(),
            name: word(&meta, "name"),
            artifact_location: word(&meta, "artifact_location"),
            lifecycle: lifecycle(&meta),
            created: millis(&meta, "creation_time").unwrap_or(0),
            updated: millis(&meta, "last_update_time").unwrap_or(0),
            tags,
        })])?;
        let mut datasets: BTreeMap<String, Value> = BTreeMap::new();
        for dataset in folders(&folder.join("datasets")) {
            if let Some(meta) = meta_of(&dataset, sink) {
                datasets.insert(name_of(&dataset), meta);
            }
        }
        let mut held = Vec::new();
        for run in folders(folder) {
            if matches!(name_of(&run).as_str(), "tags" | "datasets" | "models" | "traces") {
                continue;
            }
            self.run(&run, &id, &datasets, &mut held, sink)?;
            if held.len() >= AT_ONCE {
                sink.take(std::mem::take(&mut held))?;
            }
        }
        sink.take(std::mem::take(&mut held))?;
        for model in folders(&folder.join("models")) {
            held.extend(logged_model(&model, &id, sink));
        }
        for trace in folders(&folder.join("traces")) {
            held.extend(trace_of(&trace, &id, sink));
        }
        sink.take(held)
    }

    fn run(
        &self,
        folder: &Path,
        experiment: &str,
        datasets: &BTreeMap<String, Value>,
        held: &mut Vec<Record>,
        sink: &mut dyn Sink,
    ) -> Result<(), Failure> {
        let Some(meta) = meta(folder, sink) else { return Ok(()) };
        let id = Some(word(&meta, "run_id")).filter(|id| !id.is_empty()).unwrap_or_else(|| word(&meta, "run_uuid"));
        // A number, or, in old stores, a word.
        let status = match meta.get("status") {
            Some(Value::Number(n)) => n.as_u64().and_then(|n| Status::ALL.get((n as usize).wrapping_sub(1)).copied()),
            Some(Value::String(name)) => Status::from_name(name),
            _ => None,
        };
        let Some(status) = status else {
            sink.problem(format!("run {id}"), "its status is none of MLflow's".into());
            return Ok(());
        };
        let tags: BTreeMap<String, String> = pairs(&folder.join("tags"), sink).into_iter().collect();
        let name = Some(word(&meta, "run_name")).filter(|name| !name.is_empty());
        let mut run = Run {
            summary: RunSummary {
                run_id: id.clone(),
                experiment_id: experiment.to_owned(),
                name: name.or_else(|| tags.get("mlflow.runName").cloned()).unwrap_or_default(),
                status,
                source: word(&meta, "source_name"),
                user: word(&meta, "user_id"),
                start: millis(&meta, "start_time").unwrap_or(0),
                end: millis(&meta, "end_time"),
                lifecycle: lifecycle(&meta),
                artifact_location: word(&meta, "artifact_uri"),
            },
            params: pairs(&folder.join("params"), sink).into_iter().collect(),
            metrics: Vec::new(),
            tags,
            datasets: Vec::new(),
            models_in: Vec::new(),
            models_out: Vec::new(),
        };
        for input in folders(&folder.join("inputs")) {
            let Some(meta) = meta_of(&input, sink) else { continue };
            let source = word(&meta, "source_id");
            match (word(&meta, "source_type").as_str(), datasets.get(&source)) {
                ("DATASET", Some(dataset)) => run.datasets.push(DatasetInput {
                    name: word(dataset, "name"),
                    digest: word(dataset, "digest"),
                    source_type: word(dataset, "source_type"),
                    source: word(dataset, "source"),
                    schema: optional(dataset, "schema"),
                    profile: optional(dataset, "profile"),
                    tags: object_pairs(&meta, "tags"),
                }),
                ("MODEL", _) => run.models_in.push(ModelLink { model_id: source, step: 0 }),
                (kind, _) => {
                    let reason = format!("its {kind} {source} is not there");
                    sink.problem(format!("an input of run {id}"), reason);
                }
            }
        }
        for output in folders(&folder.join("outputs")) {
            let Some(meta) = meta_of(&output, sink) else { continue };
            let step = meta.get("step").and_then(Value::as_i64).unwrap_or(0);
            run.models_out.push(ModelLink { model_id: word(&meta, "destination_id"), step });
        }
        held.push(Record::Run(Box::new(run), millis(&meta, "deleted_time")));
        let root = folder.join("metrics");
        for (key, path) in files(&root, sink) {
            let mut points = Vec::new();
            let text = match read_text(&path) {
                Ok(text) => text,
                Err(reason) => {
                    sink.problem(format!("metric {key} of run {id}"), reason);
                    continue;
                }
            };
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                match point(&key, line) {
                    Some(point) => points.push(point),
                    None => sink.problem(format!("metric {key} of run {id}"), format!("a line reads '{}'", cut(line))),
                }
                if points.len() >= POINTS_AT_ONCE {
                    held.push(Record::Points(id.clone(), std::mem::take(&mut points)));
                    sink.take(std::mem::take(held))?;
                }
            }
            held.push(Record::Points(id.clone(), points));
        }
        Ok(())
    }

    fn registry(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        for folder in folders(&self.root.join("models")) {
            let Some(meta) = meta(&folder, sink) else { continue };
            let name = word(&meta, "name");
            let mut held = vec![Record::Model(RegisteredModel {
                name: name.clone(),
                description: word(&meta, "description"),
                created: millis(&meta, "creation_timestamp").unwrap_or(0),
                updated: millis(&meta, "last_updated_timestamp").unwrap_or(0),
                tags: pairs(&folder.join("tags"), sink),
                aliases: Vec::new(),
                latest: Vec::new(),
            })];
            let mut versions: Vec<(u64, PathBuf)> = folders(&folder)
                .into_iter()
                .filter_map(|folder| Some((name_of(&folder).strip_prefix("version-")?.parse().ok()?, folder)))
                .collect();
            versions.sort();
            for (version, folder) in versions {
                let Some(meta) = meta_of(&folder, sink) else { continue };
                let stage = Some(word(&meta, "current_stage")).filter(|stage| !stage.is_empty());
                if stage.as_deref() == Some("Deleted_Internal") {
                    continue;
                }
                let record = VersionRecord {
                    model: name.clone(),
                    version,
                    description: word(&meta, "description"),
                    user: word(&meta, "user_id"),
                    source: word(&meta, "source"),
                    run_id: optional(&meta, "run_id").filter(|id| !id.is_empty()),
                    run_link: word(&meta, "run_link"),
                    model_id: optional(&meta, "model_id").filter(|id| !id.is_empty()),
                    status: optional(&meta, "status").unwrap_or_else(|| "READY".into()),
                    status_message: word(&meta, "status_message"),
                    stage: stage.unwrap_or_else(|| "None".into()),
                    created: millis(&meta, "creation_timestamp").unwrap_or(0),
                    updated: millis(&meta, "last_updated_timestamp").unwrap_or(0),
                    tags: pairs(&folder.join("tags"), sink),
                    aliases: Vec::new(),
                };
                held.push(Record::Version(Box::new(record), word(&meta, "storage_location")));
            }
            for (alias, version) in pairs(&folder.join("aliases"), sink) {
                match version.trim().parse() {
                    Ok(version) => held.push(Record::Alias { model: name.clone(), alias, version }),
                    Err(_) => sink.problem(format!("models:/{name}@{alias}"), format!("it names '{}'", cut(&version))),
                }
            }
            sink.take(held)?;
        }
        Ok(())
    }
}

impl Source for Tree {
    fn walk(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let mut all: Vec<PathBuf> = folders(&self.root);
        all.extend(folders(&self.root.join(".trash")));
        let experiments: Vec<&PathBuf> =
            all.iter().filter(|folder| !matches!(name_of(folder).as_str(), ".trash" | "models")).collect();
        sink.expect(experiments.iter().map(|folder| 1 + folders(folder).len() as u64).sum());
        for folder in experiments {
            self.experiment(folder, sink)?;
        }
        self.registry(sink)
    }
}

fn logged_model(folder: &Path, experiment: &str, sink: &mut dyn Sink) -> Option<Record> {
    let meta = meta(folder, sink)?;
    let id = word(&meta, "model_id");
    let status = meta.get("status").and_then(Value::as_u64).and_then(|n| ModelStatus::ALL.get(n as usize).copied());
    let mut metrics = Vec::new();
    for (key, path) in files(&folder.join("metrics"), sink) {
        for line in read_text(&path).unwrap_or_default().lines() {
            // time, value, step, run, and perhaps a data set's name and digest.
            let words: Vec<&str> = line.split(' ').collect();
            match (words.as_slice(), point(&key, &words.iter().take(3).copied().collect::<Vec<_>>().join(" "))) {
                ([_, _, _, run, rest @ ..], Some(point)) => metrics.push(ModelMetric {
                    key: key.clone(),
                    value: point.value,
                    time: point.time,
                    step: point.step,
                    run_id: (*run).to_owned(),
                    dataset: match rest {
                        [name, digest] => Some(((*name).to_owned(), (*digest).to_owned())),
                        _ => None,
                    },
                }),
                _ => {
                    sink.problem(format!("metric {key} of logged model {id}"), format!("a line reads '{}'", cut(line)));
                }
            }
        }
    }
    let model = LoggedModel {
        experiment_id: experiment.to_owned(),
        name: word(&meta, "name"),
        artifact_location: word(&meta, "artifact_location"),
        model_type: word(&meta, "model_type"),
        source_run_id: word(&meta, "source_run_id"),
        status: status.unwrap_or(ModelStatus::Unspecified),
        status_message: word(&meta, "status_message"),
        created: millis(&meta, "creation_timestamp").unwrap_or(0),
        updated: millis(&meta, "last_updated_timestamp").unwrap_or(0),
        tags: pairs(&folder.join("tags"), sink),
        params: pairs(&folder.join("params"), sink),
        metrics,
        model_id: id,
    };
    Some(Record::LoggedModel(Box::new(model), lifecycle(&meta)))
}

fn trace_of(folder: &Path, experiment: &str, sink: &mut dyn Sink) -> Option<Record> {
    let path = folder.join("trace_info.yaml");
    let meta = match document(&path) {
        Ok(meta) => meta,
        Err(reason) => {
            sink.problem(path.display().to_string(), reason);
            return None;
        }
    };
    let id = Some(word(&meta, "trace_id")).filter(|id| !id.is_empty()).unwrap_or_else(|| word(&meta, "request_id"));
    let request = when(&meta, "request_time").or_else(|| millis(&meta, "timestamp_ms")).unwrap_or(0);
    let duration = millis(&meta, "execution_duration_ms").or_else(|| millis(&meta, "execution_time_ms"));
    let duration = duration.or_else(|| seconds(&word(&meta, "execution_duration")));
    let state = Some(word(&meta, "state")).filter(|state| !state.is_empty()).unwrap_or_else(|| word(&meta, "status"));
    let mut assessments = Vec::new();
    for (name, path) in files(&folder.join("assessments"), sink) {
        match document(&path).and_then(|document| assessment(&document)) {
            Ok(assessment) => assessments.push(assessment),
            Err(reason) => sink.problem(format!("assessment {name} of trace {id}"), reason),
        }
    }
    let known = ["OK", "ERROR", "IN_PROGRESS"].contains(&state.as_str());
    let info = TraceInfo {
        trace_id: id,
        experiment_id: experiment.to_owned(),
        request,
        duration,
        state: if known { state } else { "STATE_UNSPECIFIED".into() },
        client_request_id: optional(&meta, "client_request_id"),
        request_preview: optional(&meta, "request_preview"),
        response_preview: optional(&meta, "response_preview"),
        metadata: pairs(&folder.join("request_metadata"), sink),
        tags: pairs(&folder.join("tags"), sink),
        assessments,
        finished: false,
    };
    Some(Record::Trace(Box::new(WholeTrace { info, ..WholeTrace::default() })))
}

fn assessment(document: &Value) -> Result<Assessment, String> {
    let (kind, value, error) = if let Some(feedback) = document.get("feedback") {
        let error = feedback.get("error").filter(|error| !error.is_null()).map(Value::to_string);
        ("feedback", feedback.get("value").cloned().unwrap_or(Value::Null), error)
    } else if let Some(expectation) = document.get("expectation") {
        let value = match &expectation["serialized_value"]["value"] {
            Value::String(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
            _ => expectation.get("value").cloned().unwrap_or(Value::Null),
        };
        ("expectation", value, None)
    } else {
        return Err("it is neither feedback nor an expectation".into());
    };
    let source = document.get("source").cloned().unwrap_or_default();
    let metadata = document.get("metadata").filter(|value| value.is_object());
    Ok(Assessment {
        assessment_id: word(document, "assessment_id"),
        name: word(document, "assessment_name"),
        kind: kind.into(),
        value: plinth_tracking::ascii_json(&value),
        error,
        source_type: word(&source, "source_type"),
        source_id: optional(&source, "source_id"),
        rationale: optional(document, "rationale"),
        span_id: optional(document, "span_id"),
        metadata: metadata.map_or_else(|| "{}".into(), plinth_tracking::ascii_json),
        overrides: optional(document, "overrides"),
        valid: document.get("valid").and_then(Value::as_bool).unwrap_or(true),
        created: when(document, "create_time").unwrap_or(0),
        updated: when(document, "last_update_time").unwrap_or(0),
    })
}

/// A line of a metric: milliseconds, value, and, but in old stores, step.
fn point(key: &str, line: &str) -> Option<Metric> {
    let words: Vec<&str> = line.split(' ').collect();
    let time: i64 = words.first()?.parse().ok()?;
    let value = match *words.get(1)? {
        "nan" | "NaN" => f64::NAN,
        word => word.parse().ok()?,
    };
    let step = words.get(2).map_or(Ok(0), |step| step.parse()).ok()?;
    Some(Metric { key: key.to_owned(), value, time: time.saturating_mul(1000), step, model: None })
}

/// `meta.yaml` of a folder; what has none is no record.
fn meta(folder: &Path, sink: &mut dyn Sink) -> Option<Value> {
    if folder.join("meta.yaml").is_file() {
        return meta_of(folder, sink);
    }
    sink.problem(folder.display().to_string(), "it has no file meta.yaml".into());
    None
}

fn meta_of(folder: &Path, sink: &mut dyn Sink) -> Option<Value> {
    let path = folder.join("meta.yaml");
    match document(&path) {
        Ok(meta) => Some(meta),
        Err(reason) => {
            sink.problem(path.display().to_string(), reason);
            None
        }
    }
}

fn document(path: &Path) -> Result<Value, String> {
    let text = read_text(path)?;
    let value: Value = serde_yaml_ng::from_str(&as_written(&text)).map_err(|error| error.to_string())?;
    if value.is_object() { Ok(value) } else { Err("it is no mapping".into()) }
}

/// MLflow writes YAML 1.1, in which `12e3` is a word: one of many run ids that would be numbers in YAML 1.2. Such words are
/// put in quotes. What spans lines is indented, and stays.
fn as_written(text: &str) -> String {
    let is_word = |value: &str| {
        let number = value.bytes().all(|byte| byte.is_ascii_digit() || b"eE+-.".contains(&byte));
        (number && value.contains(['e', 'E'])) || value.starts_with("0o")
    };
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.trim_end().split_once(": ") {
            Some((key, value)) if !line.starts_with(' ') && is_word(value) => {
                out.push_str(&format!("{key}: '{value}'\n"));
            }
            _ => out.push_str(line),
        }
    }
    out
}

fn read_text(path: &Path) -> Result<String, String> {
    let meta = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no plain file".into());
    }
    if meta.len() > META_BYTES_MAX && !path.components().any(|part| part.as_os_str() == "metrics") {
        return Err(format!("it has {} bytes", meta.len()));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8".into())
}

/// Files below a folder, by their path from it: keys may have slashes.
fn files(root: &Path, sink: &mut dyn Sink) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
                sink.problem(path.display().to_string(), "its name is no UTF-8".into());
                continue;
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push((path, format!("{name}/"))),
                Ok(kind) if kind.is_file() => found.push((name, path)),
                _ => sink.problem(path.display().to_string(), "it is no plain file".into()),
            }
        }
    }
    found.sort();
    found
}

/// Files of a folder as keys and values.
fn pairs(root: &Path, sink: &mut dyn Sink) -> Pairs {
    let mut pairs = Vec::new();
    for (key, path) in files(root, sink) {
        match read_text(&path) {
            Ok(value) => pairs.push((key, value)),
            Err(reason) => sink.problem(path.display().to_string(), reason),
        }
    }
    pairs
}

/// Folders of a folder, by name; links are none.
fn folders(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut found: Vec<PathBuf> = entries.flatten().filter(is_folder).map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn word(meta: &Value, key: &str) -> String {
    meta.get(key).map(text_of).unwrap_or_default()
}

fn optional(meta: &Value, key: &str) -> Option<String> {
    meta.get(key).filter(|value| !value.is_null()).map(text_of)
}

fn object_pairs(meta: &Value, key: &str) -> Pairs {
    let object = meta.get(key).and_then(Value::as_object);
    object.into_iter().flatten().map(|(key, value)| (key.clone(), text_of(value))).collect()
}

fn lifecycle(meta: &Value) -> Lifecycle {
    if word(meta, "lifecycle_stage") == "deleted" { Lifecycle::Deleted } else { Lifecycle::Active }
}

fn millis(meta: &Value, key: &str) -> Option<i64> {
    let value = meta.get(key)?;
    let ms = value.as_i64().or_else(|| value.as_f64().map(|ms| ms as i64));
    ms.or_else(|| value.as_str()?.parse().ok()).map(|ms| ms.saturating_mul(1000))
}

/// A time as protobuf's JSON writes it.
fn when(meta: &Value, key: &str) -> Option<i64> {
    let time = chrono::DateTime::parse_from_rfc3339(meta.get(key)?.as_str()?).ok()?;
    Some(time.timestamp_micros() / 1000 * 1000)
}

/// `1.5s`, as protobuf's JSON writes a duration.
fn seconds(text: &str) -> Option<i64> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Some((seconds * 1000.0).round() as i64 * 1000)
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_looks_like_a_number_stays_a_word() {
        let text =
            as_written("run_id: 00000000000000000000000000000012e3\nstart_time: 5\nnote: |\n  a: 1e5\nname: 'x'\n");
        let meta: Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(word(&meta, "run_id"), "00000000000000000000000000000012e3");
        assert_eq!((millis(&meta, "start_time"), word(&meta, "note")), (Some(5_000), "a: 1e5\n".to_owned()));
    }

    #[test]
    fn lines_of_metrics_are_read_in_all_their_forms() {
        let point = |line: &str| point("k", line).map(|point| (point.time, point.value, point.step));
        assert_eq!(point("5 0.5 2"), Some((5_000, 0.5, 2)));
        assert_eq!(point("5 -inf 2 data digest"), Some((5_000, f64::NEG_INFINITY, 2)));
        assert_eq!(point("5 1e3"), Some((5_000, 1_000.0, 0)));
        assert!(point("5 nan 1").is_some_and(|(_, value, _)| value.is_nan()));
        assert_eq!((point("x 1 1"), point("5"), point("5 x 1")), (None, None, None));
    }
}
