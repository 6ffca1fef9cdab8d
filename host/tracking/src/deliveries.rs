//! What webhooks are told, and a log of what became of it.
//!
//! Events come from the outbox. Queueing them makes a delivery for each webhook that wants one; whoever sends takes the
//! first of a webhook's deliveries, claims it, sends it and records what came of it. A delivery keeps its id through
//! every attempt, and one whose sender was killed is sent again.

use plinth_core::Micros;
use plinth_store::{Row, Tx, Value};
use serde::Serialize;

use crate::{
    Tracking, TrackingError,
    webhooks::{dashed, find},
};

/// Events that are queued in one transaction.
const EVENTS_AT_ONCE: u32 = 500;
/// Characters of an answer that the log keeps.
const LOGGED_CHARS: usize = 1_000;

/// The first event that waits for a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Whom it is for.
    pub webhook_id: String,
    /// Its number in the outbox.
    pub event_id: i64,
    /// The same at every attempt.
    pub delivery_id: String,
    /// Of [`crate::WEBHOOK_EVENTS`].
    pub event: String,
    /// JSON.
    pub payload: String,
    /// When it happened.
    pub time: Micros,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next may be made.
    pub next: Micros,
    /// Where it goes.
    pub url: String,
    /// What signs it, or nothing.
    pub secret: String,
}

/// What came of one attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempted {
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong; empty if nothing did.
    pub error: String,
    /// The start of the answer.
    pub response: String,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Failed,
    /// It is tried again, no earlier than then.
    Again(Micros),
}

/// An entry of the delivery log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryRecord {
    /// As the receiver saw it.
    pub delivery_id: String,
    /// Of [`crate::WEBHOOK_EVENTS`].
    pub event: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When the event happened.
    pub time: Micros,
    /// When the next attempt is made, of one that is pending.
    pub next: Option<Micros>,
    /// When it was over.
    pub finished: Option<Micros>,
    /// HTTP status of the last attempt.
    pub status: Option<i64>,
    /// What went wrong at the last attempt.
    pub error: String,
    /// The start of the last answer.
    pub response: String,
}

