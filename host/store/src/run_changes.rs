//! Which commits of this process changed which runs, so that whoever keeps values of runs in memory can follow.
//!
//! The catalog itself counts the commits that changed runs, whichever process made them. A commit is noted here before
//! it can be seen: whoever sees a count finds what led to it, or finds that another process had a part in it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Runs that are remembered in all; what was before is not known any more.
const RUNS_MAX: usize = 1 << 16;

/// Runs that a transaction changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    rids: Vec<i64>,
    all: bool,
}

impl Changed {
    pub(crate) fn run(&mut self, rid: i64) {
        self.rids.push(rid);
    }

    pub(crate) fn all(&mut self) {
        self.all = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rids.is_empty() && !self.all
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.rids.extend(other.rids);
        self.all |= other.all;
    }

    /// Whether it says of a run that it has changed.
    #[cfg(debug_assertions)]
    pub(crate) fn tells_of(&self, rid: i64) -> bool {
        self.all || self.rids.contains(&rid)
    }
}

/// The last commits of this process that changed runs.
#[derive(Debug, Default)]
pub(crate) struct RunChanges(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    /// The count that each led to, ascending; no runs stands for all of them.
    commits: VecDeque<(i64, Option<Box<[i64]>>)>,
    runs: usize,
}

impl RunChanges {
    /// Notes a commit that is about to be made.
    pub(crate) fn add(&self, version: i64, mut changed: Changed) {
        changed.rids.sort_unstable();
        changed.rids.dedup();
        let rids = (!changed.all && changed.rids.len() < RUNS_MAX).then(|| changed.rids.into_boxed_slice());
        let mut log = self.held();
        log.runs += weight(rids.as_deref());
        log.commits.push_back((version, rids));
        while log.runs > RUNS_MAX {
            let Some((_, rids)) = log.commits.pop_front() else { break };
            log.runs -= weight(rids.as_deref());
        }
    }

    /// Forgets the last commit, which failed.
    pub(crate) fn retract(&self, version: i64) {
        let mut log = self.held();
        if log.commits.back().is_some_and(|(last, _)| *last == version)
            && let Some((_, rids)) = log.commits.pop_back()
        {
            log.runs -= weight(rids.as_deref());
        }
    }

    /// The runs that were changed since the count was `from`, until it was `to`; nothing if that is not known.
    pub(crate) fn between(&self, from: i64, to: i64) -> Option<Vec<i64>> {
        let log = self.held();
        let mut found = Vec::new();
        let mut wanted = from;
        let start = log.commits.partition_point(|(version, _)| *version <= from);
        for (version, rids) in log.commits.range(start..).take_while(|(version, _)| *version <= to) {
            wanted += 1;
            if *version != wanted {
                return None;
            }
            found.extend_from_slice(rids.as_deref()?);
        }
        if wanted != to {
            return None;
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    fn held(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A commit itself counts, too: those of few runs are not to pile up.
fn weight(rids: Option<&[i64]>) -> usize {
    1 + rids.map_or(0, <[i64]>::len)
}

/// Sees every row of runs that is written, in builds with assertions: a writer that does not tell of a run is found out
/// by whatever test comes by it.
#[cfg(debug_assertions)]
pub(crate) mod witness {
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex, PoisonError},
    };

    use rusqlite::{Connection, functions::FunctionFlags};

    use super::Changed;

    #[derive(Debug, Clone, Default)]
    pub(crate) struct Witness(Arc<Mutex<BTreeSet<i64>>>);

    impl Witness {
        /// Watches what a connection writes.
        pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
            let witness = Self::default();
            let seen = Arc::clone(&witness.0);
            connection.create_scalar_function("run_written", 1, FunctionFlags::SQLITE_UTF8, move |context| {
                seen.lock().unwrap_or_else(PoisonError::into_inner).insert(context.get(0)?);
                Ok(0)
            })?;
            for table in ["runs", "params", "run_tags", "latest_metrics"] {
                for (event, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
                    connection.execute_batch(&format!(
                        "CREATE TEMP TRIGGER saw_{event}_on_{table} AFTER {event} ON main.{table}
                         BEGIN SELECT run_written({row}.rid); END"
                    ))?;
                }
            }
            Ok(witness)
        }

        pub(crate) fn forget(&self) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }

        /// Panics if a run was written that is not told of.
        pub(crate) fn compare(&self, told: &Changed) {
            let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let hidden = seen.iter().find(|rid| !told.tells_of(**rid));
            assert!(hidden.is_none(), "run {hidden:?} was written, but `Tx::run_changed` was not called for it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(rids: &[i64]) -> Changed {
        Changed { rids: rids.to_vec(), all: false }
    }

    #[test]
    fn what_is_not_known_whole_is_not_known() {
        let log = RunChanges::default();
        assert_eq!(log.between(0, 0), Some(vec![]));
        assert_eq!(log.between(0, 1), None);
        log.add(3, some(&[7, 5, 7]));
        log.add(4, some(&[5, 6]));
        assert_eq!(log.between(2, 4), Some(vec![5, 6, 7]));
        assert_eq!((log.between(3, 4), log.between(4, 4)), (Some(vec![5, 6]), Some(vec![])));
        // The second was somebody else's, and so is the fifth.
        assert_eq!((log.between(1, 4), log.between(2, 5)), (None, None));
        log.add(6, Changed { rids: vec![1], all: true });
        assert_eq!((log.between(4, 6), log.between(5, 6), log.between(6, 6)), (None, None, Some(vec![])));
        log.add(7, some(&[1]));
        log.retract(7);
        assert_eq!(log.between(6, 7), None);
        log.add(7, some(&[2]));
        assert_eq!(log.between(6, 7), Some(vec![2]));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let log = RunChanges::default();
        for version in 1..=RUNS_MAX as i64 {
            log.add(version, some(&[version]));
        }
        let last = RUNS_MAX as i64;
        assert_eq!(log.between(0, last), None);
        assert_eq!(log.between(last - 2, last), Some(vec![last - 1, last]));
        assert!(log.held().commits.len() <= RUNS_MAX / 2);
    }
}
