//! Evaluation data sets and their records.

use axum::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use plinth_core::Micros;
use plinth_tracking::{EvaluationDataset, EvaluationRecord, EvaluationSearch, NewRecord, RECORD_SOURCES, RecordSource};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Answer, Call, MlflowError, Need, Route, Thing, page, wire::millis};

type Outcome = Result<Answer, MlflowError>;

const EDIT: Need = Need::Edit(Thing::All);
const READ: Need = Need::Read(Thing::All);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/datasets/create", EDIT, create),
    Route::post("/mlflow/datasets/search", READ, search),
    Route::get("/mlflow/datasets/search", READ, search),
    Route::get("/mlflow/datasets/{dataset_id}", READ, get),
    Route::new(Method::DELETE, "/mlflow/datasets/{dataset_id}", EDIT, delete),
    Route::get("/mlflow/datasets/{dataset_id}/experiment-ids", READ, experiment_ids),
    Route::post("/mlflow/datasets/{dataset_id}/add-experiments", EDIT, add_experiments),
    Route::post("/mlflow/datasets/{dataset_id}/remove-experiments", EDIT, remove_experiments),
    Route::new(Method::PATCH, "/mlflow/datasets/{dataset_id}/tags", EDIT, set_tags),
    Route::new(Method::DELETE, "/mlflow/datasets/{dataset_id}/tags/{key}", EDIT, delete_tag),
    Route::get("/mlflow/datasets/{dataset_id}/records", READ, records),
    Route::post("/mlflow/datasets/{dataset_id}/records", EDIT, put_records),
    Route::new(Method::DELETE, "/mlflow/datasets/{dataset_id}/records", EDIT, delete_records),
];

/// Items of one page, unless another number is asked for.
const PAGE: u64 = 1_000;

fn create(call: &Call<'_>) -> Outcome {
    let name = call.fields.required("name")?;
    let experiment_ids = call.fields.texts("experiment_ids")?;
    let tags = match call.fields.text_or_empty("tags")? {
        "" => Vec::new(),
        text => tags(text)?,
    };
    let dataset = call.tracking.create_evaluation_dataset(name, &tags, &experiment_ids)?;
    answer(&dataset, &experiment_ids)
}

fn get(call: &Call<'_>) -> Outcome {
    answer(&call.tracking.evaluation_dataset(call.fields.required("dataset_id")?)?, &[])
}

fn delete(call: &Call<'_>) -> Outcome {
    call.tracking.delete_evaluation_dataset(call.fields.required("dataset_id")?)?;
    Ok(Answer::empty())
}

fn search(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let found = call.tracking.search_evaluation_datasets(&EvaluationSearch {
        experiment_ids: call.visible(fields.texts("experiment_ids")?)?,
        filter: fields.text_or_empty("filter_string")?.to_owned(),
        order_by: fields.texts("order_by")?,
        skip: page::start(fields.text("page_token")?)?,
        most: page::most(fields, call.tracking.limits().page_rows_max, Some(PAGE))?,
    })?;
    let datasets: Vec<_> = found.items.iter().map(|dataset| DatasetWire::of(dataset, &[])).collect();
    page::answer("datasets", &datasets, found.next)
}

fn experiment_ids(call: &Call<'_>) -> Outcome {
    let ids = call.tracking.evaluation_dataset_experiments(call.fields.required("dataset_id")?)?;
    page::answer("experiment_ids", &ids, None)
}

fn add_experiments(call: &Call<'_>) -> Outcome {
    let ids = call.fields.texts("experiment_ids")?;
    answer(&call.tracking.add_evaluation_dataset_to(call.fields.required("dataset_id")?, &ids)?, &[])
}

fn remove_experiments(call: &Call<'_>) -> Outcome {
    let ids = call.fields.texts("experiment_ids")?;
    answer(&call.tracking.remove_evaluation_dataset_from(call.fields.required("dataset_id")?, &ids)?, &[])
}

fn set_tags(call: &Call<'_>) -> Outcome {
    let tags = tags(call.fields.required("tags")?)?;
    call.tracking.set_evaluation_dataset_tags(call.fields.required("dataset_id")?, &tags)?;
    Ok(Answer::empty())
}

fn delete_tag(call: &Call<'_>) -> Outcome {
    let (dataset, key) = (call.fields.required("dataset_id")?, call.fields.required("key")?);
    call.tracking.delete_evaluation_dataset_tag(dataset, key)?;
    Ok(Answer::empty())
}

fn put_records(call: &Call<'_>) -> Outcome {
    let given: Value = document("records", call.fields.required("records")?)?;
    let Value::Array(given) = given else { return Err(MlflowError::invalid("'records' must be a list of objects")) };
    let records = given.iter().enumerate().map(|(at, record)| new_record(at, record));
    let records: Vec<NewRecord> = records.collect::<Result<_, _>>()?;
    let (new, old) = call.tracking.put_evaluation_records(call.fields.required("dataset_id")?, &records)?;
    Answer::of(&json!({"inserted_count": new, "updated_count": old}))
}

fn records(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let most = page::most(fields, call.tracking.limits().page_rows_max, Some(PAGE))?;
    let token = fields.text("page_token")?.filter(|token| !token.is_empty()).map(after).transpose()?;
    let after = token.as_ref().map(|(time, id)| (*time, id.as_str()));
    let mut found = call.tracking.evaluation_records(fields.required("dataset_id")?, after, most + 1)?;
    let more = found.len() as u64 > most;
    found.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    let next =
        found.last().filter(|_| more).map(|last| STANDARD.encode(format!("{}:{}", last.created, last.record_id)));
    let list: Vec<Value> = found.iter().map(record).collect();
    let mut body = json!({"records": Value::Array(list).to_string()});
    if let Some(next) = next {
        body["next_page_token"] = next.into();
    }
    Answer::of(&body)
}

