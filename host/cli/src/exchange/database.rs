//! Reads MLflow's database. Older revisions lack columns and tables: these count as empty.

mod traces;

use std::collections::{BTreeMap, HashMap, HashSet};

use plinth_core::codes;
use plinth_store::{Foreign, Row, Value};
use plinth_tracking::{
    DatasetInput, EvaluationDataset, EvaluationRecord, Experiment, Lifecycle, LoggedModel, Metric, ModelLink,
    ModelMetric, ModelStatus, Record, RecordSource, RegisteredModel, Run, RunSummary, Status, VersionRecord,
};
use serde_json::{Map, Value as Json};

use super::{Sink, Source, revisions};
use crate::output::{Failure, read_failure};

/// Runs, models, traces that are read at once.
const AT_ONCE: usize = 200;
/// Points of metrics that are handed on at once.
const POINTS_AT_ONCE: usize = 20_000;

/// A database of MLflow's.
pub(super) struct Database {
    db: Foreign,
    columns: HashMap<String, HashSet<String>>,
}

type Pairs = Vec<(String, String)>;

impl Database {
    /// Opens one whose revision is known.
    pub(super) fn open(path: &std::path::Path) -> Result<Self, Failure> {
        std::fs::metadata(path).map_err(|error| read_failure(path, &error))?;
        let db = Foreign::open(path)?;
        let mut columns = HashMap::new();
        for table in db.tables()? {
            let names = db.columns(&table)?.into_iter().collect();
            columns.insert(table, names);
        }
        let shown = path.display();
        if !columns.contains_key("alembic_version") || !columns.contains_key("runs") {
            return Err(Failure::new(codes::NOT_A_STORE, format!("{shown} is no tracking store of MLflow's"))
                .hint("name the database that `mlflow server --backend-store-uri` uses"));
        }
        let rows = db.query("SELECT version_num FROM alembic_version", &[])?;
        let found: Vec<String> = rows.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
        if let Some(unknown) = found.iter().find(|revision| !revisions::KNOWN.contains(&revision.as_str())) {
            let message = format!(
                "{shown} has the schema revision '{unknown}', which this plinth does not know; the last it knows is \
                 '{}' of MLflow 3.17",
                revisions::LATEST
            );
            return Err(Failure::new(codes::STORE_REVISION, message).hint("use a newer plinth"));
        }
        if found.is_empty() {
            let message = format!("{shown} names no schema revision in its table alembic_version");
            return Err(Failure::new(codes::STORE_REVISION, message).hint("run `mlflow db upgrade` on a copy of it"));
        }
        Ok(Self { db, columns })
    }

    fn has(&self, table: &str) -> bool {
        self.columns.contains_key(table)
    }

