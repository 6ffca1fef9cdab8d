//! What a deployment did, counted where it happens: atomics only, read whenever somebody asks.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Latency buckets: four to each doubling, from one microsecond to over an hour.
pub(crate) const BUCKETS: usize = 4 * 32;

/// Counters of one deployment.
#[derive(Debug)]
pub struct Stats {
    answered: AtomicU64,
    failed: AtomicU64,
    rows: AtomicU64,
    batches: AtomicU64,
    batch_rows: AtomicU64,
    queue_ns: AtomicU64,
    decode_ns: AtomicU64,
    transform_ns: AtomicU64,
    model_ns: AtomicU64,
    encode_ns: AtomicU64,
    total_ns: AtomicU64,
    failed_ns: AtomicU64,
    last_us: AtomicU64,
    /// Batches by their size: index n counts those of 2^(n-1) < rows <= 2^n.
    sizes: [AtomicU64; 24],
    latency: [AtomicU64; BUCKETS],
}

impl Default for Stats {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            answered: zero(),
            failed: zero(),
            rows: zero(),
            batches: zero(),
            batch_rows: zero(),
            queue_ns: zero(),
            decode_ns: zero(),
            transform_ns: zero(),
            model_ns: zero(),
            encode_ns: zero(),
            total_ns: zero(),
            failed_ns: zero(),
            last_us: zero(),
            sizes: std::array::from_fn(|_| zero()),
            latency: std::array::from_fn(|_| zero()),
        }
    }
}

/// How long the parts of one answered request took. Those of the model are its batch's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Waiting for a thread.
    pub queue: Duration,
    /// Reading the body into columns.
    pub decode: Duration,
    /// The transforms.
    pub transform: Duration,
    /// The model.
    pub model: Duration,
    /// Writing the answer.
    pub encode: Duration,
    /// Rows of the request.
    pub rows: u64,
    /// Rows that were scored together with them.
    pub batch_rows: u64,
}

/// The counters at one moment. Times are nanoseconds, added up over all requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were refused or failed.
    pub failed: u64,
    /// Rows of the requests that were answered.
    pub rows: u64,
    /// Times the model was run.
    pub batches: u64,
    /// Rows that it was run on: also those of a shadow, whose answers nobody gets.
    pub batch_rows: u64,
    /// Waiting for a thread.
    pub queue_ns: u64,
    /// Reading bodies.
    pub decode_ns: u64,
    /// In transforms.
    pub transform_ns: u64,
    /// In the model.
    pub model_ns: u64,
    /// Writing answers.
    pub encode_ns: u64,
    /// From head to answer, of those answered.
    pub total_ns: u64,
    /// The same of those that failed.
    pub failed_ns: u64,
    /// When the last request was answered, in microseconds since 1970; 0 if none was.
    pub last_us: u64,
    /// Batches by size: the largest number of rows, and how many batches had at most that and more than the one before.
    pub sizes: Vec<(u64, u64)>,
    latency: Vec<u64>,
}

impl Stats {
    /// Counts a request that was answered.
    pub fn answered(&self, stages: &Stages, total: Duration, now_us: i64) {
        self.answered.fetch_add(1, Relaxed);
        self.rows.fetch_add(stages.rows, Relaxed);
        for (sum, time) in [
            (&self.queue_ns, stages.queue),
            (&self.decode_ns, stages.decode),
            (&self.transform_ns, stages.transform),
            (&self.model_ns, stages.model),
            (&self.encode_ns, stages.encode),
            (&self.total_ns, total),
        ] {
            sum.fetch_add(nanoseconds(time), Relaxed);
        }
        self.last_us.store(now_us.unsigned_abs(), Relaxed);
        self.latency[bucket(total)].fetch_add(1, Relaxed);
    }

    /// Counts a request that was not.
    pub fn failed(&self, total: Duration) {
        self.failed.fetch_add(1, Relaxed);
        self.failed_ns.fetch_add(nanoseconds(total), Relaxed);
    }

    /// Counts a run of the model.
    pub(crate) fn ran(&self, rows: usize) {
        self.batches.fetch_add(1, Relaxed);
        self.batch_rows.fetch_add(rows as u64, Relaxed);
        let index = (rows.max(1) - 1).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.sizes[index.min(self.sizes.len() - 1)].fetch_add(1, Relaxed);
    }

