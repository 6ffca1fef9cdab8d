//! Takes over records of another store.

use plinth_core::{Micros, refs::path_problem};
use plinth_store::{Row, Tx, Value};
use serde_json::Value as Json;

use super::{Admission, Record, WholeTrace};
use crate::{
    EvaluationDataset, EvaluationRecord, Experiment, Lifecycle, LoggedModel, Metric, RegisteredModel, Run, Tracking,
    TrackingError, VersionRecord, assessments, experiments, files,
    inputs::{CONTEXT_TAG, Direction},
    log::write_metrics,
    names::cut,
    registry::check_model_name,
    runs::Status,
    traces,
};

type Outcome = Result<Admission, TrackingError>;

impl Tracking {
    /// Takes over an experiment: the one of that name, if there is one, or else a new one, under its own number if that
    /// is free. Returns the number that it has here.
    ///
    /// # Errors
    /// [`TrackingError::Store`]; [`TrackingError::Invalid`] for a name that is none.
    pub fn admit_experiment(&self, theirs: &Experiment) -> Result<(String, Admission), TrackingError> {
        if theirs.name.is_empty() {
            return Err(TrackingError::Invalid("an experiment has no name".into()));
        }
        self.store.catalog().write(|tx| {
            let sql = "SELECT experiment_id FROM experiments WHERE name = $1";
            if let Some(row) = tx.query_one(sql, &[Value::from(&theirs.name)])? {
                let id = row.text(0)?;
                let untouched = id == "0" && untouched(tx)?;
                if untouched {
                    set_head(tx, &id, theirs)?;
                }
                let tags = add_tags(tx, "experiment_tags", "experiment_id", &Value::from(&id), &theirs.tags)?;
                let admission = if untouched { Admission::Added } else { grown(tags) };
                return Ok((id, admission));
            }
            let number: Option<i64> = theirs.experiment_id.parse().ok().filter(|id| *id >= 0);
            let taken = |tx: &mut dyn Tx, id: &str| -> Result<bool, TrackingError> {
                Ok(tx.query_one("SELECT 1 FROM experiments WHERE experiment_id = $1", &[id.into()])?.is_some())
            };
            let id = match number.map(|number| number.to_string()) {
                // The default experiment is always there; nobody has used it here, and there it has another name.
                Some(id) if id == "0" && untouched(tx)? => {
                    set_head(tx, &id, theirs)?;
                    add_tags(tx, "experiment_tags", "experiment_id", &Value::from(&id), &theirs.tags)?;
                    return Ok((id, Admission::Added));
                }
                Some(id) if !taken(tx, &id)? => id,
                _ => {
                    let sql = "SELECT COALESCE(MAX(CAST(experiment_id AS BIGINT)), 0) + 1 FROM experiments";
                    tx.query_one(sql, &[])?.map_or(Ok(1), |row| row.int(0))?.to_string()
                }
            };
            tx.execute(
                "INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ($1, $2, 0, 0)",
                &[Value::from(&id), Value::from(&theirs.name)],
            )?;
            set_head(tx, &id, theirs)?;
            add_tags(tx, "experiment_tags", "experiment_id", &Value::from(&id), &theirs.tags)?;
            Ok((id, Admission::Added))
        })
    }

