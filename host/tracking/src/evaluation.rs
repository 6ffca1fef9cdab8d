//! Evaluation data sets: examples to judge an application by, each an input with what is expected of the answer.
//!
//! An example is known by its inputs: the same inputs again change the example that is there. What is in an example is
//! JSON that its maker and its reader agree on; here only its keys and the kinds of its values are looked at.

use plinth_core::{ContentHash, Micros};
use plinth_store::{Row, Tx, Value};
use serde_json::{Map, Value as Json, json};

use crate::{
    Tracking, TrackingError,
    names::{check_length, cut},
};

/// An evaluation data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationDataset {
    /// `d-` and 32 hexadecimal digits.
    pub dataset_id: String,
    /// For a person; others may have the same.
    pub name: String,
    /// Keys of inputs, outputs and expectations with the kinds of their values, as a JSON object.
    pub schema: Option<String>,
    /// Number of its records.
    pub records: u64,
    /// Changes with every change of its records.
    pub digest: String,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
    /// Who made it, if they said.
    pub created_by: Option<String>,
    /// Who changed it last, if they said.
    pub updated_by: Option<String>,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
}

/// One example.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationRecord {
    /// `dr-` and 32 hexadecimal digits.
    pub record_id: String,
    /// Its data set.
    pub dataset_id: String,
    /// What the application is given.
    pub inputs: Json,
    /// What it answered.
    pub outputs: Option<Json>,
    /// What it should have answered.
    pub expectations: Option<Json>,
    /// Tags by key.
    pub tags: Json,
    /// Where the example comes from.
    pub source: Option<RecordSource>,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
    /// Who made it, if they said.
    pub created_by: Option<String>,
    /// Who changed it last, if they said.
    pub updated_by: Option<String>,
}

/// Where an example comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordSource {
    /// One of [`RECORD_SOURCES`].
    pub kind: String,
    /// More about it, such as the id of a trace.
    pub data: Map<String, Json>,
}

/// Kinds of places that examples come from.
pub const RECORD_SOURCES: [&str; 5] = ["UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE"];

/// An example to be, or what is new about one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewRecord {
    /// What it is known by.
    pub inputs: Map<String, Json>,
    /// Nothing if nobody spoke of outputs; `null` says that there are none.
    pub outputs: Option<Json>,
    /// Merged into those that are there.
    pub expectations: Option<Map<String, Json>>,
    /// Merged into those that are there.
    pub tags: Option<Map<String, Json>>,
    /// Where it comes from; kept from the first time.
    pub source: Option<RecordSource>,
}

/// The tag by which clients say who they are.
const USER_TAG: &str = "mlflow.user";

pub(crate) const DATASET_COLUMNS: &str =
    "d.dataset_id, d.name, d.schema, d.records, d.digest, d.created_us, d.updated_us, d.created_by, d.updated_by";
const RECORD_COLUMNS: &str = "record_id, dataset_id, inputs, outputs, expectations, tags, source_kind, source_data, \
    created_us, updated_us, created_by, updated_by";

/// An evaluation data set's name in the audit log.
fn subject(dataset_id: &str) -> String {
    format!("evaluation-datasets:/{dataset_id}")
}

