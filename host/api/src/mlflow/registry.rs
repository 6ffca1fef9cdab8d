//! Registered models, their versions and aliases.

use axum::http::Method;
use plinth_tracking::{AliasMove, NewVersionRecord, RegisteredModel, RegistrySearch, VersionRecord, model_of_source};
use serde::Serialize;
use serde_json::json;

use super::{
    Answer, Call, MlflowError, Need, Route, Thing,
    fields::Fields,
    page,
    wire::{Pair, millis, pairs},
};

type Outcome = Result<Answer, MlflowError>;

const READ: Need = Need::Read(Thing::Model);
const EDIT: Need = Need::Edit(Thing::Model);
const APPROVE: Need = Need::Approve(Thing::Model);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/registered-models/create", Need::Edit(Thing::All), create),
    Route::get("/mlflow/registered-models/get", READ, get),
    Route::get("/mlflow/registered-models/search", Need::Narrow, search),
    Route::post("/mlflow/registered-models/rename", EDIT, rename),
    Route::new(Method::PATCH, "/mlflow/registered-models/update", EDIT, update),
    Route::new(Method::DELETE, "/mlflow/registered-models/delete", EDIT, delete),
    Route::post("/mlflow/registered-models/set-tag", EDIT, set_tag),
    Route::new(Method::DELETE, "/mlflow/registered-models/delete-tag", EDIT, delete_tag),
    Route::post("/mlflow/registered-models/get-latest-versions", READ, latest),
    Route::get("/mlflow/registered-models/get-latest-versions", READ, latest),
    Route::post("/mlflow/registered-models/alias", APPROVE, set_alias),
    Route::get("/mlflow/registered-models/alias", READ, get_alias),
    Route::new(Method::DELETE, "/mlflow/registered-models/alias", APPROVE, delete_alias),
    Route::post("/mlflow/model-versions/create", EDIT, create_version),
    Route::get("/mlflow/model-versions/get", READ, get_version),
    Route::get("/mlflow/model-versions/search", Need::Narrow, search_versions),
    Route::new(Method::PATCH, "/mlflow/model-versions/update", EDIT, update_version),
    Route::new(Method::DELETE, "/mlflow/model-versions/delete", EDIT, delete_version),
    Route::post("/mlflow/model-versions/transition-stage", APPROVE, transition),
    Route::get("/mlflow/model-versions/get-download-uri", READ, download_uri),
    Route::post("/mlflow/model-versions/set-tag", EDIT, set_version_tag),
    Route::new(Method::DELETE, "/mlflow/model-versions/delete-tag", EDIT, delete_version_tag),
];

fn create(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let (name, description) = (fields.required("name")?, fields.text_or_empty("description")?);
    let model = call.tracking.create_model(name, description, &fields.loose_pairs("tags")?, call.who())?;
    model_answer(&model)
}

fn get(call: &Call<'_>) -> Outcome {
    model_answer(&call.tracking.registered_model(call.fields.required("name")?)?)
}

/// Registered models of one page, unless another number is asked for.
const MODELS: u64 = 100;
/// The most that may be asked for.
const MODELS_MAX: u64 = 1_000;
/// Versions of one page.
const VERSIONS: u64 = 10_000;
/// The most that may be asked for.
const VERSIONS_MAX: u64 = 200_000;

fn search(call: &Call<'_>) -> Outcome {
    // Nothing, and even less, is a page to MLflow.
    let most = call.fields.int("max_results")?.unwrap_or(MODELS as i64);
    if most > MODELS_MAX as i64 {
        return Err(MlflowError::invalid(format!(
            "Invalid value for request parameter max_results. It must be at most {MODELS_MAX}, but got value {most}"
        )));
    }
    let found = call.tracking.search_models(&asked(call, most.max(0) as u64)?)?;
    if most <= 0 {
        return Ok(Answer::empty());
    }
    let models: Vec<_> = found.items.iter().map(ModelWire::of).collect();
    page::answer("registered_models", &models, found.next)
}

fn search_versions(call: &Call<'_>) -> Outcome {
    let most = call.fields.int("max_results")?.unwrap_or(VERSIONS as i64);
    if most < 1 {
        let message = format!("Invalid value for max_results. It must be a positive integer, but got {most}");
        return Err(MlflowError::invalid(message));
    }
    if most > VERSIONS_MAX as i64 {
        return Err(MlflowError::invalid(format!(
            "Invalid value for request parameter max_results. It must be at most {VERSIONS_MAX}, but got value {most}"
        )));
    }
    let found = call.tracking.search_versions(&asked(call, most as u64)?)?;
    let versions: Vec<_> = found.items.iter().map(VersionWire::of).collect();
    page::answer("model_versions", &versions, found.next)
}

