//! Webhooks: events of the outbox, sent to receivers that people name.
//!
//! `address` decides where they may lead, `send` makes one request, `deliver` sends what waits. The domain keeps
//! who is told of what; this knows HTTP.

mod address;
mod deliver;
mod example;
mod outgoing;
mod send;

use std::sync::OnceLock;

use plinth_core::WebhookLimits;
use plinth_tracking::{Attempted, Tracking, TrackingError};
use tokio::sync::Notify;

pub use address::{AllowedHost, WebhookConfig};
pub(crate) use deliver::run;
pub use outgoing::{Answer, NoAnswer, Outgoing, OutgoingClient};

use self::send::{Clients, Message, Verdict};

/// The sending side of webhooks.
pub struct Webhooks {
    config: WebhookConfig,
    limits: WebhookLimits,
    /// Made when the first request is sent.
    clients: OnceLock<Result<Clients, String>>,
    /// There may be something to send.
    wake: Notify,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Whether the receiver took it.
    pub success: bool,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The start of the answer.
    pub body: String,
    /// Why there was none.
    pub error: Option<String>,
}

impl Webhooks {
    /// Sends where the configuration allows.
    pub fn new(config: WebhookConfig, limits: WebhookLimits) -> Self {
        Self { config, limits, clients: OnceLock::new(), wake: Notify::new() }
    }

    /// Checks where a webhook is to lead.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] says what is wrong with it.
    pub fn check_url(&self, url: &str) -> Result<(), TrackingError> {
        if url.len() > self.limits.url_bytes_max as usize {
            let message = format!("Webhook URL is longer than {} bytes", self.limits.url_bytes_max);
            return Err(TrackingError::Invalid(message));
        }
        self.config.check(url).map(drop).map_err(TrackingError::Invalid)
    }

    /// Sends an example of an event, or of the first that the webhook asks for, once. Blocks, so it must be called off
    /// the reactor.
    ///
    /// # Errors
    /// [`TrackingError::WebhookNotFound`].
    pub fn test(
        &self,
        runtime: &tokio::runtime::Handle,
        tracking: &Tracking,
        id: &str,
        event: Option<&str>,
    ) -> Result<Tested, TrackingError> {
        let (hook, secret) = (tracking.webhook(id)?, tracking.webhook_secret(id)?);
        let event = event.or(hook.events.first().map(String::as_str)).unwrap_or_default();
        let (delivery_id, data) = (tracking.new_id(), example::of(event).to_string());
        let message = Message {
            url: &hook.url,
            secret: &secret,
            delivery_id: &delivery_id,
            event,
            time: tracking.now(),
            data: &data,
        };
        let (tried, verdict) = runtime.block_on(self.send(&message));
        Ok(Tested {
            success: verdict == Verdict::Arrived,
            status: tried.status,
            body: tried.response,
            error: tried.status.is_none().then(|| format!("Failed to test webhook: {}", tried.error)),
        })
    }

    /// Says that there may be something to send.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    fn clients(&self) -> &Result<Clients, String> {
        self.clients.get_or_init(|| Clients::new(&self.config, &self.limits).map_err(|error| error.to_string()))
    }

    async fn send(&self, message: &Message<'_>) -> (Attempted, Verdict) {
        match self.clients() {
            Ok(clients) => clients.send(&self.config, &self.limits, message).await,
            Err(error) => (Attempted { error: error.clone(), ..Attempted::default() }, Verdict::Later(None)),
        }
    }
}
