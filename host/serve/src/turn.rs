//! When a thread of the async runtime wakes those that score.
//!
//! A thread that is woken takes the processor, if it has no other, from the one that woke it. If that happened at every
//! request, each would be scored by itself, between two changes of threads, while more requests lie read or ready to be read;
//! on a single processor that took twice the time of scoring them together. So the threads of the runtime read what is
//! there, and wake somebody when they have nothing more to do.

use std::{cell::RefCell, sync::Arc};

/// Who waits for work.
pub(crate) trait Sleepers {
    /// Wakes one of them.
    fn wake_one(&self);
}

/// After so many requests somebody is woken at once: a thread that is always busy must not keep them to itself.
const MOST: usize = 32;

/// What a thread has put into a queue without telling anybody.
#[derive(Default)]
struct Untold {
    /// Whether the thread tells it before it waits.
    tells: bool,
    sleepers: Option<Arc<dyn Sleepers>>,
    jobs: usize,
}

impl Untold {
    fn tell(&mut self) {
        self.jobs = 0;
        if let Some(sleepers) = self.sleepers.take() {
            sleepers.wake_one();
        }
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        self.tell();
    }
}

thread_local! {
    static UNTOLD: RefCell<Untold> = RefCell::default();
}

/// For a runtime's `on_thread_park`: wakes a thread that scores, if this thread has given it something to do. Without it
/// everything works, but every request wakes somebody. Not for a runtime whose tasks call `block_in_place`: the thread does not
/// come here then.
pub fn before_waiting() {
    // A thread that ends has told everything as the value was dropped.
    let _ = UNTOLD.try_with(|untold| {
        let mut untold = untold.borrow_mut();
        untold.tells = true;
        untold.tell();
    });
}

/// There is a job that `sleepers` do not know of: wakes one of them, now or before this thread waits.
pub(crate) fn wake(sleepers: &Arc<impl Sleepers + 'static>) {
    let told = UNTOLD.try_with(|untold| {
        let mut untold = untold.borrow_mut();
        if !untold.tells {
            return sleepers.wake_one();
        }
        let same = |known: &Arc<dyn Sleepers>| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(sleepers));
        if !untold.sleepers.as_ref().is_some_and(same) {
            untold.tell();
            untold.sleepers = Some(Arc::clone(sleepers) as _);
        }
        untold.jobs += 1;
        if untold.jobs >= MOST {
            untold.tell();
        }
    });
    if told.is_err() {
        sleepers.wake_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Sleepers for Calls {
        fn wake_one(&self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// How often `work` woke somebody by the time its thread had ended.
    fn calls(work: impl FnOnce(&Arc<Calls>) + Send) -> usize {
        let calls = Arc::new(Calls::default());
        // A scope alone does not wait for what a thread drops last.
        std::thread::scope(|scope| scope.spawn(|| work(&calls)).join().unwrap());
        calls.0.load(Relaxed)
    }

    #[test]
    fn a_thread_that_does_not_say_when_it_waits_wakes_somebody_each_time() {
        assert_eq!(calls(|calls| (0..3).for_each(|_| wake(calls))), 3);
    }

    #[test]
    fn one_that_does_wakes_somebody_once_and_not_for_nothing() {
        let some = |calls: &Arc<Calls>| {
            before_waiting();
            (0..3).for_each(|_| wake(calls));
            assert_eq!(calls.0.load(Relaxed), 0);
            before_waiting();
            assert_eq!(calls.0.load(Relaxed), 1);
            before_waiting();
        };
        assert_eq!(calls(some), 1);
    }

    #[test]
    fn nothing_stays_untold_where_there_is_much_or_the_thread_ends_or_has_something_for_others() {
        let many = |calls: &Arc<Calls>| {
            before_waiting();
            (0..2 * MOST).for_each(|_| wake(calls));
        };
        assert_eq!(calls(many), 2);
        let ends = |calls: &Arc<Calls>| {
            before_waiting();
            wake(calls);
        };
        assert_eq!(calls(ends), 1);
        let other = Arc::new(Calls::default());
        let turns = |calls: &Arc<Calls>| {
            before_waiting();
            wake(calls);
            wake(&other);
            assert_eq!((calls.0.load(Relaxed), other.0.load(Relaxed)), (1, 0));
        };
        assert_eq!((calls(turns), other.0.load(Relaxed)), (1, 1));
    }
}
