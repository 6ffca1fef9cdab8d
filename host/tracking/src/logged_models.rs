//! Logged models: what a run makes before anything is registered.

use plinth_core::Micros;
use plinth_store::{Row, Tx, Value};
use serde_json::json;

use crate::{
    Metric, Tracking, TrackingError, experiments,
    names::{check_length, cut},
    runs::made_up_name,
};

/// A logged model.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    /// `m-` and 32 hexadecimal digits.
    pub model_id: String,
    /// Its experiment.
    pub experiment_id: String,
    /// For a person.
    pub name: String,
    /// Where its files are; empty for `EXPERIMENT/models/MODEL/artifacts` in the server's own store.
    pub artifact_location: String,
    /// Such as `agent`; empty if nobody said.
    pub model_type: String,
    /// The run that made it; empty if none did.
    pub source_run_id: String,
    /// How far it is.
    pub status: ModelStatus,
    /// More about that.
    pub status_message: String,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
    /// Parameters by key.
    pub params: Vec<(String, String)>,
    /// What was measured on it.
    pub metrics: Vec<ModelMetric>,
}

/// How far a logged model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelStatus {
    /// Nobody said.
    Unspecified,
    /// Its files are being written.
    Pending,
    /// It is complete.
    Ready,
    /// It could not be written.
    Failed,
}

impl ModelStatus {
    /// In the order of MLflow's numbers, from 0.
    pub const ALL: [Self; 4] = [Self::Unspecified, Self::Pending, Self::Ready, Self::Failed];

    /// As MLflow writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "LOGGED_MODEL_STATUS_UNSPECIFIED",
            Self::Pending => "LOGGED_MODEL_PENDING",
            Self::Ready => "LOGGED_MODEL_READY",
            Self::Failed => "LOGGED_MODEL_UPLOAD_FAILED",
        }
    }

    /// The status that is written so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// A metric that was measured on a logged model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelMetric {
    /// Such as `f1`.
    pub key: String,
    /// May be NaN or infinite.
    pub value: f64,
    /// When.
    pub time: Micros,
    /// Step, or 0.
    pub step: i64,
    /// The run that measured.
    pub run_id: String,
    /// Name and digest of the data set, if they were told.
    pub dataset: Option<(String, String)>,
}

/// A logged model to be.
#[derive(Debug, Clone, Default)]
pub struct NewLoggedModel {
    /// Its experiment.
    pub experiment_id: String,
    /// For a person; made up if it is empty.
    pub name: Option<String>,
    /// Such as `agent`.
    pub model_type: String,
    /// The run that makes it.
    pub source_run_id: String,
    /// Parameters by key.
    pub params: Vec<(String, String)>,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
}

pub(crate) const LOGGED_MODEL_COLUMNS: &str = "l.model_id, l.experiment_id, l.name, l.artifact_location, l.model_type, \
    l.source_run_id, l.status, l.status_message, l.created_us, l.updated_us";

/// A logged model's name in the audit log.
fn subject(model_id: &str) -> String {
    format!("models:/{model_id}")
}

fn pairs(pairs: &[(String, String)]) -> serde_json::Map<String, serde_json::Value> {
    pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect()
}