impl Tracking {
    /// Makes deliveries of events that nobody has looked at yet, oldest first; whether there are more of them.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn queue_events(&self) -> Result<bool, TrackingError> {
        let catalog = self.store.catalog();
        let sql = "SELECT 1 FROM outbox WHERE delivered_us IS NULL LIMIT 1";
        // Nearly always there is nothing, and a question does not need the one writer.
        if catalog.read::<_, TrackingError>(|tx| Ok(tx.query_one(sql, &[])?))?.is_none() {
            return Ok(false);
        }
        catalog.write(|tx| {
            let now = self.clock.now();
            let sql = "SELECT id, time_us, kind, payload FROM outbox WHERE delivered_us IS NULL ORDER BY id LIMIT $1";
            let events = tx.query(sql, &[EVENTS_AT_ONCE.into()])?;
            for event in &events {
                self.queue(tx, event, now)?;
                let sql = "UPDATE outbox SET delivered_us = $2 WHERE id = $1";
                tx.execute(sql, &[Value::Int(event.int(0)?), Value::Int(now)])?;
            }
            let old = now.saturating_sub((self.limits.webhooks.outbox_ms_max as Micros).saturating_mul(1_000));
            // Never the last one: its number would be given again.
            tx.execute(
                "DELETE FROM outbox WHERE delivered_us < $1 AND id < (SELECT MAX(id) FROM outbox)",
                &[Value::Int(old)],
            )?;
            Ok(events.len() == EVENTS_AT_ONCE as usize)
        })
    }

    /// A delivery of an event to each webhook that asked for it before it happened.
    fn queue(&self, tx: &mut dyn Tx, event: &Row, now: Micros) -> Result<(), TrackingError> {
        let (id, time, kind) = (event.int(0)?, event.int(1)?, event.text(2)?);
        let hooks = tx.query(
            "SELECT w.webhook_id FROM webhook_events e JOIN webhooks w ON w.webhook_id = e.webhook_id
             WHERE e.event = $1 AND w.status = 'ACTIVE' AND w.created_us <= $2",
            &[Value::from(&kind), Value::Int(time)],
        )?;
        for hook in &hooks {
            let hook = hook.text(0)?;
            let sql = "SELECT COUNT(*) FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'pending'";
            let waiting = tx.query_one(sql, &[Value::from(&hook)])?.map_or(Ok(0), |row| row.int(0))?;
            let full = waiting >= i64::from(self.limits.webhooks.pending_max);
            let (state, error) =
                if full { ("failed", "too many events wait for the webhook") } else { ("pending", "") };
            tx.execute(
                "INSERT INTO webhook_deliveries (webhook_id, event_id, delivery_id, event, payload, state, event_us,
                    next_us, finished_us, error)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (webhook_id, event_id) DO NOTHING",
                &[
                    Value::from(&hook),
                    Value::Int(id),
                    dashed(&self.ids.next()).into(),
                    Value::from(&kind),
                    if full { "".into() } else { event.text(3)?.into() },
                    state.into(),
                    Value::Int(time),
                    Value::Int(now),
                    full.then_some(now).into(),
                    error.into(),
                ],
            )?;
            if full {
                self.prune(tx, &hook)?;
            }
        }
        Ok(())
    }

    /// Of each active webhook for which events wait, the first of them: the earliest due first.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn first_deliveries(&self) -> Result<Vec<Delivery>, TrackingError> {
        let sql =
            "SELECT d.webhook_id, d.event_id, d.delivery_id, d.event, d.payload, d.event_us, d.attempts, d.next_us,
                w.url, w.secret
             FROM webhooks w JOIN webhook_deliveries d ON d.webhook_id = w.webhook_id AND d.event_id =
                (SELECT MIN(p.event_id) FROM webhook_deliveries p
                 WHERE p.webhook_id = w.webhook_id AND p.state = 'pending')
             WHERE w.status = 'ACTIVE' ORDER BY d.next_us, d.webhook_id";
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &[])?))?;
        rows.iter()
            .map(|row| {
                Ok(Delivery {
                    webhook_id: row.text(0)?,
                    event_id: row.int(1)?,
                    delivery_id: row.text(2)?,
                    event: row.text(3)?,
                    payload: row.text(4)?,
                    time: row.int(5)?,
                    attempts: row.int(6)? as u32,
                    next: row.int(7)?,
                    url: row.text(8)?,
                    secret: row.text(9)?,
                })
            })
            .collect()
    }

    /// Takes a delivery to send it; whether it is the caller's. It is anybody's again at `until`, should the caller not
    /// say by then what came of it.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn claim_delivery(&self, delivery: &Delivery, until: Micros) -> Result<bool, TrackingError> {
        let sql = "UPDATE webhook_deliveries SET attempts = attempts + 1, next_us = $4
             WHERE webhook_id = $1 AND event_id = $2 AND state = 'pending' AND next_us = $3";
        let key = [
            Value::from(&delivery.webhook_id),
            Value::Int(delivery.event_id),
            Value::Int(delivery.next),
            Value::Int(until),
        ];
        self.store.catalog().write(|tx| Ok(tx.execute(sql, &key)? == 1))
    }

    /// Records what came of an attempt.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn record_attempt(&self, delivery: &Delivery, tried: &Attempted, fate: Fate) -> Result<(), TrackingError> {
        let now = self.clock.now();
        let (state, next, finished) = match fate {
            Fate::Delivered => ("delivered", now, Some(now)),
            Fate::Failed => ("failed", now, Some(now)),
            Fate::Again(next) => ("pending", next, None),
        };
        self.store.catalog().write(|tx| {
            tx.execute(
                "UPDATE webhook_deliveries SET state = $3, next_us = $4, finished_us = $5, status_code = $6, error = $7,
                    response = $8, payload = CASE WHEN $3 = 'pending' THEN payload ELSE '' END
                 WHERE webhook_id = $1 AND event_id = $2 AND state = 'pending'",
                &[
                    Value::from(&delivery.webhook_id),
                    Value::Int(delivery.event_id),
                    state.into(),
                    Value::Int(next),
                    finished.into(),
                    tried.status.map(i64::from).into(),
                    logged(&tried.error).into(),
                    logged(&tried.response).into(),
                ],
            )?;
            if finished.is_some() { self.prune(tx, &delivery.webhook_id) } else { Ok(()) }
        })
    }

    /// Forgets the oldest entries of a webhook's log past its bound.
    fn prune(&self, tx: &mut dyn Tx, webhook: &str) -> Result<(), TrackingError> {
        let sql = "SELECT event_id FROM webhook_deliveries WHERE webhook_id = $1 AND state <> 'pending'
             ORDER BY event_id DESC LIMIT 1 OFFSET $2";
        let last = tx.query_one(sql, &[webhook.into(), self.limits.webhooks.log_rows_max.into()])?;
        if let Some(last) = last {
            let sql = "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND state <> 'pending' AND event_id <= $2";
            tx.execute(sql, &[webhook.into(), Value::Int(last.int(0)?)])?;
        }
        Ok(())
    }

    /// The delivery log of a webhook, newest first.
    ///
    /// # Errors
    /// [`TrackingError::WebhookNotFound`].
    pub fn deliveries(&self, webhook: &str, most: u32) -> Result<Vec<DeliveryRecord>, TrackingError> {
        let sql =
            "SELECT delivery_id, event, state, attempts, event_us, next_us, finished_us, status_code, error, response
             FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY event_id DESC LIMIT $2";
        self.store.catalog().read(|tx| {
            find(tx, webhook)?;
            let rows = tx.query(sql, &[webhook.into(), most.into()])?;
            let record = |row: &Row| {
                let finished = row.opt_int(6)?;
                Ok(DeliveryRecord {
                    delivery_id: row.text(0)?,
                    event: row.text(1)?,
                    state: row.text(2)?,
                    attempts: row.int(3)? as u32,
                    time: row.int(4)?,
                    next: if finished.is_none() { row.opt_int(5)? } else { None },
                    finished,
                    status: row.opt_int(7)?,
                    error: row.text(8)?,
                    response: row.text(9)?,
                })
            };
            rows.iter().map(record).collect()
        })
    }
}