impl Tracking {
    /// Makes an evaluation data set.
    ///
    /// # Errors
    /// What names and tags may not be.
    pub fn create_evaluation_dataset(
        &self,
        name: &str,
        tags: &[(String, String)],
        experiment_ids: &[String],
    ) -> Result<EvaluationDataset, TrackingError> {
        check_length(name, self.limits.dataset_name_chars_max, || "name".into())?;
        self.check_dataset_tags(tags)?;
        let dataset_id = format!("d-{}", self.ids.next());
        let now = self.clock.now();
        let user = tags.iter().find(|(key, _)| key == USER_TAG).map(|(_, value)| value.clone());
        self.store.catalog().write(|tx| {
            tx.execute(
                "INSERT INTO evaluation_datasets (dataset_id, name, digest, created_us, updated_us, created_by,
                    updated_by) VALUES ($1, $2, $3, $4, $4, $5, $5)",
                &[
                    Value::from(&dataset_id),
                    name.into(),
                    digest(name, now).into(),
                    Value::Int(now),
                    user.clone().into(),
                ],
            )?;
            set_tags(tx, &dataset_id, tags)?;
            join(tx, &dataset_id, experiment_ids, now)?;
            self.note(tx, "evaluation-dataset.create", &subject(&dataset_id), &json!({"name": name}))?;
            find(tx, &dataset_id)
        })
    }

    /// An evaluation data set.
    ///
    /// # Errors
    /// [`TrackingError::Missing`].
    pub fn evaluation_dataset(&self, dataset_id: &str) -> Result<EvaluationDataset, TrackingError> {
        self.store.catalog().read(|tx| find(tx, dataset_id))
    }

    /// Deletes an evaluation data set with its records. One that is not there is gone already.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn delete_evaluation_dataset(&self, dataset_id: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            match tx.execute("DELETE FROM evaluation_datasets WHERE dataset_id = $1", &[dataset_id.into()])? {
                0 => Ok(()),
                _ => self.note(tx, "evaluation-dataset.delete", &subject(dataset_id), &json!({})),
            }
        })
    }

    /// Sets tags of an evaluation data set.
    ///
    /// # Errors
    /// [`TrackingError::Missing`]; what tags may not be.
    pub fn set_evaluation_dataset_tags(
        &self,
        dataset_id: &str,
        tags: &[(String, String)],
    ) -> Result<(), TrackingError> {
        self.check_dataset_tags(tags)?;
        self.store.catalog().write(|tx| {
            if !exists(tx, dataset_id)? {
                let message = format!("Could not find evaluation dataset with ID {}", cut(dataset_id));
                return Err(TrackingError::Missing(message));
            }
            let keys: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
            self.note(tx, "evaluation-dataset-tag.set", &subject(dataset_id), &json!({"keys": keys}))?;
            set_tags(tx, dataset_id, tags)
        })
    }

    /// Removes a tag of an evaluation data set. One that is not there is gone already.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn delete_evaluation_dataset_tag(&self, dataset_id: &str, key: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let sql = "DELETE FROM evaluation_dataset_tags WHERE dataset_id = $1 AND key = $2";
            match tx.execute(sql, &[dataset_id.into(), key.into()])? {
                0 => Ok(()),
                _ => self.note(tx, "evaluation-dataset-tag.delete", &subject(dataset_id), &json!({"key": key})),
            }
        })
    }

    /// Experiments that an evaluation data set is used in, first things first.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn evaluation_dataset_experiments(&self, dataset_id: &str) -> Result<Vec<String>, TrackingError> {
        let sql = "SELECT experiment_id FROM evaluation_dataset_experiments WHERE dataset_id = $1
                   ORDER BY created_us, experiment_id";
        self.store
            .catalog()
            .read(|tx| tx.query(sql, &[dataset_id.into()])?.iter().map(|row| Ok(row.text(0)?)).collect())
    }

    /// Uses an evaluation data set in more experiments.
    ///
    /// # Errors
    /// [`TrackingError::Missing`] if the data set or one of the experiments is not there; then nothing has changed.
    pub fn add_evaluation_dataset_to(
        &self,
        dataset_id: &str,
        experiment_ids: &[String],
    ) -> Result<EvaluationDataset, TrackingError> {
        self.change_dataset(dataset_id, |tx, now| {
            for experiment_id in experiment_ids {
                let found =
                    tx.query_one("SELECT 1 FROM experiments WHERE experiment_id = $1", &[Value::from(experiment_id)])?;
                if found.is_none() {
                    let message = format!("No Experiment with id={}", cut(experiment_id));
                    return Err(TrackingError::Missing(message));
                }
            }
            join(tx, dataset_id, experiment_ids, now)
        })
    }

    /// Uses an evaluation data set in some experiments no more.
    ///
    /// # Errors
    /// [`TrackingError::Missing`] if there is no such data set.
    pub fn remove_evaluation_dataset_from(
        &self,
        dataset_id: &str,
        experiment_ids: &[String],
    ) -> Result<EvaluationDataset, TrackingError> {
        self.change_dataset(dataset_id, |tx, _| {
            for experiment_id in experiment_ids {
                tx.execute(
                    "DELETE FROM evaluation_dataset_experiments WHERE dataset_id = $1 AND experiment_id = $2",
                    &[dataset_id.into(), experiment_id.into()],
                )?;
            }
            Ok(())
        })
    }

    /// Adds records, or changes those with the same inputs; returns how many were new and how many were there.
    ///
    /// # Errors
    /// [`TrackingError::Missing`] if there is no such data set, [`TrackingError::TooMuch`].
    pub fn put_evaluation_records(&self, dataset_id: &str, records: &[NewRecord]) -> Result<(u64, u64), TrackingError> {
        let limit = self.limits.batch_records_max;
        if records.len() > limit as usize {
            return Err(TrackingError::TooMuch { what: "records", found: records.len(), limit });
        }
        let now = self.clock.now();
        self.store.catalog().write(|tx| {
            let dataset = find(tx, dataset_id)?;
            let mut schema = Schema::read(dataset.schema.as_deref())?;
            let (mut inserted, mut updated, mut user) = (0, 0, None);
            for record in records {
                schema.add(record);
                user = said_user(record).or(user);
                if self.put_record(tx, dataset_id, record, now)? {
                    inserted += 1;
                } else {
                    updated += 1;
                }
            }
            tx.execute(
                "UPDATE evaluation_datasets SET updated_us = $2, updated_by = $3, digest = $4, schema = $5,
                    records = records + $6 WHERE dataset_id = $1",
                &[
                    dataset_id.into(),
                    Value::Int(now),
                    user.into(),
                    digest(&dataset.name, now).into(),
                    schema.write().into(),
                    Value::from(inserted),
                ],
            )?;
            let detail = json!({"inserted": inserted, "updated": updated});
            self.note(tx, "evaluation-records.put", &subject(dataset_id), &detail)?;
            Ok((inserted, updated))
        })
    }

    /// Records of an evaluation data set in the order in which they came, those after a certain one. Nothing if there is
    /// no such data set.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn evaluation_records(
        &self,
        dataset_id: &str,
        after: Option<(Micros, &str)>,
        most: u64,
    ) -> Result<Vec<EvaluationRecord>, TrackingError> {
        let (time, record_id) = after.unwrap_or((i64::MIN, ""));
        let sql = format!(
            "SELECT {RECORD_COLUMNS} FROM evaluation_records WHERE dataset_id = $1
                AND (created_us > $2 OR (created_us = $2 AND record_id > $3)) ORDER BY created_us, record_id LIMIT $4"
        );
        let parameters = [dataset_id.into(), Value::Int(time), record_id.into(), most.into()];
        self.store.catalog().read(|tx| tx.query(&sql, &parameters)?.iter().map(read_record).collect())
    }

    /// Deletes records of an evaluation data set; returns how many were there.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn delete_evaluation_records(&self, dataset_id: &str, record_ids: &[String]) -> Result<u64, TrackingError> {
        self.store.catalog().write(|tx| {
            let mut deleted = 0;
            for record_id in record_ids {
                deleted += tx.execute(
                    "DELETE FROM evaluation_records WHERE dataset_id = $1 AND record_id = $2",
                    &[dataset_id.into(), record_id.into()],
                )?;
            }
            tx.execute(
                "UPDATE evaluation_datasets SET records = records - $2 WHERE dataset_id = $1",
                &[dataset_id.into(), Value::from(deleted)],
            )?;
            if deleted > 0 {
                self.note(tx, "evaluation-records.delete", &subject(dataset_id), &json!({"deleted": deleted}))?;
            }
            Ok(deleted)
        })
    }

    /// True if the record is new.
    fn put_record(
        &self,
        tx: &mut dyn Tx,
        dataset_id: &str,
        record: &NewRecord,
        now: Micros,
    ) -> Result<bool, TrackingError> {
        let hash = inputs_hash(&record.inputs);
        let sql = format!("SELECT {RECORD_COLUMNS} FROM evaluation_records WHERE dataset_id = $1 AND input_hash = $2");
        let Some(row) = tx.query_one(&sql, &[dataset_id.into(), hash.into()])? else {
            let outputs = record.outputs.clone().unwrap_or_else(|| json!({}));
            let user = said_user(record);
            let (kind, data) = match &record.source {
                Some(source) => (Some(source.kind.clone()), Some(Json::Object(source.data.clone()).to_string())),
                None => (None, None),
            };
            let sql = format!(
                "INSERT INTO evaluation_records ({RECORD_COLUMNS}, input_hash)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $10, $11)"
            );
            tx.execute(
                &sql,
                &[
                    Value::from(format!("dr-{}", self.ids.next())),
                    dataset_id.into(),
                    Json::Object(record.inputs.clone()).to_string().into(),
                    (!outputs.is_null()).then(|| outputs.to_string()).into(),
                    record.expectations.clone().map(|map| Json::Object(map).to_string()).into(),
                    Json::Object(record.tags.clone().unwrap_or_default()).to_string().into(),
                    kind.into(),
                    data.into(),
                    Value::Int(now),
                    user.into(),
                    hash.into(),
                ],
            )?;
            return Ok(true);
        };
        let old = read_record(&row)?;
        let outputs = match &record.outputs {
            Some(outputs) => (!outputs.is_null()).then(|| outputs.clone()),
            None => old.outputs,
        };
        let expectations = merge(old.expectations, record.expectations.as_ref());
        let tags = merge(Some(old.tags), record.tags.as_ref()).unwrap_or_else(|| json!({}));
        tx.execute(
            "UPDATE evaluation_records SET outputs = $2, expectations = $3, tags = $4, updated_us = $5, updated_by = $6
             WHERE record_id = $1",
            &[
                Value::from(&old.record_id),
                outputs.map(|outputs| outputs.to_string()).into(),
                expectations.map(|expectations| expectations.to_string()).into(),
                tags.to_string().into(),
                Value::Int(now),
                said_user(record).or(old.updated_by).into(),
            ],
        )?;
        Ok(false)
    }

    fn change_dataset(
        &self,
        dataset_id: &str,
        change: impl FnOnce(&mut dyn Tx, Micros) -> Result<(), TrackingError>,
    ) -> Result<EvaluationDataset, TrackingError> {
        let now = self.clock.now();
        self.store.catalog().write(|tx| {
            if !exists(tx, dataset_id)? {
                return Err(TrackingError::Missing(format!("Dataset '{}' not found", cut(dataset_id))));
            }
            change(tx, now)?;
            self.note(tx, "evaluation-dataset.update", &subject(dataset_id), &json!({}))?;
            let sql = "UPDATE evaluation_datasets SET updated_us = $2 WHERE dataset_id = $1";
            tx.execute(sql, &[dataset_id.into(), Value::Int(now)])?;
            find(tx, dataset_id)
        })
    }

    fn check_dataset_tags(&self, tags: &[(String, String)]) -> Result<(), TrackingError> {
        for (key, value) in tags {
            check_length(key, self.limits.input_tag_key_chars_max, || "key".into())?;
            check_length(value, self.limits.evaluation_tag_value_chars_max, || "value".into())?;
        }
        Ok(())
    }
}