    /// Takes over records, whose experiments have the numbers that they have here; all or none. Tells of each what
    /// became of it.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn admit(&self, records: &[Record]) -> Result<Vec<Admission>, TrackingError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.store.catalog().write(|tx| records.iter().map(|record| self.admit_one(tx, record)).collect())
    }

    /// Leaves a line about it in the audit log.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn note_transfer(&self, action: &str, subject: &str, detail: &Json) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| self.audit(tx, self.clock.now(), &self.who, action, subject, detail))
    }

    fn admit_one(&self, tx: &mut dyn Tx, record: &Record) -> Outcome {
        match record {
            Record::Experiment(_) => refused("experiments are taken over by themselves"),
            Record::Run(run, deleted) => self.run_of(tx, run, *deleted),
            Record::Points(run_id, points) => points_of(tx, run_id, points),
            Record::LoggedModel(model, lifecycle) => logged_model(tx, model, *lifecycle),
            Record::Model(model) => registered_model(tx, model),
            Record::Version(version, storage) => version_of(tx, version, storage),
            Record::Alias { model, alias, version } => alias_of(tx, model, alias, *version, self.clock.now()),
            Record::Trace(trace) => trace_of(tx, trace),
            Record::EvaluationDataset(dataset, experiments) => evaluation_dataset(tx, dataset, experiments),
            Record::EvaluationRecord(record) => evaluation_record(tx, record),
            Record::File { path, blob, bytes, updated } => {
                if let Some(reason) = path_problem(path) {
                    return refused(reason);
                }
                let sql = "SELECT blob, updated_us FROM files WHERE path = $1";
                let known = tx.query_one(sql, &[path.into()])?;
                if let Some(row) = &known
                    && (row.hash(0)? == *blob || row.int(1)? >= *updated)
                {
                    return Ok(Admission::Known);
                }
                if let Err(error) = files::check_place(tx, path) {
                    return Ok(Admission::Refused(error.to_string()));
                }
                files::put(tx, path, *blob, *bytes, *updated)?;
                Ok(if known.is_some() { Admission::Grown } else { Admission::Added })
            }
        }
    }

    fn run_of(&self, tx: &mut dyn Tx, run: &Run, deleted: Option<Micros>) -> Outcome {
        let head = &run.summary;
        if let Some(reason) = id_problem(&head.run_id) {
            return refused(reason);
        }
        let sql =
            "INSERT INTO runs (run_id, experiment_id, name, status, source, user_name, start_us, end_us, lifecycle,
                       deleted_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                   ON CONFLICT (run_id) DO NOTHING RETURNING rid";
        let parameters = [
            Value::from(&head.run_id),
            Value::from(&head.experiment_id),
            Value::from(&head.name),
            head.status.name().into(),
            Value::from(&head.source),
            Value::from(&head.user),
            Value::Int(head.start),
            head.end.map_or(Value::Null, Value::Int),
            head.lifecycle.name().into(),
            deleted.map_or(Value::Null, Value::Int),
        ];
        let mut changed = 0;
        let (rid, added) = match tx.query_one(sql, &parameters)? {
            Some(row) => (row.int(0)?, true),
            None => {
                let sql = "SELECT rid, experiment_id FROM runs WHERE run_id = $1";
                let row = tx.query_one(sql, &[Value::from(&head.run_id)])?;
                let row = row.ok_or_else(|| TrackingError::RunNotFound(cut(&head.run_id)))?;
                let open = [Status::Running, Status::Scheduled].contains(&head.status);
                if !open {
                    // It has ended since.
                    changed += tx.execute(
                        "UPDATE runs SET status = $2, end_us = $3
                         WHERE rid = $1 AND status IN ('RUNNING', 'SCHEDULED')",
                        &[row.0[0].clone(), head.status.name().into(), head.end.map_or(Value::Null, Value::Int)],
                    )?;
                }
                (row.int(0)?, false)
            }
        };
        tx.run_changed(rid);
        let id = Value::Int(rid);
        for (key, value) in &run.params {
            let sql = "INSERT INTO params (rid, key, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            changed += tx.execute(sql, &[id.clone(), key.into(), value.into()])?;
        }
        for (key, value) in &run.tags {
            let sql = "INSERT INTO run_tags (rid, key, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            changed += tx.execute(sql, &[id.clone(), key.into(), value.into()])?;
        }
        for dataset in &run.datasets {
            let dataset_id = self.dataset_id(tx, &head.experiment_id, dataset)?;
            let tags = serde_json::to_string(&dataset.tags).unwrap_or_default();
            let context = dataset.tags.iter().find(|(key, _)| key == CONTEXT_TAG).map(|(_, value)| value.as_str());
            changed += tx.execute(
                "INSERT INTO run_datasets (rid, dataset_id, tags, context) VALUES ($1, $2, $3, $4)
                 ON CONFLICT DO NOTHING",
                &[id.clone(), dataset_id.into(), tags.into(), context.unwrap_or_default().into()],
            )?;
        }
        for (direction, links) in [(Direction::Input, &run.models_in), (Direction::Output, &run.models_out)] {
            for link in links {
                changed += tx.execute(
                    "INSERT INTO run_models (rid, direction, model_id, step) VALUES ($1, $2, $3, $4)
                     ON CONFLICT DO NOTHING",
                    &[id.clone(), direction.name().into(), Value::from(&link.model_id), Value::Int(link.step)],
                )?;
            }
        }
        Ok(if added { Admission::Added } else { grown(changed) })
    }
}