fn logged(text: &str) -> String {
    // A database that keeps text as C does cannot keep this character.
    text.chars().filter(|c| *c != '\0').take(LOGGED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store, StoreError, emit};

    use super::*;
    use crate::{NewWebhook, WebhookUpdate};

    fn tracking(change: impl FnOnce(&mut TrackingLimits)) -> (tempfile::TempDir, Tracking) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
        let mut limits = TrackingLimits::default();
        change(&mut limits);
        (dir, Tracking::new(store, Arc::new(FixedClock::at(1_000)), Arc::new(UuidIds), limits))
    }

    fn new(events: &[&str]) -> NewWebhook {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        NewWebhook { name: "w".into(), url: "https://example.com".into(), events, ..NewWebhook::default() }
    }

    fn tell(tracking: &Tracking, time: Micros, kind: &str) {
        tracking.store().catalog().write::<_, StoreError>(|tx| emit(tx, time, kind, "{}")).unwrap();
    }

    #[test]
    fn a_webhook_gets_the_events_it_asked_for_in_order_and_only_those_that_came_after_it() {
        let (_dir, tracking) = tracking(|_| {});
        tell(&tracking, 999, "prompt.created");
        let one = tracking.create_webhook(&new(&["prompt.created", "prompt_tag.set"]), "ann").unwrap();
        let off = NewWebhook { disabled: true, ..new(&["prompt.created"]) };
        tracking.create_webhook(&off, "ann").unwrap();
        for kind in ["prompt.created", "drift.found", "prompt_tag.set", "prompt_tag.deleted"] {
            tell(&tracking, 1_000, kind);
        }
        assert!(!tracking.queue_events().unwrap());
        let first = tracking.first_deliveries().unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!((&first[0].webhook_id, first[0].event.as_str()), (&one.webhook_id, "prompt.created"));
        // Nobody else gets it, and nobody gets the next, until it is known what came of it.
        assert!(tracking.claim_delivery(&first[0], 5_000).unwrap());
        assert!(!tracking.claim_delivery(&first[0], 5_000).unwrap());
        let again = tracking.first_deliveries().unwrap();
        assert_eq!((again[0].attempts, again[0].next, &again[0].delivery_id), (1, 5_000, &first[0].delivery_id));
        tracking
            .record_attempt(&again[0], &Attempted { status: Some(200), ..Attempted::default() }, Fate::Delivered)
            .unwrap();
        assert_eq!(tracking.first_deliveries().unwrap()[0].event, "prompt_tag.set");
        let log = tracking.deliveries(&one.webhook_id, 10).unwrap();
        let states: Vec<_> = log.iter().map(|entry| (entry.event.as_str(), entry.state.as_str())).collect();
        assert_eq!(states, [("prompt_tag.set", "pending"), ("prompt.created", "delivered")]);
        // Whoever is disabled is not told later.
        let off = WebhookUpdate { active: Some(false), ..WebhookUpdate::default() };
        tracking.update_webhook(&one.webhook_id, &off, "ann").unwrap();
        assert!(tracking.first_deliveries().unwrap().is_empty());
        tracking.delete_webhook(&one.webhook_id, "ann").unwrap();
        assert!(matches!(tracking.deliveries(&one.webhook_id, 1), Err(TrackingError::WebhookNotFound(_))));
    }

    #[test]
    fn the_queue_and_the_log_are_bounded() {
        let (_dir, tracking) = tracking(|limits| {
            limits.webhooks.pending_max = 2;
            limits.webhooks.log_rows_max = 3;
            limits.webhooks.outbox_ms_max = 0;
        });
        let hook = tracking.create_webhook(&new(&["prompt.created"]), "ann").unwrap().webhook_id;
        for _ in 0..10 {
            tell(&tracking, 1_000, "prompt.created");
        }
        tracking.queue_events().unwrap();
        let states = |state: &str| tracking.deliveries(&hook, 100).unwrap().iter().filter(|d| d.state == state).count();
        assert_eq!((states("pending"), states("failed")), (2, 3));
        // The newest event stays, so that no number is given twice.
        let rows =
            tracking.store().catalog().read::<_, StoreError>(|tx| tx.query("SELECT id FROM outbox", &[])).unwrap();
        assert_eq!(rows.len(), 10, "they are not older than now");
        let later = Tracking { clock: Arc::new(FixedClock::at(2_000)), ..tracking.clone() };
        tell(&later, 2_000, "prompt.created");
        later.queue_events().unwrap();
        let rows =
            tracking.store().catalog().read::<_, StoreError>(|tx| tx.query("SELECT id FROM outbox", &[])).unwrap();
        assert_eq!(rows.iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>(), [11]);
    }
}
