//! One error for all surfaces, told in each surface's own form.

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use plinth_core::{Class, Code, Coded, codes};
use plinth_ext::SchemaError;
use plinth_score::ScoreError;
use plinth_serve::ServeError;
use serde::Serialize;

use crate::{mlflow::MlflowError, oip};

/// Which protocol a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Surface {
    Mlflow,
    Oip,
    /// The same protocol over gRPC, which tells errors as statuses.
    Grpc,
}

impl Surface {
    /// In the order in which they stand.
    pub(crate) const ALL: [Self; 3] = [Self::Mlflow, Self::Oip, Self::Grpc];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mlflow => "mlflow",
            Self::Oip => "oip",
            Self::Grpc => "grpc",
        }
    }

    pub(crate) fn of(path: &str) -> Self {
        if path == "/v2" || path.starts_with("/v2/") { Self::Oip } else { Self::Mlflow }
    }
}

/// Why a request was not answered as asked.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: Code,
    message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The body is not what the protocol says.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::MODEL_NOT_FOUND, message)
    }

    /// There is nothing at the path.
    pub(crate) fn nowhere(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::PATH_NOT_FOUND, message)
    }

    /// The caller's own time is over.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, codes::OVERLOADED, message)
    }

    /// The model cannot make anything of the tensors that the caller sent.
    pub(crate) fn of_tensors(error: &ScoreError) -> Self {
        let told = Self::coded(error);
        match error.code() {
            codes::BAD_MODEL | codes::SCHEMA_MISMATCH => Self { status: StatusCode::BAD_REQUEST, ..told },
            _ => told,
        }
    }

    /// The body, or its number of rows, is past a limit.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, codes::LIMIT_EXCEEDED, message)
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn coded(error: &dyn Coded) -> Self {
        let status = StatusCode::from_u16(error.code().http_status());
        let message = match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        Self::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.code(), message)
    }

    /// Says no more than its code does: messages name columns, kinds and values.
    pub(crate) fn hide(&mut self) {
        if self.status.is_client_error() {
            self.message = self.code.meaning().to_owned();
        }
    }

    pub(crate) fn response(&self, surface: Surface) -> Response {
        let body = match surface {
            Surface::Mlflow => {
                #[derive(Serialize)]
                struct Body<'a> {
                    error_code: &'static str,
                    message: &'a str,
                    code: &'static str,
                }
                let body = Body { error_code: self.mlflow_code(), message: &self.message, code: self.code.name() };
                serde_json::to_vec(&body)
            }
            Surface::Oip | Surface::Grpc => {
                #[derive(Serialize)]
                struct Body<'a> {
                    error: &'a str,
                    code: &'static str,
                }
                serde_json::to_vec(&Body { error: &self.message, code: self.code.name() })
            }
        };
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, body.unwrap_or_default()).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn mlflow_code(&self) -> &'static str {
        match self.status.as_u16() {
            400 | 405 | 408 | 415 if self.code == codes::BAD_REQUEST || self.status != StatusCode::BAD_REQUEST => {
                "BAD_REQUEST"
            }
            400 => "INVALID_PARAMETER_VALUE",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "RESOURCE_DOES_NOT_EXIST",
            409 => "INVALID_STATE",
            413 | 429 => "REQUEST_LIMIT_EXCEEDED",
            503 | 504 => "TEMPORARILY_UNAVAILABLE",
            _ => "INTERNAL_ERROR",
        }
    }
}

impl From<ScoreError> for ApiError {
    fn from(error: ScoreError) -> Self {
        let mut told = Self::coded(&error);
        // A model that was loaded but fails is ours to answer for, and a plugin's limits are not the caller's.
        let ours = matches!(error.code(), codes::BAD_MODEL | codes::SCHEMA_MISMATCH | codes::LIMIT_EXCEEDED);
        if matches!(error, ScoreError::Part(_)) && ours || error.code().class() == Class::Denied {
            told.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        told
    }
}

/// What the doorkeeper says, which speaks as the tracking server does.
impl From<MlflowError> for ApiError {
    fn from(error: MlflowError) -> Self {
        let code = match error.status.as_u16() {
            401 => codes::UNAUTHENTICATED,
            403 => codes::PERMISSION_DENIED,
            429 => codes::OVERLOADED,
            _ => codes::CATALOG,
        };
        Self::new(error.status, code, error.message)
    }
}

impl From<SchemaError> for ApiError {
    fn from(error: SchemaError) -> Self {
        Self::coded(&error)
    }
}

impl From<ServeError> for ApiError {
    fn from(error: ServeError) -> Self {
        Self::coded(&error)
    }
}

pub(crate) async fn not_found(headers: HeaderMap, uri: Uri) -> Response {
    if oip::grpc::is_grpc(&headers) {
        return oip::grpc::unimplemented(uri.path());
    }
    let message = format!("there is nothing at {}", uri.path());
    ApiError::nowhere(message).response(Surface::of(uri.path()))
}

pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, codes::BAD_REQUEST, message).response(Surface::of(uri.path()))
}
