//! How work that nobody waits for keeps out of the way of work that somebody waits for.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Work after which a rest is due.
const WORK: Duration = Duration::from_micros(50);
/// A rest is so many times as long as the work before it, and never longer than this: the work may have been kept waiting
/// itself, and has to be done in the end.
const REST_PER_WORK: u32 = 3;
const REST_MAX: Duration = Duration::from_micros(500);

/// Rests between short pieces of work. A thread that computes for milliseconds is left to it by the system's scheduler, whatever its
/// priority, and everybody who came meanwhile waits; one that sleeps every now and then is not in their way.
#[derive(Debug)]
pub struct Rest {
    since: Instant,
}

impl Rest {
    /// Work begins.
    #[expect(clippy::new_without_default, reason = "it is a moment")]
    pub fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Between two pieces of work: sleeps if there was enough of it.
    pub fn take(&mut self) {
        let worked = self.since.elapsed();
        if worked >= WORK {
            thread::sleep((worked * REST_PER_WORK).min(REST_MAX));
            self.since = Instant::now();
        }
    }
}
