//! Pages of searches. Tokens are MLflow's, base64 of `{"offset": N}`; those for runs say also which run the page comes
//! after, so that they hold while runs come and go.

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD};
use plinth_tracking::{PageStart, View};
use serde::{Deserialize, Serialize, ser::SerializeMap};
use serde_json::{Value, json};

use super::{
    Answer, MlflowError,
    fields::{Fields, int},
};

/// How many items come before the page that a token asks for.
pub(super) fn start(token: Option<&str>) -> Result<u64, MlflowError> {
    Ok(place(token)?.skip)
}

/// Where the page that a token asks for starts.
pub(super) fn place(token: Option<&str>) -> Result<PageStart, MlflowError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(PageStart::default()) };
    let bad = |what: &str| MlflowError::invalid(format!("Invalid page token, {what}"));
    let bytes = STANDARD.decode(token).map_err(|_| bad("could not base64-decode"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad("parsed as a non-JSON value"))?;
    let offset = value.get("offset").and_then(int).filter(|offset| *offset != 0);
    let offset = offset.ok_or_else(|| bad("it has no offset"))?;
    // A token that was made by MLflow, or by hand, knows only the number.
    let after = value.get("after").and_then(|after| Vec::deserialize(after).ok()).unwrap_or_default();
    Ok(PageStart { skip: offset.max(0) as u64, after })
}

/// The token of a page.
pub(super) fn token_of(place: &PageStart) -> Result<String, MlflowError> {
    Ok(STANDARD.encode(Answer::of(place)?.0))
}

/// The token of the page after so many items.
pub(super) fn token(offset: u64) -> String {
    STANDARD.encode(json!({"offset": offset}).to_string())
}

/// Items of one page, within the limit.
pub(super) fn most(fields: &Fields, limit: u32, default: Option<u64>) -> Result<u64, MlflowError> {
    let Some(most) = fields.int("max_results")? else {
        return default.ok_or_else(|| {
            MlflowError::invalid(
                "Invalid value None for parameter 'max_results' supplied: it must be a positive integer",
            )
        });
    };
    if most < 1 || most > i64::from(limit) {
        return Err(MlflowError::invalid(format!(
            "Invalid value {most} for parameter 'max_results' supplied: It must be at least 1 and at most {limit}, but got value {most}"
        )));
    }
    Ok(most as u64)
}

/// Active or deleted things: by name, or by MLflow's number for it; what is not known means active ones.
pub(super) fn view(fields: &Fields, name: &str) -> View {
    match fields.get(name) {
        Some(Value::String(name)) if name == "ALL" => View::All,
        Some(Value::String(name)) if name == "DELETED_ONLY" => View::Deleted,
        Some(number) => match int(number) {
            Some(2) => View::Deleted,
            Some(3) => View::All,
            _ => View::Active,
        },
        None => View::Active,
    }
}

/// A page as MLflow writes it: no list where nothing was found, no token where nothing follows.
pub(super) fn answer<T: Serialize>(name: &'static str, items: &[T], next: Option<u64>) -> Result<Answer, MlflowError> {
    struct Page<'a, T>(&'static str, &'a [T], Option<u64>);
    impl<T: Serialize> Serialize for Page<'_, T> {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut map = to.serialize_map(None)?;
            if !self.1.is_empty() {
                map.serialize_entry(self.0, self.1)?;
            }
            if let Some(next) = self.2 {
                map.serialize_entry("next_page_token", &token(next))?;
            }
            map.end()
        }
    }
    Answer::of(&Page(name, items, next))
}

/// A page that is written item by item, so that its items need not be kept.
pub(super) struct Listing {
    name: &'static str,
    body: Vec<u8>,
    failed: Option<serde_json::Error>,
}

impl Listing {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, body: Vec::new(), failed: None }
    }

    pub(super) fn push(&mut self, item: &impl Serialize) {
        if self.body.is_empty() {
            self.body.extend_from_slice(format!("{{\"{}\":[", self.name).as_bytes());
        } else {
            self.body.push(b',');
        }
        if let Err(error) = serde_json::to_writer(&mut self.body, item) {
            self.failed = Some(error);
        }
    }

    /// The answer: no list where nothing was found, no token where nothing follows.
    pub(super) fn end(mut self, next: Option<String>) -> Result<Answer, MlflowError> {
        if let Some(error) = self.failed {
            return Err(MlflowError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error.to_string()));
        }
        let token = next.map(|token| format!("\"next_page_token\":\"{token}\""));
        match (self.body.is_empty(), token) {
            (true, token) => self.body.extend_from_slice(format!("{{{}", token.unwrap_or_default()).as_bytes()),
            (false, None) => self.body.push(b']'),
            (false, Some(token)) => self.body.extend_from_slice(format!("],{token}").as_bytes()),
        }
        self.body.push(b'}');
        Ok(Answer(self.body))
    }
}