fn delete_records(call: &Call<'_>) -> Outcome {
    let ids = call.fields.texts("dataset_record_ids")?;
    let deleted = call.tracking.delete_evaluation_records(call.fields.required("dataset_id")?, &ids)?;
    Answer::of(&json!({"deleted_count": deleted}))
}

/// The record that a token says comes before the page.
fn after(token: &str) -> Result<(Micros, String), MlflowError> {
    let bad = || MlflowError::invalid("Invalid page token, could not base64-decode");
    let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)?;
    let (time, id) = text.split_once(':').ok_or_else(bad)?;
    Ok((time.parse().map_err(|_| bad())?, id.to_owned()))
}

/// JSON in a text.
fn document(name: &str, text: &str) -> Result<Value, MlflowError> {
    serde_json::from_str(text).map_err(|error| MlflowError::invalid(format!("'{name}' is not JSON: {error}")))
}

/// Tags as an object in a text; what is null is left as it is.
fn tags(text: &str) -> Result<Vec<(String, String)>, MlflowError> {
    let Value::Object(map) = document("tags", text)? else {
        return Err(MlflowError::invalid("'tags' must be an object"));
    };
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        other => Some(other.to_string()),
    };
    Ok(map.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect())
}

fn new_record(at: usize, given: &Value) -> Result<NewRecord, MlflowError> {
    let wrong = |what: &str| MlflowError::invalid(format!("records[{at}]{what} must be an object"));
    let given = given.as_object().ok_or_else(|| wrong(""))?;
    let object = |name: &str| match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map.clone())),
        Some(_) => Err(wrong(&format!(".{name}"))),
    };
    Ok(NewRecord {
        inputs: object("inputs")?.unwrap_or_default(),
        outputs: given.get("outputs").cloned(),
        expectations: object("expectations")?,
        tags: object("tags")?,
        source: object("source")?
            .filter(|source| !source.is_empty())
            .map(|source| self::source(&source))
            .transpose()?,
    })
}

fn source(given: &Map<String, Value>) -> Result<RecordSource, MlflowError> {
    let kind = given.get("source_type").and_then(Value::as_str).unwrap_or_default().to_ascii_uppercase();
    if !RECORD_SOURCES.contains(&kind.as_str()) {
        let kind: String = kind.chars().take(100).collect();
        let known = RECORD_SOURCES.join("', '");
        return Err(MlflowError::invalid(format!(
            "Invalid dataset record source type: {kind}. Valid source types: ['{known}']"
        )));
    }
    let data = given.get("source_data").and_then(Value::as_object).cloned().unwrap_or_default();
    Ok(RecordSource { kind, data })
}

fn answer(dataset: &EvaluationDataset, experiment_ids: &[String]) -> Outcome {
    Answer::of(&json!({"dataset": DatasetWire::of(dataset, experiment_ids)}))
}

#[derive(Serialize)]
struct DatasetWire<'a> {
    dataset_id: &'a str,
    name: &'a str,
    /// An object in a text.
    tags: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    digest: &'a str,
    created_time: i64,
    last_update_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated_by: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    experiment_ids: &'a [String],
}

impl<'a> DatasetWire<'a> {
    fn of(dataset: &'a EvaluationDataset, experiment_ids: &'a [String]) -> Self {
        let tags: Map<String, Value> =
            dataset.tags.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        Self {
            dataset_id: &dataset.dataset_id,
            name: &dataset.name,
            tags: Value::Object(tags).to_string(),
            schema: dataset.schema.as_deref(),
            profile: (dataset.records > 0).then(|| json!({"num_records": dataset.records}).to_string()),
            digest: &dataset.digest,
            created_time: millis(dataset.created),
            last_update_time: millis(dataset.updated),
            created_by: dataset.created_by.as_deref(),
            last_updated_by: dataset.updated_by.as_deref(),
            experiment_ids,
        }
    }
}

fn record(record: &EvaluationRecord) -> Value {
    let mut wire = Map::new();
    let mut set = |name: &str, value: Value| drop(wire.insert(name.to_owned(), value));
    set("dataset_record_id", record.record_id.clone().into());
    set("dataset_id", record.dataset_id.clone().into());
    set("inputs", record.inputs.clone());
    if let Some(expectations) = &record.expectations {
        set("expectations", expectations.clone());
    }
    set("tags", record.tags.clone());
    if let Some(source) = &record.source {
        set("source", json!({"source_type": source.kind, "source_data": source.data}));
        let id = if source.kind == "TRACE" { "trace_id" } else { "source_id" };
        if let Some(Value::String(id)) = source.data.get(id) {
            set("source_id", id.clone().into());
        }
        set("source_type", source.kind.clone().into());
    }
    set("created_time", millis(record.created).into());
    set("last_update_time", millis(record.updated).into());
    if let Some(user) = &record.created_by {
        set("created_by", user.clone().into());
    }
    if let Some(user) = &record.updated_by {
        set("last_updated_by", user.clone().into());
    }
    if let Some(outputs) = &record.outputs {
        set("outputs", outputs.clone());
    }
    Value::Object(wire)
}