impl Tracking {
    /// Makes a logged model.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`]; what names may not be.
    pub fn create_logged_model(&self, new: &NewLoggedModel) -> Result<LoggedModel, TrackingError> {
        const FORBIDDEN: [char; 6] = ['/', ':', '.', '%', '"', '\''];
        if let Some(name) = &new.name
            && (name.is_empty() || name.contains(FORBIDDEN))
        {
            return Err(TrackingError::Invalid(format!(
                "Invalid model name ({}) provided. Model name must be a non-empty string and cannot contain the \
                 following characters: ('/', ':', '.', '%', '\"', \"'\")",
                if name.contains('\'') { format!("\"{}\"", cut(name)) } else { format!("'{}'", cut(name)) }
            )));
        }
        let model_id = format!("m-{}", self.ids.next());
        let name = new.name.clone().unwrap_or_else(|| made_up_name(&model_id));
        check_length(&name, self.limits.experiment_name_chars_max, || "name".into())?;
        self.check_model_pairs(&new.params, &new.tags)?;
        self.store.catalog().write(|tx| {
            let experiment = experiments::find(tx, &new.experiment_id)?;
            experiments::must_be_active(&experiment)?;
            let location = match experiment.artifact_location.trim_end_matches('/') {
                "" => String::new(),
                root => format!("{root}/models/{model_id}/artifacts"),
            };
            tx.execute(
                "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, model_type,
                    source_run_id, status, created_us, updated_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
                &[
                    Value::from(&model_id),
                    Value::from(&experiment.experiment_id),
                    Value::from(&name),
                    location.into(),
                    Value::from(&new.model_type),
                    Value::from(&new.source_run_id),
                    ModelStatus::Pending.name().into(),
                    Value::Int(self.clock.now()),
                ],
            )?;
            add_params(tx, &model_id, &new.params)?;
            set_tags(tx, &model_id, &new.tags)?;
            let detail = json!({"experiment_id": new.experiment_id, "name": name});
            self.note(tx, "logged-model.create", &subject(&model_id), &detail)?;
            find(tx, &model_id, false)
        })
    }

    /// A logged model that is not deleted; with `deleted`, also one that is.
    ///
    /// # Errors
    /// [`TrackingError::LoggedModelNotFound`].
    pub fn logged_model(&self, model_id: &str, deleted: bool) -> Result<LoggedModel, TrackingError> {
        self.store.catalog().read(|tx| find(tx, model_id, deleted))
    }

    /// Says how far a logged model is.
    ///
    /// # Errors
    /// [`TrackingError::LoggedModelNotFound`].
    pub fn finalize_logged_model(&self, model_id: &str, status: ModelStatus) -> Result<LoggedModel, TrackingError> {
        self.change_logged_model(model_id, |tx, now| {
            tx.execute(
                "UPDATE logged_models SET status = $2, updated_us = $3 WHERE model_id = $1",
                &[model_id.into(), status.name().into(), Value::Int(now)],
            )?;
            self.note(tx, "logged-model.finalize", &subject(model_id), &json!({"status": status.name()}))?;
            find(tx, model_id, true)
        })
    }

    /// Deletes a logged model.
    ///
    /// # Errors
    /// [`TrackingError::LoggedModelNotFound`].
    pub fn delete_logged_model(&self, model_id: &str) -> Result<(), TrackingError> {
        self.change_logged_model(model_id, |tx, now| {
            let sql = "UPDATE logged_models SET lifecycle = 'deleted', updated_us = $2 WHERE model_id = $1";
            tx.execute(sql, &[model_id.into(), Value::Int(now)])?;
            self.note(tx, "logged-model.delete", &subject(model_id), &json!({}))
        })
    }

    /// Sets tags of a logged model.
    ///
    /// # Errors
    /// [`TrackingError::LoggedModelNotFound`]; what tags may not be.
    pub fn set_logged_model_tags(&self, model_id: &str, tags: &[(String, String)]) -> Result<(), TrackingError> {
        self.check_model_pairs(&[], tags)?;
        self.change_logged_model(model_id, |tx, _| {
            self.note(tx, "logged-model-tag.set", &subject(model_id), &json!(pairs(tags)))?;
            set_tags(tx, model_id, tags)
        })
    }

    /// Removes a tag of a logged model.
    ///
    /// # Errors
    /// [`TrackingError::LoggedModelNotFound`], [`TrackingError::Missing`].
    pub fn delete_logged_model_tag(&self, model_id: &str, key: &str) -> Result<(), TrackingError> {
        self.change_logged_model(model_id, |tx, _| {
            let sql = "DELETE FROM logged_model_tags WHERE model_id = $1 AND key = $2";
            match tx.execute(sql, &[model_id.into(), key.into()])? {
                0 => Err(TrackingError::Missing(format!(
                    "No tag with key '{}' found for model with ID '{}'.",
                    cut(key),
                    cut(model_id)
                ))),
                _ => self.note(tx, "logged-model-tag.delete", &subject(model_id), &json!({"key": key})),
            }
        })
    }

