//! Memory: what one instance has, what all have together, and what was refused.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use plinth_core::{PluginLimits, codes};
use wasmtime::{Error, ResourceLimiter, Result};

use crate::{fault::OverLimit, spares::Spares};

/// What all instances of a host have together.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) memory: AtomicU64,
    /// The most that any one of them had.
    pub(crate) largest: AtomicU64,
    pub(crate) instances: AtomicU32,
    /// Threads that help with large tables.
    pub(crate) helping: AtomicU32,
    /// Instances that helped, until somebody else needs their memory or their place.
    pub(crate) spares: Spares,
}

/// The memory of one instance. Gives back to the total what it took when it is dropped.
pub(crate) struct Budget {
    used: u64,
    max: u64,
    totals: Arc<Totals>,
    total_max: u64,
    table_elements_max: u64,
    denied: Option<Denied>,
    counts: Counts,
}

/// How many of each an instance may have. The pool of instances holds components to it before; these are for machines
/// without one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) core_instances_max: u32,
    pub(crate) memories_max: u32,
    pub(crate) tables_max: u32,
}

/// A growth that was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denied {
    /// What the instance, or all of them, would have had.
    pub(crate) wanted: u64,
    pub(crate) max: u64,
    /// Whether it was the limit of all instances.
    pub(crate) total: bool,
}

impl Budget {
    pub(crate) fn new(limits: &PluginLimits, totals: Arc<Totals>) -> Self {
        Self {
            used: 0,
            max: limits.memory_bytes_max,
            totals,
            total_max: limits.memory_total_bytes_max,
            table_elements_max: limits.table_elements_max,
            denied: None,
            counts: Counts {
                core_instances_max: limits.core_instances_max,
                memories_max: limits.memories_max,
                tables_max: limits.tables_max,
            },
        }
    }

    /// Bytes of all memories of this instance.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// The growth that was refused, if any was.
    pub(crate) fn denied(&self) -> Option<Denied> {
        self.denied
    }

    fn refuse(&mut self, denied: Denied) -> Result<bool> {
        self.denied = Some(denied);
        // An error stops the guest at once; a mere "no" would make it abort with a text of its own.
        Err(Error::msg("memory limit"))
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let wanted = self.used + more;
        if wanted > self.max {
            return self.refuse(Denied { wanted, max: self.max, total: false });
        }
        let add = || {
            let all = self.totals.memory.fetch_add(more, Ordering::Relaxed) + more;
            if all <= self.total_max {
                return Ok(());
            }
            self.totals.memory.fetch_sub(more, Ordering::Relaxed);
            Err(all)
        };
        // With what those have that nobody uses, there may be enough.
        let added = add().or_else(|all| if self.totals.spares.forget_all() { add() } else { Err(all) });
        if let Err(all) = added {
            return self.refuse(Denied { wanted: all, max: self.total_max, total: true });
        }
        self.used = wanted;
        self.totals.largest.fetch_max(wanted, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        if desired as u64 > self.table_elements_max {
            return Err(Error::from(OverLimit {
                what: format!("a table of {desired} elements"),
                max: self.table_elements_max,
                limit: "table-elements-max",
                code: codes::LIMIT_EXCEEDED,
            }));
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.counts.core_instances_max as usize
    }

    fn memories(&self) -> usize {
        self.counts.memories_max as usize
    }

    fn tables(&self) -> usize {
        self.counts.tables_max as usize
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.totals.memory.fetch_sub(self.used, Ordering::Relaxed);
    }
}
