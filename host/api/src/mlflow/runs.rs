//! Runs: their life cycle, and what they log.

use std::collections::BTreeSet;

use plinth_core::Micros;
use plinth_tracking::{
    Batch, DatasetInput, Direction, MeasuredModel, Metric, ModelLink, NewRun, RunSearch, RunUpdate, Status,
    TrackingError,
};
use serde_json::{Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing,
    fields::{Fields, LOG_BATCH, float, int, missing, wrong_type},
    page,
    wire::{RunInfoWire, RunWire},
};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/runs/create", Need::Edit(Thing::Experiment), create),
    Route::get("/mlflow/runs/get", Need::Read(Thing::Run), get),
    Route::post("/mlflow/runs/search", Need::Narrow, search),
    Route::post("/mlflow/runs/update", Need::Edit(Thing::Run), update),
    Route::post("/mlflow/runs/delete", Need::Edit(Thing::Run), delete),
    Route::post("/mlflow/runs/restore", Need::Edit(Thing::Run), restore),
    Route::post("/mlflow/runs/log-parameter", Need::Edit(Thing::Run), log_param),
    Route::post("/mlflow/runs/log-metric", Need::Edit(Thing::Run), log_metric),
    Route::post("/mlflow/runs/set-tag", Need::Edit(Thing::Run), set_tag),
    Route::post("/mlflow/runs/delete-tag", Need::Edit(Thing::Run), delete_tag),
    Route::post(LOG_BATCH, Need::Edit(Thing::Run), log_batch),
    Route::post("/mlflow/runs/log-inputs", Need::Edit(Thing::Run), log_inputs),
    Route::post("/mlflow/runs/outputs", Need::Edit(Thing::Run), log_outputs),
    Route::post("/mlflow/runs/log-model", Need::Edit(Thing::Run), log_model),
];

fn create(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let experiment_id = fields.required("experiment_id")?;
    let new = NewRun {
        name: fields.text_or_empty("run_name")?.to_owned(),
        source: String::new(),
        user: fields.text_or_empty("user_id")?.to_owned(),
        start: Some(micros("start_time", fields.int("start_time")?.unwrap_or(0))?),
        tags: fields.pairs("tags")?,
    };
    let run = call.tracking.run(&call.tracking.start_run(experiment_id, &new)?)?;
    Answer::of(&json!({"run": RunWire::started(&run)}))
}

fn get(call: &Call<'_>) -> Outcome {
    let run = call.tracking.run(call.fields.run_id()?)?;
    Answer::of(&json!({"run": RunWire::of(&run)}))
}

fn search(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let search = RunSearch {
        experiment_ids: call.visible(fields.texts("experiment_ids")?)?,
        filter: fields.text_or_empty("filter")?.to_owned(),
        order_by: fields.texts("order_by")?,
        view: page::view(fields, "run_view_type"),
        start: page::place(fields.text("page_token")?)?,
        most: page::most(fields, call.tracking.limits().page_rows_max, Some(1_000))?,
    };
    let mut runs = page::Listing::new("runs");
    let next = call.tracking.each_run(&search, &mut |run| runs.push(&RunWire::of(&run)))?;
    runs.end(next.as_ref().map(page::token_of).transpose()?)
}

fn update(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let update = RunUpdate {
        status: status(fields)?,
        end: fields.int("end_time")?.map(|time| micros("end_time", time)).transpose()?,
        name: fields.text("run_name")?.filter(|name| !name.is_empty()).map(str::to_owned),
    };
    let summary = call.tracking.update_run(fields.run_id()?, &update)?;
    Answer::of(&json!({"run_info": RunInfoWire::of(&summary)}))
}

/// By name, or by MLflow's number for it.
fn status(fields: &Fields) -> Result<Option<Status>, MlflowError> {
    let Some(value) = fields.get("status") else { return Ok(None) };
    let found = match value {
        Value::String(name) if name.parse::<i64>().is_err() => Status::from_name(&name.to_ascii_uppercase()),
        other => int(other).and_then(|n| usize::try_from(n - 1).ok()).and_then(|n| Status::ALL.get(n).copied()),
    };
    found.map(Some).ok_or_else(|| wrong_type("status", value))
}

fn delete(call: &Call<'_>) -> Outcome {
    call.tracking.delete_run(call.fields.run_id()?)?;
    Ok(Answer::empty())
}

fn restore(call: &Call<'_>) -> Outcome {
    call.tracking.restore_run(call.fields.run_id()?)?;
    Ok(Answer::empty())
}

fn log_param(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let param = (fields.required("key")?.to_owned(), fields.text_or_empty("value")?.to_owned());
    call.tracking.log(fields.run_id()?, &Batch { params: vec![param], ..Batch::default() }).map_err(of_one)?;
    Ok(Answer::empty())
}