fn points_of(tx: &mut dyn Tx, run_id: &str, points: &[Metric]) -> Outcome {
    let Some(row) = tx.query_one("SELECT rid FROM runs WHERE run_id = $1", &[run_id.into()])? else {
        return refused("its run is not here");
    };
    let rid = row.int(0)?;
    tx.run_changed(rid);
    Ok(grown(write_metrics(tx, rid, points)?))
}

fn logged_model(tx: &mut dyn Tx, model: &LoggedModel, lifecycle: Lifecycle) -> Outcome {
    if let Some(reason) = id_problem(&model.model_id) {
        return refused(reason);
    }
    let id = Value::from(&model.model_id);
    let added = tx.execute(
        "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, model_type, source_run_id, status,
             status_message, lifecycle, created_us, updated_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        &[
            id.clone(),
            Value::from(&model.experiment_id),
            Value::from(&model.name),
            Value::from(&model.artifact_location),
            Value::from(&model.model_type),
            Value::from(&model.source_run_id),
            model.status.name().into(),
            Value::from(&model.status_message),
            lifecycle.name().into(),
            Value::Int(model.created),
            Value::Int(model.updated),
        ],
    )?;
    let mut changed = 0;
    if added == 0 && model.status != crate::ModelStatus::Pending {
        changed += tx.execute(
            "UPDATE logged_models SET status = $2, updated_us = $3 WHERE model_id = $1 AND status = $4",
            &[
                id.clone(),
                model.status.name().into(),
                Value::Int(model.updated),
                crate::ModelStatus::Pending.name().into(),
            ],
        )?;
    }
    changed += add_tags(tx, "logged_model_params", "model_id", &id, &model.params)?;
    changed += add_tags(tx, "logged_model_tags", "model_id", &id, &model.tags)?;
    for metric in &model.metrics {
        let nan = metric.value.is_nan();
        let (name, digest) = metric.dataset.clone().unwrap_or_default();
        changed += tx.execute(
            "INSERT INTO logged_model_metrics (model_id, run_id, key, time_us, step, value, is_nan, dataset_name,
                 dataset_digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &[
                id.clone(),
                Value::from(&metric.run_id),
                Value::from(&metric.key),
                Value::Int(metric.time),
                Value::Int(metric.step),
                Value::Real(if nan { 0.0 } else { metric.value }),
                nan.into(),
                name.into(),
                digest.into(),
            ],
        )?;
    }
    Ok(if added == 1 { Admission::Added } else { grown(changed) })
}

fn registered_model(tx: &mut dyn Tx, model: &RegisteredModel) -> Outcome {
    if let Err(error) = check_model_name(&model.name, "name") {
        return refused(error.to_string());
    }
    let added = tx.execute(
        "INSERT INTO models (name, description, created_us, updated_us) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        &[
            Value::from(&model.name),
            Value::from(&model.description),
            Value::Int(model.created),
            Value::Int(model.updated),
        ],
    )?;
    let changed = add_tags(tx, "model_tags", "model", &Value::from(&model.name), &model.tags)?;
    Ok(if added == 1 { Admission::Added } else { grown(changed) })
}

fn version_of(tx: &mut dyn Tx, version: &VersionRecord, storage: &str) -> Outcome {
    let key = [Value::from(&version.model), Value::from(version.version)];
    if tx.query_one("SELECT 1 FROM models WHERE name = $1", &key[..1])?.is_none() {
        return refused("its registered model is not here");
    }
    if version.version == 0 {
        return refused("a version is a number from 1");
    }
    let added = tx.execute(
        "INSERT INTO versions (model, version, run_id, spec, created_us, updated_us, description, user_name, source,
             storage_location, run_link, status, status_message, stage, model_id)
         VALUES ($1, $2, $3, '{}', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
        &[
            key[0].clone(),
            key[1].clone(),
            version.run_id.clone().into(),
            Value::Int(version.created),
            Value::Int(version.updated),
            Value::from(&version.description),
            Value::from(&version.user),
            Value::from(&version.source),
            storage.into(),
            Value::from(&version.run_link),
            Value::from(&version.status),
            Value::from(&version.status_message),
            Value::from(&version.stage),
            version.model_id.clone().into(),
        ],
    )?;
    if added == 0 {
        let sql = "SELECT created_us, run_id FROM versions WHERE model = $1 AND version = $2";
        let row = tx.query_one(sql, &key)?.unwrap_or(Row(Vec::new()));
        if row.opt_int(0)? != Some(version.created) || row.opt_text(1)? != version.run_id {
            return refused("another version has this number here");
        }
    }
    let sql = "UPDATE models SET last_version = $2 WHERE name = $1 AND last_version < $2";
    tx.execute(sql, &key)?;
    let mut changed = 0;
    for (tag, value) in &version.tags {
        changed += tx.execute(
            "INSERT INTO version_tags (model, version, key, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            &[key[0].clone(), key[1].clone(), tag.into(), value.into()],
        )?;
    }
    Ok(if added == 1 { Admission::Added } else { grown(changed) })
}

