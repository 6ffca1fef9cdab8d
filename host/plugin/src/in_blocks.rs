//! Rows that are too many for one block: on several instances at once, as far as others can do without them.
//!
//! Whoever calls has an instance; those beside it help. What a helper could not do the caller's instance does again, unless
//! its rows had come back already, and says what is wrong. So a table has the error that it has on one thread, whoever was
//! faster, counts as one call that failed or did not, and does not fail because there was no memory or no place for a
//! helper.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use plinth_core::{Coded, PluginLimits, codes};
use plinth_ext::{Batch, ExtError};

use crate::{
    fault,
    gathering::{Gathering, Slot},
    instance::Prepared,
    landing::Landing,
    limiter::Totals,
    pool::{Lease, Pool},
};

/// A block that an instance did not do.
struct Failed {
    start: usize,
    /// Where its rows are to go, unless they went there before it failed.
    slot: Option<Slot>,
    error: ExtError,
    /// How long it took to fail.
    took: Duration,
    /// Whether it failed for want of memory that others had.
    lacked_memory: bool,
}

impl Pool {
    /// Rows in blocks of `step`, a multiple of 64.
    pub(crate) fn in_blocks(&self, lease: Lease<'_>, rows: &Batch, step: usize) -> Result<Batch, ExtError> {
        let call = self.named();
        self.prepared.is_awake(call)?;
        let outcome = self.gathered(lease, rows, step);
        let fault = outcome.as_ref().err().filter(|failed| {
            // Who says no is sound, and who found no place did nothing.
            !matches!(failed.error, ExtError::Problem { .. }) && failed.error.code() != codes::PLUGIN_UNAVAILABLE
        });
        self.prepared.settle(call, fault.map(|failed| failed.took));
        outcome.map_err(|failed| failed.error)
    }

    fn gathered<'a>(&'a self, mut lease: Lease<'a>, rows: &Batch, step: usize) -> Result<Batch, Failed> {
        let (total, max) = (rows.num_rows(), self.prepared.limits.output_bytes_max);
        if self.output.bytes_min(total) > max {
            return Err(fault::too_many_bytes(self.named(), max, "output-bytes-max").into());
        }
        lease.uncounted();
        let table = Gathering::new(self.output.clone(), total, step, max);
        let helpers = Helper::of(self, total.div_ceil(step));
        let left = Mutex::new(Vec::new());
        let span = tracing::Span::current();
        let own = std::thread::scope(|scope| {
            for helper in helpers {
                let (table, left, span) = (&table, &left, &span);
                let help = move || {
                    let (_helper, _entered) = (helper, span.enter());
                    // Made only where there is something left to do: the caller waits until this ends.
                    let lease = table.has_slots().then(|| self.checkout_to_help()).flatten();
                    let Some(mut lease) = lease else { return };
                    if let Err(failed) = self.work(&mut lease, rows, table, || !self.is_waited_for()) {
                        left.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
                    }
                };
                // A thread that the system does not give is not missed.
                let _ = std::thread::Builder::new().name("plinth-table".into()).spawn_scoped(scope, help);
            }
            let own = self.work(&mut lease, rows, &table, || true);
            if own.as_ref().is_err_and(|failed| !failed.lacked_memory) {
                table.stop();
            }
            own
        });
        let mut left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        let own = match own {
            // Those that helped may have had it; they are gone.
            Err(failed) if failed.lacked_memory && failed.slot.is_some() => {
                self.forget_idle();
                left.push(failed);
                Ok(())
            }
            own => own,
        };
        left.sort_by_key(|failed| failed.start);
        let first = own.as_ref().err().map_or(usize::MAX, |failed| failed.start);
        for mut again in left.into_iter().take_while(|failed| failed.start < first) {
            let Some(slot) = again.slot.take() else { return Err(again) };
            if lease.is_broken() {
                drop(lease);
                lease = match self.checkout() {
                    Ok(lease) => lease,
                    Err(error) => return Err(own.err().unwrap_or_else(|| error.into())),
                };
                lease.uncounted();
            }
            self.part(&mut lease, rows, slot)?;
        }
        own?;
        // What is left where the caller's instance had to give up for a while.
        self.work(&mut lease, rows, &table, || true)?;
        table.finish().map_err(|text| lease.output_fault(&text).into())
    }

    /// Parts of a table, until there are none left, or one fails, or somebody has to be let go first.
    fn work(
        &self,
        lease: &mut Lease<'_>,
        rows: &Batch,
        table: &Arc<Gathering>,
        go_on: impl Fn() -> bool,
    ) -> Result<(), Failed> {
        while go_on()
            && let Some(slot) = table.slot()
        {
            self.part(lease, rows, slot)?;
        }
        Ok(())
    }

    fn part(&self, lease: &mut Lease<'_>, rows: &Batch, slot: Slot) -> Result<(), Failed> {
        let (start, began) = (slot.start(), Instant::now());
        let (landing, called) = self.block(lease, rows, start, Landing::part(slot));
        called.map_err(|error| Failed {
            start,
            slot: landing.into_slot(),
            error,
            took: began.elapsed(),
            lacked_memory: lease.lacked_memory_of_others(),
        })
    }
}

impl From<ExtError> for Failed {
    fn from(error: ExtError) -> Self {
        Self { start: 0, slot: None, error, took: Duration::ZERO, lacked_memory: false }
    }
}

/// Threads that may compute one table.
pub(crate) fn table_threads(limits: &PluginLimits) -> u32 {
    static PROCESSORS: LazyLock<u32> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, |count| count.get() as u32));
    match limits.table_threads_max {
        0 => *PROCESSORS,
        max => max,
    }
}

/// A thread that one call may have beside its own. Another call may have it when this is dropped.
struct Helper<'a>(&'a Totals);

impl<'a> Helper<'a> {
    /// For a table of so many blocks, of which each thread is to have two or more.
    fn of(pool: &'a Pool, blocks: usize) -> Vec<Self> {
        let Prepared { limits, totals, deterministic, .. } = &*pool.prepared;
        // Which instance has which block depends on who is faster, and an instance may remember blocks before.
        let spare = if *deterministic { 0 } else { table_threads(limits) - 1 };
        let wanted = (blocks / 2).min(pool.max()).saturating_sub(1) as u32;
        let mut count = 0;
        let _ = totals.helping.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |helping| {
            count = wanted.min(spare.saturating_sub(helping));
            Some(helping + count)
        });
        (0..count).map(|_| Self(totals)).collect()
    }
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        self.0.helping.fetch_sub(1, Ordering::Relaxed);
    }
}
