//! How fast jobs are done.

use std::time::Duration;

/// How long one job takes a thread, on the average of late; nothing is known at first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    each: Option<Duration>,
    /// How many bytes one has.
    bytes: usize,
}

impl Pace {
    /// A job among thousands may take a thousand times as long, an explanation for instance; that says little of those
    /// that wait. If all jobs have become so slow, the average is there after some twenty of them.
    const OUTLIER: u32 = 8;
    /// So many jobs are forgotten by half.
    const MEMORY: u32 = 16;
    /// Nothing takes less, whatever the clock says.
    const LEAST: Duration = Duration::from_micros(1);

    /// So many jobs took one thread so long.
    pub(crate) fn took(&mut self, time: Duration, jobs: usize) {
        let jobs = (jobs as u32).max(1);
        let each = (time / jobs).max(Self::LEAST);
        self.each = Some(self.each.map_or(each, |before| {
            let weight = jobs.min(Self::MEMORY / 2);
            (before * (Self::MEMORY - weight) + each.min(before * Self::OUTLIER) * weight) / Self::MEMORY
        }));
    }

    /// So many jobs, of those that took what was said last, had so many bytes.
    pub(crate) fn had(&mut self, bytes: usize, jobs: usize) {
        let (jobs, memory) = (jobs.max(1), Self::MEMORY as usize);
        let (each, weight) = (bytes / jobs, jobs.min(memory / 2));
        self.bytes = if self.bytes == 0 { each } else { (self.bytes * (memory - weight) + each * weight) / memory };
    }

    /// How many bytes the jobs have that are done in that time.
    pub(crate) fn bytes_in(self, time: Duration) -> usize {
        self.jobs_in(time).saturating_mul(self.bytes)
    }

    /// How long so many jobs take so many threads, as far as is known.
    pub(crate) fn of(self, jobs: usize, threads: usize) -> Duration {
        self.each.unwrap_or_default() * jobs as u32 / (threads as u32).max(1)
    }

    /// How many jobs are done in that time.
    pub(crate) fn jobs_in(self, time: Duration) -> usize {
        self.each.map_or(0, |each| (time.as_nanos() / each.as_nanos().max(1)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_an_average_that_one_outlier_does_not_spoil() {
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        assert_eq!((pace.of(1_000, 1), pace.jobs_in(ms(1))), (Duration::ZERO, 0));
        pace.took(ms(40), 20);
        assert_eq!((pace.of(100, 1), pace.of(100, 4), pace.jobs_in(ms(7))), (ms(200), ms(50), 3));
        // A hundred times as long, and is taken for eight times.
        pace.took(ms(200), 1);
        assert_eq!(pace.of(16, 1), ms(2 * 15 + 16));
        for _ in 0..20 {
            pace.took(ms(200), 1);
        }
        assert!(pace.of(1, 1) > ms(100), "{pace:?}");
        for _ in 0..20 {
            pace.took(ms(20), 20);
        }
        assert!(pace.of(1, 1) < ms(2), "{pace:?}");
        // Not even jobs that take no time keep it from learning.
        let mut pace = Pace::default();
        pace.took(Duration::ZERO, 1);
        for _ in 0..200 {
            pace.took(ms(10), 1);
        }
        assert!(pace.of(1, 1) > ms(9), "{pace:?}");
    }
}