/// Keys and the kinds of their values, as all records together have them.
struct Schema {
    inputs: Map<String, Json>,
    outputs: Json,
    expectations: Map<String, Json>,
    /// Whether there is anything to write.
    known: bool,
}

impl Schema {
    fn read(stored: Option<&str>) -> Result<Self, TrackingError> {
        let empty = || Self { inputs: Map::new(), outputs: json!({}), expectations: Map::new(), known: false };
        let Some(stored) = stored else { return Ok(empty()) };
        let stored: Json = serde_json::from_str(stored).map_err(|source| TrackingError::BadDocument {
            what: "the schema of an evaluation data set".into(),
            source,
        })?;
        let part = |name: &str| stored.get(name).and_then(Json::as_object).cloned().unwrap_or_default();
        Ok(Self {
            inputs: part("inputs"),
            outputs: stored.get("outputs").cloned().unwrap_or_else(|| json!({})),
            expectations: part("expectations"),
            known: true,
        })
    }

    fn add(&mut self, record: &NewRecord) {
        self.known = true;
        add_kinds(&mut self.inputs, &record.inputs);
        if let Some(expectations) = &record.expectations {
            add_kinds(&mut self.expectations, expectations);
        }
        match (&mut self.outputs, &record.outputs) {
            (Json::Object(kinds), Some(Json::Object(outputs))) => add_kinds(kinds, outputs),
            // An answer that is no object has no keys; the first such kind stands for all.
            (Json::Object(kinds), Some(other)) if kinds.is_empty() && !other.is_null() => self.outputs = kind(other),
            _ => {}
        }
    }

