//! WASI with nothing behind it: no files, no network, no environment, no arguments. What a guest prints is kept, up to
//! a limit, for the report of a fault.
//!
//! In the deterministic profile, and wherever `clock` or `random` was not granted, the wall clock stands still, the monotonic clock advances by one step a look, and
//! random numbers follow from a fixed seed.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use wasmtime::{StoreContextMut, component::Linker};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult, pipe::MemoryOutputPipe},
};

use crate::state::State;

/// Offers WASI 0.2 to a component.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // A guest that sleeps within the host would sleep past its deadline, which is looked at only in guest code. No
    // plugin has anything to wait for, so every sleep is over at once.
    linker.allow_shadowing(true);
    let mut clock = linker.instance(CLOCK)?;
    for name in ["subscribe-duration", "subscribe-instant"] {
        clock.func_wrap(name, |mut store: StoreContextMut<'_, State>, (_ns,): (u64,)| {
            let state = store.data_mut();
            state.meter.count()?;
            let over = state.resources.push(Over)?;
            Ok((wasmtime_wasi::p2::subscribe(&mut state.resources, over)?,))
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// The clock's interface, in the version that the library links.
const CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";

/// A wait that is over.
struct Over;

#[async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

/// A closed context and what is printed in it. A clock or randomness that is not real is the deterministic profile's.
pub(crate) fn context(real_clock: bool, real_random: bool) -> (Box<WasiCtx>, Captured) {
    let captured = Captured::default();
    let mut builder = WasiCtx::builder();
    builder
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .stdout(captured.clone())
        .stderr(captured.clone());
    if !real_clock {
        builder.wall_clock(StillClock).monotonic_clock(StepClock::default());
    }
    if !real_random {
        builder.secure_random(seeded(1)).insecure_random(seeded(2)).insecure_random_seed(0);
    }
    (Box::new(builder.build()), captured)
}

/// Seconds since 1970 that the deterministic wall clock shows: 2024-01-01.
pub(crate) const STILL_SECONDS: u64 = 1_704_067_200;
/// Nanoseconds by which the deterministic monotonic clock advances at each look. It starts above zero because Go's
/// runtime takes a zero for a broken clock.
pub(crate) const STEP_NS: u64 = 1_000;

struct StillClock;

impl HostWallClock for StillClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn now(&self) -> Duration {
        Duration::from_secs(STILL_SECONDS)
    }
}

#[derive(Default)]
struct StepClock(AtomicU64);

impl HostMonotonicClock for StepClock {
    fn resolution(&self) -> u64 {
        STEP_NS
    }
    fn now(&self) -> u64 {
        1_000_000_000 + self.0.fetch_add(STEP_NS, Ordering::Relaxed)
    }
}

/// Bytes that look random and are always the same.
fn seeded(seed: u64) -> Deterministic {
    let mut bytes = vec![0; 4096];
    deterministic_bytes(seed).fill(&mut bytes);
    Deterministic::new(bytes)
}

/// The bytes that follow from a number.
pub(crate) fn deterministic_bytes(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new_derive_key("plinth plugin random numbers").update(&seed.to_le_bytes()).finalize_xof()
}

/// The end of what a guest printed.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<VecDeque<u8>>>);

/// Bytes that are kept.
const KEPT_BYTES: usize = 4_096;

impl Captured {
    fn put(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&bytes[bytes.len().saturating_sub(KEPT_BYTES)..]);
        let excess = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..excess);
    }

    /// What was printed last, and forgets it.
    pub(crate) fn take(&self) -> String {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&Vec::from(kept)).trim().to_owned()
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this one, and it is not linked.
        Box::new(MemoryOutputPipe::new(0))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(KEPT_BYTES)
    }
}

#[async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_is_printed_is_kept() {
        let captured = Captured::default();
        captured.put(&[b'x'; 3 * KEPT_BYTES]);
        captured.put(b"the end\n");
        let text = captured.take();
        assert!(text.ends_with("xthe end") && text.len() < KEPT_BYTES + 1, "{}", text.len());
        assert_eq!(captured.take(), "");
    }

    #[test]
    fn seeded_bytes_repeat() {
        use wasmtime_wasi::Rng;
        let draw = |seed| {
            let mut rng = seeded(seed);
            (0..4).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