fn alias_of(tx: &mut dyn Tx, model: &str, alias: &str, version: u64, now: Micros) -> Outcome {
    let key = [model.into(), Value::from(version)];
    if tx.query_one("SELECT 1 FROM versions WHERE model = $1 AND version = $2", &key)?.is_none() {
        return refused("its version is not here");
    }
    let sql = "INSERT INTO aliases (model, alias, version, updated_us) VALUES ($1, $3, $2, $4) ON CONFLICT DO NOTHING";
    let added = tx.execute(sql, &[key[0].clone(), key[1].clone(), alias.into(), Value::Int(now)])?;
    Ok(if added == 1 { Admission::Added } else { Admission::Known })
}

fn trace_of(tx: &mut dyn Tx, trace: &WholeTrace) -> Outcome {
    let info = &trace.info;
    if let Some(reason) = id_problem(&info.trace_id) {
        return refused(reason);
    }
    let experiment = experiments::find(tx, &info.experiment_id)?;
    let id = Value::from(&info.trace_id);
    let added = tx.execute(
        "INSERT INTO traces (trace_id, experiment_id, request_us, duration_us, state, client_request_id,
             request_preview, response_preview) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        &[
            id.clone(),
            Value::from(&info.experiment_id),
            Value::Int(info.request),
            info.duration.map_or(Value::Null, Value::Int),
            Value::from(&info.state),
            info.client_request_id.clone().into(),
            info.request_preview.clone().into(),
            info.response_preview.clone().into(),
        ],
    )?;
    let mut changed = 0;
    if added == 1 {
        traces::set_location(tx, &info.trace_id, &traces::artifact_root(&experiment))?;
    } else if info.state != "IN_PROGRESS" {
        changed += tx.execute(
            "UPDATE traces SET state = $2, duration_us = $3 WHERE trace_id = $1 AND state = 'IN_PROGRESS'",
            &[id.clone(), Value::from(&info.state), info.duration.map_or(Value::Null, Value::Int)],
        )?;
    }
    changed += add_tags(tx, "trace_tags", "trace_id", &id, &info.tags)?;
    changed += add_tags(tx, "trace_metadata", "trace_id", &id, &info.metadata)?;
    for span in &trace.spans {
        changed += tx.execute(
            "INSERT INTO spans (trace_id, span_id, parent_id, name, kind, status, start_ns, end_ns, content, usage, cost)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
            &[
                id.clone(),
                Value::from(&span.span_id),
                span.parent_id.clone().into(),
                Value::from(&span.name),
                span.kind.clone().into(),
                Value::from(&span.status),
                Value::Int(span.start_ns),
                span.end_ns.map_or(Value::Null, Value::Int),
                Value::from(&span.content),
                span.usage.clone().into(),
                span.cost.clone().into(),
            ],
        )?;
    }
    for assessment in &info.assessments {
        let sql = "SELECT 1 FROM assessments WHERE assessment_id = $1";
        if tx.query_one(sql, &[Value::from(&assessment.assessment_id)])?.is_none() {
            assessments::insert(tx, &info.trace_id, assessment)?;
            changed += 1;
        }
    }
    for run in &trace.runs {
        let sql = "INSERT INTO trace_runs (trace_id, run_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        changed += tx.execute(sql, &[id.clone(), run.into()])?;
    }
    for prompt in &trace.prompts {
        let sql = "INSERT INTO trace_prompts (trace_id, prompt) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        changed += tx.execute(sql, &[id.clone(), prompt.into()])?;
    }
    Ok(if added == 1 { Admission::Added } else { grown(changed) })
}

