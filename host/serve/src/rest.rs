//! How work that nobody waits for keeps out of the way of work that somebody waits for.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::pool::Idleness;

/// Work after which a rest is due.
const WORK: Duration = Duration::from_micros(50);
/// The longest rest: the work may have been kept waiting itself, and has to be done in the end.
const REST_MAX: Duration = Duration::from_millis(1);
/// A rest is so many times as long as the work before it where somebody waits for its end, or a thread that scores has
/// nothing to do,
pub(crate) const SOON: u32 = 1;
/// where none has,
const WHILE_BUSY: u32 = 9;
/// where none has, but work begins to pile up: what waits takes memory,
const WHILE_FILLING: u32 = 5;
/// and where it has piled up, and what comes next may find no room.
const WHILE_CROWDED: u32 = 3;

/// How full a queue is of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pile {
    Low,
    /// An eighth.
    Rising,
    /// Half.
    High,
}

impl Pile {
    /// Of so much that waits where so much may.
    pub(crate) const fn of(waiting: u64, most: u64) -> Self {
        match waiting {
            _ if waiting > most / 2 => Self::High,
            _ if waiting > most / 8 => Self::Rising,
            _ => Self::Low,
        }
    }
}

/// Rests between short pieces of work. A thread that computes for milliseconds is left to it by the system's scheduler,
/// whatever its priority, and everybody who came meanwhile waits; one that sleeps every now and then is not in their way.
pub struct Rest<'a> {
    since: Instant,
    per_work: &'a dyn Fn() -> u32,
}

impl<'a> Rest<'a> {
    /// Work begins.
    pub(crate) fn new(per_work: &'a dyn Fn() -> u32) -> Self {
        Self { since: Instant::now(), per_work }
    }

    /// Between two pieces of work: sleeps if there was enough of it.
    pub fn take(&mut self) {
        let worked = self.since.elapsed();
        if worked >= WORK {
            thread::sleep((worked * (self.per_work)()).min(REST_MAX));
            self.since = Instant::now();
        }
    }
}

/// How many times as long as the work before it a rest is now. Work that piles up is done sooner, unless requests pile up as
/// well: those that wait for longer than `pressed_ms` come before what is kept of them.
pub(crate) fn per_work(idle: &Idleness, pile: Pile, pressed_ms: u64) -> u32 {
    match pile {
        _ if idle.is_some() => SOON,
        Pile::Low => WHILE_BUSY,
        _ if idle.wait_ms() >= pressed_ms => WHILE_BUSY,
        Pile::Rising => WHILE_FILLING,
        Pile::High => WHILE_CROWDED,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::pool::Pool;

    #[test]
    fn what_piles_up_is_done_sooner_unless_requests_pile_up_as_well() {
        let pool = Pool::new(1).unwrap();
        let idle = pool.idleness();
        while !idle.is_some() {
            thread::yield_now();
        }
        let piles = [(16, 128), (17, 128), (65, 128)].map(|(waiting, most)| Pile::of(waiting, most));
        assert_eq!(piles, [Pile::Low, Pile::Rising, Pile::High]);
        assert_eq!(piles.map(|pile| per_work(&idle, pile, 250)), [SOON; 3]);
        let (begin, begun) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let busy = pool.run(move || {
                begin.send(()).unwrap();
                gone.recv().unwrap();
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            scope.spawn(move || runtime.block_on(busy).unwrap());
            begun.recv().unwrap();
            assert_eq!(piles.map(|pile| per_work(&idle, pile, 250)), [WHILE_BUSY, WHILE_FILLING, WHILE_CROWDED]);
            assert_eq!(per_work(&idle, Pile::High, 0), WHILE_BUSY, "nobody waits for less than nothing");
            go.send(()).unwrap();
        });
    }

    #[test]
    fn work_has_a_rest_and_none_has_not() {
        let asked = std::cell::Cell::new(0);
        let per_work = || {
            asked.set(asked.get() + 1);
            1
        };
        let mut rest = Rest { since: Instant::now() + Duration::from_secs(60), per_work: &per_work };
        rest.take();
        assert_eq!(asked.get(), 0);
        rest.since = Instant::now().checked_sub(WORK).unwrap();
        rest.take();
        assert_eq!(asked.get(), 1);
    }
}
