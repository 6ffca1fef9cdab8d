//! Writes a database that MLflow opens, and the files beside it.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use indicatif::ProgressBar;
use plinth_core::{ContentHash, codes};
use plinth_store::{Blobs, Foreign, StoreError, Tx, Value};
use plinth_tracking::{
    EvaluationRecord, Experiment, LoggedModel, Metric, ModelStatus, Place, Record, RegisteredModel, Run, Span,
    VersionRecord, WholeTrace,
};
use serde_json::{Value as Json, json};

use super::{Problems, Sink, intake, revisions};
use crate::output::{Failure, io_failure};

const SCHEMA: &str = include_str!("mlflow.sql");
/// What MLflow's database holds for an infinity.
const LARGEST: f64 = f64::MAX;
const LOCATION_TAG: &str = "mlflow.artifactLocation";
const NAME_TAG: &str = "mlflow.traceName";
const SESSION_KEY: &str = "mlflow.trace.session";
const USAGE_KEY: &str = "mlflow.trace.tokenUsage";
const COST_KEY: &str = "mlflow.trace.cost";

/// A database in the making. It gets its name once it is whole.
pub(super) struct Outlet<'a> {
    db: Foreign,
    part: PathBuf,
    path: PathBuf,
    folder: PathBuf,
    /// What stands before a path of the artifact store, to make a URI.
    root: String,
    blobs: &'a Blobs,
    bar: ProgressBar,
    /// Where files of experiments are, as they are written down.
    experiments: HashMap<String, String>,
    counts: BTreeMap<&'static str, u64>,
    problems: Problems,
}

impl<'a> Outlet<'a> {
    pub(super) fn create(
        path: &Path,
        folder: &Path,
        proxied: bool,
        blobs: &'a Blobs,
        bar: ProgressBar,
    ) -> Result<Self, Failure> {
        if path.exists() {
            return Err(Failure::new(codes::ALREADY_EXISTS, format!("{} is there already", path.display()))
                .hint("name a file that is not there: a store is written whole"));
        }
        fs::create_dir_all(folder).map_err(|error| io_failure(&folder.display().to_string(), &error))?;
        let folder = fs::canonicalize(folder).map_err(|error| io_failure(&folder.display().to_string(), &error))?;
        let part = PathBuf::from(format!("{}.part", path.display()));
        if part.exists() {
            fs::remove_file(&part).map_err(|error| io_failure(&part.display().to_string(), &error))?;
        }
        let mut db = Foreign::create(&part, SCHEMA)?;
        db.write::<_, StoreError>(|tx| {
            tx.execute("INSERT INTO alembic_version (version_num) VALUES ($1)", &[revisions::LATEST.into()])?;
            tx.execute("INSERT INTO workspaces (name, description) VALUES ('default', 'Default workspace')", &[])
        })?;
        let root = if proxied { "mlflow-artifacts:".to_owned() } else { folder.display().to_string() };
        Ok(Self {
            db,
            part,
            path: path.to_owned(),
            folder,
            root,
            blobs,
            bar,
            experiments: HashMap::new(),
            counts: BTreeMap::new(),
            problems: Problems::default(),
        })
    }

    pub(super) fn finish(self) -> Result<(BTreeMap<&'static str, u64>, Problems), Failure> {
        drop(self.db);
        let named = fs::rename(&self.part, &self.path);
        named.map_err(|error| io_failure(&self.path.display().to_string(), &error))?;
        Ok((self.counts, self.problems))
    }

    /// A location as it is stored here, as it is written down there.
    fn place(&self, location: &str, usual: impl FnOnce() -> String) -> String {
        match Place::of_location(location, usual) {
            Place::Here(path) => format!("{}/{path}", self.root),
            Place::Elsewhere(uri) => uri,
        }
    }

    /// A model version's source, which is another thing's place or a name.
    fn source(&self, uri: &str) -> String {
        match uri.strip_prefix("mlflow-artifacts:") {
            Some(_) => self.place(uri, String::new),
            None => uri.to_owned(),
        }
    }