    fn write(&self) -> Option<String> {
        let document = json!({
            "inputs": self.inputs, "outputs": self.outputs, "expectations": self.expectations, "version": "1.0",
        });
        self.known.then(|| document.to_string())
    }
}

fn add_kinds(kinds: &mut Map<String, Json>, values: &Map<String, Json>) {
    for (key, value) in values {
        if !kinds.contains_key(key) {
            kinds.insert(key.clone(), kind(value));
        }
    }
}

fn kind(value: &Json) -> Json {
    Json::from(match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "float",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    })
}

/// Who a record says to be from.
fn said_user(record: &NewRecord) -> Option<String> {
    record.tags.as_ref()?.get(USER_TAG)?.as_str().map(str::to_owned)
}

fn merge(old: Option<Json>, new: Option<&Map<String, Json>>) -> Option<Json> {
    let Some(new) = new.filter(|new| !new.is_empty()) else { return old };
    let mut merged = match old {
        Some(Json::Object(map)) => map,
        _ => Map::new(),
    };
    for (key, value) in new {
        merged.insert(key.clone(), value.clone());
    }
    Some(Json::Object(merged))
}

/// The same for the same inputs, in whatever order their keys come.
pub(crate) fn inputs_hash(inputs: &Map<String, Json>) -> ContentHash {
    let mut inputs = Json::Object(inputs.clone());
    inputs.sort_all_objects();
    ContentHash::of(inputs.to_string().as_bytes())
}

