//! How much of a server one deployment may take.

use std::num::NonZeroU32;

/// How many requests are scored at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Most rows of a batch that several requests make up. A larger request is scored by itself.
    pub rows_max: u32,
    /// How long the first of a batch may wait for others, in microseconds, although a thread is free.
    pub wait_us: u32,
}

impl Default for Batching {
    fn default() -> Self {
        Self { rows_max: 256, wait_us: 0 }
    }
}

/// What a deployment may take of a server; by default, as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// How many requests are scored at once.
    pub batching: Batching,
    /// Batches that are scored at the same time. What comes then waits without keeping a thread from others.
    pub concurrency_max: Option<NonZeroU32>,
    /// Requests that wait to be scored; further ones are refused.
    pub waiting_max: Option<NonZeroU32>,
    /// Time from a request's head to its answer in milliseconds, where that is less than the server allows.
    pub request_ms_max: Option<NonZeroU32>,
}
