//! Instances that helped with a large table and wait for the next one: a few of the whole process, the oldest of which goes
//! first, and all of them as soon as anybody lacks the memory or the place that they have.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::pool::Warm;

/// Which pool an instance is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolId(u64);

#[derive(Default)]
pub(crate) struct Spares {
    // An instance leads back to here: a pool takes its own along when it goes.
    list: Mutex<VecDeque<(PoolId, Warm)>>,
    pools: AtomicU64,
}

impl Spares {
    /// For a new pool.
    pub(crate) fn id(&self) -> PoolId {
        PoolId(self.pools.fetch_add(1, Ordering::Relaxed))
    }

    /// One of a pool's.
    pub(crate) fn take(&self, pool: PoolId) -> Option<Warm> {
        let mut list = self.lock();
        let place = list.iter().position(|(of, _)| *of == pool)?;
        list.remove(place).map(|(_, warm)| warm)
    }

    /// Keeps one, and no more than `max` in all.
    pub(crate) fn keep(&self, pool: PoolId, warm: Warm, max: usize) {
        let mut list = self.lock();
        list.push_back((pool, warm));
        let oldest = if list.len() > max { list.pop_front() } else { None };
        drop(list);
        drop(oldest);
    }

    /// Lets go of a pool's.
    pub(crate) fn forget(&self, pool: PoolId) {
        let (gone, kept) = std::mem::take(&mut *self.lock()).into_iter().partition(|(of, _)| *of == pool);
        let gone: VecDeque<_> = gone;
        self.lock().extend::<VecDeque<_>>(kept);
        drop(gone);
    }

    /// Lets go of all; whether there were any.
    pub(crate) fn forget_all(&self) -> bool {
        let all = std::mem::take(&mut *self.lock());
        !all.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(PoolId, Warm)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
