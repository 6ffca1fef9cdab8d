//! What became of requests, posted by their ids.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use plinth_core::codes;
use plinth_tracking::Feedback;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ask, body};
use crate::{
    App,
    error::{ApiError, Surface},
};

/// Most requests told of at once.
const TOLD_MAX: usize = 10_000;
/// Longest request id that can have been one.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// One, or many.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Many { feedback: Vec<One> },
    List(Vec<One>),
    One(One),
}

/// What became of one request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    request_id: String,
    /// How good the answer was, from 0 to 1.
    reward: Option<f64>,
    /// Anything else, such as what was true.
    value: Option<Value>,
}

pub(super) async fn feedback(State(app): State<App>, Path(endpoint): Path<String>, request: Request) -> Response {
    match take(&app, endpoint, request).await {
        Ok((status, value)) => (status, Json(value)).into_response(),
        Err(error) => error.response(Surface::Mlflow),
    }
}

async fn take(app: &App, endpoint: String, request: Request) -> Result<(StatusCode, Value), ApiError> {
    const FORM: &str = "send {\"request_id\": …, \"reward\": 0 to 1, \"value\": anything}, or a list of those";
    let told: Value = body(app, request).await?;
    let told: Told =
        serde_json::from_value(told).map_err(|_| ApiError::bad(format!("the body does not read: {FORM}")))?;
    let told = match told {
        Told::Many { feedback } => feedback,
        Told::List(list) => list,
        Told::One(one) => vec![one],
    };
    if told.len() > TOLD_MAX {
        return Err(ApiError::too_large(format!("{} requests at once; at most {TOLD_MAX}", told.len())));
    }
    for one in &told {
        if one.request_id.is_empty() || one.request_id.len() > REQUEST_ID_BYTES_MAX {
            return Err(ApiError::bad(format!("`{:.40}` is no id of a request", one.request_id)));
        }
        if one.reward.is_none() && one.value.is_none() {
            return Err(ApiError::bad(format!("nothing is told of request `{}`: {FORM}", one.request_id)));
        }
    }
    let (server, finder) = (app.server.clone(), app.control.find_answerer.clone());
    ask(app, move |tracking| {
        let (mut feedback, mut unknown) = (Vec::new(), Vec::new());
        let remembered: Vec<_> = told.iter().map(|one| server.who_answered(&endpoint, &one.request_id)).collect();
        let forgotten = told.iter().zip(&remembered).filter(|(_, remembered)| remembered.is_none());
        let forgotten: Vec<&str> = forgotten.map(|(one, _)| one.request_id.as_str()).collect();
        let found = match &finder {
            Some(find) if !forgotten.is_empty() => find(&endpoint, &forgotten),
            _ => HashMap::new(),
        };
        for (One { request_id, reward, value }, remembered) in told.into_iter().zip(remembered) {
            match remembered.or_else(|| found.get(&request_id).cloned()) {
                Some(by) => feedback.push(Feedback {
                    request_id,
                    deployment: by.deployment.to_string(),
                    version: by.version.to_string(),
                    reward,
                    value,
                }),
                None => unknown.push(request_id),
            }
        }
        let count = feedback.len() as u64;
        let taken = tracking.add_feedback(&endpoint, &feedback)?;
        if count == 0 && !unknown.is_empty() {
            let message = format!(
                "no deployment of endpoint `{endpoint}` is known to have answered request `{}`: it was never asked, \
                 or too long ago",
                unknown[0]
            );
            return Err(ApiError::new(StatusCode::NOT_FOUND, codes::REQUEST_NOT_FOUND, message));
        }
        Ok((StatusCode::OK, json!({"taken": taken, "known_before": count - taken, "unknown": unknown})))
    })
    .await
}
