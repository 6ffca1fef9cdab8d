//! When a task of the async runtime wakes the threads that score, and when it does their work itself.
//!
//! A thread that is woken takes the processor, if it has no other, from the one that woke it. If that happened at every
//! request, each would be scored by itself, between two changes of threads, while more requests lie read or ready to be
//! read; on a single processor that took twice the time of scoring them together. So the first task that puts something into
//! the queue lets the others of its thread go first that have something to do, and then sees to all of them: what is known
//! to be done sooner than a thread would be awake it does on the spot, for anything else it wakes one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::AcqRel},
    },
};

/// After so many requests somebody is woken at once.
pub(crate) const MOST: usize = 32;

/// Threads that wait for work, and how many jobs nobody has told them of.
pub(crate) trait Sleepers: Send + Sync {
    /// Jobs that nobody was woken for.
    fn untold(&self) -> &AtomicUsize;
    /// Wakes one thread.
    fn wake_one(&self);
    /// Does on this thread what is soon done of what waits.
    fn do_here(&self) -> Here;
}

/// What came of doing it on the spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Here {
    /// Nobody has to be woken any more.
    Done,
    /// There is more, which is as soon done once the other tasks of this thread had their turn.
    Again,
    /// Somebody has to be woken.
    Not,
}

fn tell(sleepers: &dyn Sleepers) {
    if sleepers.untold().swap(0, AcqRel) > 0 {
        sleepers.wake_one();
    }
}

/// A job is in the queue. Whoever put it there goes on with [`Queued::told`]; to drop this wakes a thread at once.
#[must_use = "dropped at once it wakes a thread for each request"]
pub struct Queued(Option<Arc<dyn Sleepers>>);

impl Queued {
    /// Somebody sees to the job without being woken.
    pub(crate) const fn seen() -> Self {
        Self(None)
    }

    /// One more job for those that wait, of whom one is woken at once when there are `most` of them.
    pub(crate) fn one_more(sleepers: &Arc<impl Sleepers + 'static>, most: usize) -> Self {
        let before = sleepers.untold().fetch_add(1, AcqRel);
        if before + 1 >= most {
            tell(&**sleepers);
            return Self::seen();
        }
        // Who was first tells of the others.
        Self((before == 0).then(|| Arc::clone(sleepers) as _))
    }

    /// Lets the other tasks of this thread go first, once, and then does what they put into the queue, if that is soon
    /// done, or wakes a thread that scores, if that has to be. What is left is done by a task of its own, for which no caller
    /// waits.
    pub async fn told(mut self) {
        if self.0.is_none() {
            return;
        }
        tokio::task::yield_now().await;
        if self.leaves_some() {
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                while self.leaves_some() {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    /// Sees to what nobody was woken for; whether there is more to be done on the spot. While there is, a thread is woken when
    /// this is dropped.
    fn leaves_some(&mut self) -> bool {
        let Some(sleepers) = self.0.take().filter(|sleepers| sleepers.untold().swap(0, AcqRel) > 0) else {
            return false;
        };
        match sleepers.do_here() {
            Here::Done => false,
            Here::Not => {
                sleepers.wake_one();
                false
            }
            Here::Again => {
                sleepers.untold().fetch_add(1, AcqRel);
                self.0 = Some(sleepers);
                true
            }
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(sleepers) = self.0.take() {
            tell(&*sleepers);
        }
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queued").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize, AtomicUsize, AtomicUsize);

    impl Sleepers for Calls {
        fn untold(&self) -> &AtomicUsize {
            &self.0
        }
        fn wake_one(&self) {
            self.1.fetch_add(1, Relaxed);
        }
        fn do_here(&self) -> Here {
            let left = self.2.load(Relaxed);
            self.2.store(left.saturating_sub(1), Relaxed);
            if left > 0 { Here::Again } else { Here::Not }
        }
    }

    #[test]
    fn who_drops_what_he_got_wakes_somebody_each_time() {
        let calls = Arc::new(Calls::default());
        (0..3).for_each(|_| drop(Queued::one_more(&calls, MOST)));
        assert_eq!(calls.1.load(Relaxed), 3);
    }

    #[tokio::test]
    async fn tasks_that_have_something_to_do_go_first_and_one_call_is_for_all() {
        let calls = Arc::new(Calls::default());
        let ask = |calls: Arc<Calls>| async move {
            let queued = Queued::one_more(&calls, MOST);
            let before = calls.1.load(Relaxed);
            queued.told().await;
            before
        };
        let asked: Vec<_> = (0..5).map(|_| tokio::spawn(ask(Arc::clone(&calls)))).collect();
        for one in asked {
            assert_eq!(one.await.unwrap(), 0);
        }
        assert_eq!((calls.0.load(Relaxed), calls.1.load(Relaxed)), (0, 1));
    }

    #[tokio::test]
    async fn no_caller_waits_for_what_is_left() {
        let calls = Arc::new(Calls::default());
        let now = || (calls.0.load(Relaxed), calls.1.load(Relaxed), calls.2.load(Relaxed));
        calls.2.store(3, Relaxed);
        Queued::one_more(&calls, MOST).told().await;
        assert_eq!(now(), (1, 0, 2));
        while now().1 == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(now(), (0, 1, 0));
    }

    #[test]
    fn a_thread_is_woken_for_what_is_left_if_nobody_goes_on_with_it() {
        let calls = Arc::new(Calls::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        calls.2.store(1, Relaxed);
        runtime.block_on(Queued::one_more(&calls, MOST).told());
        assert_eq!((calls.0.load(Relaxed), calls.1.load(Relaxed)), (1, 0));
        drop(runtime);
        assert_eq!((calls.0.load(Relaxed), calls.1.load(Relaxed)), (0, 1));
    }

    #[tokio::test]
    async fn nothing_stays_untold_where_there_is_much_or_the_first_leaves() {
        let calls = Arc::new(Calls::default());
        let many: Vec<_> = (0..MOST).map(|_| Queued::one_more(&calls, MOST)).collect();
        assert_eq!(calls.1.load(Relaxed), 1);
        drop(many);
        assert_eq!(calls.1.load(Relaxed), 1, "not for nothing");
        let first = Queued::one_more(&calls, MOST);
        let second = Queued::one_more(&calls, MOST);
        let mut left = Box::pin(first.told());
        assert!(std::future::poll_fn(|context| std::task::Poll::Ready(left.as_mut().poll(context).is_pending())).await);
        drop(left);
        assert_eq!((calls.0.load(Relaxed), calls.1.load(Relaxed)), (0, 2));
        drop(second);
        assert_eq!(calls.1.load(Relaxed), 2);
    }
}
