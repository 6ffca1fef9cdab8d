//! A fixed number of threads that score, several waiting requests at a time.
//!
//! Scoring runs for microseconds to seconds and may enter a sandbox: on the async threads one slow row would hold up
//! every connection, and the runtime's own blocking threads grow without bound. The hop to a waiting thread and back
//! costs 25 to 40 µs of processor time on an idle machine and about 10 µs under load, when threads need no waking.
//!
//! A thread that becomes free takes its part of what waits for the same deployment and runs transforms and model once
//! for all of it. Nobody waits for company unless the deployment says so: a lone request is scored at once, and batches
//! grow by themselves as soon as requests come faster than they are answered.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use arrow_array::Array;
use arrow_select::concat::concat;
use plinth_core::codes;
use plinth_ext::{Batch, ExtError, Tensor};
use plinth_score::{ScoreError, Scored, Scorer};
use tokio::sync::oneshot;

use crate::{Batching, Deployment, ServeError, Served, TensorModel};

/// One request, as the threads that score see it. Its methods are called in this order, on one thread.
pub trait Work: Send + 'static {
    /// Whether nobody waits for the answer any more; then nothing else is called.
    fn abandoned(&self) -> bool;

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
    Other(Box<dyn FnOnce() + Send>),
}

/// Threads that wait for work. The queue is bounded by whoever admits requests.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: usize,
    /// How long the request waited that was begun last, in milliseconds; 0 once nobody waits.
    waited_ms: AtomicU64,
    /// Threads that wait for work.
    idle: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
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

/// How far a thread looks into the queue for requests to the same deployment.
const LOOK: usize = 512;

type Taken = Vec<(Box<dyn Work>, Instant)>;

impl Pool {
    /// `threads` threads, or one for each core if that is 0.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = if threads == 0 { thread::available_parallelism().map_or(1, Into::into) } else { threads };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            threads,
            waited_ms: AtomicU64::new(0),
            idle: AtomicUsize::new(0),
        });
        for index in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("plinth-score-{index}")).spawn(move || shared.work())?;
        }
        Ok(Self { shared })
    }

    /// Puts a request into the queue of those to be scored by `deployment`, unless as many wait there as may.
    pub(crate) fn score(&self, deployment: Arc<Deployment>, work: Box<dyn Work>) -> Result<(), ServeError> {
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
        self.shared.push(Job::Other(Box::new(move || {
            if !answer.is_closed() {
                // A caller who left meanwhile does not want the answer.
                let _ = answer.send(work());
            }
        })))?;
        wait.await.map_err(|_| ServeError::GivenUp { reason: "its work panicked; the log says where" })
    }

    /// How long requests wait for a thread at this time.
    pub(crate) fn waited_ms(&self) -> u64 {
        self.shared.waited_ms.load(Relaxed)
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
        self.shared.idle.load(Relaxed)
    }

    /// The same to be asked elsewhere.
    pub(crate) fn idleness(&self) -> Idleness {
        Idleness(Arc::clone(&self.shared))
    }
}

/// Tells whether a thread has nothing to do.
#[derive(Clone)]
pub(crate) struct Idleness(Arc<Shared>);

