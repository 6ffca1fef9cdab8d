//! Files of traces, as MLflow's web interface asks for them: the spans of a trace in one file, and attachments.

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use plinth_core::ContentHash;
use plinth_tracking::TrackingError;
use tokio_util::io::ReaderStream;

use super::{MlflowError, Tracker, blocking, download::disposition, fields::Fields};

/// The file that clients put the spans of a trace into.
const SPANS: &str = "traces.json";

pub(super) fn routes() -> Router<Tracker> {
    let mut router = Router::new();
    for prefix in super::PREFIXES {
        router = router.route(&format!("{prefix}/mlflow/get-trace-artifact"), get(download));
    }
    router
}

enum Found {
    Spans(String),
    Blob { file: std::fs::File, name: String },
}

async fn download(State(tracker): State<Tracker>, RawQuery(query): RawQuery) -> Result<Response, MlflowError> {
    let found = blocking(move || find(&tracker, &Fields::from_query(query.as_deref().unwrap_or_default()))).await?;
    let (name, body) = match found {
        Found::Spans(text) => (SPANS.to_owned(), Body::from(text)),
        Found::Blob { file, name } => {
            (name, Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10)))
        }
    };
    let kind = if name == SPANS { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    // Nothing of it is to be shown by a browser as a page of this server.
    let head = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition(&name)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((StatusCode::OK, head, body).into_response())
}

fn find(tracker: &Tracker, fields: &Fields) -> Result<Found, MlflowError> {
    let trace_id = fields.text_or_empty("request_id")?;
    if trace_id.is_empty() {
        let message = "Request must include the \"request_id\" query parameter.";
        return Err(MlflowError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message));
    }
    let info = tracker.tracking.trace(trace_id)?;
    let path = fields.text_or_empty("path")?;
    if path.is_empty() {
        let spans = tracker.tracking.spans(trace_id)?;
        if !spans.is_empty() {
            let list: Vec<&str> = spans.iter().map(|span| span.content.as_str()).collect();
            return Ok(Found::Spans(format!("{{\"spans\":[{}]}}", list.join(","))));
        }
    }
    if path.contains(['/', '\\']) || path.contains("..") {
        return Err(MlflowError::invalid("Invalid path"));
    }
    let root = format!("{}/traces/{}/artifacts", info.experiment_id, info.trace_id);
    let (at, name) = match path {
        "" => (format!("{root}/{SPANS}"), SPANS),
        path => (format!("{root}/attachments/{path}"), path),
    };
    match tracker.tracking.file(&at) {
        Ok(stored) => open(tracker, stored.blob, name),
        Err(TrackingError::ArtifactNotFound { .. }) => {
            let message = format!("Trace data not found for path={name}");
            Err(MlflowError::new(StatusCode::NOT_FOUND, "NOT_FOUND", message))
        }
        Err(other) => Err(other.into()),
    }
}

fn open(tracker: &Tracker, blob: ContentHash, name: &str) -> Result<Found, MlflowError> {
    let blobs = tracker.tracking.store().blobs();
    let file = blobs.open_checked(&blob).map_err(|error| MlflowError::coded(&error))?;
    Ok(Found::Blob { file, name: name.to_owned() })
}
