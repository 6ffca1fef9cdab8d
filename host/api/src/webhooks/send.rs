//! One request to a receiver: signed, bounded in time and size, redirected nowhere.

use std::{error::Error, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use plinth_core::{Micros, WebhookLimits};
use plinth_tracking::Attempted;
use reqwest::{Client, Response, StatusCode, header, redirect};
use sha2::Sha256;

use super::address::{Blocked, Guard, Way, WebhookConfig};

/// One event for one receiver.
pub(super) struct Message<'a> {
    pub(super) url: &'a str,
    pub(super) secret: &'a str,
    pub(super) delivery_id: &'a str,
    /// `entity.action`
    pub(super) event: &'a str,
    /// When it happened.
    pub(super) time: Micros,
    /// JSON.
    pub(super) data: &'a str,
}

/// Whether another attempt makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Arrived,
    Useless,
    /// After a rest; no shorter than the receiver asked for.
    Later(Option<Duration>),
}

/// Connections to receivers.
pub(super) struct Clients {
    guarded: Client,
    any: Client,
}

impl Clients {
    pub(super) fn new(config: &WebhookConfig, limits: &WebhookLimits) -> Result<Self, reqwest::Error> {
        crate::install_crypto();
        let [guarded, any] = Guard::both(config);
        Ok(Self { guarded: client(limits, &guarded)?, any: client(limits, &any)? })
    }

    /// Sends a message once.
    pub(super) async fn send(
        &self,
        config: &WebhookConfig,
        limits: &WebhookLimits,
        message: &Message<'_>,
    ) -> (Attempted, Verdict) {
        // Looked at again: what the operator allows may be less than when the webhook was made.
        let (url, way) = match config.check(message.url) {
            Ok(checked) => checked,
            Err(error) => return (Attempted { error, ..Attempted::default() }, Verdict::Useless),
        };
        let client = match way {
            Way::Any => &self.any,
            Way::Guarded => &self.guarded,
        };
        let body = body(message);
        // Of this attempt: receivers refuse what was signed long ago.
        let timestamp = Utc::now().timestamp().to_string();
        let mut request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("X-MLflow-Delivery-Id", message.delivery_id)
            .header("X-MLflow-Timestamp", &timestamp);
        if let Some(signature) = signature(message.secret, message.delivery_id, &timestamp, &body) {
            request = request.header("X-MLflow-Signature", signature);
        }
        match request.body(body).send().await {
            Ok(response) => answered(response, limits.response_bytes_max as usize).await,
            Err(error) => refused(error),
        }
    }
}

fn client(limits: &WebhookLimits, guard: &Guard) -> Result<Client, reqwest::Error> {
    let time = Duration::from_millis(limits.request_ms_max);
    let builder = || {
        Client::builder()
            .dns_resolver(guard.clone())
            // A redirection could lead anywhere, a proxy of the environment would resolve names by itself.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(time)
            // Every attempt connects anew, so that every attempt's address is checked.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("plinth/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|error| {
        // A machine without certificates still reaches receivers that need none.
        tracing::warn!(%error, "webhooks over https will fail");
        builder().tls_certs_only([]).build()
    })
}

/// The body as MLflow writes it. The same bytes at every attempt.
fn body(message: &Message<'_>) -> String {
    let (entity, action) = message.event.split_once('.').unwrap_or((message.event, ""));
    let time = DateTime::from_timestamp_micros(message.time).unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Micros, false);
    let data = message.data;
    format!(r#"{{"entity": "{entity}", "action": "{action}", "timestamp": "{time}", "data": {data}}}"#)
}

/// `v1,` and the base64 of the HMAC-SHA256 of `ID.TIMESTAMP.BODY`; none without a secret.
fn signature(secret: &str, delivery_id: &str, timestamp: &str, body: &str) -> Option<String> {
    if secret.is_empty() {
        return None;
    }
    // A key of any length will do.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{delivery_id}.{timestamp}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// Reads the start of an answer; the rest stays where it is.
async fn answered(mut response: Response, bytes_max: usize) -> (Attempted, Verdict) {
    let status = response.status();
    let rest = retry_after(response.headers().get(header::RETRY_AFTER), Utc::now());
    let mut body = Vec::new();
    // An answer that breaks off has told what matters in its head.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(bytes_max - body.len())]);
        if body.len() >= bytes_max {
            break;
        }
    }
    let tried = |error: String| {
        let response = String::from_utf8_lossy(&body).into_owned();
        Attempted { status: Some(status.as_u16()), error, response }
    };
    if status.is_success() {
        (tried(String::new()), Verdict::Arrived)
    } else if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        (tried(format!("the receiver answered {status}")), Verdict::Later(rest))
    } else if status.is_redirection() {
        (tried(format!("the receiver answered {status}, and redirections are not followed")), Verdict::Useless)
    } else {
        (tried(format!("the receiver answered {status}")), Verdict::Useless)
    }
}

/// Seconds, or a date.
fn retry_after(value: Option<&header::HeaderValue>, now: DateTime<Utc>) -> Option<Duration> {
    let text = value?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::<Utc>::from(httpdate::parse_http_date(text).ok()?);
    Some((at - now).to_std().unwrap_or_default())
}

/// No answer came.
fn refused(error: reqwest::Error) -> (Attempted, Verdict) {
    // The URL may hold what only the receiver should know.
    let error = error.without_url();
    let mut told = error.to_string();
    let (mut cause, mut blocked) = (error.source(), false);
    while let Some(inner) = cause {
        if inner.is::<Blocked>() {
            (told, blocked) = (inner.to_string(), true);
            break;
        }
        told = format!("{told}: {inner}");
        cause = inner.source();
    }
    let useless = blocked || error.is_builder();
    (Attempted { error: told, ..Attempted::default() }, if useless { Verdict::Useless } else { Verdict::Later(None) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_signed_as_mlflow_signs_them() {
        let message = Message {
            url: "",
            secret: "s",
            delivery_id: "d",
            event: "model_version_tag.set",
            time: 1_700_000_000_123_456,
            data: r#"{"a": 1}"#,
        };
        let body = body(&message);
        assert_eq!(
            body,
            "{\"entity\": \"model_version_tag\", \"action\": \"set\", \
             \"timestamp\": \"2023-11-14T22:13:20.123456+00:00\", \"data\": {\"a\": 1}}"
        );
        // hmac.new(b"my_secret", b"id.1700000000.{}", sha256) of Python's standard library.
        let known = signature("my_secret", "id", "1700000000", "{}").unwrap();
        assert_eq!(known, "v1,AHFMw7qKzDkxHNXptXB71Np200oCp8SWe7kvP72ML74=");
        assert_eq!(signature("", "d", "1", "x"), None);
    }

    #[test]
    fn a_rest_is_seconds_or_a_date() {
        let now = DateTime::from_timestamp(1_000_000_000, 0).unwrap();
        let rest = |text: &str| retry_after(Some(&header::HeaderValue::from_str(text).unwrap()), now);
        assert_eq!(rest("7"), Some(Duration::from_secs(7)));
        assert_eq!(rest("Sun, 09 Sep 2001 01:47:00 GMT"), Some(Duration::from_secs(20)));
        assert_eq!(rest("Sun, 09 Sep 2001 01:46:00 GMT"), Some(Duration::ZERO));
        assert_eq!((rest("soon"), rest("-1")), (None, None));
    }
}
