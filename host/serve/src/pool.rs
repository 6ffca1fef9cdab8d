//! A fixed number of threads that score, several waiting requests at a time.
//!
//! Scoring runs for microseconds to seconds and may enter a sandbox: on the async threads one slow row would hold up
//! every connection, and the runtime's own blocking threads grow without bound. The hop to a waiting thread and back
//! costs 25 to 40 µs of processor time on an idle machine and about 10 µs under load, when threads need no waking. So
//! what is soon done by its pace of late, needs no sandbox and has little to read is scored where it came
//! ([`Shared::do_here`]).
//!
//! A thread that becomes free takes its part of what waits for the same deployment and runs transforms and model once
//! for all of it; all of what waits, where that is done sooner than another thread would wake. Nobody waits for company
//! unless the deployment says so: a lone request is scored at once, and batches grow by themselves as soon as requests
//! come faster than they are answered.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use plinth_ext::{Batch, Tensor};
use plinth_score::{ScoreError, Scored};
use tokio::sync::oneshot;

use crate::{
    Batching, Deployment, ServeError,
    pace::Pace,
    together::{Done, Taken, guarded, score},
    turn::{Here, MOST, Queued, Sleepers},
};

/// One request, as whoever scores it sees it. Its methods are called in this order, on one thread; [`Work::bytes`] at any
/// time before.
pub trait Work: Send + 'static {
    /// Whether nobody waits for the answer any more; then nothing else is called.
    fn abandoned(&self) -> bool;

    /// Bytes that [`Work::input`] has to read; none where few of them may ask for much, such as an explanation.
    fn bytes(&self) -> Option<usize>;

    /// Reads what is to be scored, which is what the deployment takes; none if the request has had its answer already,
    /// for instance because it does not read.
    fn input(&mut self) -> Option<Input>;

    /// Writes the answer. `waited` is how long the request was in the queue, `together` with how many rows it was
    /// scored.
    fn answer(self: Box<Self>, scored: Result<Output, ScoreError>, waited: Duration, together: usize);
}

/// What a request sends to be scored.
#[derive(Debug, Clone)]
pub enum Input {
    /// Rows of the signature.
    Rows(Batch),
    /// Tensors in the order in which the model takes them.
    Tensors(Vec<Tensor>),
}

/// What it gets for that.
#[derive(Debug, Clone)]
pub enum Output {
    /// For rows.
    Rows(Scored),
    /// For tensors.
    Tensors {
        /// In the order in which the model returns them.
        tensors: Vec<Tensor>,
        /// When the model was begun to run.
        began: Instant,
        /// Time in the model.
        model: Duration,
    },
}

enum Job {
    /// A request to be scored.
    Score { deployment: Arc<Deployment>, work: Box<dyn Work>, at: Instant },
    /// The next of those that wait until their deployment may score one more batch.
    Held(Arc<Deployment>),
    /// Anything else.
    Other(Box<dyn FnOnce() + Send>, Instant),
}

impl Job {
    /// When it came.
    const fn came(&self) -> Option<Instant> {
        match self {
            Self::Score { at, .. } | Self::Other(_, at) => Some(*at),
            Self::Held(_) => None,
        }
    }
}

/// Threads that wait for work. The queue is bounded by whoever admits requests.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: usize,
    /// How long what is in the queue takes all threads at the pace of late, in microseconds.
    queued_us: AtomicU64,
    /// When the first in the queue came, in microseconds from the start of the pool; 0 if nobody waits.
    first_us: AtomicU64,
    began: Instant,
    /// Threads that wait for work.
    idle: AtomicUsize,
    /// Those, and the ones that wait for more of what they have.
    waiting: AtomicUsize,
    /// Jobs that nobody was woken for yet.
    untold: AtomicUsize,
    /// Threads of the async runtime that score just now.
    helping: AtomicUsize,
    /// When one last did, in microseconds from the start of the pool.
    helped_us: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    pace: Pace,
    /// Deployments that may not score on all threads at once, while they have something to do.
    limited: Vec<Limited>,
    closed: bool,
}

/// A deployment that may not score on all threads at once.
struct Limited {
    deployment: Arc<Deployment>,
    /// Batches that it scores now.
    running: u32,
    /// Its requests, in the order in which they came, once it was their turn.
    held: VecDeque<(Box<dyn Work>, Instant)>,
}