    /// Everything now.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let sizes = self.sizes.iter().enumerate().map(|(n, count)| (1 << n, get(count)));
        Snapshot {
            answered: get(&self.answered),
            failed: get(&self.failed),
            rows: get(&self.rows),
            batches: get(&self.batches),
            batch_rows: get(&self.batch_rows),
            queue_ns: get(&self.queue_ns),
            decode_ns: get(&self.decode_ns),
            transform_ns: get(&self.transform_ns),
            model_ns: get(&self.model_ns),
            encode_ns: get(&self.encode_ns),
            total_ns: get(&self.total_ns),
            failed_ns: get(&self.failed_ns),
            last_us: get(&self.last_us),
            sizes: sizes.filter(|(_, count)| *count > 0).collect(),
            latency: self.latency.iter().map(get).collect(),
        }
    }
}

impl Snapshot {
    /// What happened since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let sizes = self.sizes.iter().map(|&(size, count)| {
            let was = before.sizes.iter().find(|(s, _)| *s == size).map_or(0, |(_, count)| *count);
            (size, count.saturating_sub(was))
        });
        let latency = self.latency.iter().enumerate();
        Self {
            answered: self.answered.saturating_sub(before.answered),
            failed: self.failed.saturating_sub(before.failed),
            rows: self.rows.saturating_sub(before.rows),
            batches: self.batches.saturating_sub(before.batches),
            batch_rows: self.batch_rows.saturating_sub(before.batch_rows),
            queue_ns: self.queue_ns.saturating_sub(before.queue_ns),
            decode_ns: self.decode_ns.saturating_sub(before.decode_ns),
            transform_ns: self.transform_ns.saturating_sub(before.transform_ns),
            model_ns: self.model_ns.saturating_sub(before.model_ns),
            encode_ns: self.encode_ns.saturating_sub(before.encode_ns),
            total_ns: self.total_ns.saturating_sub(before.total_ns),
            failed_ns: self.failed_ns.saturating_sub(before.failed_ns),
            last_us: self.last_us,
            sizes: sizes.filter(|(_, count)| *count > 0).collect(),
            latency: latency
                .map(|(index, count)| count.saturating_sub(before.latency.get(index).copied().unwrap_or_default()))
                .collect(),
        }
    }

    /// The time within which a part `q` of the answered requests was answered, to a fifth; none if none was.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        quantile(&self.latency, q)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The end of the bucket up to which a part `q` of what was counted lies; none if nothing was.
pub(crate) fn quantile(latency: &[u64], q: f64) -> Option<Duration> {
    let all: u64 = latency.iter().sum();
    let wanted = (q.clamp(0.0, 1.0) * all as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    let index = latency.iter().position(|count| {
        seen += count;
        seen >= wanted
    })?;
    Some(edge(index + 1))
}

/// Where a latency bucket begins.
pub(crate) fn edge(index: usize) -> Duration {
    Duration::from_secs_f64(1e-6 * 2_f64.powf(index as f64 / 4.0))
}

pub(crate) fn bucket(time: Duration) -> usize {
    let microseconds = time.as_secs_f64() * 1e6;
    let index = (microseconds.max(1.0).log2() * 4.0).floor();
    (index as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_fifth_and_differences_are_of_the_time_between() {
        let stats = Stats::default();
        for ms in 1..=100 {
            stats.answered(&Stages { rows: 2, ..Stages::default() }, Duration::from_millis(ms), 5);
        }
        let first = stats.snapshot();
        assert_eq!((first.answered, first.rows, first.failed), (100, 200, 0));
        for (q, exact) in [(0.5, 0.050), (0.99, 0.099), (1.0, 0.1), (0.0, 0.001)] {
            let found = first.quantile(q).unwrap().as_secs_f64();
            assert!(found >= exact && found < exact * 1.2, "{q}: {found}");
        }
        stats.answered(&Stages::default(), Duration::from_secs(1), 6);
        stats.failed(Duration::from_secs(1));
        let then = stats.snapshot().since(&first);
        assert_eq!((then.answered, then.failed), (1, 1));
        assert!(then.quantile(0.5).unwrap() >= Duration::from_secs(1));
        assert_eq!(Stats::default().snapshot().quantile(0.5), None);
    }

    #[test]
    fn batches_are_counted_by_size() {
        let stats = Stats::default();
        [1, 1, 2, 3, 4, 5, 1_000_000_000].into_iter().for_each(|rows| stats.ran(rows));
        let Snapshot { sizes, batches, batch_rows, .. } = stats.snapshot();
        assert_eq!(sizes[..4], [(1, 2), (2, 1), (4, 2), (8, 1)]);
        assert_eq!((batches, batch_rows), (7, 1_000_000_016));
    }
}
