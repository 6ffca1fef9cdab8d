//! How an endpoint does: what the catalog says of it, and what a server does.

use std::time::Duration;

use plinth_api::{NoAnswer, Outgoing, OutgoingClient, experiment_figures};
use plinth_core::codes;
use plinth_tracking::{EndpointRecord, Tracking};
use serde_json::{Value, json};

use crate::output::Failure;

/// How long a server has for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An endpoint, what its deployments have earned, and how it does on a server, if one was named.
pub(super) struct Status {
    pub(super) record: EndpointRecord,
    pub(super) experiment: Value,
    pub(super) live: Option<Value>,
}

impl Status {
    /// All of it as JSON.
    pub(super) fn value(&self) -> Value {
        let mut value = json!(self.record);
        value["experiment"] = self.experiment.clone();
        if let Some(live) = &self.live {
            value["serving"] = live["serving"].clone();
            value["failure"] = live["failure"].clone();
        }
        value
    }
}

pub(super) fn status(tracking: &Tracking, endpoint: &str, url: Option<&str>) -> Result<Status, Failure> {
    let record = tracking.endpoint(endpoint)?;
    let experiment = experiment_figures(&record.spec, &tracking.earned(endpoint)?);
    let live = url.map(|url| ask(url, endpoint)).transpose()?;
    Ok(Status { record, experiment, live })
}

fn ask(url: &str, endpoint: &str) -> Result<Value, Failure> {
    let unusable = || {
        Failure::new(codes::USAGE, format!("`{url}` is no address of a server"))
            .hint("give one such as http://127.0.0.1:8080")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(unusable)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse().map_err(|_| unusable())?)
        }
        _ => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    let mut headers = vec![("accept".to_owned(), "application/json".to_owned())];
    if let Ok(token) = std::env::var("PLINTH_TOKEN") {
        headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    }
    let request = Outgoing {
        method: "GET",
        url: format!("{}/endpoints/{endpoint}", url.trim_end_matches('/')),
        host: host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase(),
        port,
        private: true,
        headers,
        body: Vec::new(),
        timeout: PATIENCE,
        body_bytes_max: 16 << 20,
        header_bytes_max: 64 << 10,
    };
    let answer = OutgoingClient::default().send(request).map_err(|error| {
        let why = match error {
            NoAnswer::Timeout => "no answer came in time".to_owned(),
            NoAnswer::Blocked(why) | NoAnswer::Failed(why) => why,
            _ => "its answer is too large".to_owned(),
        };
        Failure::new(codes::SERVER_UNREACHABLE, format!("the server at {url} does not answer: {why}"))
            .hint("is it running, and is the address right?")
    })?;
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != 200 {
        let message = value["message"].as_str().unwrap_or("it gave no reason");
        let failure =
            Failure::new(codes::BAD_REQUEST, format!("the server at {url} says {}: {message}", answer.status));
        return Err(if matches!(answer.status, 401 | 403) {
            failure.hint("put a token that may read into PLINTH_TOKEN")
        } else {
            failure
        });
    }
    Ok(value)
}
