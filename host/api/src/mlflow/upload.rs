//! Takes files: whole, or in parts that are put together at the end. Bytes go to the disk as they come, and are there
//! before the answer says so.

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use plinth_core::ContentHash;
use plinth_store::{StoreError, UnhashedBlob};
use plinth_tracking::Place;
use serde_json::{Value, json};

use crate::connections::Peer;

use super::{
    MlflowError, Tracker,
    artifacts::{path_of, trimmed},
    blocking,
    fields::{Fields, int, missing, wrong_type},
    json as answer, outside,
};

/// What the web interface may send at once.
const FORM_BYTES_MAX: u64 = 10 << 20;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 19;

/// `PUT …/artifacts/PATH`
pub(super) async fn whole(
    State(tracker): State<Tracker>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, MlflowError> {
    let path = path_of(uri.path(), "/mlflow-artifacts/artifacts/")?;
    put(tracker, path, &headers, body).await?;
    Ok(answer(b"{}".to_vec()))
}

/// `POST …/upload-artifact?run_uuid=…&path=…`, which is how the web interface sends small files.
pub(super) async fn of_run(
    State(tracker): State<Tracker>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, MlflowError> {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let given = |name: &str| match fields.text_or_empty(name)? {
        "" => Err(MlflowError::invalid(format!("Request must specify {name}."))),
        text => Ok(text.to_owned()),
    };
    let (run_id, path) = (given("run_uuid")?, given("path")?);
    let too_large = || MlflowError::invalid("Artifact size is too large. Max size is 10MB.");
    if announced(&headers).is_some_and(|bytes| bytes > FORM_BYTES_MAX) {
        return Err(too_large());
    }
    let asked = tracker.clone();
    let place = blocking(move || Ok(asked.tracking.run_place(&run_id)?.below(&path)?)).await?;
    if let Place::Elsewhere(uri) = &place {
        // Told before the body is read.
        outside::spot(&tracker.tracking, uri)?;
    }
    let body = tracker.intake.whole(body, FORM_BYTES_MAX as usize).await.map_err(|error| match error.status {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => error,
    })?;
    if body.is_empty() {
        return Err(MlflowError::invalid("Request must specify data."));
    }
    let body = Bytes::clone(&body);
    match place {
        Place::Here(path) => put(tracker, path, &HeaderMap::new(), Body::from(body)).await?,
        Place::Elsewhere(uri) => {
            let put =
                move || outside::spot(&tracker.tracking, &uri)?.put(body).map_err(|error| MlflowError::coded(&error));
            blocking(put).await?;
        }
    }
    Ok(answer(Vec::new()))
}

async fn put(tracker: Tracker, path: String, headers: &HeaderMap, body: Body) -> Result<(), MlflowError> {
    let (asked, wanted) = (tracker.clone(), path.clone());
    blocking(move || Ok(asked.tracking.check_new_file(&wanted)?)).await?;
    let (blob, bytes) = receive(&tracker, headers, body).await?;
    blocking(move || Ok(tracker.tracking.put_file(&path, blob, bytes)?)).await
}

/// `POST …/mpu/create/FOLDER`: where the parts of a file are to be sent.
pub(super) async fn create(
    State(tracker): State<Tracker>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, MlflowError> {
    let folder = path_of(trimmed(&uri), "/mlflow-artifacts/mpu/create/")?;
    let fields = Fields::from_json(&tracker.intake.whole(body, tracker.config.body_bytes_max).await?)?;
    let path = file_path(&folder, &fields)?;
    let parts = fields.int("num_parts")?.unwrap_or(1);
    let id = blocking(move || Ok(tracker.tracking.begin_upload(&path, parts)?)).await?;
    let base = base(&headers, peer.secure)?;
    // Clients send parts with these headers and nothing else: they get back what they showed us.
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = |part: i64| {
        let url = format!("{base}/api/2.0/mlflow-artifacts/mpu/parts/{id}/{part}");
        let headers = shown.map_or_else(|| json!({}), |value| json!({"Authorization": value}));
        json!({"url": url, "part_number": part, "headers": headers})
    };
    let credentials: Vec<Value> = (1..=parts).map(credential).collect();
    Ok(answer(json!({"upload_id": id, "credentials": credentials}).to_string().into_bytes()))
}

/// `PUT …/mpu/parts/ID/NUMBER`
pub(super) async fn part(
    State(tracker): State<Tracker>,
    Path((id, part)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, MlflowError> {
    let part: u32 = part.parse().map_err(|_| MlflowError::invalid("the number of a part is a number"))?;
    let (asked, upload) = (tracker.clone(), id.clone());
    blocking(move || Ok(asked.tracking.check_upload_part(&upload, part)?)).await?;
    let (blob, bytes) = receive(&tracker, &headers, body).await?;
    blocking(move || Ok(tracker.tracking.put_upload_part(&id, part, blob, bytes)?)).await?;
    let tag = format!("\"{}\"", blob.to_hex());
    Ok((StatusCode::OK, [(header::ETAG, tag)]).into_response())
}

/// `POST …/mpu/complete/FOLDER`
pub(super) async fn complete(State(tracker): State<Tracker>, uri: Uri, body: Body) -> Result<Response, MlflowError> {
    let folder = path_of(trimmed(&uri), "/mlflow-artifacts/mpu/complete/")?;
    let fields = Fields::from_json(&tracker.intake.whole(body, tracker.config.body_bytes_max).await?)?;
    let (path, id) = (file_path(&folder, &fields)?, fields.required("upload_id")?.to_owned());
    if !fields.has("parts") {
        return Err(missing("parts"));
    }
    let part = |item: &Value| {
        let number = item.get("part_number").and_then(int).and_then(|number| u32::try_from(number).ok());
        match (number, item.get("etag").and_then(Value::as_str)) {
            (Some(number), Some(tag)) => Ok((number, tag.to_owned())),
            _ => Err(wrong_type("parts", item)),
        }
    };
    let parts = fields.list("parts")?.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    let most = tracker.config.artifact_bytes_max;
    blocking(move || Ok(tracker.tracking.complete_upload(&id, &path, &parts, most)?)).await?;
    Ok(answer(b"{}".to_vec()))
}

/// `POST …/mpu/abort/FOLDER`
pub(super) async fn abort(State(tracker): State<Tracker>, uri: Uri, body: Body) -> Result<Response, MlflowError> {
    let folder = path_of(trimmed(&uri), "/mlflow-artifacts/mpu/abort/")?;
    let fields = Fields::from_json(&tracker.intake.whole(body, tracker.config.body_bytes_max).await?)?;
    let (path, id) = (file_path(&folder, &fields)?, fields.required("upload_id")?.to_owned());
    blocking(move || Ok(tracker.tracking.abort_upload(&id, &path)?)).await?;
    Ok(answer(b"{}".to_vec()))
}

/// A client sends the path that the file has on its own disk: only the name counts.
fn file_path(folder: &str, fields: &Fields) -> Result<String, MlflowError> {
    let local = fields.required("path")?;
    match local.rsplit(['/', '\\']).next().unwrap_or_default() {
        "" => Err(MlflowError::invalid("Invalid path")),
        name => Ok(format!("{folder}/{name}")),
    }
}

/// How the client reached this server.
fn base(headers: &HeaderMap, secure: bool) -> Result<String, MlflowError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("x-forwarded-host").or_else(|| text("host")).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(plain) {
        return Err(MlflowError::invalid("the request does not say by which name it reached this server"));
    }
    let scheme = if secure || text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    Ok(format!("{scheme}://{host}"))
}

/// The length that a body will have, if its head says so.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Stores a body as it comes. A thread is held only while it writes, however slowly the client sends.
async fn receive(tracker: &Tracker, headers: &HeaderMap, body: Body) -> Result<(ContentHash, u64), MlflowError> {
    let most = tracker.config.artifact_bytes_max;
    let too_large = || {
        let message = format!("the artifact is larger than the {most} bytes allowed");
        MlflowError::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_PARAMETER_VALUE", message)
    };
    let announced = announced(headers);
    if announced.is_some_and(|bytes| bytes > most) {
        return Err(too_large());
    }
    let stored = |error: StoreError| MlflowError::coded(&error);
    let blobs = tracker.tracking.store().blobs().clone();
    let (file, mut hasher) = blocking(move || blobs.writer().map_err(stored)).await?.split();
    let mut writing = write(file, Vec::new());
    let (mut stream, mut pace) = (body.into_data_stream(), tracker.intake.pace());
    let (mut total, mut waiting, mut bytes) = (0_u64, Vec::new(), 0);
    while let Some(piece) = pace.next(&mut stream).await? {
        let piece = piece.map_err(|error| {
            MlflowError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", format!("the body broke off: {error}"))
        })?;
        total += piece.len() as u64;
        if total > most {
            return Err(too_large());
        }
        bytes += piece.len();
        waiting.push(piece);
        if bytes >= WRITE_BYTES {
            // Reading and hashing take turns here, and take about as long together as writing does there.
            waiting.iter().for_each(|piece: &Bytes| hasher.update(piece));
            writing = write(settled(writing.await)?, std::mem::take(&mut waiting));
            bytes = 0;
        }
    }
    if announced.is_some_and(|bytes| bytes != total) {
        return Err(MlflowError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", "the body is not as long as announced"));
    }
    // Only a body that came whole is kept: a writer that is dropped leaves nothing.
    waiting.iter().for_each(|piece| hasher.update(piece));
    let file = settled(write(settled(writing.await)?, waiting).await)?;
    blocking(move || file.finish(hasher).map_err(stored)).await
}

type Writing = Result<UnhashedBlob, MlflowError>;

/// Writes pieces on a thread that may wait for the disk.
fn write(mut file: UnhashedBlob, pieces: Vec<Bytes>) -> tokio::task::JoinHandle<Writing> {
    tokio::task::spawn_blocking(move || {
        let written = pieces.iter().try_for_each(|piece| file.write(piece));
        written.map(|()| file).map_err(|error| MlflowError::coded(&error))
    })
}

fn settled(outcome: Result<Writing, tokio::task::JoinError>) -> Writing {
    outcome.unwrap_or_else(|_| {
        Err(MlflowError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the artifact could not be written"))
    })
}