impl Idleness {
    pub(crate) fn is_some(&self) -> bool {
        self.0.idle.load(Relaxed) > 0
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
                self.idle.fetch_add(1, Relaxed);
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                self.idle.fetch_sub(1, Relaxed);
            };
            if queue.jobs.is_empty() {
                self.waited_ms.store(0, Relaxed);
            }
            match job {
                Job::Other(work) => {
                    drop(queue);
                    guarded(work);
                }
                Job::Score { deployment, work, at } if deployment.capacity().concurrency_max.is_some() => {
                    queue.limited(&deployment).held.push_back((work, at));
                    self.held(queue, &deployment);
                }
                Job::Held(deployment) => self.held(queue, &deployment),
                Job::Score { deployment, work, at } => {
                    if !queue.jobs.is_empty() {
                        self.waited_ms.store(at.elapsed().as_millis() as u64, Relaxed);
                    }
                    let taken = self.company(queue, &deployment, (work, at));
                    score(&deployment, taken);
                }
            }
        }
    }

    /// Scores the next requests of a limited deployment, if it may score one more batch; else the thread that is done
    /// with one of its batches sees to them.
    fn held(&self, mut queue: MutexGuard<'_, Queue>, deployment: &Arc<Deployment>) {
        let Some(first) = queue.next_of(deployment) else { return };
        let taken = self.company(queue, deployment, first);
        score(deployment, taken);
        self.lock().scored(deployment);
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
        let same = |job: &Job| matches!(job, Job::Score { deployment: other, .. } if Arc::ptr_eq(other, deployment));
        loop {
            if rows_max <= 1 {
                break;
            }
            let held = if limit.is_some() { queue.limited(deployment).held.len() } else { 0 };
            let waiting = held + queue.jobs.iter().take(LOOK).filter(|job| same(job)).count();
            // The other threads get theirs.
            let part = (waiting + 1).div_ceil(threads).min(rows_max as usize);
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
            queue = self.wake.wait_timeout(queue, until - now).unwrap_or_else(PoisonError::into_inner).0;
            // The call may have been meant for a thread that has nothing to do.
            if queue.jobs.iter().take(LOOK).any(|job| !same(job)) {
                self.wake.notify_one();
            }
        }
        if queue.jobs.is_empty() {
            // Or who came too late would keep everybody out, and nobody would come who says otherwise.
            self.waited_ms.store(0, Relaxed);
        }
        deployment.waiting.fetch_sub(taken.len() as u32, Relaxed);
        taken
    }
}

/// What `work` gives, or nothing if it panicked: a panic takes its own request with it, never the thread, and never
/// those that are scored beside it.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        tracing::error!("the work of a request panicked");
    }
    done.ok()
}

/// Scores requests together where they fit, and answers each.
pub(crate) fn score(deployment: &Deployment, taken: Taken) {
    match deployment.served() {
        Served::Rows(scorer) => score_rows(deployment, scorer, taken),
        Served::Tensors(model) => score_tensors(deployment, model, taken),
    }
}

/// What no caller can bring about: a reader that does not read what its deployment takes.
fn unfit(work: Box<dyn Work>) {
    let error = ExtError::fault("the request", codes::INTERNAL, "was read as what the model does not take");
    work.answer(Err(error.into()), Duration::ZERO, 0);
}

fn score_rows(deployment: &Deployment, scorer: &Scorer, taken: Taken) {
    let rows_max = deployment.batching().rows_max as usize;
    let began = Instant::now();
    let mut group: Vec<(Box<dyn Work>, Batch, Instant)> = Vec::with_capacity(taken.len());
    let mut total = 0;
    for (mut work, at) in taken {
        if work.abandoned() {
            continue;
        }
        let rows = match guarded(|| work.input()).flatten() {
            Some(Input::Rows(rows)) => rows,
            Some(Input::Tensors(_)) => {
                unfit(work);
                continue;
            }
            None => continue,
        };
        if total > 0 && total + rows.num_rows() > rows_max {
            together(deployment, scorer, std::mem::take(&mut group), began);
            total = 0;
        }
        total += rows.num_rows();
        group.push((work, rows, at));
    }
    if !group.is_empty() {
        together(deployment, scorer, group, began);
    }
}

/// The rows of all of them, one after the other.
fn join(group: &[(Box<dyn Work>, Batch, Instant)]) -> Option<Batch> {
    let first = &group[0].1;
    let columns = (0..first.num_columns()).map(|index| {
        let parts: Vec<&dyn Array> = group.iter().map(|(_, rows, _)| &**rows.column(index)).collect();
        concat(&parts)
    });
    let rows = group.iter().map(|(_, rows, _)| rows.num_rows()).sum();
    Batch::new(first.schema().clone(), columns.collect::<Result<_, _>>().ok()?, rows).ok()
}

