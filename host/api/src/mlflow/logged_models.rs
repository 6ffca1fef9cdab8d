//! Logged models.

use axum::http::Method;
use plinth_tracking::{LoggedModel, LoggedModelOrder, LoggedModelSearch, ModelMetric, ModelStatus, NewLoggedModel};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing,
    artifacts::{listed, listing},
    fields::{int, missing, wrong_type},
    page,
    wire::{Pair, millis, number, pairs},
};

type Outcome = Result<Answer, MlflowError>;

const EDIT: Need = Need::Edit(Thing::LoggedModel);
const READ: Need = Need::Read(Thing::LoggedModel);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/logged-models", Need::Edit(Thing::Experiment), create),
    Route::post("/mlflow/logged-models/search", Need::Narrow, search),
    Route::get("/mlflow/logged-models/{model_id}", READ, get),
    Route::new(Method::PATCH, "/mlflow/logged-models/{model_id}", EDIT, finalize),
    Route::new(Method::DELETE, "/mlflow/logged-models/{model_id}", EDIT, delete),
    Route::new(Method::PATCH, "/mlflow/logged-models/{model_id}/tags", EDIT, set_tags),
    Route::new(Method::DELETE, "/mlflow/logged-models/{model_id}/tags/{tag_key}", EDIT, delete_tag),
    Route::post("/mlflow/logged-models/{model_id}/params", EDIT, log_params),
    Route::get("/mlflow/logged-models/{model_id}/artifacts/directories", READ, list),
];

fn create(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let new = NewLoggedModel {
        experiment_id: fields.required("experiment_id")?.to_owned(),
        name: fields.text("name")?.filter(|name| !name.is_empty()).map(str::to_owned),
        model_type: fields.text_or_empty("model_type")?.to_owned(),
        source_run_id: fields.text_or_empty("source_run_id")?.to_owned(),
        params: fields.loose_pairs("params")?,
        tags: fields.loose_pairs("tags")?,
    };
    if !new.source_run_id.is_empty() {
        call.must(Need::Read(Thing::Run), "run_id", &new.source_run_id)?;
    }
    answer(&call.tracking.create_logged_model(&new)?)
}

/// Models of one page, unless another number is asked for.
const MODELS: u64 = 50;

