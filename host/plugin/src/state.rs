//! What the host keeps for one instance while its guest runs: memory, log, lent objects and tables.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use plinth_core::{PluginLimits, codes};
use plinth_ext::Tables;
use wasmtime::{Error, Result, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    fault::{OverLimit, cut},
    limiter::Budget,
    objects::ObjectSource,
    offered::{Random, Time, strike},
    outward::Rate,
    services::Services,
    wasi::Captured,
    wire::WireLevel,
};

/// The data of one store.
pub(crate) struct State {
    pub(crate) budget: Budget,
    pub(crate) log: LogBook,
    /// What the operator calls the plugin: the key of its table in `plinth.toml`.
    pub(crate) called: Arc<str>,
    pub(crate) meter: Meter,
    pub(crate) resources: ResourceTable,
    pub(crate) readers: Readers,
    pub(crate) objects: Option<Arc<dyn ObjectSource>>,
    pub(crate) tables: Option<Arc<dyn Tables>>,
    pub(crate) services: Services,
    pub(crate) limits: Arc<PluginLimits>,
    pub(crate) time: Time,
    pub(crate) random: Random,
    pub(crate) rate: Rate,
    /// When the call under way has to be over.
    pub(crate) ends: Instant,
    pub(crate) wasi: Option<(Box<WasiCtx>, Captured)>,
    /// Bytes that may cross from the guest in one call, and which limit says so.
    pub(crate) crossing: (u64, &'static str),
    pub(crate) object_read_bytes_max: u32,
    pub(crate) message_bytes_max: u32,
    pub(crate) block_bytes_target: u64,
    pub(crate) list_items_max: u32,
}

impl State {
    pub(crate) fn new(
        plugin: Arc<str>,
        limits: &Arc<PluginLimits>,
        services: Services,
        deterministic: bool,
        budget: Budget,
    ) -> Self {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(limits.handles_max as usize);
        Self {
            budget,
            called: plugin.clone(),
            log: LogBook::new(plugin, limits.log_bytes_per_call_max, Arc::clone(&services.secrets)),
            meter: Meter::new(limits.host_calls_per_second_max),
            resources,
            readers: Readers { open: 0, max: limits.open_readers_max },
            objects: None,
            tables: None,
            services,
            limits: Arc::clone(limits),
            time: Time::new(deterministic),
            random: Random::new(deterministic),
            rate: Rate::new(),
            ends: Instant::now(),
            wasi: None,
            crossing: (limits.state_bytes_max, "state-bytes-max"),
            object_read_bytes_max: limits.object_read_bytes_max,
            message_bytes_max: limits.message_bytes_max,
            block_bytes_target: limits.block_bytes_target,
            list_items_max: limits.list_items_max,
        }
    }
}

impl State {
    /// A call begins that may take so long.
    pub(crate) fn begin(&mut self, ms: u64) {
        // Only who waits within the host looks at it.
        if self.services.http.is_some() {
            self.ends = Instant::now() + Duration::from_millis(ms);
        }
    }

    /// Time that the call under way still has.
    pub(crate) fn time_left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, _) = self.wasi.as_mut().expect("a component that imports WASI is given a context");
        WasiCtxView { ctx, table: &mut self.resources }
    }
}

/// What a message costs beside its text: its line in the operator's log. Without it a flood of empty messages would
/// be free.
const LINE_BYTES: u64 = 64;

/// What a guest said during a call.
pub(crate) struct LogBook {
    plugin: Arc<str>,
    bytes_max: u64,
    bytes_left: u64,
    dropped: u64,
    last: VecDeque<String>,
    secrets: Arc<BTreeMap<String, String>>,
}

/// Messages kept for the report of a fault.
const LAST_MESSAGES: usize = 3;
/// Bytes of each.
const LAST_BYTES: usize = 400;

impl LogBook {
    fn new(plugin: Arc<str>, bytes_max: u64, secrets: Arc<BTreeMap<String, String>>) -> Self {
        Self { plugin, bytes_max, bytes_left: bytes_max, dropped: 0, last: VecDeque::new(), secrets }
    }

    /// A text of the guest without the secrets in it.
    pub(crate) fn strike(&self, text: String) -> String {
        if self.secrets.is_empty() { text } else { strike(&self.secrets, text) }
    }

    /// A call begins.
    pub(crate) fn start(&mut self) {
        self.bytes_left = self.bytes_max;
        if !self.last.is_empty() {
            self.last.clear();
        }
    }

