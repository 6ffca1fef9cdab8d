//! Errors as MLflow's clients know them: `{"error_code": …, "message": …}`.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use plinth_core::{Class, Coded};
use plinth_tracking::TrackingError;
use serde_json::json;

/// Why a request was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MlflowError {
    pub(crate) status: StatusCode,
    /// MLflow's word for what went wrong.
    pub(super) code: &'static str,
    pub(crate) message: String,
    /// After how many seconds the same request may be answered.
    pub(super) retry_after: Option<u64>,
}

impl MlflowError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// A value that cannot be.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
    }

    /// The same, worth another try after some seconds.
    pub(super) fn retry_after(mut self, secs: u64) -> Self {
        self.retry_after = Some(secs);
        self
    }

    /// Something that is not there.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    /// Something that is there already.
    pub(super) fn exists(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "RESOURCE_ALREADY_EXISTS", message)
    }

    /// A part of MLflow that this server leaves out.
    pub(super) fn left_out(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", format!("{what} is not offered by this server"))
    }
}

impl From<TrackingError> for MlflowError {
    fn from(error: TrackingError) -> Self {
        use TrackingError as E;
        match &error {
            E::ExperimentNotFound(id) => Self::not_found(format!("No Experiment with id={id} exists")),
            E::RunNotFound(id) => Self::not_found(format!("Run with id={id} not found")),
            E::RegisteredModelNotFound(name) => Self::not_found(format!("Registered Model with name={name} not found")),
            E::VersionNotFound { model, version } => {
                Self::not_found(format!("Model Version (name={model}, version={version}) not found"))
            }
            E::Missing(message) => Self::not_found(message.clone()),
            E::ModelExists { name, prompt, wanted_prompt } => {
                let word = |prompt: &bool| if *prompt { "Prompt" } else { "Registered Model" };
                let (old, new) = (word(prompt), word(wanted_prompt));
                Self::exists(if old == new {
                    format!("{new} (name={name}) already exists.")
                } else {
                    format!(
                        "Tried to create a {} with name '{name}', but the name is already taken by a {}. MLflow does \
                         not allow creating a model and a prompt with the same name.",
                        new.to_lowercase(),
                        old.to_lowercase()
                    )
                })
            }
            E::WebhookNotFound(id) => Self::not_found(format!("Webhook with ID {id} not found.")),
            E::TraceNotFound(id) => Self::not_found(format!("Trace with ID '{id}' not found.")),
            E::LoggedModelNotFound(id) => Self::not_found(format!("Logged model with ID '{id}' not found.")),
            E::TagNotFound { key, owner } => Self::not_found(format!("No tag with name: {key} in {owner}")),
            E::AlreadyExists(what) => Self::exists(format!("{what} already exists.")),
            E::NotActive { what, id } => {
                Self::invalid(format!("The {what} {id} must be in the 'active' state. Current state is deleted."))
            }
            E::ParamsChanged { run, changed } => {
                let list: Vec<String> = changed
                    .iter()
                    .map(|p| format!("{{'key': '{}', 'old_value': '{}', 'new_value': '{}'}}", p.key, p.old, p.new))
                    .collect();
                Self::invalid(format!(
                    "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{run}'.",
                    list.join(", ")
                ))
            }
            E::BadName { value, field, reason } => {
                Self::invalid(format!("Invalid value {} for parameter '{field}' supplied: {reason}", json!(value)))
            }
            // Not a word more: clients compare it.
            E::BadPath { .. } => Self::invalid("Invalid path"),
            E::TooLong { field, limit } => {
                Self::invalid(format!("'{field}' exceeds the maximum length of {limit} characters"))
            }
            E::TooMuch { what, found, limit } => Self::invalid(format!(
                "A batch logging request can contain at most {limit} {what}. Got {found} {what}. Please split up \
                 {what} across multiple requests and try again."
            )),
            E::Invalid(message) => Self::invalid(message.clone()),
            E::LastAdmin(_) => Self::new(StatusCode::BAD_REQUEST, "INVALID_STATE", Self::coded(&error).message),
            E::State(message) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INVALID_STATE", message.clone())
                .with_status(StatusCode::BAD_REQUEST),
            other => Self::coded(other),
        }
    }
}

impl MlflowError {
    fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// By the class of its code.
    pub(super) fn coded(error: &dyn Coded) -> Self {
        let class = error.code().class();
        let status = StatusCode::from_u16(class.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = match class {
            Class::Usage | Class::BadInput | Class::Limit => "INVALID_PARAMETER_VALUE",
            Class::NotFound => "RESOURCE_DOES_NOT_EXIST",
            Class::Conflict => "RESOURCE_ALREADY_EXISTS",
            Class::Denied => "PERMISSION_DENIED",
            Class::Busy | Class::Unavailable => "TEMPORARILY_UNAVAILABLE",
            _ => "INTERNAL_ERROR",
        };
        let message = match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        let retry_after = matches!(class, Class::Busy).then_some(1);
        Self { status, code, message, retry_after }
    }
}

impl IntoResponse for MlflowError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(code = self.code, message = %self.message, "a request failed");
        }
        let body = json!({"error_code": self.code, "message": self.message}).to_string();
        let mut answer = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(secs) = self.retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        answer
    }
}