impl Queue {
    /// Where a limited deployment's requests wait.
    fn limited(&mut self, deployment: &Arc<Deployment>) -> &mut Limited {
        let index = self.limited.iter().position(|limited| Arc::ptr_eq(&limited.deployment, deployment));
        let index = index.unwrap_or_else(|| {
            let deployment = Arc::clone(deployment);
            self.limited.push(Limited { deployment, running: 0, held: VecDeque::new() });
            self.limited.len() - 1
        });
        &mut self.limited[index]
    }

    /// The next request of a limited deployment, if it may score one more batch.
    fn next_of(&mut self, deployment: &Arc<Deployment>) -> Option<(Box<dyn Work>, Instant)> {
        let most = deployment.capacity().concurrency_max.map_or(u32::MAX, Into::into);
        let limited = self.limited(deployment);
        let next = if limited.running < most { limited.held.pop_front() } else { None };
        limited.running += u32::from(next.is_some());
        next
    }

    /// A limited deployment has scored a batch.
    fn scored(&mut self, deployment: &Arc<Deployment>) {
        let limited = self.limited(deployment);
        limited.running -= 1;
        if !limited.held.is_empty() {
            // Behind the requests of others: who is slow waits with its own kind.
            self.jobs.push_back(Job::Held(Arc::clone(deployment)));
        }
        self.limited.retain(|limited| limited.running > 0 || !limited.held.is_empty());
    }
}

/// What is done in so little time is not parted between threads: most of it would go by until another has been woken, and
/// both would have less to score together.
const WAKING: Duration = Duration::from_micros(100);

/// No more than so many are taken for quick: one of them may be larger than those that the pace is known from.
const QUICK: usize = 16;

/// What is done in so little time is done on the spot: less than one of 64 connections waits there for those before it.
const ON_THE_SPOT: Duration = Duration::from_micros(200);

/// The same where one thread scores, as it is on one processor, which whoever would be woken for more would have to have as
/// well.
const ON_THE_ONLY_SPOT: Duration = Duration::from_micros(500);

/// After so many requests that may be scored on the spot somebody is woken all the same.
const MOST_ON_THE_SPOT: usize = 4 * MOST;

/// Nor one of more bytes than this: the pace may be known from requests that were quicker for each byte.
const SMALL_BYTES: usize = 8 << 10;

/// For so long after something was scored on the spot its processor is taken for busy: what is not scoring there reads and
/// writes for callers.
const LATELY: Duration = Duration::from_micros(500);

/// How far a thread looks into the queue for requests to the same deployment.
const LOOK: usize = 512;

impl Pool {
    /// `threads` threads, or one for each core if that is 0.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = if threads == 0 { thread::available_parallelism().map_or(1, Into::into) } else { threads };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            threads,
            queued_us: AtomicU64::new(0),
            first_us: AtomicU64::new(0),
            began: Instant::now(),
            idle: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            untold: AtomicUsize::new(0),
            helping: AtomicUsize::new(0),
            helped_us: AtomicU64::new(0),
        });
        for index in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("plinth-score-{index}")).spawn(move || shared.work())?;
        }
        Ok(Self { shared })
    }

    /// Puts a request into the queue of those to be scored by `deployment`, unless as many wait there as may.
    pub(crate) fn score(&self, deployment: Arc<Deployment>, work: Box<dyn Work>) -> Result<Queued, ServeError> {
        let most = deployment.capacity().waiting_max.map_or(u32::MAX, Into::into);
        if deployment.waiting.fetch_add(1, Relaxed) >= most {
            deployment.waiting.fetch_sub(1, Relaxed);
            let (model, version) = (Arc::clone(deployment.model()), Arc::clone(deployment.version()));
            return Err(ServeError::Full { model, version, waiting_max: most });
        }
        self.shared.push(Job::Score { deployment, work, at: Instant::now() })
    }

    /// Does `work` on one of the threads. If the caller stops waiting before it began, it is not done at all.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServeError> {
        let (answer, wait) = oneshot::channel();
        let work = move || {
            if !answer.is_closed() {
                // A caller who left meanwhile does not want the answer.
                let _ = answer.send(work());
            }
        };
        self.shared.push(Job::Other(Box::new(work), Instant::now()))?.told().await;
        wait.await.map_err(|_| ServeError::GivenUp { reason: "its work panicked; the log says where" })
    }

    /// How long a request will wait for a thread that comes now, in milliseconds, as the pace of late tells; but no less
    /// than the first in the queue has waited, and no more than four times that: many that come at once are answered
    /// faster than one by one.
    pub(crate) fn wait_ms(&self) -> u64 {
        self.shared.wait_ms()
    }

    /// Requests that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        let queue = self.shared.lock();
        queue.jobs.len() + queue.limited.iter().map(|limited| limited.held.len()).sum::<usize>()
    }
}

