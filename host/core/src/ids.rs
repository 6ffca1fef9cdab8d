//! The one place where identifiers and times are made.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Microseconds since 1970-01-01T00:00:00Z, the one time unit of the catalog.
pub type Micros = i64;

/// Where times come from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Micros;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as Micros)
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that shows `now`.
    pub const fn at(now: Micros) -> Self {
        Self(AtomicI64::new(now))
    }

    /// Moves the clock by `micros`.
    pub fn advance(&self, micros: Micros) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Micros {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where identifiers come from.
pub trait IdGen: Send + Sync {
    /// A fresh identifier: 32 lowercase hexadecimal digits, the form MLflow uses for runs.
    fn next(&self) -> String;
}

/// UUID version 7 in hexadecimal, so that identifiers sort by the time they were made.
#[derive(Debug, Default, Clone, Copy)]
pub struct UuidIds;

impl IdGen for UuidIds {
    fn next(&self) -> String {
        uuid::Uuid::now_v7().simple().to_string()
    }
}