fn together(deployment: &Deployment, scorer: &Scorer, group: Vec<(Box<dyn Work>, Batch, Instant)>, began: Instant) {
    let alone = |(work, rows, at): (Box<dyn Work>, Batch, Instant)| {
        guarded(|| {
            deployment.stats().ran(rows.num_rows());
            let scored = scorer.score_timed(&rows).map(Output::Rows);
            work.answer(scored, began.saturating_duration_since(at), rows.num_rows());
        });
    };
    if group.len() == 1 {
        return group.into_iter().for_each(alone);
    }
    let scored = join(&group).and_then(|rows| {
        deployment.stats().ran(rows.num_rows());
        guarded(|| scorer.score_timed(&rows).ok()).flatten()
    });
    // What one of them is to blame for is not the others' fault: each gets its own answer, or its own error.
    let Some(scored) = scored else { return group.into_iter().for_each(alone) };
    let together = scored.predictions.num_rows();
    let mut from = 0;
    for (work, rows, at) in group {
        let of = |whole: &Batch| whole.slice(from, rows.num_rows());
        let (predictions, joined) = (of(&scored.predictions), scored.joined.as_ref().map(of));
        let part = Scored { predictions, joined, ..scored };
        from += rows.num_rows();
        guarded(|| work.answer(Ok(Output::Rows(part)), began.saturating_duration_since(at), together));
    }
}

/// The same for a model of tensors: what fits has the same sizes but for the number of rows.
fn score_tensors(deployment: &Deployment, model: &TensorModel, taken: Taken) {
    let rows_max = deployment.batching().rows_max as usize;
    let began = Instant::now();
    let mut group: Vec<Sent> = Vec::with_capacity(taken.len());
    for (mut work, at) in taken {
        if work.abandoned() {
            continue;
        }
        let tensors = match guarded(|| work.input()).flatten() {
            Some(Input::Tensors(tensors)) => tensors,
            Some(Input::Rows(_)) => {
                unfit(work);
                continue;
            }
            None => continue,
        };
        let rows = tensors.first().and_then(Tensor::rows).filter(|_| model.is_rowwise());
        let even = rows.is_some() && tensors.iter().all(|tensor| tensor.rows() == rows);
        let sent = Sent { rows: rows.filter(|_| even).unwrap_or(1), even, work, tensors, at };
        let fits = |first: &Sent| {
            let mut pairs = first.tensors.iter().zip(&sent.tensors);
            first.even && sent.even && pairs.all(|(a, b)| a.shape().get(1..) == b.shape().get(1..))
        };
        let total: usize = group.iter().map(|sent| sent.rows).sum();
        if group.first().is_some_and(|first| !fits(first)) || (total > 0 && total + sent.rows > rows_max) {
            run_together(deployment, model, std::mem::take(&mut group), began);
        }
        group.push(sent);
    }
    run_together(deployment, model, group, began);
}

/// A request for a model of tensors.
struct Sent {
    work: Box<dyn Work>,
    tensors: Vec<Tensor>,
    /// Everything counts as one where there are no rows.
    rows: usize,
    /// Whether all of its tensors have that many.
    even: bool,
    at: Instant,
}

fn run_together(deployment: &Deployment, model: &TensorModel, group: Vec<Sent>, began: Instant) {
    let run = |tensors: &[Tensor], rows: usize| {
        deployment.stats().ran(rows);
        let start = Instant::now();
        let tensors = model.run(tensors)?;
        Ok::<_, ExtError>((tensors, start, start.elapsed()))
    };
    let alone = |sent: Sent| {
        guarded(|| {
            let output = run(&sent.tensors, sent.rows);
            let output = output.map(|(tensors, began, model)| Output::Tensors { tensors, began, model });
            sent.work.answer(output.map_err(ScoreError::from), began.saturating_duration_since(sent.at), sent.rows);
        });
    };
    let together: usize = group.iter().map(|sent| sent.rows).sum();
    let joined = (group.len() > 1).then(|| {
        let column = |index: usize| Tensor::join(&group.iter().map(|sent| &sent.tensors[index]).collect::<Vec<_>>());
        (0..model.inputs().len()).map(column).collect::<Option<Vec<_>>>()
    });
    let output = joined.flatten().and_then(|joined| guarded(|| run(&joined, together).ok()).flatten());
    // What it was found to be when it was loaded holds for what it returned, or it is run again for each.
    let output = output.filter(|(tensors, ..)| tensors.iter().all(|tensor| tensor.rows() == Some(together)));
    let Some((whole, start, model)) = output else { return group.into_iter().for_each(alone) };
    let mut from = 0;
    for sent in group {
        let rows = from..from + sent.rows;
        from = rows.end;
        let waited = began.saturating_duration_since(sent.at);
        guarded(|| {
            let tensors = whole.iter().map(|tensor| tensor.slice(rows.clone())).collect();
            sent.work.answer(Ok(Output::Tensors { tensors, began: start, model }), waited, together);
        });
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
