//! Parts of MLflow that its web interface asks for on its pages and that this server leaves out: it answers as an MLflow
//! server does that has nothing of them, so that the pages work. Whatever would make one of them is refused.

use axum::{
    Router,
    extract::RawQuery,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{MlflowError, PREFIXES, Tracker, fields::Fields, json as answer};

/// Lists with nothing in them, by the names that MLflow gives them.
const EMPTY: &[(&str, &str)] = &[
    ("/mlflow/gateway/budgets/list", "{}"),
    ("/mlflow/gateway/budgets/windows", "{}"),
    ("/mlflow/gateway/endpoints/bindings/list", "{}"),
    ("/mlflow/gateway/endpoints/list", "{}"),
    ("/mlflow/gateway/guardrails/list", "{}"),
    ("/mlflow/gateway/guardrails/list-for-endpoint", "{}"),
    ("/mlflow/gateway/model-definitions/list", "{}"),
    ("/mlflow/gateway/secrets/list", "{}"),
    ("/mlflow/gateway/secrets/config", r#"{"secrets_available":false,"using_default_passphrase":false}"#),
    ("/mlflow/gateway/supported-providers", r#"{"providers":[]}"#),
    ("/mlflow/gateway/supported-models", r#"{"models":[]}"#),
    ("/mlflow/label-schemas/list", r#"{"label_schemas":[],"next_page_token":""}"#),
    ("/mlflow/review-queues/list", r#"{"review_queues":[],"next_page_token":""}"#),
    ("/mlflow/review-queues/items/list", r#"{"items":[],"next_page_token":""}"#),
    ("/mlflow/scorers/list", "{}"),
    ("/mlflow/scorers/online-configs", "{}"),
    ("/mlflow/mcp-servers", r#"{"mcp_servers":[],"next_page_token":null}"#),
    // Roles are given by `plinth user`, and each call says for itself what it needs.
    ("/mlflow/users/current/permissions", r#"{"permissions":[]}"#),
    ("/mlflow/users/roles/list", r#"{"roles":[]}"#),
    ("/mlflow/assistant/config", r#"{"providers":{},"projects":{},"remote_access_allowed":false}"#),
    ("/mlflow/assistant/providers", r#"{"providers":[]}"#),
];

/// Searches that find nothing.
const NOTHING_FOUND: &[(&str, &str)] = &[
    ("/mlflow/issues/search", r#"{"next_page_token":""}"#),
    ("/mlflow/prompt-optimization/jobs/search", "{}"),
    ("/jobs/search", r#"{"jobs":[]}"#),
    // There is no demonstration to delete.
    ("/mlflow/demo/delete", r#"{"status":"deleted","features_deleted":[]}"#),
];

/// No word of what people do here is passed on.
const NO_TELEMETRY: &str = r#"{"disable_ui_telemetry":true,"disable_ui_events":[],"ui_rollout_percentage":0}"#;

pub(super) fn routes() -> Router<Tracker> {
    let mut router = Router::new();
    for prefix in PREFIXES {
        let at = |path: &str| format!("{prefix}{path}");
        for &(path, body) in EMPTY {
            router = router.route(&at(path), get(move || async move { said(body) }));
        }
        for &(path, body) in NOTHING_FOUND {
            router = router.route(&at(path), post(move || async move { said(body) }));
        }
        let telemetry = get(|| async { said(NO_TELEMETRY) }).post(|| async { said(r#"{"status":"disabled"}"#) });
        // As an MLflow server without a gateway: one that has no endpoints.
        let gateway = || async { said(r#"{"endpoints":[]}"#) };
        router = router
            .route(&at("/mlflow/ui-telemetry"), telemetry)
            .route(&at("/mlflow/gateway-proxy"), get(gateway).post(gateway))
            .route(&at("/mlflow/gateway/provider-config"), get(provider))
            .route(&at("/mlflow/jobs/{id}"), get(no_job))
            .route(&at("/mlflow/jobs/cancel/{id}"), axum::routing::patch(no_job))
            .route(&at("/jobs/{id}"), get(no_job))
            .route(&at("/mlflow/workspaces"), get(no_workspaces));
    }
    router
}

/// Whether a path says the same to everyone who may sign in.
pub(super) fn is_open(path: &str) -> bool {
    let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix));
    rest.is_some_and(|rest| {
        EMPTY.iter().chain(NOTHING_FOUND).any(|(path, _)| *path == rest)
            || matches!(
                rest,
                "/mlflow/ui-telemetry"
                    | "/mlflow/gateway-proxy"
                    | "/mlflow/gateway/provider-config"
                    | "/mlflow/workspaces"
            )
            || rest.starts_with("/mlflow/jobs/")
            || rest.starts_with("/jobs/")
    })
}

fn said(body: &'static str) -> axum::response::Response {
    answer(body.as_bytes().to_vec())
}

async fn provider(RawQuery(query): RawQuery) -> Result<axum::response::Response, MlflowError> {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let name = fields.required("provider")?;
    Err(MlflowError::not_found(format!("the provider '{name}' is not known to this server")))
}

async fn no_job(path: axum::extract::Path<String>) -> MlflowError {
    MlflowError::not_found(format!("Job with ID {} not found", path.0))
}

async fn no_workspaces() -> impl IntoResponse {
    let body: Value = json!({
        "error_code": "FEATURE_DISABLED",
        "message": "this server has no workspaces",
    });
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body))
}
