//! Page tokens: MLflow's, base64 of `{"offset": N}`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::MlflowError;

/// How many items come before the page that a token asks for.
pub(super) fn start(token: Option<&str>) -> Result<u64, MlflowError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(0) };
    let bad = |what: &str| MlflowError::invalid(format!("Invalid page token, {what}"));
    let bytes = STANDARD.decode(token).map_err(|_| bad("could not base64-decode"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad("parsed as a non-JSON value"))?;
    let offset = value.get("offset").and_then(super::fields::int).ok_or_else(|| bad("it has no offset"))?;
    Ok(offset.max(0) as u64)
}

/// The token of the page after so many items.
pub(super) fn token(offset: u64) -> String {
    STANDARD.encode(json!({"offset": offset}).to_string())
}