    /// A call ended: tells once of what was dropped.
    pub(crate) fn end(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(
                plugin = %self.plugin,
                dropped = self.dropped,
                limit = self.bytes_max,
                "dropped bytes of the plugin's log: it wrote more than [limits.plugin] log-bytes-per-call-max"
            );
            self.dropped = 0;
        }
    }

    /// Whether a message of that length is still let through; if not, it counts as dropped.
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        let room = len as u64 + LINE_BYTES <= self.bytes_left;
        if !room {
            self.dropped += len as u64 + LINE_BYTES;
        }
        room
    }

    /// One message of the guest.
    pub(crate) fn write(&mut self, level: WireLevel, message: &str) {
        if !self.has_room(message.len()) {
            return;
        }
        self.bytes_left -= message.len() as u64 + LINE_BYTES;
        let struck;
        let message = match self.secrets.is_empty() {
            true => message,
            false => {
                struck = strike(&self.secrets, message.to_owned());
                &struck
            }
        };
        let plugin = &*self.plugin;
        let text = || cut(message.to_owned(), usize::MAX);
        match level {
            WireLevel::Trace => tracing::trace!(plugin, "{}", text()),
            WireLevel::Debug => tracing::debug!(plugin, "{}", text()),
            WireLevel::Info => tracing::info!(plugin, "{}", text()),
            WireLevel::Warn => tracing::warn!(plugin, "{}", text()),
            WireLevel::Error => tracing::error!(plugin, "{}", text()),
        }
        if self.last.len() == LAST_MESSAGES {
            self.last.pop_front();
        }
        let start = message.floor_char_boundary(LAST_BYTES);
        self.last.push_back(message[..start].to_owned());
    }

    /// The latest messages of the call, for an error.
    pub(crate) fn last_words(&self) -> Option<String> {
        let last = self.last.back()?;
        Some(cut(last.replace('\n', " "), LAST_BYTES))
    }
}

/// Counts host calls.
pub(crate) struct Meter {
    per_second_max: u64,
    since: Instant,
    calls: u64,
}

impl Meter {
    fn new(per_second_max: u64) -> Self {
        Self { per_second_max, since: Instant::now(), calls: 0 }
    }

    /// One host call more.
    pub(crate) fn count(&mut self) -> Result<()> {
        self.calls += 1;
        if self.calls <= self.per_second_max {
            return Ok(());
        }
        // Only who comes this far pays for a look at the clock.
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.calls = 1;
            return Ok(());
        }
        Err(Error::from(OverLimit {
            what: format!("{} host calls in one second", self.calls),
            max: self.per_second_max,
            limit: "host-calls-per-second-max",
            code: codes::LIMIT_EXCEEDED,
        }))
    }
}

/// Counts the objects and tables that a guest holds open.
pub(crate) struct Readers {
    open: u32,
    max: u32,
}

impl Readers {
    /// Whether one more may be opened; asked before the host opens anything for it.
    pub(crate) fn room(&self) -> Result<()> {
        if self.open < self.max {
            return Ok(());
        }
        Err(Error::from(OverLimit {
            what: format!("{} open objects and tables", u64::from(self.open) + 1),
            max: u64::from(self.max),
            limit: "open-readers-max",
            code: codes::LIMIT_EXCEEDED,
        }))
    }

    /// One was opened.
    pub(crate) fn opened(&mut self) {
        self.open += 1;
    }

    /// The guest let go of one.
    pub(crate) fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_for_each_call_and_its_end_is_kept() {
        let mut log = LogBook::new("x".into(), 10 + 2 * LINE_BYTES, Arc::default());
        log.write(WireLevel::Debug, "12345");
        log.write(WireLevel::Debug, "123456");
        log.write(WireLevel::Debug, "67\x1b0");
        assert_eq!((log.dropped, log.last_words().as_deref()), (6 + LINE_BYTES, Some("67\u{fffd}0")));
        log.end();
        log.start();
        assert_eq!((log.dropped, log.last_words()), (0, None));
        log.write(WireLevel::Debug, "123456");
        assert_eq!(log.last_words().as_deref(), Some("123456"));
    }

    #[test]
    fn host_calls_past_the_rate_are_refused() {
        let mut meter = Meter::new(3);
        assert!((0..3).all(|_| meter.count().is_ok()));
        let text = meter.count().unwrap_err().to_string();
        assert_eq!(text, "4 host calls in one second, more than the limit of 3");
    }
}
