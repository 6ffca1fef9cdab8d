//! A part of the answered requests, explained while nobody waits for that: what each column had to do with the answer.
//!
//! A request leaves its rows in a bounded queue and goes on. One thread explains them, a few at a time, and only while a
//! thread that scores has nothing to do; what finds no room in the queue is dropped and counted. Lines are put together
//! into larger tables, which go where captured rows go.

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

use arrow_array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use plinth_core::{Micros, ServeLimits};
use plinth_ext::{Batch, Field, Kind, Schema};
use plinth_score::{attribution_schema, attribution_table};

use crate::{
    CaptureSink, Deployment, Keep, ServeError,
    capture::concat,
    pool::Idleness,
    rest::{Pile, Rest, per_work},
};

/// Rows that are explained between two looks whether somebody waits for a thread.
const ROWS_AT_ONCE: usize = 4;
/// Between two looks whether a scoring thread is free.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a deployment is left alone whose explainer could not be made.
const REST: Duration = Duration::from_secs(60);
/// How long a stop waits for the rows that are just being explained.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Attributions of requests that one model version answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributions {
    /// The registered model's name.
    pub model: String,
    /// The version's number.
    pub version: String,
    /// When the first of these requests was answered.
    pub first_at: Micros,
    /// When the last was.
    pub last_at: Micros,
    /// `request_id`, `at`, and the columns of [`attribution_schema`], where `row` counts the rows of a request from 0. What is
    /// redacted is not in it: neither the parts of such columns, nor lines of such scores.
    pub table: Batch,
}

/// Rows explained since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExplainedStats {
    /// Explained, and the attributions kept.
    pub stored: u64,
    /// Dropped because the queue was full.
    pub dropped: u64,
    /// Lost because they could not be explained or kept.
    pub failed: u64,
    /// Waiting now.
    pub waiting: u64,
}

/// The queue and the thread that empties it.
pub(crate) struct Sampled {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Arc<dyn CaptureSink>,
    keep: Keep,
    idle: Idleness,
    queue: Mutex<Queue>,
    wake: Condvar,
    changed: Condvar,
    queue_rows_max: u64,
    file_rows_max: usize,
    flush_after: Duration,
    waiting: AtomicU64,
    stored: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    stop: bool,
    ended: bool,
    /// How often a flush was asked for, and how many of those are done.
    flush_asked: u64,
    flush_done: u64,
}

/// One request.
struct Entry {
    /// Who waits to be explained keeps no model in memory.
    deployment: Weak<Deployment>,
    request_id: Arc<str>,
    at: Micros,
    rows: Batch,
}

/// Lines of one model version on their way to the sink.
struct Pending {
    model: Arc<str>,
    version: Arc<str>,
    since: Instant,
    first_at: Micros,
    last_at: Micros,
    rows: u64,
    lines: Vec<Batch>,
}

impl Sampled {
    pub(crate) fn new(
        sink: Arc<dyn CaptureSink>,
        keep: Keep,
        limits: &ServeLimits,
        idle: Idleness,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            sink,
            keep,
            idle,
            queue: Mutex::default(),
            wake: Condvar::new(),
            changed: Condvar::new(),
            queue_rows_max: limits.explain_queue_rows_max.into(),
            file_rows_max: (limits.capture_file_rows_max as usize).max(1),
            flush_after: Duration::from_millis(limits.capture_flush_ms),
            waiting: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        thread::Builder::new().name("plinth-explain".into()).spawn(move || worker.work())?;
        Ok(Self { shared })
    }

    /// Queues a request that is among those to be explained, or drops and counts it. Never waits for anything but a
    /// short lock.
    pub(crate) fn offer(&self, deployment: &Arc<Deployment>, request_id: &Arc<str>, at: Micros, rows: &Batch) {
        let (shared, count) = (&*self.shared, rows.num_rows() as u64);
        if count == 0 || !deployment.is_explained() || !shared.keep.explains(request_id) {
            return;
        }
        if shared.waiting.fetch_add(count, Relaxed) + count > shared.queue_rows_max {
            shared.waiting.fetch_sub(count, Relaxed);
            shared.dropped.fetch_add(count, Relaxed);
            return;
        }
        let (deployment, request_id) = (Arc::downgrade(deployment), Arc::clone(request_id));
        let entry = Entry { deployment, request_id, at, rows: rows.clone() };
        let mut queue = shared.lock();
        if queue.stop {
            drop(queue);
            return shared.leave(count, &shared.dropped);
        }
        queue.entries.push_back(entry);
        drop(queue);
        shared.wake.notify_one();
    }

