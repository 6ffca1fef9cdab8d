//! Artifacts: the `mlflow-artifacts` proxy, and what runs, logged models and versions have in it.

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, Method, Uri},
    response::Response,
    routing::{get, post, put},
};
use percent_encoding::percent_decode_str;
use plinth_tracking::{Entry, Place, Tracking};
use serde_json::{Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing, Tracker, blocking, download,
    fields::{Fields, missing},
    json as answer, outside, upload, wire,
};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/mlflow/artifacts/list", Need::Read(Thing::Run), list_of_run),
    Route::post("/mlflow/artifacts/presigned-download-url", Need::Read(Thing::Run), outside::presigned_download),
    Route::post("/mlflow/artifacts/presigned-upload-url", Need::Edit(Thing::Run), outside::presigned_upload),
];

/// The routes whose bodies are files.
pub(super) fn proxy() -> Router<Tracker> {
    let mut router =
        Router::new().route("/get-artifact", get(of_run)).route("/model-versions/get-artifact", get(of_version));
    for prefix in super::PREFIXES {
        let root = format!("{prefix}/mlflow-artifacts");
        router = router
            .route(&format!("{root}/artifacts"), get(list))
            .route(&format!("{root}/artifacts/"), get(list))
            .route(&format!("{root}/artifacts/{{*path}}"), get(proxied).put(upload::whole).delete(delete))
            .route(&format!("{root}/presigned/{{*path}}"), get(outside::presigned))
            .route(&format!("{root}/mpu/create/{{*path}}"), post(upload::create))
            .route(&format!("{root}/mpu/complete/{{*path}}"), post(upload::complete))
            .route(&format!("{root}/mpu/abort/{{*path}}"), post(upload::abort))
            .route(&format!("{root}/mpu/parts/{{id}}/{{part}}"), put(upload::part))
            .route(&format!("{prefix}/mlflow/upload-artifact"), post(upload::of_run))
            .route(&format!("{prefix}/mlflow/logged-models/{{model_id}}/artifacts/files"), get(of_logged_model));
    }
    router
}

fn list_of_run(call: &Call<'_>) -> Outcome {
    let run = call.tracking.run(call.fields.run_id()?)?.summary;
    let files = listed(call.tracking, call.tracking.run_place(&run.run_id)?, call.fields.text_or_empty("path")?)?;
    Answer::of(&listing(Some(&wire::artifact_uri(&run)), files))
}

/// What lies in a folder of a place.
pub(super) fn listed(tracking: &Tracking, place: Place, folder: &str) -> Result<Vec<Value>, MlflowError> {
    let entries = match place.below(folder.strip_suffix('/').unwrap_or(folder))? {
        Place::Here(path) => tracking.list_files(&path)?,
        Place::Elsewhere(uri) => outside::list(tracking, &uri)?,
    };
    Ok(entries.iter().map(|entry| file(folder, entry)).collect())
}

pub(super) fn listing(root_uri: Option<&str>, files: Vec<Value>) -> Value {
    let mut listing = serde_json::Map::new();
    if let Some(uri) = root_uri {
        listing.insert("root_uri".into(), uri.into());
    }
    if !files.is_empty() {
        listing.insert("files".into(), files.into());
    }
    Value::Object(listing)
}

/// A listed file or folder, its path relative to `folder`'s root.
fn file(folder: &str, entry: &Entry) -> Value {
    let folder = folder.trim_end_matches('/');
    let path = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
    match entry.bytes {
        Some(bytes) => json!({"path": path, "is_dir": false, "file_size": bytes}),
        None => json!({"path": path, "is_dir": true}),
    }
}

async fn list(State(tracker): State<Tracker>, RawQuery(query): RawQuery) -> Result<Response, MlflowError> {
    let body = blocking(move || {
        let fields = Fields::from_query(query.as_deref().unwrap_or_default());
        let path = fields.text_or_empty("path")?;
        let root = Place::Here(String::new()).below(path.strip_suffix('/').unwrap_or(path))?;
        Ok(listing(None, listed(&tracker.tracking, root, "")?).to_string().into_bytes())
    });
    Ok(answer(body.await?))
}

async fn proxied(
    State(tracker): State<Tracker>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, MlflowError> {
    let path = path_of(uri.path(), "/mlflow-artifacts/artifacts/")?;
    download::at(tracker, method, headers, move |_| Ok(Place::Here(String::new()).below(&path)?)).await
}

async fn of_run(
    State(tracker): State<Tracker>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, MlflowError> {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let place = move |tracker: &Tracker| {
        let path = fields.required("path")?;
        // A bad path is told before a bad run: nothing is looked up for it.
        Place::Here(String::new()).below(path)?;
        Ok(tracker.tracking.run_place(fields.run_id()?)?.below(path)?)
    };
    download::at(tracker, method, headers, place).await
}

async fn of_version(
    State(tracker): State<Tracker>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, MlflowError> {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let place = move |tracker: &Tracker| {
        let path = fields.required("path")?;
        Place::Here(String::new()).below(path)?;
        let (name, version) = (fields.required("name")?, fields.required_int("version")?);
        let version = u64::try_from(version).map_err(|_| MlflowError::invalid("a version is a number from 1"))?;
        Ok(tracker.tracking.version_place(name, version)?.below(path)?)
    };
    download::at(tracker, method, headers, place).await
}

async fn of_logged_model(
    State(tracker): State<Tracker>,
    Path(id): Path<String>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, MlflowError> {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let place = move |tracker: &Tracker| {
        let path = fields.text_or_empty("artifact_file_path")?;
        if path.is_empty() {
            return Err(missing("artifact_file_path"));
        }
        Place::Here(String::new()).below(path)?;
        Ok(tracker.tracking.logged_model_place(&id)?.below(path)?)
    };
    download::at(tracker, method, headers, place).await
}

async fn delete(State(tracker): State<Tracker>, uri: Uri) -> Result<Response, MlflowError> {
    let path = path_of(trimmed(&uri), "/mlflow-artifacts/artifacts/")?;
    blocking(move || Ok(tracker.tracking.delete_files(&path)?)).await?;
    Ok(answer(b"{}".to_vec()))
}

/// A request's path without the slash at its end: clients put one after a folder.
pub(super) fn trimmed(uri: &Uri) -> &str {
    uri.path().strip_suffix('/').unwrap_or(uri.path())
}

/// What a request's path says after `marker`, decoded once and checked: nothing but a path among artifacts.
pub(super) fn path_of(path: &str, marker: &str) -> Result<String, MlflowError> {
    let invalid = || MlflowError::invalid("Invalid path");
    let rest = path.split_once(marker).map_or("", |(_, rest)| rest);
    let decoded = percent_decode_str(rest).decode_utf8().map_err(|_| invalid())?;
    if decoded.is_empty() {
        return Err(invalid());
    }
    match plinth_core::refs::path_problem(&decoded) {
        Some(_) => Err(invalid()),
        None => Ok(decoded.into_owned()),
    }
}