    fn file(&self, path: &str, blob: &ContentHash, bytes: u64, updated: i64) -> Result<(), Failure> {
        let to = self.folder.join(path);
        let failed = |error: io::Error| io_failure(&to.display().to_string(), &error);
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(updated.max(0) as u64);
        if let Ok(meta) = fs::symlink_metadata(&to)
            && meta.is_file()
            && meta.len() == bytes
            && meta.modified().is_ok_and(|at| at == time)
        {
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut from = self.blobs.open_checked(blob)?;
        // Whole or not at all: a name is given when the bytes are there.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        io::copy(&mut from, file.as_file_mut()).map_err(failed)?;
        file.as_file().set_modified(time).map_err(failed)?;
        file.persist(&to).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn rows(&mut self, record: &Record) -> Result<Rows, Failure> {
        let mut rows = Rows::default();
        match record {
            Record::Experiment(experiment) => {
                let id = experiment.experiment_id.clone();
                let location = self.place(&experiment.artifact_location, || id.clone());
                rows.experiment(experiment, &location);
                self.experiments.insert(id, location);
            }
            Record::Run(run, deleted) => {
                let head = &run.summary;
                let usual = || format!("{}/{}/artifacts", head.experiment_id, head.run_id);
                let uri = self.place(&head.artifact_location, usual);
                rows.run(run, *deleted, &uri);
            }
            Record::Points(run, points) => rows.points(run, points),
            Record::LoggedModel(model, lifecycle) => {
                let usual = || format!("{}/models/{}/artifacts", model.experiment_id, model.model_id);
                let location = self.place(&model.artifact_location, usual);
                rows.logged_model(model, lifecycle.name(), &location);
            }
            Record::Model(model) => rows.model(model),
            Record::Version(version, storage) => {
                rows.version(version, &self.source(&version.source), &self.source(storage));
            }
            Record::Alias { model, alias, version } => rows.add(
                "registered_model_aliases (name, alias, version, workspace)",
                vec![model.into(), alias.into(), Value::from(*version), "default".into()],
            ),
            Record::Trace(trace) => {
                let root = self.experiments.get(&trace.info.experiment_id).cloned().unwrap_or_default();
                let location = format!("{}/traces/{}/artifacts", root.trim_end_matches('/'), trace.info.trace_id);
                rows.trace(trace, &location);
            }
            Record::EvaluationDataset(dataset, experiments) => {
                rows.add(
                    "evaluation_datasets (dataset_id, name, schema, profile, digest, created_time, last_update_time,
                         created_by, last_updated_by, workspace)",
                    vec![
                        Value::from(&dataset.dataset_id),
                        Value::from(&dataset.name),
                        dataset.schema.clone().into(),
                        json!({"num_records": dataset.records}).to_string().into(),
                        Value::from(&dataset.digest),
                        ms(dataset.created),
                        ms(dataset.updated),
                        dataset.created_by.clone().into(),
                        dataset.updated_by.clone().into(),
                        "default".into(),
                    ],
                );
                rows.pairs("evaluation_dataset_tags (dataset_id, \"key\", value)", &dataset.dataset_id, &dataset.tags);
                for experiment in experiments {
                    rows.link("evaluation_dataset", &dataset.dataset_id, "experiment", experiment, dataset.created);
                }
            }
            Record::EvaluationRecord(record) => rows.evaluation_record(record),
            Record::File { path, blob, bytes, updated } => self.file(path, blob, *bytes, *updated)?,
        }
        Ok(rows)
    }
}

impl Sink for Outlet<'_> {
    fn take(&mut self, records: Vec<Record>) -> Result<(), Failure> {
        let mut all = Vec::with_capacity(records.len());
        for record in &records {
            let many = if let Record::Points(_, points) = record { points.len() as u64 } else { 1 };
            self.bar.inc(many);
            *self.counts.entry(intake::kind(record)).or_default() += many;
            match self.rows(record) {
                Ok(rows) => all.extend(rows.0),
                // A file that is damaged is no reason to keep the rest back.
                Err(error) if matches!(record, Record::File { .. }) && error.code != codes::DISK_FULL => {
                    self.problems.add(intake::name(record), error.message);
                }
                Err(error) => return Err(error),
            }
        }
        self.db.write::<_, StoreError>(|tx| all.iter().try_for_each(|(head, values)| insert(tx, head, values)))?;
        Ok(())
    }