fn log_metric(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let run_id = fields.run_id()?;
    let text = |name: &str| Ok::<_, MlflowError>(fields.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned));
    let dataset = measured_on(text("dataset_name")?, text("dataset_digest")?)?;
    if dataset.is_some() && text("model_id")?.is_none() {
        return Err(MlflowError::invalid("dataset_name and dataset_digest must be None if model_id is not provided"));
    }
    let metric = Metric {
        key: fields.required("key")?.to_owned(),
        value: fields.float("value")?.ok_or_else(|| missing("value"))?,
        time: micros("timestamp", fields.required_int("timestamp")?)?,
        step: fields.int("step")?.unwrap_or(0),
        model: text("model_id")?.map(|model_id| MeasuredModel { model_id, dataset }),
    };
    measured(call, std::slice::from_ref(&metric))?;
    call.tracking.log(run_id, &Batch { metrics: vec![metric], ..Batch::default() }).map_err(of_one)?;
    Ok(Answer::empty())
}

fn set_tag(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let tag = (fields.required("key")?.to_owned(), fields.text_or_empty("value")?.to_owned());
    call.tracking.log(fields.run_id()?, &Batch { tags: vec![tag], ..Batch::default() }).map_err(of_one)?;
    Ok(Answer::empty())
}

/// In a call for one item, a field is named without its place in a list: `params[0].key` is `key`.
fn of_one(error: TrackingError) -> MlflowError {
    let bare = |field: String| field.split_once("[0].").map(|(_, name)| name.to_owned()).unwrap_or(field);
    MlflowError::from(match error {
        TrackingError::BadName { value, field, reason } => TrackingError::BadName { value, field: bare(field), reason },
        TrackingError::TooLong { field, limit } => TrackingError::TooLong { field: bare(field), limit },
        TrackingError::Invalid(message) => TrackingError::Invalid(message.replacen("metrics[0].", "", 1)),
        TrackingError::ParamsChanged { run, changed } if changed.len() == 1 => {
            let param = &changed[0];
            TrackingError::Invalid(format!(
                "Changing param values is not allowed. Param with key='{}' was already logged with value='{}' for run \
                 ID='{run}'. Attempted logging new value '{}'.",
                param.key, param.old, param.new
            ))
        }
        other => other,
    })
}

/// A run's id where MLflow asks for one of the right form before it looks for the run.
fn formed_run_id(fields: &Fields) -> Result<&str, MlflowError> {
    let id = fields.run_id()?;
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let formed = id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| word(c) || c == '-')
        && id.chars().count() <= 256;
    match formed {
        true => Ok(id),
        false => Err(MlflowError::invalid(format!("Invalid value {} for parameter 'run_id' supplied.", json!(id)))),
    }
}

fn delete_tag(call: &Call<'_>) -> Outcome {
    call.tracking.delete_tag(call.fields.run_id()?, call.fields.required("key")?)?;
    Ok(Answer::empty())
}

fn log_batch(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let run_id = formed_run_id(fields)?;
    if let Some(batch) = fields.batch() {
        call.tracking.log(run_id, batch)?;
        return Ok(Answer::empty());
    }
    let metrics = fields.list("metrics")?.iter().enumerate().map(|(at, item)| batch_metric(at, item));
    let batch = Batch {
        metrics: metrics.collect::<Result<_, _>>()?,
        params: fields.pairs("params")?,
        tags: fields.pairs("tags")?,
    };
    measured(call, &batch.metrics)?;
    call.tracking.log(run_id, &batch)?;
    Ok(Answer::empty())
}

/// A metric of a logged model changes the model too.
fn measured(call: &Call<'_>, metrics: &[Metric]) -> Result<(), MlflowError> {
    let models: BTreeSet<&str> = metrics.iter().filter_map(|m| Some(m.model.as_ref()?.model_id.as_str())).collect();
    models.into_iter().try_for_each(|id| call.must(Need::Edit(Thing::LoggedModel), "model_id", id))
}

/// Name and digest of a data set, which come together or not at all.
fn measured_on(name: Option<String>, digest: Option<String>) -> Result<Option<(String, String)>, MlflowError> {
    match (name, digest) {
        (Some(name), Some(digest)) => Ok(Some((name, digest))),
        (None, None) => Ok(None),
        _ => Err(MlflowError::invalid("Both dataset_name and dataset_digest must be provided if one is provided")),
    }
}

