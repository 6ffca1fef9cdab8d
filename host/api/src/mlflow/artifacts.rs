//! Artifacts: the `mlflow-artifacts` proxy, and listings of what runs logged.

use std::io::Write;

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use plinth_core::ContentHash;
use plinth_store::StoreError;
use plinth_tracking::Entry;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::{Answer, Call, MlflowError, Need, Route, Thing, Tracker, blocking, fields::Fields, json as answer, wire};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[Route::get("/mlflow/artifacts/list", Need::Read(Thing::Run), list_of_run)];

/// The routes whose bodies are files.
pub(super) fn proxy() -> Router<Tracker> {
    let mut router = Router::new();
    for prefix in super::PREFIXES {
        let root = format!("{prefix}/mlflow-artifacts/artifacts");
        router = router
            .route(&root, get(list))
            .route(&format!("{root}/{{*path}}"), get(download).put(upload).delete(delete));
    }
    router
}

fn list_of_run(call: &Call<'_>) -> Outcome {
    let run = call.tracking.run(call.fields.run_id()?)?.summary;
    let folder = call.fields.text_or_empty("path")?;
    let root = format!("{}/{}/artifacts", run.experiment_id, run.run_id);
    let at = if folder.is_empty() { root } else { format!("{root}/{folder}") };
    let files: Vec<Value> = call.tracking.list_files(&at)?.iter().map(|entry| file(folder, entry)).collect();
    Answer::of(&json!({"root_uri": wire::artifact_uri(&run), "files": files}))
}

/// A listed file or folder, its path relative to `folder`'s root.
pub(super) fn file(folder: &str, entry: &Entry) -> Value {
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
        let entries = tracker.tracking.list_files(fields.text_or_empty("path")?)?;
        let files: Vec<Value> = entries.iter().map(|entry| file("", entry)).collect();
        Ok(json!({"files": files}).to_string().into_bytes())
    });
    Ok(answer(body.await?))
}

async fn download(State(tracker): State<Tracker>, Path(path): Path<String>) -> Result<Response, MlflowError> {
    let (stored, open, name) = blocking(move || {
        let stored = tracker.tracking.file(&path)?;
        let open = tracker.tracking.store().blobs().open_checked(&stored.blob).map_err(|e| MlflowError::coded(&e))?;
        Ok((stored, open, path.rsplit('/').next().unwrap_or_default().to_owned()))
    })
    .await?;
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(open), 256 << 10);
    let disposition = format!("attachment; filename*=UTF-8''{}", percent(&name));
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, stored.bytes.to_string()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((StatusCode::OK, head, Body::from_stream(stream)).into_response())
}

async fn upload(State(tracker): State<Tracker>, Path(path): Path<String>, body: Body) -> Result<Response, MlflowError> {
    let (blob, bytes) = receive(&tracker, body).await?;
    blocking(move || Ok(tracker.tracking.put_file(&path, blob, bytes)?)).await?;
    Ok(answer(b"{}".to_vec()))
}

/// Stores a body piece by piece as it comes.
async fn receive(tracker: &Tracker, body: Body) -> Result<(ContentHash, u64), MlflowError> {
    use futures_util::StreamExt;
    let stored = |error: StoreError| MlflowError::coded(&error);
    let (pieces, mut received) = tokio::sync::mpsc::channel::<bytes::Bytes>(4);
    let blobs = tracker.tracking.store().blobs().clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = blobs.writer().map_err(stored)?;
        while let Some(piece) = received.blocking_recv() {
            if let Err(error) = writer.write_all(&piece) {
                return Err(stored(StoreError::writing(writer.path(), error)));
            }
        }
        Ok(writer)
    });
    let mut stream = body.into_data_stream();
    let (mut total, most) = (0_u64, tracker.config.artifact_bytes_max);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| {
            MlflowError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", format!("the body broke off: {error}"))
        })?;
        total += piece.len() as u64;
        if total > most {
            let message = format!("the artifact is larger than the {most} bytes allowed");
            return Err(MlflowError::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_PARAMETER_VALUE", message));
        }
        if pieces.send(piece).await.is_err() {
            // The writer stopped; its own error says why.
            break;
        }
    }
    drop(pieces);
    // Only a body that came whole is kept: a writer that is dropped leaves nothing.
    let writer = writing.await.unwrap_or_else(|_| {
        Err(MlflowError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the artifact could not be written"))
    })?;
    blocking(move || writer.finish().map_err(stored)).await
}

async fn delete(State(tracker): State<Tracker>, Path(path): Path<String>) -> Result<Response, MlflowError> {
    blocking(move || Ok(tracker.tracking.delete_files(&path)?)).await?;
    Ok(answer(b"{}".to_vec()))
}

/// A name as RFC 5987 wants it in a header.
fn percent(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
