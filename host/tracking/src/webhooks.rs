//! Webhooks: who is told of which events. What becomes of telling them stands in `deliveries.rs`.

use plinth_core::Micros;
use plinth_store::{Tx, Value};
use serde::Serialize;
use serde_json::json;

use crate::{
    Tracking, TrackingError,
    names::{check_length, cut},
};

/// Events that a webhook may ask for, as `entity.action`.
pub const WEBHOOK_EVENTS: [&str; 15] = [
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
    "prompt.created",
    "prompt_version.created",
    "prompt_tag.set",
    "prompt_tag.deleted",
    "prompt_version_tag.set",
    "prompt_version_tag.deleted",
    "prompt_alias.created",
    "prompt_alias.deleted",
    "budget_policy.exceeded",
];

/// Someone who is told of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Its id.
    pub webhook_id: String,
    /// For a person; need not be unique.
    pub name: String,
    /// For a person.
    pub description: String,
    /// Where events are sent.
    pub url: String,
    /// Of [`WEBHOOK_EVENTS`].
    pub events: Vec<String>,
    /// Whether it is told of events that happen now.
    pub active: bool,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
}

/// What makes a webhook. The caller has checked where the URL leads.
#[derive(Debug, Clone, Default)]
pub struct NewWebhook {
    /// For a person.
    pub name: String,
    /// For a person.
    pub description: String,
    /// Where events are sent.
    pub url: String,
    /// Of [`WEBHOOK_EVENTS`].
    pub events: Vec<String>,
    /// What signs requests; empty if nothing does.
    pub secret: String,
    /// Whether it starts out disabled.
    pub disabled: bool,
}

/// What is to be different about a webhook.
#[derive(Debug, Clone, Default)]
pub struct WebhookUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Another URL; the caller has checked where it leads.
    pub url: Option<String>,
    /// Other events.
    pub events: Option<Vec<String>>,
    /// Another secret; an empty one removes it.
    pub secret: Option<String>,
    /// Whether it is told of events.
    pub active: Option<bool>,
}

impl Tracking {
    /// Makes a webhook.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`], [`TrackingError::TooLong`].
    pub fn create_webhook(&self, new: &NewWebhook, who: &str) -> Result<Webhook, TrackingError> {
        check_webhook_name(&new.name)?;
        self.check_webhook_text(&new.description, "description")?;
        self.check_webhook_text(&new.secret, "secret")?;
        check_events(&new.events)?;
        let most = self.limits.webhooks.webhooks_max;
        self.store.catalog().write(|tx| {
            let there = tx.query_one("SELECT COUNT(*) FROM webhooks", &[])?.map_or(Ok(0), |row| row.int(0))?;
            if there >= i64::from(most) {
                return Err(TrackingError::Invalid(format!(
                    "there are {there} webhooks, as many as are allowed: delete one, or raise \
                     limits.tracking.webhooks.webhooks-max"
                )));
            }
            let (id, now) = (dashed(&self.ids.next()), self.clock.now());
            tx.execute(
                "INSERT INTO webhooks (webhook_id, name, description, url, secret, status, created_us, updated_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
                &[
                    Value::from(&id),
                    Value::from(&new.name),
                    Value::from(&new.description),
                    Value::from(&new.url),
                    Value::from(&new.secret),
                    status(!new.disabled).into(),
                    Value::Int(now),
                ],
            )?;
            set_events(tx, &id, &new.events)?;
            let detail = json!({"name": new.name, "events": new.events});
            self.audit(tx, now, who, "webhook.create", &format!("webhooks:/{id}"), &detail)?;
            find(tx, &id)
        })
    }

    /// A webhook.
    ///
    /// # Errors
    /// [`TrackingError::WebhookNotFound`].
    pub fn webhook(&self, id: &str) -> Result<Webhook, TrackingError> {
        self.store.catalog().read(|tx| find(tx, id))
    }

    /// What signs a webhook's requests; empty if nothing does. For the sender alone.
    ///
    /// # Errors
    /// [`TrackingError::WebhookNotFound`].
    pub fn webhook_secret(&self, id: &str) -> Result<String, TrackingError> {
        let sql = "SELECT secret FROM webhooks WHERE webhook_id = $1";
        self.store.catalog().read(|tx| match tx.query_one(sql, &[id.into()])? {
            Some(row) => Ok(row.text(0)?),
            None => Err(TrackingError::WebhookNotFound(cut(id))),
        })
    }

