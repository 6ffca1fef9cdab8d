//! Sends what the outbox holds, for as long as a server runs.
//!
//! A webhook gets its events one after the other, in order: while one is being tried again, the later ones wait. What
//! webhooks of others get does not depend on it. Nothing is kept here that a kill would lose.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use plinth_core::{Micros, WebhookLimits};
use plinth_tracking::{Delivery, Fate, Tracking, TrackingError};
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet, spawn_blocking},
};

use super::{
    Webhooks,
    send::{Message, Verdict},
};

/// How often the outbox is looked at for events of other processes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long sending rests after the catalog failed.
const REST: Duration = Duration::from_secs(5);
/// Time that a claimed delivery has beyond that of its request.
const CLAIM_SLACK_MS: u64 = 5_000;

/// Sends until `stop` becomes true; then lets requests in flight end, for `drain_max` at most.
pub(crate) async fn run(
    tracking: Tracking,
    webhooks: Arc<Webhooks>,
    mut stop: watch::Receiver<bool>,
    drain_max: Duration,
) {
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut busy: HashMap<Id, String> = HashMap::new();
    let most = tracking.limits().webhooks.requests_in_flight_max.max(1) as usize;
    while !*stop.borrow() {
        let mut rest = LOOK_EVERY;
        match look(tracking.clone()).await {
            Ok(found) => {
                let now = tracking.now();
                for delivery in found {
                    if busy.values().any(|hook| *hook == delivery.webhook_id) {
                        continue;
                    }
                    if delivery.next > now {
                        rest = rest.min(Duration::from_micros((delivery.next - now) as u64));
                        continue;
                    }
                    if tasks.len() >= most {
                        break;
                    }
                    let hook = delivery.webhook_id.clone();
                    let task = tasks.spawn(deliver(tracking.clone(), Arc::clone(&webhooks), delivery));
                    busy.insert(task.id(), hook);
                }
            }
            Err(error) => {
                tracing::error!(%error, "webhooks cannot be sent");
                rest = REST;
            }
        }
        tokio::select! {
            () = webhooks.wake.notified() => {}
            Some(done) = tasks.join_next_with_id() => drop(busy.remove(&ended(done))),
            () = tokio::time::sleep(rest) => {}
            // Whoever would tell may be gone as well.
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(drain_max, drained).await.is_err() {
        // They are sent again, with the same ids, once their claims have run out.
        tracing::warn!("webhooks were still being sent when time was up");
    }
}

fn ended(done: Result<(Id, ()), JoinError>) -> Id {
    match done {
        Ok((id, ())) => id,
        Err(error) => {
            tracing::error!(%error, "sending to a webhook broke off");
            error.id()
        }
    }
}

/// Queues new events; the first delivery of every webhook.
async fn look(tracking: Tracking) -> Result<Vec<Delivery>, String> {
    blocking(move || {
        while tracking.queue_events()? {}
        tracking.first_deliveries()
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TrackingError> + Send + 'static,
) -> Result<T, String> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// One attempt at one delivery.
async fn deliver(tracking: Tracking, webhooks: Arc<Webhooks>, delivery: Delivery) {
    let limits = tracking.limits().webhooks.clone();
    let until = tracking.now() + millis(limits.request_ms_max + CLAIM_SLACK_MS);
    let claimed = {
        let (tracking, webhooks, delivery) = (tracking.clone(), Arc::clone(&webhooks), delivery.clone());
        blocking(move || {
            let claimed = tracking.claim_delivery(&delivery, until)?;
            // Reads certificates the first time.
            webhooks.clients();
            Ok(claimed)
        })
        .await
    };
    match claimed {
        Ok(true) => {}
        // Another process sends it.
        Ok(false) => return,
        Err(error) => return tracing::error!(%error, "a webhook was not sent"),
    }
    let (hook, event) = (delivery.webhook_id.clone(), delivery.event.clone());
    let message = Message {
        url: &delivery.url,
        secret: &delivery.secret,
        delivery_id: &delivery.delivery_id,
        event: &delivery.event,
        time: delivery.time,
        data: &delivery.payload,
    };
    let (tried, verdict) = webhooks.send(&message).await;
    let attempt = delivery.attempts + 1;
    let fate = fate(verdict, attempt, &limits, tracking.now(), chance());
    match fate {
        Fate::Delivered => tracing::debug!(hook, event, attempt, "a webhook was told"),
        Fate::Again(_) => tracing::info!(hook, event, attempt, error = tried.error, "a webhook will be told again"),
        Fate::Failed => tracing::warn!(hook, event, attempt, error = tried.error, "a webhook was not told"),
    }
    if let Err(error) = blocking(move || tracking.record_attempt(&delivery, &tried, fate)).await {
        tracing::error!(%error, hook, "what came of a webhook was not recorded: it will be told again");
    }
}

fn fate(verdict: Verdict, attempt: u32, limits: &WebhookLimits, now: Micros, chance: f64) -> Fate {
    match verdict {
        Verdict::Arrived => Fate::Delivered,
        Verdict::Useless => Fate::Failed,
        Verdict::Later(_) if attempt >= limits.attempts_max => Fate::Failed,
        Verdict::Later(asked) => {
            let doubled = limits.backoff_ms.saturating_mul(1 << (attempt - 1).min(30)).min(limits.backoff_ms_max);
            // Half of it by chance, so that those who failed together do not come back together.
            let rest = doubled / 2 + (doubled as f64 / 2.0 * chance) as u64;
            let asked = asked.map_or(0, |asked| asked.as_millis().try_into().unwrap_or(u64::MAX));
            Fate::Again(now + millis(rest.max(asked).min(limits.backoff_ms_max)))
        }
    }
}

fn millis(millis: u64) -> Micros {
    Micros::try_from(millis.saturating_mul(1_000)).unwrap_or(Micros::MAX / 2)
}

/// A number from 0 to 1.
fn chance() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_a_bound_and_a_receiver_may_ask_for_more() {
        let limits =
            WebhookLimits { backoff_ms: 100, backoff_ms_max: 1_000, attempts_max: 12, ..WebhookLimits::default() };
        let rest = |attempt, asked: Option<u64>, chance| match fate(
            Verdict::Later(asked.map(Duration::from_millis)),
            attempt,
            &limits,
            0,
            chance,
        ) {
            Fate::Again(at) => at / 1_000,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (rest(1, None, 0.0), rest(1, None, 1.0), rest(3, None, 1.0), rest(11, None, 1.0)),
            (50, 100, 400, 1_000)
        );
        assert_eq!((rest(1, Some(700), 0.5), rest(1, Some(10), 1.0), rest(1, Some(90_000), 1.0)), (700, 100, 1_000));
        let ends = |verdict, attempt| fate(verdict, attempt, &limits, 0, 0.5);
        assert_eq!(ends(Verdict::Later(None), 12), Fate::Failed);
        assert_eq!((ends(Verdict::Useless, 1), ends(Verdict::Arrived, 12)), (Fate::Failed, Fate::Delivered));
        assert!((0.0..=1.0).contains(&chance()));
    }
}