fn evaluation_dataset(tx: &mut dyn Tx, dataset: &EvaluationDataset, experiments: &[String]) -> Outcome {
    if let Some(reason) = id_problem(&dataset.dataset_id) {
        return refused(reason);
    }
    let id = Value::from(&dataset.dataset_id);
    let added = tx.execute(
        "INSERT INTO evaluation_datasets (dataset_id, name, schema, digest, created_us, updated_us, created_by, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        &[
            id.clone(),
            Value::from(&dataset.name),
            dataset.schema.clone().into(),
            Value::from(&dataset.digest),
            Value::Int(dataset.created),
            Value::Int(dataset.updated),
            dataset.created_by.clone().into(),
            dataset.updated_by.clone().into(),
        ],
    )?;
    let mut changed = add_tags(tx, "evaluation_dataset_tags", "dataset_id", &id, &dataset.tags)?;
    for experiment in experiments {
        changed += tx.execute(
            "INSERT INTO evaluation_dataset_experiments (dataset_id, experiment_id, created_us) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            &[id.clone(), experiment.into(), Value::Int(dataset.created)],
        )?;
    }
    Ok(if added == 1 { Admission::Added } else { grown(changed) })
}

fn evaluation_record(tx: &mut dyn Tx, record: &EvaluationRecord) -> Outcome {
    let id = Value::from(&record.dataset_id);
    if tx.query_one("SELECT 1 FROM evaluation_datasets WHERE dataset_id = $1", std::slice::from_ref(&id))?.is_none() {
        return refused("its data set is not here");
    }
    let Json::Object(inputs) = &record.inputs else { return refused("its inputs are no JSON object") };
    let text = |value: &Option<Json>| value.as_ref().map(Json::to_string);
    let source = record.source.as_ref();
    let added = tx.execute(
        "INSERT INTO evaluation_records (record_id, dataset_id, inputs, outputs, expectations, tags, source_kind,
             source_data, created_us, updated_us, created_by, updated_by, input_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
        &[
            Value::from(&record.record_id),
            id.clone(),
            record.inputs.to_string().into(),
            text(&record.outputs).into(),
            text(&record.expectations).into(),
            record.tags.to_string().into(),
            source.map(|source| source.kind.clone()).into(),
            source.map(|source| Json::Object(source.data.clone()).to_string()).into(),
            Value::Int(record.created),
            Value::Int(record.updated),
            record.created_by.clone().into(),
            record.updated_by.clone().into(),
            crate::evaluation::inputs_hash(inputs).into(),
        ],
    )?;
    if added == 1 {
        tx.execute("UPDATE evaluation_datasets SET records = records + 1 WHERE dataset_id = $1", &[id])?;
    }
    Ok(if added == 1 { Admission::Added } else { Admission::Known })
}

/// Whether the default experiment is as it was made.
fn untouched(tx: &mut dyn Tx) -> Result<bool, TrackingError> {
    let sql = "SELECT 1 FROM experiments e WHERE e.experiment_id = '0' AND e.name = 'Default' AND e.created_us = 0
               AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = '0')
               AND NOT EXISTS (SELECT 1 FROM traces t WHERE t.experiment_id = '0')";
    Ok(tx.query_one(sql, &[])?.is_some())
}

fn set_head(tx: &mut dyn Tx, id: &str, theirs: &Experiment) -> Result<(), TrackingError> {
    tx.execute(
        "UPDATE experiments SET name = $2, artifact_location = $3, lifecycle = $4, created_us = $5, updated_us = $6
         WHERE experiment_id = $1",
        &[
            id.into(),
            Value::from(&theirs.name),
            Value::from(&theirs.artifact_location),
            theirs.lifecycle.name().into(),
            Value::Int(theirs.created),
            Value::Int(theirs.updated),
        ],
    )?;
    Ok(())
}

/// Adds pairs whose key is not there yet; returns how many.
fn add_tags(
    tx: &mut dyn Tx,
    table: &str,
    owner: &str,
    id: &Value,
    pairs: &[(String, String)],
) -> Result<u64, TrackingError> {
    let sql = format!("INSERT INTO {table} ({owner}, key, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
    let mut added = 0;
    for (key, value) in pairs {
        added += tx.execute(&sql, &[id.clone(), key.into(), value.into()])?;
    }
    Ok(added)
}

fn grown(changed: u64) -> Admission {
    if changed > 0 { Admission::Grown } else { Admission::Known }
}

fn refused(reason: impl Into<String>) -> Outcome {
    Ok(Admission::Refused(reason.into()))
}

/// Identifiers become parts of paths.
fn id_problem(id: &str) -> Option<&'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (id.is_empty() || id.len() > 100 || !id.chars().all(fine))
        .then_some("its id is not made of letters, digits, - and _")
}