fn asked(call: &Call<'_>, most: u64) -> Result<RegistrySearch, MlflowError> {
    let fields = &call.fields;
    Ok(RegistrySearch {
        filter: fields.text_or_empty("filter")?.to_owned(),
        order_by: fields.texts("order_by")?,
        only: call.principal.models(),
        skip: page::start(fields.text("page_token")?)?,
        most,
    })
}

fn rename(call: &Call<'_>) -> Outcome {
    let (name, new) = (call.fields.required("name")?, call.fields.required("new_name")?);
    model_answer(&call.tracking.rename_model(name, new, call.who())?)
}

fn update(call: &Call<'_>) -> Outcome {
    let (name, description) = (call.fields.required("name")?, call.fields.text_or_empty("description")?);
    model_answer(&call.tracking.describe_model(name, description)?)
}

fn delete(call: &Call<'_>) -> Outcome {
    let name = call.fields.required("name")?;
    tell_endpoints(call, name, None)?;
    call.tracking.delete_model(name, call.who())?;
    Ok(Answer::empty())
}

fn set_tag(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let (name, key) = (fields.required("name")?, fields.required("key")?);
    call.tracking.set_model_tag(name, key, fields.text_or_empty("value")?, call.who())?;
    Ok(Answer::empty())
}

fn delete_tag(call: &Call<'_>) -> Outcome {
    let (name, key) = (call.fields.required("name")?, call.fields.required("key")?);
    call.tracking.delete_model_tag(name, key, call.who())?;
    Ok(Answer::empty())
}

fn latest(call: &Call<'_>) -> Outcome {
    let versions = call.tracking.latest_versions(call.fields.required("name")?, &call.fields.texts("stages")?)?;
    if versions.is_empty() {
        return Ok(Answer::empty());
    }
    let versions: Vec<_> = versions.iter().map(VersionWire::of).collect();
    Answer::of(&json!({"model_versions": versions}))
}

fn set_alias(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let (model, alias, version) = (fields.required("name")?, fields.required("alias")?, version(fields)?);
    call.tracking.check_new_alias(alias)?;
    // Named as MLflow names what is missing.
    call.tracking.version(model, version)?;
    let to = AliasMove { model, alias, version, principal: call.who(), reason: "", evidence: None };
    call.tracking.set_alias(&to)?;
    Ok(Answer::empty())
}

fn get_alias(call: &Call<'_>) -> Outcome {
    let (name, alias) = (call.fields.required("name")?, call.fields.required("alias")?);
    version_answer(&call.tracking.version_by_alias(name, alias)?)
}

fn delete_alias(call: &Call<'_>) -> Outcome {
    let (name, alias) = (call.fields.required("name")?, call.fields.required("alias")?);
    call.tracking.delete_alias(name, alias, call.who())?;
    Ok(Answer::empty())
}

fn create_version(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let name = fields.required("name")?;
    let new = NewVersionRecord {
        source: fields.required("source")?.to_owned(),
        run_id: fields.text("run_id")?.map(str::to_owned),
        model_id: fields.text("model_id")?.map(str::to_owned),
        run_link: fields.text_or_empty("run_link")?.to_owned(),
        description: fields.text_or_empty("description")?.to_owned(),
        tags: fields.loose_pairs("tags")?,
    };
    // Registering something is a way to read it.
    if let Some(run_id) = new.run_id.as_deref().filter(|id| !id.is_empty()) {
        call.must(Need::Read(Thing::Run), "run_id", run_id)?;
    }
    if let Some(model_id) = new.model_id.as_deref().filter(|id| !id.is_empty()) {
        call.must(Need::Read(Thing::LoggedModel), "model_id", model_id)?;
    }
    if let Some(other) = model_of_source(&new.source) {
        call.must(Need::Read(Thing::Model), "name", &other)?;
    }
    version_answer(&call.tracking.create_version(name, &new, call.who())?)
}

fn get_version(call: &Call<'_>) -> Outcome {
    let (name, version) = named_version(&call.fields)?;
    version_answer(&call.tracking.version(name, version)?)
}