    /// Logs parameters of a logged model.
    ///
    /// # Errors
    /// [`TrackingError::LoggedModelNotFound`]; what parameters may not be.
    pub fn log_logged_model_params(&self, model_id: &str, params: &[(String, String)]) -> Result<(), TrackingError> {
        self.check_model_pairs(params, &[])?;
        self.change_logged_model(model_id, |tx, _| {
            self.note(tx, "logged-model.log-params", &subject(model_id), &json!(pairs(params)))?;
            add_params(tx, model_id, params)
        })
    }

    fn change_logged_model<T>(
        &self,
        model_id: &str,
        change: impl FnOnce(&mut dyn Tx, Micros) -> Result<T, TrackingError>,
    ) -> Result<T, TrackingError> {
        self.store.catalog().write(|tx| {
            // MLflow changes a deleted one, too.
            let sql = "SELECT 1 FROM logged_models WHERE model_id = $1";
            let found = tx.query_one(sql, &[model_id.into()])?;
            found.ok_or_else(|| TrackingError::LoggedModelNotFound(cut(model_id)))?;
            change(tx, self.clock.now())
        })
    }

    fn check_model_pairs(&self, params: &[(String, String)], tags: &[(String, String)]) -> Result<(), TrackingError> {
        for (key, value) in params {
            check_length(key, self.limits.key_chars_max, || "Param key".into())?;
            check_length(value, self.limits.param_value_chars_max, || "Param value".into())?;
        }
        for (key, value) in tags {
            check_length(key, self.limits.key_chars_max, || "key".into())?;
            check_length(value, self.limits.registry_tag_value_chars_max, || "value".into())?;
        }
        Ok(())
    }
}

/// A logged model in a transaction.
pub(crate) fn find(tx: &mut dyn Tx, model_id: &str, deleted: bool) -> Result<LoggedModel, TrackingError> {
    let alive = if deleted { "" } else { " AND l.lifecycle = 'active'" };
    let sql = format!("SELECT {LOGGED_MODEL_COLUMNS} FROM logged_models l WHERE l.model_id = $1{alive}");
    let row = tx.query_one(&sql, &[model_id.into()])?;
    let row = row.ok_or_else(|| TrackingError::LoggedModelNotFound(cut(model_id)))?;
    read(tx, &row)
}

/// A logged model from its row of [`LOGGED_MODEL_COLUMNS`], with all that belongs to it.
pub(crate) fn read(tx: &mut dyn Tx, row: &Row) -> Result<LoggedModel, TrackingError> {
    let model_id = row.text(0)?;
    let key = [Value::from(&model_id)];
    let mut pairs = |table: &str| -> Result<Vec<(String, String)>, TrackingError> {
        let sql = format!("SELECT key, value FROM {table} WHERE model_id = $1 ORDER BY key");
        tx.query(&sql, &key)?.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
    };
    let (tags, params) = (pairs("logged_model_tags")?, pairs("logged_model_params")?);
    // Every point, as MLflow shows them.
    let sql = "SELECT key, value, is_nan, time_us, step, run_id, dataset_name, dataset_digest
               FROM logged_model_metrics WHERE model_id = $1 ORDER BY key, time_us, step, run_id LIMIT $2";
    let rows = tx.query(sql, &[key[0].clone(), Value::Int(METRICS_MAX)])?;
    let metric = |row: &Row| {
        let (name, digest) = (row.text(6)?, row.text(7)?);
        Ok(ModelMetric {
            key: row.text(0)?,
            value: if row.int(2)? == 1 { f64::NAN } else { row.real(1)? },
            time: row.int(3)?,
            step: row.int(4)?,
            run_id: row.text(5)?,
            dataset: (!name.is_empty() || !digest.is_empty()).then_some((name, digest)),
        })
    };
    let metrics = rows.iter().map(metric).collect::<Result<_, TrackingError>>()?;
    Ok(LoggedModel {
        experiment_id: row.text(1)?,
        name: row.text(2)?,
        artifact_location: row.text(3)?,
        model_type: row.text(4)?,
        source_run_id: row.opt_text(5)?.unwrap_or_default(),
        status: ModelStatus::from_name(&row.text(6)?).unwrap_or(ModelStatus::Unspecified),
        status_message: row.text(7)?,
        created: row.int(8)?,
        updated: row.int(9)?,
        tags,
        params,
        metrics,
        model_id,
    })
}

