//! A fixed number of threads that score.
//!
//! Scoring runs for microseconds to seconds and may enter a sandbox: on the async threads one slow row would hold up
//! every connection, and the runtime's own blocking threads grow without bound. The hop to a waiting thread and back
//! costs 25 to 40 µs of processor time on an idle machine and about 10 µs under load, when threads need no waking: a
//! one-row request as a whole then takes 2.1 and 1.6 times what a bare handler takes that does the same work inline.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;

use crate::ServeError;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for work. The queue is bounded by whoever admits requests.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    /// `threads` threads, or one for each core if that is 0.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = if threads == 0 { thread::available_parallelism().map_or(1, Into::into) } else { threads };
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new() });
        for index in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("plinth-score-{index}")).spawn(move || shared.work())?;
        }
        Ok(Self { shared })
    }

    /// Does `work` on one of the threads. If the caller stops waiting before it began, it is not done at all.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServeError> {
        let (answer, wait) = oneshot::channel();
        self.shared.push(Box::new(move || {
            if !answer.is_closed() {
                // A caller who left meanwhile does not want the answer.
                let _ = answer.send(work());
            }
        }))?;
        wait.await.map_err(|_| ServeError::GivenUp { reason: "its work panicked; the log says where" })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Not joined: the last owner may be a job on one of these very threads.
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<(), ServeError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(ServeError::GivenUp { reason: "the server has stopped" });
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let job = loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break job;
                }
                if queue.closed {
                    return;
                }
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            // A panic takes its own request with it, never the thread.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("the work of a request panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_is_done_off_the_caller_and_a_panic_ends_only_its_own_request() {
        let pool = Pool::new(1).unwrap();
        let name = pool.run(|| thread::current().name().map(str::to_owned)).await.unwrap();
        assert_eq!(name.as_deref(), Some("plinth-score-0"));
        let error = pool.run(|| -> () { panic!("on purpose") }).await.unwrap_err();
        assert!(matches!(error, ServeError::GivenUp { .. }));
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_whose_caller_has_left_is_not_begun() {
        let pool = Arc::new(Pool::new(1).unwrap());
        let (release, held) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let holder = Arc::clone(&pool);
        let busy = tokio::spawn(async move {
            let hold = move || {
                began.send(()).unwrap();
                held.recv().unwrap();
            };
            holder.run(hold).await
        });
        begun.await.unwrap();
        let (told, tell) = mpsc::channel();
        {
            let mut left = Box::pin(pool.run(move || told.send(()).unwrap()));
            let poll = std::future::poll_fn(|context| std::task::Poll::Ready(left.as_mut().poll(context).is_pending()));
            assert!(poll.await);
        }
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        pool.run(|| ()).await.unwrap();
        assert!(tell.recv().is_err(), "the sender was dropped unused");
    }
}
