//! What runs read and made: data sets and logged models.

use plinth_store::{Tx, Value};
use serde::Serialize;
use serde_json::json;

use crate::{
    Tracking, TrackingError,
    names::check_length,
    runs::{active, among, find, subject},
};

/// A data set that a run read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetInput {
    /// Such as `events`.
    pub name: String,
    /// Identity of its content.
    pub digest: String,
    /// What `source` is: `local`, `s3`, `code`, ….
    pub source_type: String,
    /// Where it came from.
    pub source: String,
    /// Its columns, as its maker wrote them.
    pub schema: Option<String>,
    /// What is known of its rows, as its maker wrote it.
    pub profile: Option<String>,
    /// Tags of this use, such as `mlflow.data.context`.
    pub tags: Vec<(String, String)>,
}

/// The tag of a data set's use that says what for: `training`, `eval`.
pub const CONTEXT_TAG: &str = "mlflow.data.context";

/// A data set and what it was read for, somewhere in an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetSummary {
    /// The experiment.
    pub experiment_id: String,
    /// Such as `events`.
    pub name: String,
    /// Identity of its content.
    pub digest: String,
    /// What for, such as `training`; empty if nobody said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub context: String,
}

/// A logged model that a run read or made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelLink {
    /// A logged model.
    pub model_id: String,
    /// The step at which it was made.
    pub step: i64,
}

/// Whether a run read a model or made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Read.
    Input,
    /// Made.
    Output,
}

impl Direction {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

impl Tracking {
    /// Records data sets that a run read and logged models that it read or made. The first use of a data set by a
    /// run stands.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`], [`TrackingError::NotActive`], [`TrackingError::TooLong`].
    pub fn log_inputs(
        &self,
        run_id: &str,
        datasets: &[DatasetInput],
        models: &[(Direction, ModelLink)],
    ) -> Result<(), TrackingError> {
        for dataset in datasets {
            self.check_dataset(dataset)?;
        }
        self.store.catalog().write(|tx| {
            let rid = active(tx, run_id)?;
            let experiment_id = find(tx, run_id)?.1.experiment_id;
            for dataset in datasets {
                let dataset_id = self.dataset_id(tx, &experiment_id, dataset)?;
                let tags = serde_json::to_string(&dataset.tags).unwrap_or_default();
                let context = dataset.tags.iter().find(|(key, _)| key == CONTEXT_TAG).map(|(_, value)| value.as_str());
                tx.execute(
                    "INSERT INTO run_datasets (rid, dataset_id, tags, context) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (rid, dataset_id) DO NOTHING",
                    &[Value::Int(rid), dataset_id.into(), tags.into(), context.unwrap_or_default().into()],
                )?;
            }
            for (direction, link) in models {
                tx.execute(
                    "INSERT INTO run_models (rid, direction, model_id, step) VALUES ($1, $2, $3, $4)
                     ON CONFLICT DO NOTHING",
                    &[Value::Int(rid), direction.name().into(), Value::from(&link.model_id), Value::Int(link.step)],
                )?;
            }
            let detail = json!({"datasets": datasets.len(), "models": models.len()});
            self.note(tx, "run.log-inputs", &subject(run_id), &detail)
        })
    }