/// Points of metrics that a logged model is shown with.
const METRICS_MAX: i64 = 10_000;

/// Where a logged model's files are.
pub(crate) fn artifact_uri(model: &LoggedModel) -> String {
    match model.artifact_location.as_str() {
        "" => format!("mlflow-artifacts:/{}/models/{}/artifacts", model.experiment_id, model.model_id),
        given => given.to_owned(),
    }
}

fn set_tags(tx: &mut dyn Tx, model_id: &str, tags: &[(String, String)]) -> Result<(), TrackingError> {
    for (key, value) in tags {
        tx.execute(
            "INSERT INTO logged_model_tags (model_id, key, value) VALUES ($1, $2, $3)
             ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value",
            &[model_id.into(), key.into(), value.into()],
        )?;
    }
    Ok(())
}

fn add_params(tx: &mut dyn Tx, model_id: &str, params: &[(String, String)]) -> Result<(), TrackingError> {
    for (key, value) in params {
        // What is logged again is not changed; of a parameter with another value, the first one stays.
        let row = tx.query_one(
            "INSERT INTO logged_model_params (model_id, key, value) VALUES ($1, $2, $3)
             ON CONFLICT (model_id, key) DO UPDATE SET value = logged_model_params.value RETURNING value",
            &[model_id.into(), key.into(), value.into()],
        )?;
        let kept = row.map(|row| row.text(0)).transpose()?.unwrap_or_default();
        if kept != *value {
            return Err(TrackingError::Invalid(format!(
                "Changing param values is not allowed. Param with key='{}' was already logged with value='{}' for \
                 model ID='{}'. Attempted logging new value '{}'.",
                cut(key),
                cut(&kept),
                cut(model_id),
                cut(value)
            )));
        }
    }
    Ok(())
}

/// The tag in which MLflow's clients look up which versions a logged model became.
const VERSIONS_TAG: &str = "mlflow.modelVersions";

/// Notes on a logged model that it was registered.
pub(crate) fn note_version(tx: &mut dyn Tx, model_id: &str, name: &str, version: u64) -> Result<(), TrackingError> {
    let sql = "SELECT value FROM logged_model_tags WHERE model_id = $1 AND key = $2";
    let old = tx.query_one(sql, &[model_id.into(), VERSIONS_TAG.into()])?.map(|row| row.text(0)).transpose()?;
    let mut list: Vec<serde_json::Value> = old.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let new = serde_json::json!({"name": name, "version": version});
    if !list.contains(&new) {
        list.push(new);
    }
    let value = serde_json::Value::Array(list).to_string();
    set_tags(tx, model_id, &[(VERSIONS_TAG.to_owned(), value)])
}

/// Files metrics that were measured on logged models with those models.
pub(crate) fn write_model_metrics(tx: &mut dyn Tx, run_id: &str, metrics: &[Metric]) -> Result<(), TrackingError> {
    for metric in metrics {
        let Some(measured) = &metric.model else { continue };
        let known =
            tx.query_one("SELECT 1 FROM logged_models WHERE model_id = $1", &[Value::from(&measured.model_id)])?;
        if known.is_none() {
            return Err(TrackingError::LoggedModelNotFound(cut(&measured.model_id)));
        }
        let nan = metric.value.is_nan();
        let (name, digest) = measured.dataset.clone().unwrap_or_default();
        tx.execute(
            "INSERT INTO logged_model_metrics
                (model_id, run_id, key, time_us, step, value, is_nan, dataset_name, dataset_digest)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &[
                Value::from(&measured.model_id),
                run_id.into(),
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
    Ok(())
}
