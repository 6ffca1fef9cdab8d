//! Artifacts that clients put into buckets themselves, and URLs by which they reach buckets without this server.

use std::time::Duration;

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use plinth_core::Micros;
use plinth_store::{Spot, SpotObject, StoreError};
use plinth_tracking::{Entry, Place, StoredFile, Tracking};
use serde_json::{Value, json};

use super::{
    Answer, Call, MlflowError, Tracker,
    artifacts::path_of,
    blocking,
    download::{disposition, missing, named},
    json as answer,
};

type Outcome = Result<Answer, MlflowError>;

/// How long a URL is good for that a client asked for without saying so.
const VALID: Duration = Duration::from_secs(300);

/// A place in a bucket, if this server may look there.
pub(super) fn spot(tracking: &Tracking, uri: &str) -> Result<Spot, MlflowError> {
    let found = tracking.store().spot(uri).map_err(|error| told(&error))?;
    found.ok_or_else(|| {
        let more = if uri.starts_with("s3") { ", unless `plinth up --artifact-allow` names their folder" } else { "" };
        let message = format!("this server does not reach for artifacts at '{uri}'; clients do so by themselves{more}");
        MlflowError::invalid(message)
    })
}

fn told(error: &StoreError) -> MlflowError {
    MlflowError::coded(error)
}

/// The object at a place, as a stored file would be.
pub(super) fn look(spot: &Spot, uri: &str) -> Result<(SpotObject, StoredFile), MlflowError> {
    let object = spot.look().map_err(|error| told(&error))?.ok_or_else(|| missing(uri))?;
    let since = object.modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let updated = Micros::try_from(since.as_micros()).unwrap_or_default();
    let stored = StoredFile { blob: object.tag, bytes: object.bytes, updated };
    Ok((object, stored))
}

/// What lies in a folder of a bucket. Locations that are in no bucket have nothing to show.
pub(super) fn list(tracking: &Tracking, uri: &str) -> Result<Vec<Entry>, MlflowError> {
    if !(uri.starts_with("s3://") || uri.starts_with("s3a://")) {
        return Ok(Vec::new());
    }
    let entries = spot(tracking, uri)?.list().map_err(|error| told(&error))?;
    Ok(entries.into_iter().map(|(name, bytes)| Entry { name, bytes }).collect())
}

/// `POST …/artifacts/presigned-download-url`, for runs whose files are in a bucket.
pub(super) fn presigned_download(call: &Call<'_>) -> Outcome {
    let (run_id, path) = (call.fields.required("run_id")?, call.fields.required("path")?);
    let valid = valid(call.fields.int("expiration")?.unwrap_or(VALID.as_secs() as i64))?;
    match call.tracking.run_place(run_id)?.below(path)? {
        Place::Here(_) => Err(MlflowError::invalid(
            "Presigned download is not supported for runs with proxied artifact storage (artifact URI scheme: \
             mlflow-artifacts). This endpoint requires a run with a direct cloud storage artifact URI.",
        )),
        Place::Elsewhere(uri) if uri.starts_with("s3") => {
            let spot = spot(call.tracking, &uri)?;
            let (object, _) = look(&spot, &uri)?;
            let url = spot.signed_read(valid, &disposition(name(path))).map_err(|error| told(&error))?;
            Answer::of(&json!({"presigned_url": url, "headers": {}, "file_size": object.bytes}))
        }
        Place::Elsewhere(_) => Err(unsupported("Presigned download")),
    }
}

/// `POST …/artifacts/presigned-upload-url`, for runs and logged models whose files are in a bucket.
pub(super) fn presigned_upload(call: &Call<'_>) -> Outcome {
    let (run_id, model_id) = (call.fields.text_or_empty("run_id")?, call.fields.text_or_empty("model_id")?);
    let path = call.fields.required("path")?;
    let place = match (run_id, model_id) {
        ("", id) if !id.is_empty() => call.tracking.logged_model_place(id)?,
        (id, "") if !id.is_empty() => call.tracking.run_place(id)?,
        _ => return Err(MlflowError::invalid("Exactly one of run_id and model_id must be provided.")),
    };
    match place.below(path)? {
        Place::Here(_) => Err(MlflowError::invalid(
            "Presigned upload is not supported for proxied artifact storage (artifact URI scheme: mlflow-artifacts). \
             This endpoint requires a direct cloud storage artifact URI.",
        )),
        Place::Elsewhere(uri) if uri.starts_with("s3") => {
            let valid = valid(call.fields.int("expiration")?.unwrap_or(900))?;
            let kind = mime_guess::from_path(name(path)).first_or_octet_stream();
            let url =
                spot(call.tracking, &uri)?.signed_write(valid, kind.essence_str()).map_err(|error| told(&error))?;
            Answer::of(&json!({"presigned_url": url, "headers": {"Content-Type": kind.essence_str()}}))
        }
        Place::Elsewhere(_) => Err(unsupported("Presigned upload")),
    }
}

/// `GET …/mlflow-artifacts/presigned/PATH`: where a file can be read without this server. Only where blobs are in a
/// bucket; what is read so is not checked by this server.
pub(super) async fn presigned(State(tracker): State<Tracker>, uri: Uri) -> Result<Response, MlflowError> {
    let path = path_of(uri.path(), "/mlflow-artifacts/presigned/")?;
    let find = move || {
        let tracking = &tracker.tracking;
        if !tracking.store().blobs().signs() {
            return Err(unsupported("Multipart download"));
        }
        let stored = tracking.file(&path).map_err(|error| named(error, &path))?;
        let url = tracking
            .store()
            .blobs()
            .signed_url(&stored.blob, VALID, &disposition(name(&path)))
            .map_err(|error| told(&error))?;
        let url = url.ok_or_else(|| unsupported("Multipart download"))?;
        Ok::<Value, _>(json!({"url": url, "headers": {}, "file_size": stored.bytes}))
    };
    Ok(answer(blocking(find).await?.to_string().into_bytes()))
}

fn valid(seconds: i64) -> Result<Duration, MlflowError> {
    match u64::try_from(seconds) {
        Ok(whole) if (1..=604_800).contains(&whole) => Ok(Duration::from_secs(whole)),
        _ => Err(MlflowError::invalid(format!("expiration must be between 1 and 604800 seconds (got {seconds})."))),
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn unsupported(what: &str) -> MlflowError {
    let message = format!("{what} is not supported for the current artifact repository");
    MlflowError::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
}
