//! `plinth webhook`: receivers that the tracking server tells of events, and what became of telling them.

use std::process::ExitCode;

use plinth_api::{AllowedHost, WebhookConfig, Webhooks};
use plinth_core::{Micros, codes};
use plinth_tracking::{DeliveryRecord, NewWebhook, Webhook, webhook_event};
use serde_json::{Value, json};

use crate::{
    access::operator,
    args::WebhookCommand,
    config::Settings,
    host::Host,
    output::{Failure, Output, io_failure, read_failure, table},
};

/// Most that the log shows at once.
const ALL: u64 = 1_000_000;

/// Receivers that the configuration and a command line allow.
pub(crate) fn allowed(settings: &Settings, more: &[AllowedHost]) -> Result<Vec<AllowedHost>, Failure> {
    let configured = settings.config.webhooks.allow.iter().map(|text| {
        text.parse().map_err(|message: String| Failure::new(codes::BAD_CONFIG, format!("webhooks.allow: {message}")))
    });
    configured.chain(more.iter().cloned().map(Ok)).collect()
}

/// `plinth webhook`
pub(crate) fn webhook(command: &WebhookCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    // Whoever types a command is on this machine.
    let config = WebhookConfig { allow: allowed(&host.settings, &[])?, loopback: true };
    let webhooks = Webhooks::new(config, tracking.limits().webhooks.clone());
    let show = |value: Value, text: &dyn Fn() -> String| {
        output.data(&value, text).map_err(|error| io_failure("stdout", &error))
    };
    match command {
        WebhookCommand::List => {
            let (found, _) = tracking.webhooks(0, ALL)?;
            show(json!(found), &|| list(&found))?;
        }
        WebhookCommand::Create { name, url, events, description, secret_file } => {
            for event in events {
                known(event)?;
            }
            webhooks.check_url(url)?;
            let secret = match secret_file {
                Some(path) => std::fs::read_to_string(path).map_err(|error| read_failure(path, &error))?,
                None => String::new(),
            };
            let new = NewWebhook {
                name: name.clone(),
                description: description.clone(),
                url: url.clone(),
                events: events.clone(),
                secret: secret.trim_end_matches(['\r', '\n']).to_owned(),
                disabled: false,
            };
            let made = tracking.create_webhook(&new, &operator())?;
            show(json!(made), &|| format!("{}\n", made.webhook_id))?;
        }
        WebhookCommand::Delete { webhook } => {
            tracking.delete_webhook(webhook, &operator())?;
            output.say(format!("deleted webhook {webhook}"));
        }
        WebhookCommand::Test { webhook, event } => {
            let event = event.as_deref().map(known).transpose()?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .map_err(|error| io_failure("a thread for requests", &error))?;
            let tested = webhooks.test(runtime.handle(), tracking, webhook, event)?;
            let value = json!({
                "success": tested.success, "status": tested.status, "body": tested.body, "error": tested.error,
            });
            if !tested.success {
                let why = tested.error.clone().unwrap_or_else(|| {
                    format!("the receiver answered {}: {}", tested.status.unwrap_or_default(), shortened(&tested.body))
                });
                let mut failure = Failure::new(codes::IO, format!("webhook {webhook} did not take the example: {why}"));
                failure.details = Some(Box::new(value));
                return Err(failure);
            }
            show(value, &|| format!("the receiver answered {}\n{}\n", tested.status.unwrap_or_default(), tested.body))?;
        }
        WebhookCommand::Deliveries { webhook, limit } => {
            let log = tracking.deliveries(webhook, *limit)?;
            show(json!(log), &|| deliveries(&log))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(found: &[Webhook]) -> String {
    if found.is_empty() {
        return "there is no webhook yet: `plinth webhook create` makes one\n".into();
    }
    let rows = found.iter().map(|hook| {
        let status = if hook.active { "active" } else { "disabled" };
        vec![hook.webhook_id.clone(), hook.name.clone(), status.to_owned(), hook.url.clone(), hook.events.join(", ")]
    });
    table(["webhook", "name", "status", "url", "events"], rows)
}

fn deliveries(log: &[DeliveryRecord]) -> String {
    if log.is_empty() {
        return "nothing was sent yet\n".into();
    }
    let rows = log.iter().map(|entry| {
        let status = entry.status.map(|status| status.to_string()).unwrap_or_default();
        vec![
            entry.delivery_id.clone(),
            moment(entry.time),
            entry.event.clone(),
            entry.state.clone(),
            entry.attempts.to_string(),
            status,
            shortened(&entry.error),
        ]
    });
    table(["delivery", "time", "event", "state", "attempts", "status", "error"], rows)
}

/// An event by its name, or the nearest one.
fn known(event: &str) -> Result<&'static str, Failure> {
    let (entity, action) = event.split_once('.').unwrap_or((event, ""));
    webhook_event(entity, action).map_err(|_| {
        Failure::new(codes::USAGE, format!("there is no event `{event}`"))
            .hint(plinth_core::did_you_mean(event, plinth_tracking::WEBHOOK_EVENTS))
    })
}

fn moment(time: Micros) -> String {
    chrono::DateTime::from_timestamp_micros(time).unwrap_or_default().format("%Y-%m-%d %H:%M:%S").to_string()
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