fn search(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let experiment_ids = fields.texts("experiment_ids")?;
    if experiment_ids.is_empty() {
        return Err(missing("experiment_ids"));
    }
    let experiment_ids = call.visible(experiment_ids)?;
    let text = |item: &Value, name: &str| {
        item.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let datasets = fields.list("datasets")?.iter().map(|item| {
        let name = text(item, "dataset_name");
        let name =
            name.ok_or_else(|| MlflowError::invalid("`dataset_name` in the `datasets` clause must be specified."))?;
        Ok::<_, MlflowError>((name, text(item, "dataset_digest")))
    });
    let order_by = fields.list("order_by")?.iter().map(|item| {
        let field = text(item, "field_name");
        let field =
            field.ok_or_else(|| MlflowError::invalid("`field_name` in the `order_by` clause must be specified."))?;
        let ascending = item.get("ascending").and_then(Value::as_bool).unwrap_or(true);
        let (name, digest) = (text(item, "dataset_name"), text(item, "dataset_digest"));
        if digest.is_some() && name.is_none() {
            let message = "`dataset_digest` can only be specified if `dataset_name` is also specified.";
            return Err(MlflowError::invalid(message));
        }
        Ok(LoggedModelOrder { field, ascending, dataset: name.map(|name| (name, digest)) })
    });
    let most = fields.int("max_results")?.filter(|most| *most > 0).unwrap_or(MODELS as i64);
    let found = call.tracking.search_logged_models(&LoggedModelSearch {
        experiment_ids,
        filter: fields.text_or_empty("filter")?.to_owned(),
        datasets: datasets.collect::<Result<_, _>>()?,
        order_by: order_by.collect::<Result<_, _>>()?,
        skip: page::start(fields.text("page_token")?)?,
        most: (most as u64).min(u64::from(call.tracking.limits().page_rows_max)),
    })?;
    let models: Vec<_> = found.items.iter().map(LoggedModelWire::of).collect();
    page::answer("models", &models, found.next)
}

fn get(call: &Call<'_>) -> Outcome {
    let deleted = call.fields.flag("allow_deleted")?.unwrap_or(false);
    answer(&call.tracking.logged_model(call.fields.required("model_id")?, deleted)?)
}

fn finalize(call: &Call<'_>) -> Outcome {
    let value = call.fields.get("status").ok_or_else(|| missing("status"))?;
    let status = match value {
        Value::String(name) if int(value).is_none() => ModelStatus::from_name(name),
        other => int(other).and_then(|n| usize::try_from(n).ok()).and_then(|n| ModelStatus::ALL.get(n).copied()),
    };
    let status = status.ok_or_else(|| wrong_type("status", value))?;
    answer(&call.tracking.finalize_logged_model(call.fields.required("model_id")?, status)?)
}

fn delete(call: &Call<'_>) -> Outcome {
    call.tracking.delete_logged_model(call.fields.required("model_id")?)?;
    Ok(Answer::empty())
}

fn set_tags(call: &Call<'_>) -> Outcome {
    let tags = call.fields.loose_pairs("tags")?;
    call.tracking.set_logged_model_tags(call.fields.required("model_id")?, &tags)?;
    Ok(Answer::empty())
}

fn delete_tag(call: &Call<'_>) -> Outcome {
    let (model, key) = (call.fields.required("model_id")?, call.fields.required("tag_key")?);
    call.tracking.delete_logged_model_tag(model, key)?;
    Ok(Answer::empty())
}

fn log_params(call: &Call<'_>) -> Outcome {
    let params = call.fields.loose_pairs("params")?;
    call.tracking.log_logged_model_params(call.fields.required("model_id")?, &params)?;
    Ok(Answer::empty())
}

fn list(call: &Call<'_>) -> Outcome {
    let model = call.tracking.logged_model(call.fields.required("model_id")?, false)?;
    let folder = call.fields.text_or_empty("artifact_directory_path")?;
    let files = listed(call.tracking, call.tracking.logged_model_place(&model.model_id)?, folder)?;
    Answer::of(&listing(Some(&artifact_uri(&model)), files))
}

fn artifact_uri(model: &LoggedModel) -> String {
    match model.artifact_location.as_str() {
        "" => format!("mlflow-artifacts:/{}/models/{}/artifacts", model.experiment_id, model.model_id),
        given => given.to_owned(),
    }
}

fn answer(model: &LoggedModel) -> Outcome {
    Answer::of(&json!({"model": LoggedModelWire::of(model)}))
}

#[derive(Serialize)]
pub(super) struct LoggedModelWire<'a> {
    info: InfoWire<'a>,
    data: DataWire<'a>,
}

#[derive(Serialize)]
struct InfoWire<'a> {
    model_id: &'a str,
    experiment_id: &'a str,
    name: &'a str,
    creation_timestamp_ms: i64,
    last_updated_timestamp_ms: i64,
    artifact_uri: String,
    status: &'static str,
    model_type: &'a str,
    source_run_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    status_message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct DataWire<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricWire<'a>>,
}

#[derive(Serialize)]
struct MetricWire<'a> {
    key: &'a str,
    #[serde(serialize_with = "number")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_digest: Option<&'a str>,
    model_id: &'a str,
    run_id: &'a str,
}

impl<'a> LoggedModelWire<'a> {
    pub(super) fn of(model: &'a LoggedModel) -> Self {
        let metric = |metric: &'a ModelMetric| MetricWire {
            key: &metric.key,
            value: metric.value,
            timestamp: millis(metric.time),
            step: metric.step,
            dataset_name: metric.dataset.as_ref().map(|(name, _)| name.as_str()),
            dataset_digest: metric.dataset.as_ref().map(|(_, digest)| digest.as_str()),
            model_id: &model.model_id,
            run_id: &metric.run_id,
        };
        Self {
            info: InfoWire {
                model_id: &model.model_id,
                experiment_id: &model.experiment_id,
                name: &model.name,
                creation_timestamp_ms: millis(model.created),
                last_updated_timestamp_ms: millis(model.updated),
                artifact_uri: artifact_uri(model),
                status: model.status.name(),
                model_type: &model.model_type,
                source_run_id: &model.source_run_id,
                status_message: &model.status_message,
                tags: pairs(&model.tags),
            },
            data: DataWire { params: pairs(&model.params), metrics: model.metrics.iter().map(metric).collect() },
        }
    }
}