    /// The data sets that active runs of some experiments read, each context by itself; at most `most`.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn dataset_summaries(
        &self,
        experiment_ids: &[String],
        most: u32,
    ) -> Result<Vec<DatasetSummary>, TrackingError> {
        if experiment_ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut parameters: Vec<Value> = experiment_ids.iter().map(Value::from).collect();
        parameters.push(most.into());
        let sql = format!(
            "SELECT DISTINCT d.experiment_id, d.name, d.digest, u.context
             FROM datasets d JOIN run_datasets u ON u.dataset_id = d.dataset_id JOIN runs r ON r.rid = u.rid
             WHERE d.experiment_id IN {} AND r.lifecycle = 'active'
             ORDER BY d.experiment_id, d.name, d.digest, u.context LIMIT ${}",
            among(experiment_ids.len()),
            parameters.len()
        );
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(&sql, &parameters)?))?;
        rows.iter()
            .map(|row| {
                let (experiment_id, name) = (row.text(0)?, row.text(1)?);
                Ok(DatasetSummary { experiment_id, name, digest: row.text(2)?, context: row.text(3)? })
            })
            .collect()
    }

    pub(crate) fn dataset_id(
        &self,
        tx: &mut dyn Tx,
        experiment_id: &str,
        dataset: &DatasetInput,
    ) -> Result<String, TrackingError> {
        let sql = "SELECT dataset_id FROM datasets WHERE experiment_id = $1 AND name = $2 AND digest = $3";
        let key = [experiment_id.into(), Value::from(&dataset.name), Value::from(&dataset.digest)];
        if let Some(row) = tx.query_one(sql, &key)? {
            return Ok(row.text(0)?);
        }
        let id = self.ids.next();
        tx.execute(
            "INSERT INTO datasets (dataset_id, experiment_id, name, digest, source_type, source, schema, profile)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                Value::from(&id),
                experiment_id.into(),
                Value::from(&dataset.name),
                Value::from(&dataset.digest),
                Value::from(&dataset.source_type),
                Value::from(&dataset.source),
                dataset.schema.clone().into(),
                dataset.profile.clone().into(),
            ],
        )?;
        Ok(id)
    }

    fn check_dataset(&self, dataset: &DatasetInput) -> Result<(), TrackingError> {
        let limits = &self.limits;
        check_length(&dataset.name, limits.dataset_name_chars_max, || "name".into())?;
        check_length(&dataset.digest, limits.dataset_digest_chars_max, || "digest".into())?;
        check_length(&dataset.source, limits.dataset_source_chars_max, || "source".into())?;
        let schema = dataset.schema.as_deref().unwrap_or_default();
        check_length(schema, limits.dataset_schema_chars_max, || "schema".into())?;
        let profile = dataset.profile.as_deref().unwrap_or_default();
        check_length(profile, limits.dataset_profile_chars_max, || "profile".into())?;
        for (key, value) in &dataset.tags {
            check_length(key, limits.input_tag_key_chars_max, || "key".into())?;
            check_length(value, limits.input_tag_value_chars_max, || "value".into())?;
        }
        Ok(())
    }
}

pub(crate) fn read_datasets(tx: &mut dyn Tx, rids: &[Value]) -> Result<Vec<(i64, DatasetInput)>, TrackingError> {
    let sql = format!(
        "SELECT u.rid, d.name, d.digest, d.source_type, d.source, d.schema, d.profile, u.tags, u.context
         FROM run_datasets u JOIN datasets d ON d.dataset_id = u.dataset_id
         WHERE u.rid IN {} ORDER BY u.rid, d.name, d.digest",
        among(rids.len())
    );
    tx.query(&sql, rids)?
        .iter()
        .map(|row| {
            let mut tags: Vec<(String, String)> = serde_json::from_str(&row.text(7)?)
                .map_err(|source| TrackingError::BadDocument { what: "the tags of a data set".into(), source })?;
            let context = row.text(8)?;
            if !context.is_empty() && tags.is_empty() {
                tags.push((CONTEXT_TAG.to_owned(), context));
            }
            let dataset = DatasetInput {
                name: row.text(1)?,
                digest: row.text(2)?,
                source_type: row.text(3)?,
                source: row.text(4)?,
                schema: row.opt_text(5)?,
                profile: row.opt_text(6)?,
                tags,
            };
            Ok((row.int(0)?, dataset))
        })
        .collect()
}

pub(crate) fn read_models(tx: &mut dyn Tx, rids: &[Value]) -> Result<Vec<(i64, Direction, ModelLink)>, TrackingError> {
    let sql = format!(
        "SELECT rid, direction, model_id, step FROM run_models WHERE rid IN {} ORDER BY rid, step, model_id",
        among(rids.len())
    );
    tx.query(&sql, rids)?
        .iter()
        .map(|row| {
            let direction = if row.text(1)? == Direction::Input.name() { Direction::Input } else { Direction::Output };
            Ok((row.int(0)?, direction, ModelLink { model_id: row.text(2)?, step: row.int(3)? }))
        })
        .collect()
}