    /// Webhooks, newest first, and whether more follow.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn webhooks(&self, skip: u64, most: u64) -> Result<(Vec<Webhook>, bool), TrackingError> {
        let sql = "SELECT webhook_id FROM webhooks ORDER BY created_us DESC, webhook_id DESC LIMIT $1 OFFSET $2";
        self.store.catalog().read(|tx| {
            let rows = tx.query(sql, &[most.saturating_add(1).into(), skip.into()])?;
            let some = rows.iter().take(most as usize);
            let found = some.map(|row| find(tx, &row.text(0)?)).collect::<Result<_, TrackingError>>()?;
            Ok((found, rows.len() as u64 > most))
        })
    }

    /// Changes a webhook. One that is disabled forgets what was still to be sent.
    ///
    /// # Errors
    /// [`TrackingError::WebhookNotFound`], [`TrackingError::Invalid`], [`TrackingError::TooLong`].
    pub fn update_webhook(&self, id: &str, update: &WebhookUpdate, who: &str) -> Result<Webhook, TrackingError> {
        update.name.as_deref().map_or(Ok(()), check_webhook_name)?;
        for (text, field) in [(&update.description, "description"), (&update.secret, "secret")] {
            self.check_webhook_text(text.as_deref().unwrap_or_default(), field)?;
        }
        update.events.as_deref().map_or(Ok(()), check_events)?;
        self.store.catalog().write(|tx| {
            let old = find(tx, id)?;
            // Clients see milliseconds, and tell a change by them.
            let now = self.clock.now().max(old.updated + 1_000);
            let active = update.active.unwrap_or(old.active);
            tx.execute(
                "UPDATE webhooks SET name = $2, description = $3, url = $4, secret = COALESCE($5, secret), status = $6,
                    updated_us = $7
                 WHERE webhook_id = $1",
                &[
                    id.into(),
                    update.name.clone().unwrap_or(old.name).into(),
                    update.description.clone().unwrap_or(old.description).into(),
                    update.url.clone().unwrap_or(old.url).into(),
                    update.secret.clone().into(),
                    status(active).into(),
                    Value::Int(now),
                ],
            )?;
            if let Some(events) = &update.events {
                tx.execute("DELETE FROM webhook_events WHERE webhook_id = $1", &[id.into()])?;
                set_events(tx, id, events)?;
            }
            if !active {
                tx.execute(
                    "UPDATE webhook_deliveries SET state = 'failed', payload = '', finished_us = $2,
                        error = 'the webhook was disabled'
                     WHERE webhook_id = $1 AND state = 'pending'",
                    &[id.into(), Value::Int(now)],
                )?;
            }
            let detail = json!({
                "name": update.name, "events": update.events, "status": update.active.map(status),
                "url_changed": update.url.is_some(), "secret_changed": update.secret.is_some(),
            });
            self.audit(tx, now, who, "webhook.update", &format!("webhooks:/{id}"), &detail)?;
            find(tx, id)
        })
    }

    /// Removes a webhook with its log and with what was still to be sent.
    ///
    /// # Errors
    /// [`TrackingError::WebhookNotFound`].
    pub fn delete_webhook(&self, id: &str, who: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            if tx.execute("DELETE FROM webhooks WHERE webhook_id = $1", &[id.into()])? == 0 {
                return Err(TrackingError::WebhookNotFound(cut(id)));
            }
            self.audit(tx, self.clock.now(), who, "webhook.delete", &format!("webhooks:/{id}"), &json!({}))
        })
    }

    fn check_webhook_text(&self, text: &str, field: &str) -> Result<(), TrackingError> {
        check_length(text, self.limits.webhooks.text_chars_max, || field.to_owned())
    }
}

/// Checks a webhook's name.
///
/// # Errors
/// [`TrackingError::Invalid`].
pub fn check_webhook_name(name: &str) -> Result<(), TrackingError> {
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let bytes = name.as_bytes();
    if bytes.len() <= 63 && outer(bytes.first()) && outer(bytes.last()) && bytes.iter().copied().all(inner) {
        return Ok(());
    }
    Err(TrackingError::Invalid(format!(
        "Webhook name '{}' is invalid. It must start and end with a letter or digit, be less than 63 characters long, \
         and contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
        cut(name)
    )))
}