fn batch_metric(at: usize, item: &Value) -> Result<Metric, MlflowError> {
    let field = |name: &str| format!("metrics[{at}].{name}");
    let part = |name: &str| item.get(name).filter(|value| !value.is_null());
    let text = |name: &str| match part(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        None | Some(Value::String(_)) => Ok(None),
        Some(other) => Err(wrong_type(&field(name), other)),
    };
    let whole = |name: &str, value: &Value| int(value).ok_or_else(|| wrong_type(&field(name), value));
    let key = text("key")?.ok_or_else(|| missing(&field("key")))?;
    let value = part("value").ok_or_else(|| missing(&field("value")))?;
    let time = part("timestamp").ok_or_else(|| missing(&field("timestamp")))?;
    let dataset = measured_on(text("dataset_name")?, text("dataset_digest")?)?;
    Ok(Metric {
        key,
        value: float(value).ok_or_else(|| wrong_type(&field("value"), value))?,
        time: micros(&field("timestamp"), whole("timestamp", time)?)?,
        step: part("step").map_or(Ok(0), |step| whole("step", step))?,
        model: text("model_id")?.map(|model_id| MeasuredModel { model_id, dataset }),
    })
}

fn log_inputs(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let datasets = fields.list("datasets")?.iter().enumerate().map(|(at, item)| dataset(at, item));
    let datasets = datasets.collect::<Result<Vec<_>, _>>()?;
    let models = links(fields, Direction::Input)?;
    linkable(call, &models, Need::Read(Thing::LoggedModel))?;
    call.tracking.log_inputs(formed_run_id(fields)?, &datasets, &models)?;
    Ok(Answer::empty())
}

fn log_outputs(call: &Call<'_>) -> Outcome {
    let models = links(&call.fields, Direction::Output)?;
    linkable(call, &models, Need::Edit(Thing::LoggedModel))?;
    call.tracking.log_inputs(call.fields.run_id()?, &[], &models)?;
    Ok(Answer::empty())
}

/// MLflow 2's way to say that there is a model among the artifacts.
fn log_model(call: &Call<'_>) -> Outcome {
    let (run_id, text) = (call.fields.run_id()?, call.fields.required("model_json")?);
    let Ok(Value::Object(mut model)) = serde_json::from_str(text) else {
        let text: String = text.chars().take(1_000).collect();
        return Err(MlflowError::invalid(format!("Malformed model info. \n {text} \n is not a valid JSON.")));
    };
    let needed = ["artifact_path", "flavors", "utc_time_created", "run_id"];
    let lacking: Vec<String> =
        needed.iter().filter(|name| !model.contains_key(**name)).map(|name| format!("'{name}'")).collect();
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        return Err(MlflowError::invalid(format!("Model json is missing mandatory fields: {{{lacking}}}")));
    }
    model.retain(|name, _| needed.contains(&name.as_str()) || name == "model_uuid");
    // A flavor's own configuration may be long, and says nothing about where the model is.
    for flavor in model.get_mut("flavors").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut()) {
        if let Some(flavor) = flavor.as_object_mut() {
            flavor.remove("config");
        }
    }
    call.tracking.note_model(run_id, Value::Object(model))?;
    Ok(Answer::empty())
}

/// Who says what a run read must see it, and who says what it made must have been able to make it.
fn linkable(call: &Call<'_>, models: &[(Direction, ModelLink)], need: Need) -> Result<(), MlflowError> {
    models.iter().try_for_each(|(_, link)| call.must(need, "model_id", &link.model_id))
}

fn links(fields: &Fields, direction: Direction) -> Result<Vec<(Direction, ModelLink)>, MlflowError> {
    fields
        .list("models")?
        .iter()
        .map(|item| {
            let model_id = item.get("model_id").and_then(Value::as_str).filter(|id| !id.is_empty());
            let model_id = model_id.ok_or_else(|| missing("models.model_id"))?.to_owned();
            Ok((direction, ModelLink { model_id, step: item.get("step").and_then(int).unwrap_or(0) }))
        })
        .collect()
}

fn dataset(at: usize, item: &Value) -> Result<DatasetInput, MlflowError> {
    let dataset = item.get("dataset").ok_or_else(|| missing(&format!("datasets[{at}].dataset")))?;
    let optional = |name: &str| match dataset.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_type(&format!("datasets[{at}].dataset.{name}"), other)),
    };
    let required = |name: &str| {
        let text = optional(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| missing(&format!("datasets[{at}].dataset.{name}")))
    };
    let mut tags = Vec::new();
    for tag in item.get("tags").and_then(Value::as_array).into_iter().flatten() {
        let part = |part: &str| tag.get(part).and_then(Value::as_str).map(str::to_owned);
        let key = part("key").ok_or_else(|| missing(&format!("datasets[{at}].tags.key")))?;
        tags.push((key, part("value").unwrap_or_default()));
    }
    Ok(DatasetInput {
        name: required("name")?,
        digest: required("digest")?,
        source_type: required("source_type")?,
        source: required("source")?,
        schema: optional("schema")?,
        profile: optional("profile")?,
        tags,
    })
}

/// Milliseconds from a client as the catalog's microseconds.
fn micros(field: &str, millis: i64) -> Result<Micros, MlflowError> {
    millis.checked_mul(1_000).ok_or_else(|| {
        MlflowError::invalid(format!(
            "Invalid value {millis} for parameter '{field}' supplied: it is no time in milliseconds"
        ))
    })
}
