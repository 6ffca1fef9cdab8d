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
/// and where none has, but the work piles up.
const WHILE_CROWDED: u32 = 3;

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
pub(crate) fn per_work(idle: &Idleness, piles_up: bool, pressed_ms: u64) -> u32 {
    if idle.is_some() {
        SOON
    } else if piles_up && idle.wait_ms() < pressed_ms {
        WHILE_CROWDED
    } else {
        WHILE_BUSY
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
        assert_eq!([false, true].map(|piles_up| per_work(&idle, piles_up, 250)), [SOON; 2]);
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
            assert_eq!([false, true].map(|piles_up| per_work(&idle, piles_up, 250)), [WHILE_BUSY, WHILE_CROWDED]);
            assert_eq!(per_work(&idle, true, 0), WHILE_BUSY, "nobody waits for less than nothing");
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
