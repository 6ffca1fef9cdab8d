//! What a client asks of the server itself.

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use serde_json::json;

use super::{Tracker, json as answer};

/// The version of MLflow whose protocol this is: clients look at it before they use what is new.
pub(super) const MLFLOW_VERSION: &str = "3.17.2";

pub(super) fn routes() -> Router<Tracker> {
    let mut router = Router::new().route("/health", get(health)).route("/version", get(version));
    for prefix in super::PREFIXES {
        router = router.route(&format!("{prefix}/mlflow/server-info"), get(info));
    }
    router
}

async fn health() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "OK")
}

async fn version() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], MLFLOW_VERSION)
}

async fn info(State(tracker): State<Tracker>) -> impl IntoResponse {
    let direct = tracker.config.direct_downloads && tracker.tracking.store().blobs().signs();
    answer(
        json!({
            "store_type": "SqlStore",
            "workspaces_enabled": false,
            "trace_archival_enabled": false,
            "multipart_uploads_enabled": true,
            "multipart_downloads_enabled": direct,
            "presigned_upload_run_id_supported": true,
            "presigned_upload_model_id_supported": true,
            "features_enabled": {"gateway": false},
        })
        .to_string()
        .into_bytes(),
    )
}
