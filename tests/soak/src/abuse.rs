//! Threads that commit misdeeds at random, and count how each ended.

use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use plinth_core::Coded;
use serde_json::{Value, json};

use crate::{guests::Guests, seed::Random};

/// The guests and what they do.
pub(crate) struct Abuse {
    guests: Guests,
    /// How often each deed ended how.
    counts: Vec<Mutex<BTreeMap<String, u64>>>,
    calls: AtomicU64,
    work: Mutex<Work>,
    changed: Condvar,
}

/// Who may work, and who does.
#[derive(Default)]
struct Work {
    going: bool,
    over: bool,
    busy: usize,
}

impl Abuse {
    /// With guests that do nothing yet.
    pub(crate) fn new(guests: Guests) -> Self {
        let counts = guests.deeds.iter().map(|_| Mutex::default()).collect();
        Self { guests, counts, calls: AtomicU64::new(0), work: Mutex::default(), changed: Condvar::new() }
    }

    /// How many misdeeds there are.
    pub(crate) fn count(&self) -> usize {
        self.guests.deeds.len()
    }

    /// How many were committed so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Runs so many threads beside `body`, which says when they work; they end with it.
    pub(crate) fn run(&self, seed: u64, threads: u64, body: impl FnOnce() -> Result<()>) -> Result<()> {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || self.work_until_over(Random::new(seed, thread)));
            }
            let done = body();
            self.lock().over = true;
            self.changed.notify_all();
            done
        })
    }

    /// Lets the threads work.
    pub(crate) fn go(&self) {
        self.lock().going = true;
        self.changed.notify_all();
    }

    /// Lets each thread finish what it does, and waits until all have.
    pub(crate) fn pause(&self) {
        let mut work = self.lock();
        work.going = false;
        while work.busy > 0 {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Every misdeed, and how it ended how often.
    pub(crate) fn told(&self) -> Value {
        let told = self.guests.deeds.iter().zip(&self.counts).map(|(deed, counts)| {
            let ended = counts.lock().unwrap_or_else(PoisonError::into_inner);
            json!({
                "guest": self.guests.name(deed), "way": deed.way.name(), "at": deed.at, "item": deed.item,
                "must": deed.ends, "ended": *ended,
            })
        });
        Value::Array(told.collect())
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_until_over(&self, mut random: Random) {
        loop {
            let mut work = self.lock();
            while !work.going && !work.over {
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
            if work.over {
                return;
            }
            work.busy += 1;
            drop(work);
            let chosen = random.below(self.guests.deeds.len());
            let deed = &self.guests.deeds[chosen];
            let end = match self.guests.commit(deed, |_| {}) {
                Ok(_) => "ok".to_owned(),
                // An end that is not the known one is told in words.
                Err(error) => match error.code().to_string() {
                    code if deed.ends.contains(&code.as_str()) => code,
                    code => format!("{code}: {}", error.to_string().chars().take(200).collect::<String>()),
                },
            };
            *self.counts[chosen].lock().unwrap_or_else(PoisonError::into_inner).entry(end).or_default() += 1;
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.lock().busy -= 1;
            self.changed.notify_all();
        }
    }
}