    /// A list of columns as a query wants it, with NULL for those that are not there.
    fn list(&self, table: &str, columns: &[&str]) -> String {
        let own = self.columns.get(table);
        let column = |name: &&str| match own {
            Some(own) if own.contains(*name) => format!("\"{name}\""),
            _ => "NULL".to_owned(),
        };
        columns.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    fn count(&self, table: &str) -> Result<u64, Failure> {
        if !self.has(table) {
            return Ok(0);
        }
        let rows = self.db.query(&format!("SELECT COUNT(*) FROM \"{table}\""), &[])?;
        Ok(rows.first().map_or(Ok(0), |row| row.int(0))? as u64)
    }

    /// Rows of a table that belong to some of its owners, as `(owner, row)`; the owner's column comes first.
    fn of(&self, table: &str, owner: &str, columns: &[&str], ids: &[Value]) -> Result<Vec<Row>, Failure> {
        if !self.has(table) || ids.is_empty() {
            return Ok(Vec::new());
        }
        let among = among(ids.len());
        let list = self.list(table, columns);
        Ok(self.db.query(&format!("SELECT \"{owner}\", {list} FROM \"{table}\" WHERE \"{owner}\" IN {among}"), ids)?)
    }

    fn pairs(
        &self,
        table: &str,
        owner: &str,
        key: &str,
        value: &str,
        ids: &[Value],
    ) -> Result<HashMap<String, Pairs>, Failure> {
        let mut pairs: HashMap<String, Pairs> = HashMap::new();
        for row in self.of(table, owner, &[key, value], ids)? {
            pairs.entry(shown(&row, 0)).or_default().push((shown(&row, 1), shown(&row, 2)));
        }
        Ok(pairs)
    }

    /// Pages of a table in the order of a key; the key is the first column.
    fn pages(
        &self,
        table: &str,
        columns: &[&str],
        mut page: impl FnMut(&Self, &[Row], &[Value]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.has(table) {
            return Ok(());
        }
        let (list, key) = (self.list(table, columns), columns[0]);
        let mut after: Option<Value> = None;
        loop {
            let (from, parameters) = match &after {
                Some(after) => (format!("WHERE \"{key}\" > $1"), vec![after.clone()]),
                None => (String::new(), Vec::new()),
            };
            let sql = format!("SELECT {list} FROM \"{table}\" {from} ORDER BY \"{key}\" LIMIT {AT_ONCE}");
            let rows = self.db.query(&sql, &parameters)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.0[0].clone());
            let ids: Vec<Value> = rows.iter().map(|row| row.0[0].clone()).collect();
            page(self, &rows, &ids)?;
        }
    }

    fn experiments(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let columns = [
            "experiment_id",
            "name",
            "artifact_location",
            "lifecycle_stage",
            "creation_time",
            "last_update_time",
            "workspace",
        ];
        self.pages("experiments", &columns, |db, rows, ids| {
            let mut tags = db.pairs("experiment_tags", "experiment_id", "key", "value", ids)?;
            let mut records = Vec::new();
            for row in rows {
                let id = shown(row, 0);
                let workspace = shown(row, 6);
                if !workspace.is_empty() && workspace != "default" {
                    sink.problem(format!("experiment {id}"), format!("it is in the workspace '{workspace}'"));
                    continue;
                }
                records.push(Record::Experiment(Experiment {
                    name: shown(row, 1),
                    artifact_location: shown(row, 2),
                    lifecycle: lifecycle(row, 3),
                    created: micros(row, 4).unwrap_or(0),
                    updated: micros(row, 5).or(micros(row, 4)).unwrap_or(0),
                    tags: sorted(tags.remove(&id)),
                    experiment_id: id,
                }));
            }
            sink.take(records)
        })
    }

    fn runs(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let columns = [
            "run_uuid",
            "experiment_id",
            "name",
            "status",
            "source_name",
            "user_id",
            "start_time",
            "end_time",
            "lifecycle_stage",
            "artifact_uri",
            "deleted_time",
        ];
        self.pages("runs", &columns, |db, rows, ids| {
            let mut params = db.pairs("params", "run_uuid", "key", "value", ids)?;
            let mut tags = db.pairs("tags", "run_uuid", "key", "value", ids)?;
            let mut datasets = db.datasets(ids)?;
            let (mut models_in, mut models_out) = db.model_links(ids)?;
            let mut records = Vec::with_capacity(rows.len());
            for row in rows {
                let id = shown(row, 0);
                let tags: BTreeMap<String, String> = tags.remove(&id).unwrap_or_default().into_iter().collect();
                // Before MLflow 2 a run's name was only a tag.
                let name = shown(row, 2);
                let name = if name.is_empty() { tags.get("mlflow.runName").cloned().unwrap_or_default() } else { name };
                let status = shown(row, 3);
                let Some(status) = Status::from_name(&status) else {
                    sink.problem(format!("run {id}"), format!("its status is '{status}'"));
                    continue;
                };
                let run = Run {
                    summary: RunSummary {
                        experiment_id: shown(row, 1),
                        name,
                        status,
                        source: shown(row, 4),
                        user: shown(row, 5),
                        start: micros(row, 6).unwrap_or(0),
                        end: micros(row, 7),
                        lifecycle: lifecycle(row, 8),
                        artifact_location: shown(row, 9),
                        run_id: id.clone(),
                    },
                    params: params.remove(&id).unwrap_or_default().into_iter().collect(),
                    metrics: Vec::new(),
                    tags,
                    datasets: datasets.remove(&id).unwrap_or_default(),
                    models_in: models_in.remove(&id).unwrap_or_default(),
                    models_out: models_out.remove(&id).unwrap_or_default(),
                };
                records.push(Record::Run(Box::new(run), micros(row, 10)));
            }
            sink.take(records)?;
            db.points(ids, sink)
        })
    }

    fn points(&self, ids: &[Value], sink: &mut dyn Sink) -> Result<(), Failure> {
        let list = self.list("metrics", &["run_uuid", "key", "value", "timestamp", "step", "is_nan"]);
        let sql = format!("SELECT {list} FROM metrics WHERE run_uuid IN {}", among(ids.len()));
        let mut held: Vec<Record> = Vec::new();
        let mut count = 0;
        let mut each = |row: Row| -> Result<(), Failure> {
            let nan = row.0[5] == Value::Int(1);
            let value = if nan { f64::NAN } else { real(&row, 2) };
            let point = Metric {
                key: shown(&row, 1),
                value,
                time: row.opt_int(3)?.unwrap_or(0).saturating_mul(1000),
                step: row.opt_int(4)?.unwrap_or(0),
                model: None,
            };
            let run = shown(&row, 0);
            match held.last_mut() {
                Some(Record::Points(last, points)) if *last == run => points.push(point),
                _ => held.push(Record::Points(run, vec![point])),
            }
            count += 1;
            if count >= POINTS_AT_ONCE {
                count = 0;
                sink.take(std::mem::take(&mut held))?;
            }
            Ok(())
        };
        self.db.each(&sql, ids, &mut each)?;
        sink.take(held)
    }

    fn datasets(&self, runs: &[Value]) -> Result<HashMap<String, Vec<DatasetInput>>, Failure> {
        let mut datasets: HashMap<String, Vec<DatasetInput>> = HashMap::new();
        if !self.has("inputs") || !self.has("datasets") {
            return Ok(datasets);
        }
        let sql = format!(
            "SELECT i.destination_id, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema,
                 d.dataset_profile, i.input_uuid
             FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
             WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id IN {}
             ORDER BY i.destination_id, d.name, d.digest",
            among(runs.len())
        );
        let rows = self.db.query(&sql, runs)?;
        for part in rows.chunks(AT_ONCE) {
            let ids: Vec<Value> = part.iter().map(|row| row.0[7].clone()).collect();
            let mut tags = self.pairs("input_tags", "input_uuid", "name", "value", &ids)?;
            for row in part {
                datasets.entry(shown(row, 0)).or_default().push(DatasetInput {
                    name: shown(row, 1),
                    digest: shown(row, 2),
                    source_type: shown(row, 3),
                    source: shown(row, 4),
                    schema: row.opt_text(5)?,
                    profile: row.opt_text(6)?,
                    tags: sorted(tags.remove(&shown(row, 7))),
                });
            }
        }
        Ok(datasets)
    }

    #[expect(clippy::type_complexity, reason = "what was read and what was made, by run")]
    fn model_links(
        &self,
        runs: &[Value],
    ) -> Result<(HashMap<String, Vec<ModelLink>>, HashMap<String, Vec<ModelLink>>), Failure> {
        let (mut read, mut made): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = Default::default();
        for row in self.of("inputs", "source_id", &["source_type", "destination_id", "step"], runs)? {
            let link = ModelLink { model_id: shown(&row, 2), step: row.opt_int(3)?.unwrap_or(0) };
            match shown(&row, 1).as_str() {
                "RUN_INPUT" => read.entry(shown(&row, 0)).or_default().push(link),
                "RUN_OUTPUT" => made.entry(shown(&row, 0)).or_default().push(link),
                _ => {}
            }
        }
        Ok((read, made))
    }

    fn logged_models(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let columns = [
            "model_id",
            "experiment_id",
            "name",
            "artifact_location",
            "creation_timestamp_ms",
            "last_updated_timestamp_ms",
            "status",
            "lifecycle_stage",
            "model_type",
            "source_run_id",
            "status_message",
        ];
        self.pages("logged_models", &columns, |db, rows, ids| {
            let mut params = db.pairs("logged_model_params", "model_id", "param_key", "param_value", ids)?;
            let mut tags = db.pairs("logged_model_tags", "model_id", "tag_key", "tag_value", ids)?;
            let mut metrics: HashMap<String, Vec<ModelMetric>> = HashMap::new();
            let metric_columns = [
                "metric_name",
                "metric_value",
                "metric_timestamp_ms",
                "metric_step",
                "run_id",
                "dataset_name",
                "dataset_digest",
            ];
            for row in db.of("logged_model_metrics", "model_id", &metric_columns, ids)? {
                let dataset = row.opt_text(6)?.map(|name| (name, shown(&row, 7)));
                metrics.entry(shown(&row, 0)).or_default().push(ModelMetric {
                    key: shown(&row, 1),
                    value: real(&row, 2),
                    time: micros(&row, 3).unwrap_or(0),
                    step: row.opt_int(4)?.unwrap_or(0),
                    run_id: shown(&row, 5),
                    dataset,
                });
            }
            let record = |row: &Row| {
                let id = shown(row, 0);
                let status = row.int(6).ok().and_then(|n| ModelStatus::ALL.get(n as usize).copied());
                let model = LoggedModel {
                    experiment_id: shown(row, 1),
                    name: shown(row, 2),
                    artifact_location: shown(row, 3),
                    model_type: shown(row, 8),
                    source_run_id: shown(row, 9),
                    status: status.unwrap_or(ModelStatus::Unspecified),
                    status_message: shown(row, 10),
                    created: micros(row, 4).unwrap_or(0),
                    updated: micros(row, 5).unwrap_or(0),
                    tags: sorted(tags.remove(&id)),
                    params: sorted(params.remove(&id)),
                    metrics: metrics.remove(&id).unwrap_or_default(),
                    model_id: id,
                };
                Record::LoggedModel(Box::new(model), lifecycle(row, 7))
            };
            sink.take(rows.iter().map(record).collect())
        })
    }

    fn registry(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let columns = ["name", "creation_time", "last_updated_time", "description", "workspace"];
        let mut names: HashSet<String> = HashSet::new();
        self.pages("registered_models", &columns, |db, rows, ids| {
            let mut tags = db.pairs("registered_model_tags", "name", "key", "value", ids)?;
            let mut records = Vec::new();
            for row in rows {
                let (name, workspace) = (shown(row, 0), shown(row, 4));
                if !workspace.is_empty() && workspace != "default" {
                    sink.problem(format!("models:/{name}"), format!("it is in the workspace '{workspace}'"));
                    continue;
                }
                names.insert(name.clone());
                records.push(Record::Model(RegisteredModel {
                    description: shown(row, 3),
                    created: micros(row, 1).unwrap_or(0),
                    updated: micros(row, 2).or(micros(row, 1)).unwrap_or(0),
                    tags: sorted(tags.remove(&name)),
                    aliases: Vec::new(),
                    latest: Vec::new(),
                    name,
                }));
            }
            sink.take(records)
        })?;
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_unstable();
        for name in &names {
            self.versions(name, sink)?;
        }
        Ok(())
    }

    fn versions(&self, name: &str, sink: &mut dyn Sink) -> Result<(), Failure> {
        let id = [Value::from(name)];
        let columns = [
            "version",
            "creation_time",
            "last_updated_time",
            "description",
            "user_id",
            "current_stage",
            "source",
            "run_id",
            "status",
            "status_message",
            "run_link",
            "storage_location",
            "workspace",
        ];
        let list = self.list("model_versions", &columns);
        let mut tags: HashMap<i64, Pairs> = HashMap::new();
        for row in self.of("model_version_tags", "name", &["version", "key", "value"], &id)? {
            tags.entry(row.int(1)?).or_default().push((shown(&row, 2), shown(&row, 3)));
        }
        let mut records = Vec::new();
        let sql = format!("SELECT {list} FROM model_versions WHERE name = $1 ORDER BY version");
        for row in self.db.query(&sql, &id)? {
            let version = row.int(0)?;
            let stage = shown(&row, 5);
            // Deleted versions stay as rows, stripped of what they were.
            if stage == "Deleted_Internal" {
                continue;
            }
            let source = shown(&row, 6);
            let record = VersionRecord {
                model: name.to_owned(),
                version: version as u64,
                description: shown(&row, 3),
                user: shown(&row, 4),
                run_id: row.opt_text(7)?.filter(|id| !id.is_empty()),
                run_link: shown(&row, 10),
                model_id: source.strip_prefix("models:/").filter(|id| id.starts_with("m-")).map(str::to_owned),
                status: Some(shown(&row, 8)).filter(|status| !status.is_empty()).unwrap_or_else(|| "READY".into()),
                status_message: shown(&row, 9),
                stage: if stage.is_empty() { "None".into() } else { stage },
                created: micros(&row, 1).unwrap_or(0),
                updated: micros(&row, 2).or(micros(&row, 1)).unwrap_or(0),
                tags: sorted(tags.remove(&version)),
                aliases: Vec::new(),
                source,
            };
            records.push(Record::Version(Box::new(record), shown(&row, 11)));
        }
        for row in self.of("registered_model_aliases", "name", &["alias", "version"], &id)? {
            records.push(Record::Alias { model: name.to_owned(), alias: shown(&row, 1), version: row.int(2)? as u64 });
        }
        sink.take(records)
    }

    fn evaluation(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let columns = [
            "dataset_id",
            "name",
            "schema",
            "digest",
            "created_time",
            "last_update_time",
            "created_by",
            "last_updated_by",
            "workspace",
        ];
        self.pages("evaluation_datasets", &columns, |db, rows, ids| {
            let mut tags = db.pairs("evaluation_dataset_tags", "dataset_id", "key", "value", ids)?;
            let mut used: HashMap<String, Vec<String>> = HashMap::new();
            for row in
                db.of("entity_associations", "source_id", &["source_type", "destination_type", "destination_id"], ids)?
            {
                if shown(&row, 1) == "evaluation_dataset" && shown(&row, 2) == "experiment" {
                    used.entry(shown(&row, 0)).or_default().push(shown(&row, 3));
                }
            }
            let mut records = Vec::new();
            for row in rows {
                let id = shown(row, 0);
                let dataset = EvaluationDataset {
                    name: shown(row, 1),
                    schema: row.opt_text(2)?,
                    records: 0,
                    digest: shown(row, 3),
                    created: micros(row, 4).unwrap_or(0),
                    updated: micros(row, 5).unwrap_or(0),
                    created_by: row.opt_text(6)?,
                    updated_by: row.opt_text(7)?,
                    tags: sorted(tags.remove(&id)),
                    dataset_id: id.clone(),
                };
                records.push(Record::EvaluationDataset(dataset, used.remove(&id).unwrap_or_default()));
            }
            sink.take(records)
        })?;
        let columns = [
            "dataset_record_id",
            "dataset_id",
            "inputs",
            "outputs",
            "expectations",
            "tags",
            "source",
            "source_type",
            "created_time",
            "last_update_time",
            "created_by",
            "last_updated_by",
        ];
        self.pages("evaluation_dataset_records", &columns, |_, rows, _| {
            let mut records = Vec::new();
            for row in rows {
                match evaluation_record(row) {
                    Ok(record) => records.push(Record::EvaluationRecord(Box::new(record))),
                    Err(reason) => sink.problem(format!("evaluation record {}", shown(row, 0)), reason),
                }
            }
            sink.take(records)
        })
    }
}

impl Source for Database {
    fn walk(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let mut all = 0;
        for table in [
            "experiments",
            "runs",
            "logged_models",
            "registered_models",
            "model_versions",
            "trace_info",
            "evaluation_dataset_records",
        ] {
            all += self.count(table)?;
        }
        sink.expect(all + self.count("latest_metrics")?);
        self.experiments(sink)?;
        self.runs(sink)?;
        self.logged_models(sink)?;
        self.registry(sink)?;
        self.traces(sink)?;
        self.evaluation(sink)?;
        for (table, what) in revisions::LEFT_OUT {
            match self.count(table)? {
                0 => {}
                count => sink.problem(format!("{count} rows of {table}"), format!("plinth keeps no {what}")),
            }
        }
        Ok(())
    }
}

fn evaluation_record(row: &Row) -> Result<EvaluationRecord, String> {
    let document = |column: usize| -> Result<Option<Json>, String> {
        let text = shown(row, column);
        if text.is_empty() {
            return Ok(None);
        }
        let value: Json = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(Some(value).filter(|value| !value.is_null()))
    };
    // Outputs are wrapped, so that one that is no object can be kept.
    let outputs = document(3)?.map(|mut outputs| match outputs.get_mut("mlflow_wrapped") {
        Some(inner) => inner.take(),
        None => outputs,
    });
    let source = document(6)?;
    let data = source.as_ref().and_then(|source| source["source_data"].as_object()).cloned().unwrap_or_default();
    let kind = Some(shown(row, 7)).filter(|kind| !kind.is_empty());
    let optional = |column: usize| Some(shown(row, column)).filter(|text| !text.is_empty());
    Ok(EvaluationRecord {
        record_id: shown(row, 0),
        dataset_id: shown(row, 1),
        inputs: document(2)?.unwrap_or_else(|| Json::Object(Map::new())),
        outputs,
        expectations: document(4)?,
        tags: document(5)?.unwrap_or_else(|| Json::Object(Map::new())),
        source: kind.map(|kind| RecordSource { kind, data }),
        created: micros(row, 8).unwrap_or(0),
        updated: micros(row, 9).unwrap_or(0),
        created_by: optional(10),
        updated_by: optional(11),
    })
}

/// What a column holds, as text; nothing is an empty one.
fn shown(row: &Row, column: usize) -> String {
    match row.0.get(column) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Int(int)) => int.to_string(),
        Some(Value::Real(real)) => real.to_string(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Value::Null) | None => String::new(),
    }
}

/// Milliseconds as microseconds.
fn micros(row: &Row, column: usize) -> Option<i64> {
    row.opt_int(column).ok().flatten().map(|ms| ms.saturating_mul(1000))
}

fn real(row: &Row, column: usize) -> f64 {
    row.real(column).unwrap_or(f64::NAN)
}

fn lifecycle(row: &Row, column: usize) -> Lifecycle {
    if shown(row, column) == "deleted" { Lifecycle::Deleted } else { Lifecycle::Active }
}

fn sorted(pairs: Option<Pairs>) -> Pairs {
    let mut pairs = pairs.unwrap_or_default();
    pairs.sort();
    pairs
}

fn put_if_absent(pairs: &mut Pairs, key: &str, value: Option<String>) {
    if let Some(value) = value
        && !pairs.iter().any(|(known, _)| known == key)
    {
        pairs.push((key.to_owned(), value));
    }
}

fn among(count: usize) -> String {
    let list: Vec<String> = (1..=count).map(|n| format!("${n}")).collect();
    format!("({})", list.join(", "))
}