fn digest(name: &str, now: Micros) -> String {
    let mut hash = ContentHash::of(format!("{name}:{now}").as_bytes()).to_hex();
    hash.truncate(8);
    hash
}

fn exists(tx: &mut dyn Tx, dataset_id: &str) -> Result<bool, TrackingError> {
    let sql = "SELECT 1 FROM evaluation_datasets WHERE dataset_id = $1";
    Ok(tx.query_one(sql, &[dataset_id.into()])?.is_some())
}

fn set_tags(tx: &mut dyn Tx, dataset_id: &str, tags: &[(String, String)]) -> Result<(), TrackingError> {
    for (key, value) in tags {
        tx.execute(
            "INSERT INTO evaluation_dataset_tags (dataset_id, key, value) VALUES ($1, $2, $3)
             ON CONFLICT (dataset_id, key) DO UPDATE SET value = excluded.value",
            &[dataset_id.into(), Value::from(key), Value::from(value)],
        )?;
    }
    Ok(())
}

fn join(tx: &mut dyn Tx, dataset_id: &str, experiment_ids: &[String], now: Micros) -> Result<(), TrackingError> {
    for experiment_id in experiment_ids {
        tx.execute(
            "INSERT INTO evaluation_dataset_experiments (dataset_id, experiment_id, created_us) VALUES ($1, $2, $3)
             ON CONFLICT (dataset_id, experiment_id) DO NOTHING",
            &[dataset_id.into(), Value::from(experiment_id), Value::Int(now)],
        )?;
    }
    Ok(())
}