fn update_version(call: &Call<'_>) -> Outcome {
    let (name, version) = named_version(&call.fields)?;
    let description = call.fields.text_or_empty("description")?;
    version_answer(&call.tracking.describe_version(name, version, description)?)
}

/// Clients of MLflow know no endpoints: it is the log that says what goes on serving only until its server ends.
fn tell_endpoints(call: &Call<'_>, model: &str, version: Option<u64>) -> Result<(), MlflowError> {
    let endpoints = call.tracking.endpoints_of(model, version)?;
    if !endpoints.is_empty() {
        tracing::warn!(model, version, ?endpoints, "what is deleted now answers for these endpoints");
    }
    Ok(())
}

fn delete_version(call: &Call<'_>) -> Outcome {
    let (name, version) = named_version(&call.fields)?;
    tell_endpoints(call, name, Some(version))?;
    call.tracking.delete_version(name, version, call.who())?;
    Ok(Answer::empty())
}

fn transition(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let (name, version) = named_version(fields)?;
    let archive = fields.flag("archive_existing_versions")?.unwrap_or(false);
    let stage = fields.required("stage")?;
    version_answer(&call.tracking.transition(name, version, stage, archive, call.who())?)
}

fn download_uri(call: &Call<'_>) -> Outcome {
    let (name, version) = named_version(&call.fields)?;
    Answer::of(&json!({"artifact_uri": call.tracking.download_uri(name, version)?}))
}

fn set_version_tag(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let (name, version) = named_version(fields)?;
    let (key, value) = (fields.required("key")?, fields.text_or_empty("value")?);
    call.tracking.set_version_tag(name, version, key, value, call.who())?;
    Ok(Answer::empty())
}

fn delete_version_tag(call: &Call<'_>) -> Outcome {
    let (name, version) = named_version(&call.fields)?;
    call.tracking.delete_version_tag(name, version, call.fields.required("key")?, call.who())?;
    Ok(Answer::empty())
}

fn named_version(fields: &Fields) -> Result<(&str, u64), MlflowError> {
    Ok((fields.required("name")?, version(fields)?))
}

/// A version's number; one that no version can have is the number 0.
fn version(fields: &Fields) -> Result<u64, MlflowError> {
    let text = fields.required("version")?;
    let number = text.trim().parse::<i64>();
    let number =
        number.map_err(|_| MlflowError::invalid(format!("Parameter 'version' must be an integer, got '{text}'.")))?;
    Ok(u64::try_from(number).unwrap_or(0))
}

fn model_answer(model: &RegisteredModel) -> Outcome {
    Answer::of(&json!({"registered_model": ModelWire::of(model)}))
}

fn version_answer(version: &VersionRecord) -> Outcome {
    Answer::of(&json!({"model_version": VersionWire::of(version)}))
}

#[derive(Serialize)]
pub(super) struct ModelWire<'a> {
    name: &'a str,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latest_versions: Vec<VersionWire<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<AliasWire<'a>>,
}

#[derive(Serialize)]
struct AliasWire<'a> {
    alias: &'a str,
    version: String,
}

impl<'a> ModelWire<'a> {
    pub(super) fn of(model: &'a RegisteredModel) -> Self {
        let aliases = model.aliases.iter();
        Self {
            name: &model.name,
            creation_timestamp: millis(model.created),
            last_updated_timestamp: millis(model.updated),
            description: &model.description,
            latest_versions: model.latest.iter().map(VersionWire::of).collect(),
            tags: pairs(&model.tags),
            aliases: aliases.map(|a| AliasWire { alias: &a.alias, version: a.version.to_string() }).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct VersionWire<'a> {
    name: &'a str,
    version: String,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_id: &'a str,
    current_stage: &'a str,
    description: &'a str,
    source: &'a str,
    run_id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    status_message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    run_link: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    aliases: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
}

impl<'a> VersionWire<'a> {
    pub(super) fn of(version: &'a VersionRecord) -> Self {
        Self {
            name: &version.model,
            version: version.version.to_string(),
            creation_timestamp: millis(version.created),
            last_updated_timestamp: millis(version.updated),
            user_id: &version.user,
            current_stage: &version.stage,
            description: &version.description,
            source: &version.source,
            run_id: version.run_id.as_deref().unwrap_or_default(),
            status: &version.status,
            status_message: &version.status_message,
            tags: pairs(&version.tags),
            run_link: &version.run_link,
            aliases: &version.aliases,
            model_id: version.model_id.as_deref(),
        }
    }
}