impl Pool {
    /// Threads that have nothing to do.
    pub(crate) fn idle(&self) -> usize {
        self.shared.spare()
    }

    /// The same to be asked elsewhere.
    pub(crate) fn idleness(&self) -> Idleness {
        Idleness(Arc::clone(&self.shared))
    }
}

/// Tells whether a thread has nothing to do, and how long those wait for one that come now.
#[derive(Clone)]
pub(crate) struct Idleness(Arc<Shared>);

impl Idleness {
    pub(crate) fn is_some(&self) -> bool {
        self.0.spare() > 0
    }

    pub(crate) fn wait_ms(&self) -> u64 {
        self.0.wait_ms()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Not joined: the last owner may be a job on one of these very threads.
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Sleepers for Shared {
    fn untold(&self) -> &AtomicUsize {
        &self.untold
    }

    fn wake_one(&self) {
        self.wake.notify_one();
    }

    fn do_here(&self) -> Here {
        let mut queue = self.lock();
        let deployment = match queue.jobs.front() {
            None => return Here::Done,
            Some(Job::Score { deployment, .. }) if deployment.may_be_scored_on_the_spot() => Arc::clone(deployment),
            Some(_) => return Here::Not,
        };
        let time = if self.threads == 1 { ON_THE_ONLY_SPOT } else { ON_THE_SPOT };
        let pace = deployment.pace();
        let most = pace.jobs_in(time).min(deployment.batching().rows_max as usize);
        let mut bytes_left = pace.bytes_in(time);
        let mut taken = Taken::new();
        while taken.len() < most {
            let next = queue.jobs.pop_front_if(|job| match job {
                Job::Score { deployment: other, work, .. } if Arc::ptr_eq(other, &deployment) => {
                    let bytes = work.bytes().filter(|bytes| *bytes <= SMALL_BYTES);
                    let left = bytes.and_then(|bytes| bytes_left.checked_sub(bytes));
                    bytes_left = left.unwrap_or(bytes_left);
                    left.is_some()
                }
                _ => false,
            });
            let Some(Job::Score { work, at, .. }) = next else { break };
            taken.push((work, at));
        }
        if taken.is_empty() {
            return Here::Not;
        }
        self.changed(&queue);
        // Nobody was woken for those behind; whoever would be would, on one processor, take it from this thread.
        let rest = if queue.jobs.is_empty() || self.threads > 1 { Here::Done } else { Here::Again };
        if rest == Here::Done {
            self.call_others(&queue);
        }
        drop(queue);
        deployment.waiting.fetch_sub(taken.len() as u32, Relaxed);
        self.helping.fetch_add(1, Relaxed);
        let done = guarded(|| score(&deployment, taken));
        self.helped_us.store(self.began.elapsed().as_micros() as u64, Relaxed);
        self.helping.fetch_sub(1, Relaxed);
        if let Some(Done { jobs, time }) = done {
            self.lock().pace.took(time, jobs);
        }
        rest
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Pool::wait_ms`].
    fn wait_ms(&self) -> u64 {
        let first = match self.first_us.load(Relaxed) {
            0 => return 0,
            came => Duration::from_micros(came),
        };
        let waited = self.began.elapsed().saturating_sub(first).as_millis() as u64;
        let queued = self.queued_us.load(Relaxed) / 1_000;
        queued.clamp(waited, waited * 4)
    }

    /// Threads that have nothing to do, unless others do their work.
    fn spare(&self) -> usize {
        let helped = Duration::from_micros(self.helped_us.load(Relaxed));
        let lately = !helped.is_zero() && self.began.elapsed().saturating_sub(helped) < LATELY;
        let busy = lately || self.helping.load(Relaxed) > 0 || self.untold.load(Relaxed) > 0;
        if busy { 0 } else { self.idle.load(Relaxed) }
    }

    fn push(self: &Arc<Self>, job: Job) -> Result<Queued, ServeError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(ServeError::GivenUp { reason: "the server has stopped" });
        }
        let here = matches!(&job, Job::Score { deployment, .. } if deployment.may_be_scored_on_the_spot());
        queue.jobs.push_back(job);
        self.changed(&queue);
        // They are counted before they let go of the queue; a call to the kernel for nobody costs as much as for one.
        let wake = self.waiting.load(Relaxed) > 0;
        drop(queue);
        let most = if here { MOST_ON_THE_SPOT } else { MOST };
        Ok(if wake { Queued::one_more(self, most) } else { Queued::seen() })
    }

    /// Has another thread look at what is left: there was one call for all that came together.
    fn call_others(&self, queue: &Queue) {
        if !queue.jobs.is_empty() && self.waiting.load(Relaxed) > 0 {
            self.wake.notify_one();
        }
    }

    /// Keeps what [`Pool::wait_ms`] is told from, after the queue has changed.
    fn changed(&self, queue: &Queue) {
        let came = queue.jobs.iter().find_map(Job::came);
        let first = came.map_or(0, |came| came.saturating_duration_since(self.began).as_micros().max(1) as u64);
        let queued = queue.pace.of(queue.jobs.len(), self.threads);
        self.first_us.store(first, Relaxed);
        self.queued_us.store(queued.as_micros() as u64, Relaxed);
    }

    fn work(&self) {
        let mut done: Option<Done> = None;
        loop {
            let mut queue = self.lock();
            if let Some(Done { jobs, time }) = done.take() {
                queue.pace.took(time, jobs);
            }
            let job = loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break job;
                }
                if queue.closed {
                    return;
                }
                self.idle.fetch_add(1, Relaxed);
                self.waiting.fetch_add(1, Relaxed);
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                self.waiting.fetch_sub(1, Relaxed);
                self.idle.fetch_sub(1, Relaxed);
            };
            self.changed(&queue);
            done = match job {
                Job::Other(work, _) => {
                    self.call_others(&queue);
                    drop(queue);
                    let began = Instant::now();
                    guarded(work);
                    Some(Done { jobs: 1, time: began.elapsed() })
                }
                Job::Score { deployment, work, at } if deployment.capacity().concurrency_max.is_some() => {
                    queue.limited(&deployment).held.push_back((work, at));
                    self.held(queue, &deployment)
                }
                Job::Held(deployment) => self.held(queue, &deployment),
                Job::Score { deployment, work, at } => {
                    let taken = self.company(queue, &deployment, (work, at));
                    Some(score(&deployment, taken))
                }
            };
        }
    }

    /// Scores the next requests of a limited deployment, if it may score one more batch; else the thread that is done
    /// with one of its batches sees to them.
    fn held(&self, mut queue: MutexGuard<'_, Queue>, deployment: &Arc<Deployment>) -> Option<Done> {
        let first = queue.next_of(deployment)?;
        let taken = self.company(queue, deployment, first);
        let done = score(deployment, taken);
        self.lock().scored(deployment);
        Some(done)
    }

    /// The request, with this thread's part of those that wait for the same deployment.
    fn company(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        deployment: &Arc<Deployment>,
        first: (Box<dyn Work>, Instant),
    ) -> Taken {
        let Batching { rows_max, wait_us } = deployment.batching();
        let until = first.1 + Duration::from_micros(wait_us.into());
        let mut taken = vec![first];
        let limit = deployment.capacity().concurrency_max.map(|most| most.get() as usize);
        let threads = limit.map_or(self.threads, |most| most.min(self.threads));
        let quick = deployment.pace().jobs_in(WAKING).min(QUICK);
        let same = |job: &Job| matches!(job, Job::Score { deployment: other, .. } if Arc::ptr_eq(other, deployment));
        loop {
            if rows_max <= 1 {
                break;
            }
            let held = if limit.is_some() { queue.limited(deployment).held.len() } else { 0 };
            let waiting = held + queue.jobs.iter().take(LOOK).filter(|job| same(job)).count();
            // The other threads get theirs.
            let part = (waiting + 1).div_ceil(threads).max(quick).min(rows_max as usize);
            if held > 0 {
                let here = held.min(part.saturating_sub(taken.len()));
                taken.extend(queue.limited(deployment).held.drain(..here));
            }
            let mut index = 0;
            while taken.len() < part && index < queue.jobs.len().min(LOOK) {
                if !same(&queue.jobs[index]) {
                    index += 1;
                } else if let Some(Job::Score { work, at, .. }) = queue.jobs.remove(index) {
                    taken.push((work, at));
                }
            }
            let now = Instant::now();
            if now >= until || taken.len() >= rows_max as usize || queue.closed {
                break;
            }
            self.call_others(&queue);
            self.waiting.fetch_add(1, Relaxed);
            queue = self.wake.wait_timeout(queue, until - now).unwrap_or_else(PoisonError::into_inner).0;
            self.waiting.fetch_sub(1, Relaxed);
            // The call may have been meant for a thread that has nothing to do.
            if queue.jobs.iter().take(LOOK).any(|job| !same(job)) {
                self.wake.notify_one();
            }
        }
        self.changed(&queue);
        self.call_others(&queue);
        deployment.waiting.fetch_sub(taken.len() as u32, Relaxed);
        taken
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