    fn problem(&mut self, what: String, reason: String) {
        self.problems.add(what, reason);
    }

    fn expect(&mut self, records: u64) {
        self.bar.set_length(records);
    }
}

fn insert(tx: &mut dyn Tx, head: &str, values: &[Value]) -> Result<(), StoreError> {
    let places: Vec<String> = (1..=values.len()).map(|n| format!("${n}")).collect();
    let sql = format!("INSERT INTO {head} VALUES ({}) ON CONFLICT DO NOTHING", places.join(", "));
    tx.execute(&sql, values).map(drop)
}

/// Rows to be written: table and columns, and a value for each.
#[derive(Default)]
struct Rows(Vec<(&'static str, Vec<Value>)>);

impl Rows {
    fn add(&mut self, head: &'static str, values: Vec<Value>) {
        self.0.push((head, values));
    }

    fn pairs(&mut self, head: &'static str, owner: &str, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            self.add(head, vec![owner.into(), key.into(), value.into()]);
        }
    }

    fn link(&mut self, kind: &str, id: &str, to_kind: &str, to: &str, created: i64) {
        self.add(
            "entity_associations (association_id, source_type, source_id, destination_type, destination_id, created_time)",
            vec![made_id(&[kind, id, to_kind, to]).into(), kind.into(), id.into(), to_kind.into(), to.into(), ms(created)],
        );
    }

    fn experiment(&mut self, experiment: &Experiment, location: &str) {
        let id = number(&experiment.experiment_id);
        self.add(
            "experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace)",
            vec![
                id.clone(),
                Value::from(&experiment.name),
                location.into(),
                experiment.lifecycle.name().into(),
                ms(experiment.created),
                ms(experiment.updated),
                "default".into(),
            ],
        );
        for (key, value) in &experiment.tags {
            let values = vec![id.clone(), key.into(), value.into()];
            self.add("experiment_tags (experiment_id, \"key\", value)", values);
        }
    }

    fn run(&mut self, run: &Run, deleted: Option<i64>, uri: &str) {
        let head = &run.summary;
        self.add(
            "runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,
                 source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time)",
            vec![
                Value::from(&head.run_id),
                Value::from(&head.name),
                "UNKNOWN".into(),
                Value::from(&head.source),
                "".into(),
                Value::from(&head.user),
                head.status.name().into(),
                ms(head.start),
                head.end.map_or(Value::Null, ms),
                "".into(),
                head.lifecycle.name().into(),
                uri.into(),
                number(&head.experiment_id),
                deleted.map_or(Value::Null, ms),
            ],
        );
        for (key, value) in &run.params {
            let values = vec![Value::from(&head.run_id), key.into(), value.into()];
            self.add("params (run_uuid, \"key\", value)", values);
        }
        for (key, value) in &run.tags {
            let values = vec![Value::from(&head.run_id), key.into(), value.into()];
            self.add("tags (run_uuid, \"key\", value)", values);
        }
        for latest in &run.metrics {
            let (value, nan) = stored(latest.value);
            self.add(
                "latest_metrics (run_uuid, \"key\", value, timestamp, step, is_nan)",
                vec![
                    Value::from(&head.run_id),
                    Value::from(&latest.key),
                    value,
                    ms(latest.time),
                    Value::Int(latest.step),
                    nan,
                ],
            );
        }
        for dataset in &run.datasets {
            let id = made_id(&[&head.experiment_id, &dataset.name, &dataset.digest]);
            self.add(
                "datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source,
                     dataset_schema, dataset_profile)",
                vec![
                    Value::from(&id),
                    number(&head.experiment_id),
                    Value::from(&dataset.name),
                    Value::from(&dataset.digest),
                    Value::from(&dataset.source_type),
                    Value::from(&dataset.source),
                    dataset.schema.clone().into(),
                    dataset.profile.clone().into(),
                ],
            );
            let input = self.input("DATASET", &id, "RUN", &head.run_id, 0);
            self.pairs("input_tags (input_uuid, name, value)", &input, &dataset.tags);
        }
        for link in &run.models_in {
            self.input("RUN_INPUT", &head.run_id, "MODEL_INPUT", &link.model_id, link.step);
        }
        for link in &run.models_out {
            self.input("RUN_OUTPUT", &head.run_id, "MODEL_OUTPUT", &link.model_id, link.step);
        }
    }

    fn input(&mut self, kind: &str, id: &str, to_kind: &str, to: &str, step: i64) -> String {
        let input = made_id(&[kind, id, to_kind, to]);
        self.add(
            "inputs (input_uuid, source_type, source_id, destination_type, destination_id, step)",
            vec![Value::from(&input), kind.into(), id.into(), to_kind.into(), to.into(), Value::Int(step)],
        );
        input
    }

    fn points(&mut self, run: &str, points: &[Metric]) {
        for point in points {
            let (value, nan) = stored(point.value);
            self.add(
                "metrics (run_uuid, \"key\", value, timestamp, step, is_nan)",
                vec![run.into(), Value::from(&point.key), value, ms(point.time), Value::Int(point.step), nan],
            );
        }
    }

    fn logged_model(&mut self, model: &LoggedModel, lifecycle: &str, location: &str) {
        let (id, experiment) = (Value::from(&model.model_id), number(&model.experiment_id));
        let status = ModelStatus::ALL.iter().position(|status| *status == model.status).unwrap_or(0);
        let optional = |text: &String| Value::from(Some(text.clone()).filter(|text| !text.is_empty()));
        self.add(
            "logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms,
                 last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id, status_message)",
            vec![
                id.clone(),
                experiment.clone(),
                Value::from(&model.name),
                location.into(),
                ms(model.created),
                ms(model.updated),
                Value::Int(status as i64),
                lifecycle.into(),
                optional(&model.model_type),
                optional(&model.source_run_id),
                optional(&model.status_message),
            ],
        );
        for (key, value) in &model.params {
            let values = vec![id.clone(), experiment.clone(), key.into(), value.into()];
            self.add("logged_model_params (model_id, experiment_id, param_key, param_value)", values);
        }
        for (key, value) in &model.tags {
            let values = vec![id.clone(), experiment.clone(), key.into(), value.into()];
            self.add("logged_model_tags (model_id, experiment_id, tag_key, tag_value)", values);
        }
        for metric in &model.metrics {
            let value = if metric.value.is_nan() { Value::Null } else { stored(metric.value).0 };
            let (name, digest) =
                metric.dataset.clone().map_or((None, None), |(name, digest)| (Some(name), Some(digest)));
            self.add(
                "logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value,
                     experiment_id, run_id, dataset_name, dataset_digest)",
                vec![
                    id.clone(),
                    Value::from(&metric.key),
                    ms(metric.time),
                    Value::Int(metric.step),
                    value,
                    experiment.clone(),
                    Value::from(&metric.run_id),
                    name.into(),
                    digest.into(),
                ],
            );
        }
    }

    fn model(&mut self, model: &RegisteredModel) {
        self.add(
            "registered_models (name, creation_time, last_updated_time, description, workspace)",
            vec![
                Value::from(&model.name),
                ms(model.created),
                ms(model.updated),
                Value::from(&model.description),
                "default".into(),
            ],
        );
        for (key, value) in &model.tags {
            let values = vec![Value::from(&model.name), key.into(), value.into(), "default".into()];
            self.add("registered_model_tags (name, \"key\", value, workspace)", values);
        }
    }

    fn version(&mut self, version: &VersionRecord, source: &str, storage: &str) {
        self.add(
            "model_versions (name, version, creation_time, last_updated_time, description, user_id, current_stage,
                 source, run_id, status, status_message, run_link, storage_location, workspace)",
            vec![
                Value::from(&version.model),
                Value::from(version.version),
                ms(version.created),
                ms(version.updated),
                Value::from(&version.description),
                Value::from(&version.user),
                Value::from(&version.stage),
                source.into(),
                version.run_id.clone().into(),
                Value::from(&version.status),
                Value::from(&version.status_message),
                Value::from(&version.run_link),
                Value::from(Some(storage).filter(|storage| !storage.is_empty())),
                "default".into(),
            ],
        );
        for (key, value) in &version.tags {
            let values = vec![
                Value::from(&version.model),
                Value::from(version.version),
                key.into(),
                value.into(),
                "default".into(),
            ];
            self.add("model_version_tags (name, version, \"key\", value, workspace)", values);
        }
    }

    fn trace(&mut self, trace: &WholeTrace, location: &str) {
        let info = &trace.info;
        let tag = |pairs: &[(String, String)], key: &str| -> Option<String> {
            pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
        };
        let parts = |key: &str, names: &[&str]| -> Vec<Value> {
            let object: Json =
                tag(&info.metadata, key).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            names.iter().map(|name| number_of(object.get(*name))).collect()
        };
        let mut values = vec![
            Value::from(&info.trace_id),
            number(&info.experiment_id),
            ms(info.request),
            info.duration.map_or(Value::Null, ms),
            Value::from(&info.state),
            info.client_request_id.clone().into(),
            info.request_preview.clone().into(),
            info.response_preview.clone().into(),
            Value::Int(i64::from(!trace.spans.is_empty())),
            tag(&info.tags, NAME_TAG).into(),
            tag(&info.metadata, SESSION_KEY).into(),
        ];
        values.extend(parts(
            USAGE_KEY,
            &[
                "input_tokens",
                "output_tokens",
                "total_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "cache_creation_input_tokens_above_1hr",
            ],
        ));
        values.extend(parts(COST_KEY, &["input_cost", "output_cost", "total_cost"]));
        self.add(
            "trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status, client_request_id,
                 request_preview, response_preview, db_payload_generation, trace_name, session_id, input_tokens,
                 output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
                 cache_creation_input_tokens_above_1hr, input_cost, output_cost, total_cost)",
            values,
        );
        let mut tags: Vec<(String, String)> = info.tags.clone();
        tags.retain(|(key, _)| key != LOCATION_TAG && key != NAME_TAG);
        tags.push((LOCATION_TAG.into(), location.into()));
        self.pairs("trace_tags (request_id, \"key\", value)", &info.trace_id, &tags);
        let mut metadata = info.metadata.clone();
        metadata.retain(|(key, _)| ![SESSION_KEY, USAGE_KEY, COST_KEY].contains(&key.as_str()));
        self.pairs("trace_request_metadata (request_id, \"key\", value)", &info.trace_id, &metadata);
        for span in &trace.spans {
            self.span(span, &info.experiment_id);
        }
        for said in &info.assessments {
            let value: Json = serde_json::from_str(&said.value).unwrap_or_default();
            let (aggregate, numeric) = match &value {
                Json::Number(n) => (n.as_f64(), true),
                Json::Bool(yes) => (Some(f64::from(u8::from(*yes))), false),
                Json::String(text) if text.eq_ignore_ascii_case("yes") => (Some(1.0), false),
                Json::String(text) if text.eq_ignore_ascii_case("no") => (Some(0.0), false),
                _ => (None, false),
            };
            self.add(
                "assessments (assessment_id, trace_id, name, assessment_type, value, error, created_timestamp,
                     last_updated_timestamp, source_type, source_id, span_id, rationale, overrides, valid,
                     assessment_metadata, experiment_id, trace_timestamp_ms, aggregate_value, is_numeric_value)",
                vec![
                    Value::from(&said.assessment_id),
                    Value::from(&info.trace_id),
                    Value::from(&said.name),
                    Value::from(&said.kind),
                    Value::from(&said.value),
                    said.error.clone().into(),
                    ms(said.created),
                    ms(said.updated),
                    Value::from(&said.source_type),
                    said.source_id.clone().into(),
                    said.span_id.clone().into(),
                    said.rationale.clone().into(),
                    said.overrides.clone().into(),
                    said.valid.into(),
                    Value::from(Some(said.metadata.clone()).filter(|metadata| metadata != "{}")),
                    number(&info.experiment_id),
                    ms(info.request),
                    aggregate.into(),
                    numeric.into(),
                ],
            );
        }
        for run in &trace.runs {
            self.link("trace", &info.trace_id, "run", run, info.request);
        }
        for prompt in &trace.prompts {
            self.link("trace", &info.trace_id, "prompt_version", prompt, info.request);
        }
    }

    fn span(&mut self, span: &Span, experiment: &str) {
        let cost: Json = span.cost.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let document: Json = serde_json::from_str(&span.content).unwrap_or_default();
        let attribute = |key: &str| -> Option<String> {
            let text = document["attributes"][key].as_str()?;
            serde_json::from_str(text).ok()
        };
        self.add(
            "spans (trace_id, experiment_id, span_id, parent_span_id, name, type, status, start_time_unix_nano,
                 end_time_unix_nano, content, input_cost, output_cost, total_cost, model_name, model_provider)",
            vec![
                Value::from(&span.trace_id),
                number(experiment),
                Value::from(&span.span_id),
                span.parent_id.clone().into(),
                Value::from(&span.name),
                span.kind.clone().into(),
                Value::from(&span.status),
                Value::Int(span.start_ns),
                span.end_ns.map_or(Value::Null, Value::Int),
                Value::from(&span.content),
                number_of(cost.get("input_cost")),
                number_of(cost.get("output_cost")),
                number_of(cost.get("total_cost")),
                attribute("mlflow.llm.model").into(),
                attribute("mlflow.llm.provider").into(),
            ],
        );
    }

    fn evaluation_record(&mut self, record: &EvaluationRecord) {
        let text = |value: &Json| plinth_tracking::ascii_json(value);
        let source = record.source.as_ref();
        let data = source.map(|source| text(&json!({"source_type": source.kind, "source_data": source.data})));
        let trace = source.and_then(|source| source.data.get("trace_id")).and_then(Json::as_str);
        self.add(
            "evaluation_dataset_records (dataset_record_id, dataset_id, inputs, outputs, expectations, tags, source,
                 source_id, source_type, created_time, last_update_time, created_by, last_updated_by, input_hash)",
            vec![
                Value::from(&record.record_id),
                Value::from(&record.dataset_id),
                text(&record.inputs).into(),
                record.outputs.as_ref().map(|outputs| text(&json!({"mlflow_wrapped": outputs}))).into(),
                record.expectations.as_ref().map_or_else(|| "null".to_owned(), text).into(),
                text(&record.tags).into(),
                data.into(),
                trace.into(),
                source.map(|source| source.kind.clone()).into(),
                ms(record.created),
                ms(record.updated),
                record.created_by.clone().into(),
                record.updated_by.clone().into(),
                input_hash(&record.inputs).into(),
            ],
        );
    }
}

