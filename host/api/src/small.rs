//! Bodies of requests that ask for no predictions: read as a whole, bounded in size and in the time in which they come.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::StatusCode,
};
use bytes::Bytes;
use plinth_core::codes;

use crate::{App, error::ApiError};

/// Most bytes of one.
const BYTES_MAX: usize = 1 << 20;

/// All of a body.
pub(crate) async fn read(app: &App, body: Body) -> Result<Bytes, ApiError> {
    let within_ms = app.server.limits().request_ms_max;
    // Who sends it byte by byte would hold a connection for ever.
    match tokio::time::timeout(Duration::from_millis(within_ms), to_bytes(body, BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            Err(ApiError::too_large(format!("the body broke off, or is larger than {BYTES_MAX} bytes: {error}")))
        }
        Err(_) => {
            let message = format!("the body did not arrive within {within_ms} ms");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, codes::BAD_REQUEST, message))
        }
    }
}