fn find(tx: &mut dyn Tx, dataset_id: &str) -> Result<EvaluationDataset, TrackingError> {
    let sql = format!("SELECT {DATASET_COLUMNS} FROM evaluation_datasets d WHERE d.dataset_id = $1");
    let row = tx
        .query_one(&sql, &[dataset_id.into()])?
        .ok_or_else(|| TrackingError::Missing(format!("Evaluation dataset with id '{}' not found", cut(dataset_id))))?;
    read(tx, &row)
}

/// A data set from its row of [`DATASET_COLUMNS`].
pub(crate) fn read(tx: &mut dyn Tx, row: &Row) -> Result<EvaluationDataset, TrackingError> {
    let dataset_id = row.text(0)?;
    let sql = "SELECT key, value FROM evaluation_dataset_tags WHERE dataset_id = $1 ORDER BY key";
    let tags = tx.query(sql, &[Value::from(&dataset_id)])?;
    Ok(EvaluationDataset {
        name: row.text(1)?,
        schema: row.opt_text(2)?,
        records: u64::try_from(row.int(3)?).unwrap_or(0),
        digest: row.text(4)?,
        created: row.int(5)?,
        updated: row.int(6)?,
        created_by: row.opt_text(7)?,
        updated_by: row.opt_text(8)?,
        tags: tags.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_, TrackingError>>()?,
        dataset_id,
    })
}

fn read_record(row: &Row) -> Result<EvaluationRecord, TrackingError> {
    let document = |column: usize| -> Result<Option<Json>, TrackingError> {
        let Some(text) = row.opt_text(column)? else { return Ok(None) };
        let read = serde_json::from_str(&text);
        read.map(Some)
            .map_err(|source| TrackingError::BadDocument { what: "a record of an evaluation data set".into(), source })
    };
    let source = row.opt_text(6)?.map(|kind| {
        let data = match document(7)? {
            Some(Json::Object(data)) => data,
            _ => Map::new(),
        };
        Ok::<_, TrackingError>(RecordSource { kind, data })
    });
    Ok(EvaluationRecord {
        record_id: row.text(0)?,
        dataset_id: row.text(1)?,
        inputs: document(2)?.unwrap_or_else(|| json!({})),
        outputs: document(3)?,
        expectations: document(4)?,
        tags: document(5)?.unwrap_or_else(|| json!({})),
        source: source.transpose()?,
        created: row.int(8)?,
        updated: row.int(9)?,
        created_by: row.opt_text(10)?,
        updated_by: row.opt_text(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Json) -> Map<String, Json> {
        match value {
            Json::Object(map) => map,
            _ => Map::new(),
        }
    }

    #[test]
    fn the_order_of_keys_does_not_make_other_inputs() {
        let one = map(json!({"a": 1, "b": {"x": 1, "y": [1.5, null]}}));
        let other = map(json!({"b": {"y": [1.5, null], "x": 1}, "a": 1}));
        assert_eq!(inputs_hash(&one), inputs_hash(&other));
        assert_ne!(inputs_hash(&one), inputs_hash(&map(json!({"a": 1.0, "b": {"x": 1, "y": [1.5, null]}}))));
    }

    #[test]
    fn a_schema_keeps_the_first_kind_of_a_key() {
        let mut schema = Schema::read(None).unwrap();
        assert_eq!(schema.write(), None);
        let record =
            |inputs: Json, outputs: Option<Json>| NewRecord { inputs: map(inputs), outputs, ..NewRecord::default() };
        schema.add(&record(json!({"q": "x", "n": 1}), Some(json!("text"))));
        schema.add(&record(json!({"q": 5, "f": 1.5, "l": [], "z": null, "b": true}), Some(json!({"o": {}}))));
        let written = schema.write().unwrap();
        let expected = json!({
            "inputs": {"q": "string", "n": "integer", "f": "float", "l": "array", "z": "null", "b": "boolean"},
            "outputs": "string", "expectations": {}, "version": "1.0",
        });
        assert_eq!(serde_json::from_str::<Json>(&written).unwrap(), expected);
        let again = Schema::read(Some(&written)).unwrap();
        assert_eq!(again.write(), Some(written));
    }
}
