//! What one deployment did for one endpoint: counted where it happens, kept while the endpoint's routing changes.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    ShadowSnapshot,
    scores::Scores,
    shadow::Lane,
    stats::{BUCKETS, bucket, edge, quantile},
};

/// Counters of a deployment for an endpoint.
#[derive(Debug)]
pub struct Traffic {
    latency: [AtomicU64; BUCKETS],
    refused: AtomicU64,
    faults: AtomicU64,
    /// Rows that were answered and looked up: with an entity that is known, and with one that is not.
    looked_up: [AtomicU64; 2],
    pub(crate) scores: Scores,
    /// Its queue as a shadow, once it has been one.
    pub(crate) lane: OnceLock<Lane>,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was not, for a reason that lies in what was asked.
    Refused,
    /// It was not, for any other reason.
    Fault,
}

/// What a deployment did for an endpoint in a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were refused for what they asked.
    pub refused: u64,
    /// Requests that failed.
    pub faults: u64,
    latency: Vec<u64>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            latency: [const { AtomicU64::new(0) }; BUCKETS],
            refused: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            looked_up: [const { AtomicU64::new(0) }; 2],
            scores: Scores::default(),
            lane: OnceLock::new(),
        }
    }
}

impl Traffic {
    /// Counts a request.
    pub fn count(&self, outcome: Outcome, total: Duration) {
        match outcome {
            Outcome::Answered => &self.latency[bucket(total)],
            Outcome::Refused => &self.refused,
            Outcome::Fault => &self.faults,
        }
        .fetch_add(1, Relaxed);
    }

    /// Counts rows that were answered and looked up: with an entity that is known, and with one that is not.
    pub fn count_looked_up(&self, rows: [u64; 2]) {
        for (count, rows) in self.looked_up.iter().zip(rows) {
            count.fetch_add(rows, Relaxed);
        }
    }

    /// Those so far.
    pub fn looked_up(&self) -> [u64; 2] {
        self.looked_up.each_ref().map(|count| count.load(Relaxed))
    }

    /// Requests so far, whatever came of them.
    pub(crate) fn requests(&self) -> u64 {
        let answered = self.latency.iter().map(|count| count.load(Relaxed));
        answered.chain([&self.refused, &self.faults].map(|count| count.load(Relaxed))).sum()
    }

    /// Everything since it began.
    pub fn seen(&self) -> Seen {
        let latency: Vec<u64> = self.latency.iter().map(|count| count.load(Relaxed)).collect();
        Seen {
            answered: latency.iter().sum(),
            refused: self.refused.load(Relaxed),
            faults: self.faults.load(Relaxed),
            latency,
        }
    }

    /// What it did as a shadow; none if it never was one.
    pub fn shadow(&self) -> Option<ShadowSnapshot> {
        self.lane.get().map(Lane::snapshot)
    }
}

impl Seen {
    /// What happened since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let was = |index: usize| before.latency.get(index).copied().unwrap_or_default();
        Self {
            answered: self.answered.saturating_sub(before.answered),
            refused: self.refused.saturating_sub(before.refused),
            faults: self.faults.saturating_sub(before.faults),
            latency: self.latency.iter().enumerate().map(|(i, count)| count.saturating_sub(was(i))).collect(),
        }
    }

    /// Requests, whatever came of them.
    pub const fn requests(&self) -> u64 {
        self.answered + self.refused + self.faults
    }

    /// The time within which a part `q` of the answered requests was answered, to a fifth; none if none was.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        quantile(&self.latency, q)
    }

    /// Answers that surely took longer than `limit`.
    pub fn slower_than(&self, limit: Duration) -> u64 {
        let slow = self.latency.iter().enumerate().filter(|(index, _)| edge(*index) >= limit);
        slow.map(|(_, count)| count).sum()
    }

    /// As if these requests had come, for tests of what is decided by them.
    #[must_use]
    pub fn with(mut self, outcome: Outcome, each: Duration, requests: u64) -> Self {
        match outcome {
            Outcome::Refused => self.refused += requests,
            Outcome::Fault => self.faults += requests,
            Outcome::Answered => {
                self.answered += requests;
                self.latency.resize(BUCKETS, 0);
                self.latency[bucket(each)] += requests;
            }
        }
        self
    }
}