/// An event by its two parts.
///
/// # Errors
/// [`TrackingError::Invalid`] names the actions that the entity has.
pub fn webhook_event(entity: &str, action: &str) -> Result<&'static str, TrackingError> {
    let of_entity = || WEBHOOK_EVENTS.into_iter().filter(|event| event.split_once('.').map(|e| e.0) == Some(entity));
    let found = of_entity().find(|event| event.split_once('.').map(|e| e.1) == Some(action));
    found.ok_or_else(|| {
        let mut actions: Vec<_> =
            of_entity().filter_map(|event| Some(format!("'{}'", event.split_once('.')?.1))).collect();
        actions.sort_unstable();
        let actions = actions.join(", ");
        let (action, entity) = (cut(action), cut(entity));
        TrackingError::Invalid(format!(
            "Invalid action '{action}' for entity '{entity}'. Valid actions are: [{actions}]"
        ))
    })
}

fn check_events(events: &[String]) -> Result<(), TrackingError> {
    if events.is_empty() {
        let message = "Webhook events must be a non-empty list of WebhookEvent objects: [].";
        return Err(TrackingError::Invalid(message.into()));
    }
    for event in events {
        let (entity, action) = event.split_once('.').unwrap_or((event, ""));
        webhook_event(entity, action)?;
    }
    Ok(())
}

fn set_events(tx: &mut dyn Tx, webhook: &str, events: &[String]) -> Result<(), TrackingError> {
    for (place, event) in events.iter().enumerate() {
        tx.execute(
            "INSERT INTO webhook_events (webhook_id, event, place) VALUES ($1, $2, $3)
             ON CONFLICT (webhook_id, event) DO NOTHING",
            &[webhook.into(), event.into(), (place as u64).into()],
        )?;
    }
    Ok(())
}

pub(crate) fn find(tx: &mut dyn Tx, id: &str) -> Result<Webhook, TrackingError> {
    let sql = "SELECT name, description, url, status, created_us, updated_us FROM webhooks WHERE webhook_id = $1";
    let row = tx.query_one(sql, &[id.into()])?.ok_or_else(|| TrackingError::WebhookNotFound(cut(id)))?;
    let events = tx.query("SELECT event FROM webhook_events WHERE webhook_id = $1 ORDER BY place", &[id.into()])?;
    Ok(Webhook {
        webhook_id: id.to_owned(),
        name: row.text(0)?,
        description: row.text(1)?,
        url: row.text(2)?,
        events: events.iter().map(|row| Ok(row.text(0)?)).collect::<Result<_, TrackingError>>()?,
        active: row.text(3)? == status(true),
        created: row.int(4)?,
        updated: row.int(5)?,
    })
}

fn status(active: bool) -> &'static str {
    if active { "ACTIVE" } else { "DISABLED" }
}

/// An id as UUIDs are usually written.
pub(crate) fn dashed(id: &str) -> String {
    match (id.get(..8), id.get(8..12), id.get(12..16), id.get(16..20), id.get(20..)) {
        (Some(a), Some(b), Some(c), Some(d), Some(e)) => [a, b, c, d, e].join("-"),
        _ => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store};

    use super::*;

    fn tracking(change: impl FnOnce(&mut TrackingLimits)) -> (tempfile::TempDir, Tracking) {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
        let mut limits = TrackingLimits::default();
        change(&mut limits);
        (dir, Tracking::new(store, Arc::new(FixedClock::at(1_000)), Arc::new(UuidIds), limits))
    }

    fn new(events: &[&str]) -> NewWebhook {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        NewWebhook { name: "w".into(), url: "https://example.com".into(), events, ..NewWebhook::default() }
    }

    #[test]
    fn what_makes_no_webhook_is_refused() {
        let (_dir, tracking) = tracking(|limits| limits.webhooks.webhooks_max = 1);
        for name in ["", "-a", "a-", "a b", "ä", &"a".repeat(64)] {
            assert!(check_webhook_name(name).is_err(), "{name}");
        }
        for name in ["a", "A.b_c-9", &"a".repeat(63)] {
            assert!(check_webhook_name(name).is_ok(), "{name}");
        }
        let told = |error: TrackingError| error.to_string();
        assert!(told(tracking.create_webhook(&new(&[]), "ann").unwrap_err()).contains("non-empty list"));
        assert_eq!(
            told(webhook_event("model_version_tag", "created").unwrap_err()),
            "Invalid action 'created' for entity 'model_version_tag'. Valid actions are: ['deleted', 'set']"
        );
        tracking.create_webhook(&new(&["prompt.created", "prompt.created"]), "ann").unwrap();
        assert!(told(tracking.create_webhook(&new(&["prompt.created"]), "ann").unwrap_err()).contains("webhooks-max"));
    }
}