    pub(crate) fn stats(&self) -> ExplainedStats {
        ExplainedStats {
            stored: self.shared.stored.load(Relaxed),
            dropped: self.shared.dropped.load(Relaxed),
            failed: self.shared.failed.load(Relaxed),
            waiting: self.shared.waiting.load(Relaxed),
        }
    }

    /// Returns once everything queued before the call was explained and handed to the sink.
    pub(crate) fn flush(&self) {
        let mut queue = self.shared.lock();
        queue.flush_asked += 1;
        let ticket = queue.flush_asked;
        self.shared.wake.notify_one();
        while queue.flush_done < ticket && !queue.ended {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands over what is explained, drops what waits, and ends the thread, unless that hangs in a model.
    pub(crate) fn stop(&self) {
        let mut queue = self.shared.lock();
        queue.stop = true;
        self.shared.wake.notify_one();
        let waited = self.shared.changed.wait_timeout_while(queue, STOP_MAX, |queue| !queue.ended);
        queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !queue.ended {
            tracing::warn!("requests were still being explained when time was up");
        }
    }
}

impl Drop for Sampled {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread does next.
enum Turn {
    Explain(Entry),
    /// Hand over what is old enough.
    Write,
    /// Hand over everything.
    Flush(u64),
    Stop,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, rows: u64, outcome: &AtomicU64) {
        self.waiting.fetch_sub(rows, Relaxed);
        outcome.fetch_add(rows, Relaxed);
    }

    fn work(&self) {
        let mut pending: Vec<Pending> = Vec::new();
        let mut resting: Vec<(Weak<Deployment>, Instant)> = Vec::new();
        loop {
            match self.next(pending.iter().map(|held| held.since).min()) {
                Turn::Explain(entry) => self.explain(&entry, &mut pending, &mut resting),
                Turn::Write => {}
                Turn::Flush(ticket) => {
                    pending.drain(..).for_each(|held| self.write(&held));
                    self.lock().flush_done = ticket;
                    self.changed.notify_all();
                }
                Turn::Stop => break,
            }
            let ready =
                |held: &Pending| held.rows >= self.file_rows_max as u64 || held.since.elapsed() >= self.flush_after;
            let (write, keep): (Vec<_>, Vec<_>) = pending.into_iter().partition(ready);
            pending = keep;
            write.iter().for_each(|held| self.write(held));
        }
        pending.iter().for_each(|held| self.write(held));
        let mut queue = self.lock();
        let left: u64 = queue.entries.drain(..).map(|entry| entry.rows.num_rows() as u64).sum();
        queue.ended = true;
        drop(queue);
        self.leave(left, &self.dropped);
        self.changed.notify_all();
    }

    fn next(&self, since: Option<Instant>) -> Turn {
        let deadline = since.map(|since| since + self.flush_after);
        let mut queue = self.lock();
        loop {
            if queue.stop {
                return Turn::Stop;
            }
            let now = Instant::now();
            if deadline.is_some_and(|at| at <= now) {
                return Turn::Write;
            }
            if let Some(entry) = queue.entries.pop_front() {
                return Turn::Explain(entry);
            }
            if queue.flush_asked > queue.flush_done {
                return Turn::Flush(queue.flush_asked);
            }
            queue = match deadline {
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => self.wake.wait_timeout(queue, at - now).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Waits until a thread that scores has nothing to do: whether there is still time.
    fn is_quiet(&self) -> bool {
        let mut queue = self.lock();
        loop {
            if queue.stop {
                return false;
            }
            if self.idle.is_some() {
                return true;
            }
            queue = self.wake.wait_timeout(queue, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn explain(&self, entry: &Entry, pending: &mut Vec<Pending>, resting: &mut Vec<(Weak<Deployment>, Instant)>) {
        let rows = entry.rows.num_rows() as u64;
        resting.retain(|(deployment, until)| deployment.strong_count() > 0 && *until > Instant::now());
        let Some(deployment) = entry.deployment.upgrade() else { return self.leave(rows, &self.dropped) };
        if resting.iter().any(|(rests, _)| Weak::ptr_eq(rests, &entry.deployment)) {
            return self.leave(rows, &self.failed);
        }
        let made = catch_unwind(AssertUnwindSafe(|| self.lines(&deployment, entry)));
        let made =
            made.unwrap_or_else(|_| Err(ServeError::GivenUp { reason: "explaining it panicked; the log says where" }));
        let lines = match made {
            Ok(Some(lines)) => lines,
            Ok(None) => return self.leave(rows, &self.dropped),
            Err(error) => {
                let (model, version) = (deployment.model(), deployment.version());
                tracing::warn!(%error, model.name = %model, model.version = %version, request.id = %entry.request_id, "a request could not be explained");
                resting.push((Weak::clone(&entry.deployment), Instant::now() + REST));
                return self.leave(rows, &self.failed);
            }
        };
        let (model, version) = (deployment.model(), deployment.version());
        let same = |held: &Pending| {
            held.model == *model
                && held.version == *version
                && held.lines.first().is_none_or(|first| first.schema() == lines.schema())
        };
        let index = pending.iter().position(same);
        let index = index.unwrap_or_else(|| {
            pending.push(Pending {
                model: Arc::clone(model),
                version: Arc::clone(version),
                since: Instant::now(),
                first_at: entry.at,
                last_at: entry.at,
                rows: 0,
                lines: Vec::new(),
            });
            pending.len() - 1
        });
        let held = &mut pending[index];
        held.first_at = held.first_at.min(entry.at);
        held.last_at = held.last_at.max(entry.at);
        held.rows += rows;
        held.lines.push(lines);
    }

    /// The lines of one request; nothing if there is no time left.
    fn lines(&self, deployment: &Deployment, entry: &Entry) -> Result<Option<Batch>, ServeError> {
        if !self.is_quiet() {
            return Ok(None);
        }
        let (explainer, scorer) = deployment.explainer()?;
        let schema = attribution_schema(scorer);
        let scores: Vec<&str> = explainer.scores(scorer).collect();
        let mut parts = Vec::new();
        for from in (0..entry.rows.num_rows()).step_by(ROWS_AT_ONCE) {
            if !self.is_quiet() {
                return Ok(None);
            }
            let some = entry.rows.slice(from, ROWS_AT_ONCE.min(entry.rows.num_rows() - from));
            let explained = explainer.explain(scorer, &some, false).map_err(|error| ServeError::outside(&error))?;
            parts.push(attribution_table(&schema, &scores, &explained, from));
        }
        Ok(Some(self.keep.of_attributions(&named(&concat(&parts), &entry.request_id, entry.at))))
    }

    fn write(&self, held: &Pending) {
        let attributions = Attributions {
            model: held.model.to_string(),
            version: held.version.to_string(),
            first_at: held.first_at,
            last_at: held.last_at,
            table: concat(&held.lines),
        };
        let per_work = || per_work(&self.idle, Pile::Low, 0);
        match self.sink.write_attributions(attributions, &mut Rest::new(&per_work)) {
            Ok(()) => self.leave(held.rows, &self.stored),
            Err(error) => {
                tracing::error!(%error, rows = held.rows, "attributions could not be stored and are lost");
                self.leave(held.rows, &self.failed);
            }
        }
    }
}

/// The lines, after the request that they belong to.
fn named(lines: &Batch, request_id: &str, at: Micros) -> Batch {
    let count = lines.num_rows();
    let mut fields = vec![Field::new("request_id", Kind::Utf8, false), Field::new("at", Kind::TimestampUs, false)];
    fields.extend(lines.schema().fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(request_id, count))),
        Arc::new(TimestampMicrosecondArray::from(vec![at; count]).with_timezone("UTC")),
    ];
    columns.extend(lines.columns().iter().cloned());
    let schema = Schema::new(fields).expect("no line has columns of these names");
    Batch::new(schema, columns, count).expect("a value in each column for each line")
}
