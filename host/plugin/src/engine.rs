//! The wasmtime engine and the clock that ends calls.
//!
//! There are two profiles, the ordinary one and the deterministic one, which pays for canonical NaNs. A process uses
//! one of them; it is made when the first component is compiled or loaded, since it reserves address space.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use plinth_core::PluginLimits;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::{code::Codes, fault::FRAMES};

/// The length of one tick of the epoch: how exact a deadline is.
pub(crate) const TICK: Duration = Duration::from_millis(5);
/// Ticks without a call after which the clock stops until the next call.
const IDLE_TICKS: u32 = 100;
/// How often compiled code is looked at: what was not used between two looks is given back.
const LOOK: Duration = Duration::from_secs(10);

/// Makes an engine.
///
/// # Errors
/// wasmtime's, where this machine cannot run it at all.
pub(crate) fn make(limits: &PluginLimits, deterministic: bool) -> wasmtime::Result<Engine> {
    match Engine::new(&config(limits, deterministic, true)) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            // A pool reserves much address space, which some containers and `ulimit -v` refuse.
            tracing::warn!(error = %format!("{error:#}"), "cannot reserve a pool of instances; each is allocated by itself");
            Engine::new(&config(limits, deterministic, false))
        }
    }
}

/// Makes an engine that only compiles. What it makes runs in those of [`make`]: where instances lie does not matter to
/// their code, and without a pool no address space is reserved.
///
/// # Errors
/// wasmtime's, where this machine cannot run it at all.
pub(crate) fn compiling(limits: &PluginLimits, deterministic: bool) -> wasmtime::Result<Engine> {
    Engine::new(&config(limits, deterministic, false))
}

fn config(limits: &PluginLimits, deterministic: bool, pool: bool) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .wasm_component_model(true)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(1 << 20)
        .async_stack_size(2 << 20)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(deterministic)
        // Traps and backtraces of guests do without; it would be registered with the system at each load of a component.
        .native_unwind_info(cfg!(windows))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES));
    if pool {
        let instances = limits.instances_max;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(instances)
            .total_core_instances(instances.saturating_mul(16).max(limits.core_instances_max))
            .total_memories(instances.saturating_mul(2).max(limits.memories_max))
            .total_tables(instances.saturating_mul(16).max(limits.tables_max))
            .total_stacks(instances)
            .max_core_instances_per_component(limits.core_instances_max)
            .max_memories_per_component(limits.memories_max)
            .max_tables_per_component(limits.tables_max)
            // One module may have what its component may.
            .max_memories_per_module(limits.memories_max)
            .max_tables_per_module(limits.tables_max)
            .table_elements(usize::try_from(limits.table_elements_max).unwrap_or(usize::MAX))
            .max_core_instance_size(usize::try_from(limits.instance_bytes_max).unwrap_or(usize::MAX))
            .max_component_instance_size(usize::try_from(limits.instance_bytes_max).unwrap_or(usize::MAX))
            .max_memory_size(usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX))
            // Where the kernel can tell which pages were written (Linux 6.7 on), only those are reset: a fresh instance costs
            // two thirds. Elsewhere the first part of memory is reset, whatever was written.
            .pagemap_scan(Enabled::Auto)
            .linear_memory_keep_resident(256 << 10)
            .table_keep_resident(64 << 10)
            .max_unused_warm_slots(64);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Moves an engine's epoch on while calls run. Its thread sleeps when there are none, and gives back the code of those
/// that are not called.
pub(crate) struct Clock {
    engine: Engine,
    codes: Arc<Codes>,
    shared: Arc<Shared>,
    thread: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Shared {
    /// Calls that began, ever.
    begun: AtomicU64,
    /// Calls that ended, ever.
    ended: AtomicU64,
    /// Ticks, ever.
    ticks: AtomicU64,
    /// Whether the thread sleeps until it is woken. True also before there is one.
    asleep: AtomicBool,
    stop: AtomicBool,
}

impl Clock {
    pub(crate) fn new(engine: Engine, codes: Arc<Codes>) -> Self {
        let shared = Shared { asleep: AtomicBool::new(true), ..Shared::default() };
        Self { engine, codes, shared: Arc::new(shared), thread: Mutex::new(None) }
    }

    /// A call begins. Costs one addition unless the clock has to be woken.
    pub(crate) fn start_call(&self) {
        // The order matters: a clock that falls asleep looks at the count once more after it said so.
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// A call ended.
    pub(crate) fn end_call(&self) {
        self.shared.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it has ticked: the time of a call under way, for who does not need to know it better. To ask the system
    /// costs as much as a fortieth of a short call.
    pub(crate) fn ticked(&self) -> u64 {
        self.shared.ticks.load(Ordering::Relaxed)
    }

    /// The time since it had ticked so often, a tick more or less.
    pub(crate) fn since(&self, ticked: u64) -> Duration {
        TICK.saturating_mul(u32::try_from(self.ticked().saturating_sub(ticked)).unwrap_or(u32::MAX))
    }

    /// Ticks that make up `ms`, and one more because the current one has begun.
    pub(crate) fn ticks(ms: u64) -> u64 {
        ms.div_ceil(TICK.as_millis() as u64) + 1
    }

    #[cold]
    fn wake(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.asleep.store(false, Ordering::SeqCst);
        if let Some(thread) = &*thread {
            thread.unpark();
            return;
        }
        let (engine, codes, shared) = (self.engine.clone(), self.codes.clone(), self.shared.clone());
        let spawned =
            std::thread::Builder::new().name("plugin-clock".into()).spawn(move || run(&engine, &codes, &shared));
        match spawned {
            Ok(handle) => *thread = Some(handle.thread().clone()),
            Err(error) => {
                // The next call tries again; this one has no deadline.
                self.shared.asleep.store(true, Ordering::SeqCst);
                tracing::error!(%error, "cannot start the clock of plugin calls");
            }
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }
}

fn run(engine: &Engine, codes: &Codes, shared: &Shared) {
    let mut seen = 0;
    let mut idle = 0;
    let mut looked = Instant::now();
    let mut look = || {
        if looked.elapsed() >= LOOK {
            codes.look();
            looked = Instant::now();
        }
    };
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::park_timeout(TICK);
        engine.increment_epoch();
        shared.ticks.fetch_add(1, Ordering::Relaxed);
        let begun = shared.begun.load(Ordering::SeqCst);
        look();
        idle = if begun == seen && begun == shared.ended.load(Ordering::SeqCst) { idle + 1 } else { 0 };
        seen = begun;
        if idle < IDLE_TICKS {
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        // A call that began before that was stored did not wake this thread: look once more.
        if shared.begun.load(Ordering::SeqCst) != seen {
            shared.asleep.store(false, Ordering::SeqCst);
        }
        while shared.asleep.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
            if codes.hold() {
                std::thread::park_timeout(LOOK);
                look();
            } else {
                std::thread::park();
            }
        }
        idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_sleeps_without_calls_and_wakes_with_one() {
        let engine = Engine::default();
        let clock = Clock::new(engine, Arc::default());
        let asleep = || clock.shared.asleep.load(Ordering::SeqCst);
        assert!(asleep(), "no thread before the first call");
        for _ in 0..2 {
            clock.start_call();
            assert!(!asleep());
            clock.end_call();
            while !asleep() {
                std::thread::yield_now();
            }
        }
    }
}