/// What MLflow tells records of one data set apart by: any hash of the inputs that does not depend on their order.
fn input_hash(inputs: &Json) -> String {
    let mut keys: Vec<(String, String)> =
        inputs.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.to_string())).collect();
    keys.sort();
    ContentHash::of(format!("{keys:?}").as_bytes()).to_hex()
}

/// Microseconds as milliseconds.
fn ms(micros: i64) -> Value {
    Value::Int(micros.div_euclid(1000))
}

/// An experiment's number as a number.
fn number(id: &str) -> Value {
    id.parse().map_or_else(|_| Value::from(id), Value::Int)
}

fn number_of(value: Option<&Json>) -> Value {
    match value {
        Some(Json::Number(n)) => n.as_i64().map_or_else(|| n.as_f64().into(), Value::Int),
        _ => Value::Null,
    }
}

/// A metric's value, and whether it is none.
fn stored(value: f64) -> (Value, Value) {
    match value {
        nan if nan.is_nan() => (Value::Real(0.0), true.into()),
        value => (Value::Real(value.clamp(-LARGEST, LARGEST)), false.into()),
    }
}

/// An identifier that follows from what it stands for, so that a second export says the same.
fn made_id(parts: &[&str]) -> String {
    ContentHash::of(parts.join("\0").as_bytes()).to_hex()[..32].to_owned()
}
