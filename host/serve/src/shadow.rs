//! Deployments that get a copy of requests and whose answers nobody sees: scored beside the answering, compared with
//! what was answered, and counted.
//!
//! A copy is left in a short queue after the caller has the answer. One thread of the deployment's own takes it from
//! there, and only while a thread that scores has nothing to do and nobody does its work: a shadow that is slow, hangs, fails or panics holds up
//! itself. What does not fit in the queue is dropped and counted.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use plinth_ext::Batch;
use plinth_score::ScoreError;

use crate::{Deployment, Input, Output, OutputDifference, Server, Work, difference::compare, together::score};

/// Between two looks whether a scoring thread is free.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a shadow did since it began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShadowSnapshot {
    /// Requests whose answer was compared.
    pub compared: u64,
    /// Requests that the shadow could not score.
    pub failed: u64,
    /// Requests that found no room.
    pub dropped: u64,
    /// Requests that wait or are being scored.
    pub waiting: u64,
    /// What the answers differ in, by output.
    pub outputs: Vec<OutputDifference>,
}

/// A request as it was answered.
pub(crate) struct Copied {
    pub(crate) request_id: Arc<str>,
    pub(crate) rows: Batch,
    pub(crate) given: Batch,
}

/// The queue of one shadow, and the thread that empties it; that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Lane {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    requests_max: usize,
    rows_max: usize,
    compared: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    outputs: Mutex<Vec<OutputDifference>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("compared", &self.compared).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Copied, Instant)>,
    /// From being queued until being compared or lost.
    requests: usize,
    rows: usize,
    closed: bool,
}

impl Lane {
    pub(crate) fn start(deployment: Arc<Deployment>, server: Weak<Server>, most: [u32; 2]) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            requests_max: most[0] as usize,
            rows_max: most[1] as usize,
            compared: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            outputs: Mutex::default(),
        });
        let worker = Arc::clone(&shared);
        thread::Builder::new().name("plinth-shadow".into()).spawn(move || worker.work(&deployment, &server))?;
        Ok(Self { shared })
    }

    /// Leaves a copy, or drops and counts it. Never waits for anything but a short lock.
    pub(crate) fn offer(&self, copied: impl FnOnce() -> Copied, rows: usize) {
        let shared = &*self.shared;
        let mut queue = shared.lock();
        // A large request is taken too, by itself.
        let fits = queue.requests < shared.requests_max && (queue.rows == 0 || queue.rows + rows <= shared.rows_max);
        if queue.closed || !fits {
            drop(queue);
            shared.dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.requests += 1;
        queue.rows += rows;
        queue.waiting.push_back((copied(), Instant::now()));
        drop(queue);
        shared.wake.notify_one();
    }

    pub(crate) fn snapshot(&self) -> ShadowSnapshot {
        let shared = &*self.shared;
        // Before all else: what no longer waits is counted.
        let waiting = shared.lock().requests as u64;
        ShadowSnapshot {
            compared: shared.compared.load(Relaxed),
            failed: shared.failed.load(Relaxed),
            dropped: shared.dropped.load(Relaxed),
            waiting,
            outputs: shared.outputs.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Not joined: it may hang in a model.
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.waiting.clear();
        drop(queue);
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(self: &Arc<Self>, deployment: &Arc<Deployment>, server: &Weak<Server>) {
        loop {
            let mut queue = self.lock();
            while queue.waiting.is_empty() && !queue.closed {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            // Those who wait for an answer come first.
            loop {
                if queue.closed {
                    return;
                }
                // The last to hold the server takes this queue down with it, so that is not done under its lock.
                drop(queue);
                let Some(idle) = server.upgrade().map(|server| server.has_idle_thread()) else { return };
                queue = self.lock();
                if idle {
                    break;
                }
                queue = self.wake.wait_timeout(queue, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            }
            let most = deployment.batching().rows_max as usize;
            let mut rows = 0;
            let mut taken: Vec<(Box<dyn Work>, Instant)> = Vec::new();
            while let Some((copied, _)) = queue.waiting.front() {
                rows += copied.rows.num_rows();
                if !taken.is_empty() && rows > most {
                    break;
                }
                let Some((copied, at)) = queue.waiting.pop_front() else { break };
                let (lane, deployment, server) = (Arc::clone(self), Arc::clone(deployment), Weak::clone(server));
                taken.push((Box::new(Task { lane, deployment, server, copied, done: false }), at));
            }
            drop(queue);
            if catch_unwind(AssertUnwindSafe(|| score(deployment, taken))).is_err() {
                tracing::warn!(model.name = %deployment.model(), model.version = %deployment.version(), "a shadow panicked");
            }
        }
    }
}

/// A copy on its way through the model; counted as failed if it is dropped before it was compared.
struct Task {
    lane: Arc<Shared>,
    deployment: Arc<Deployment>,
    server: Weak<Server>,
    copied: Copied,
    done: bool,
}

impl Work for Task {
    fn abandoned(&self) -> bool {
        false
    }

    fn bytes(&self) -> Option<usize> {
        None
    }

    fn input(&mut self) -> Option<Input> {
        Some(Input::Rows(self.copied.rows.clone()))
    }

    fn answer(mut self: Box<Self>, scored: Result<Output, ScoreError>, _waited: Duration, _together: usize) {
        let (scored, joined) = match scored {
            Ok(Output::Rows(scored)) => (scored.predictions, scored.joined),
            // Nobody gives a model of tensors rows.
            Ok(Output::Tensors { .. }) => return,
            Err(error) => {
                tracing::debug!(%error, request.id = %self.copied.request_id, "a shadow could not score a request");
                return;
            }
        };
        let mut outputs = self.lane.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        compare(&self.copied.given, &scored, 0.0, &mut outputs);
        drop(outputs);
        self.done = true;
        self.lane.compared.fetch_add(1, Relaxed);
        if let Some(server) = self.server.upgrade() {
            // With what was looked up, as for those who answer.
            let rows = joined.as_ref().unwrap_or(&self.copied.rows);
            server.capture_shadow(&self.deployment, &self.copied.request_id, rows, &scored);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.done {
            self.lane.failed.fetch_add(1, Relaxed);
        }
        let mut queue = self.lane.lock();
        queue.requests = queue.requests.saturating_sub(1);
        queue.rows = queue.rows.saturating_sub(self.copied.rows.num_rows());
    }
}
