//! What was asked and answered, kept for monitoring without slowing anyone down.
//!
//! A request leaves its rows (reference-counted columns, no copy) in a bounded queue and goes on. One thread puts
//! them together into larger tables and hands those to a [`CaptureSink`]. When the queue is full, rows are dropped
//! and counted.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray, cast::AsArray,
    types::TimestampMicrosecondType,
};
use arrow_select::{concat::concat_batches, filter::filter_record_batch};
use plinth_core::{ContentHash, Micros, ServeLimits};
use plinth_ext::{Batch, Field, Kind, Schema};
use plinth_score::PART;

use crate::{
    Deployment, ServeError,
    pool::Idleness,
    rest::{Pile, Rest, SOON, per_work},
    sampled::{Attributions, ExplainedStats, Sampled},
};

/// Waiting requests are put together this many at a time if they have one row each: one-row columns weigh far more than
/// their values, and many at once would keep a processor from those that answer.
const COMPACT_ROWS: usize = 128;
/// A request counts as so many rows more: what it has besides its rows is put to the others as well.
const ROWS_PER_REQUEST: usize = 8;
/// What is put together at a time, in rows.
const COMPACT_WORK: usize = COMPACT_ROWS * work_of(1);

/// How much work a request of so many rows is, in rows.
const fn work_of(rows: usize) -> usize {
    rows + ROWS_PER_REQUEST
}

/// Where captured rows go. Called from one thread; may block.
pub trait CaptureSink: Send + Sync + 'static {
    /// Keeps the parts of a table, in order: rows of one version, all with the same columns. To put them together would keep
    /// a processor from those that answer; so would much more than 0.1 ms of work without a [`Rest::take`].
    ///
    /// # Errors
    /// [`ServeError::outside`]; the rows are then lost, counted and logged.
    fn write(&self, captured: Vec<Captured>, rest: &mut Rest<'_>) -> Result<(), ServeError>;

    /// Keeps attributions; asked only where a part of the requests is to be explained. One that keeps none says so.
    ///
    /// # Errors
    /// [`ServeError::outside`]; the attributions are then lost, counted and logged.
    fn write_attributions(&self, _: Attributions, _: &mut Rest<'_>) -> Result<(), ServeError> {
        Err(ServeError::GivenUp { reason: "attributions are not kept here" })
    }
}

/// Rows that one model version was asked about, with its answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Captured {
    /// The registered model's name.
    pub model: String,
    /// The version's number.
    pub version: String,
    /// When the first of these requests was answered.
    pub first_at: Micros,
    /// When the last was.
    pub last_at: Micros,
    /// `request_id`, `at` and `row` of each row; the last counts the rows of a request from 0.
    pub requests: Batch,
    /// The rows as they were sent, in the signature's columns but for those that are not kept.
    pub inputs: Batch,
    /// What the model answered.
    pub outputs: Batch,
    /// Whether the answers were given to nobody: the model was asked beside another one.
    pub shadow: bool,
}

impl Captured {
    /// What the name of every input column starts with in [`Captured::table`].
    pub const INPUT: &'static str = "input.";
    /// What the name of every output column starts with in [`Captured::table`].
    pub const OUTPUT: &'static str = "output.";

    /// The column of a [`Captured::table`] that marks answers of a shadow; not there in those that were given.
    pub const SHADOW: &'static str = "shadow";

    /// All of it as one table: `request_id`, `at`, `row`, `input.NAME`…, `output.NAME`…, and `shadow` for a shadow's.
    pub fn table(&self) -> Batch {
        self.under(self.schema())
    }

    /// The same for each part, with a rest where it is due.
    pub fn tables(parts: Vec<Self>, rest: &mut Rest<'_>) -> Vec<Batch> {
        let Some(schema) = parts.first().map(Self::schema) else { return Vec::new() };
        let table = |part: Self| {
            let table = part.under(schema.clone());
            drop(part);
            rest.take();
            table
        };
        parts.into_iter().map(table).collect()
    }

    fn schema(&self) -> Schema {
        let mut fields = self.requests.schema().fields().to_vec();
        for (prefix, part) in [(Self::INPUT, &self.inputs), (Self::OUTPUT, &self.outputs)] {
            let named = part.schema().fields().iter();
            fields.extend(named.map(|field| Field { name: format!("{prefix}{}", field.name), ..field.clone() }));
        }
        if self.shadow {
            fields.push(Field::new(Self::SHADOW, Kind::Boolean, false));
        }
        Schema::new(fields).expect("prefixes keep unique names unique")
    }

    fn under(&self, schema: Schema) -> Batch {
        let parts = [&self.requests, &self.inputs, &self.outputs];
        let mut columns: Vec<ArrayRef> = parts.iter().flat_map(|part| part.columns().iter().cloned()).collect();
        if self.shadow {
            columns.push(Arc::new(BooleanArray::from(vec![true; self.requests.num_rows()])));
        }
        Batch::new(schema, columns, self.requests.num_rows()).expect("the parts have the same rows")
    }

    /// These rows and those after them.
    fn then(self, after: &Self) -> Self {
        Self {
            first_at: self.first_at.min(after.first_at),
            last_at: self.last_at.max(after.last_at),
            requests: concat([&self.requests, &after.requests]),
            inputs: concat([&self.inputs, &after.inputs]),
            outputs: concat([&self.outputs, &after.outputs]),
            ..self
        }
    }

    /// The rows of a [`Captured::table`] that were answered at `since` or later.
    pub fn since(table: &Batch, since: Micros) -> Batch {
        let Some(at) = table.schema().index_of("at") else { return table.clone() };
        let times = table.column(at).as_primitive::<TimestampMicrosecondType>();
        let recent: BooleanArray = times.iter().map(|time| Some(time.is_some_and(|time| time >= since))).collect();
        let rows = filter_record_batch(table.arrow(), &recent).expect("one flag for each row");
        Batch::new(table.schema().clone(), rows.columns().to_vec(), rows.num_rows()).expect("rows of a batch")
    }

    /// The columns of a [`Captured::table`] that start with `prefix`, under their own names.
    pub fn part(table: &Batch, prefix: &str) -> Batch {
        let (fields, columns) = table
            .schema()
            .fields()
            .iter()
            .zip(table.columns())
            .filter_map(|(field, column)| {
                let name = field.name.strip_prefix(prefix)?;
                Some((Field { name: name.to_owned(), ..field.clone() }, Arc::clone(column)))
            })
            .unzip();
        let schema = Schema::new(fields).expect("a prefix taken off keeps unique names unique");
        Batch::new(schema, columns, table.num_rows()).expect("columns of a batch obey its schema")
    }
}

/// What of the requests is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Keep {
    /// The part of the requests, from 0 to 1. Which these are depends on their ids alone, so what several deployments
    /// answered to one request is kept or not kept as a whole.
    pub part: f64,
    /// Columns, of inputs and of outputs, that are never kept.
    pub redacted: Vec<String>,
    /// The part of the requests, from 0 to 1, that is explained. The ids decide in the same way, so that of two parts one
    /// holds the other: what is explained is kept, too, unless less is kept than is explained.
    pub explained: f64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { part: 1.0, redacted: Vec::new(), explained: 0.0 }
    }
}

impl Keep {
    fn takes(&self, request_id: &str) -> bool {
        Self::is_in(self.part, request_id)
    }

    pub(crate) fn explains(&self, request_id: &str) -> bool {
        Self::is_in(self.explained, request_id)
    }

    fn is_in(part: f64, request_id: &str) -> bool {
        if part >= 1.0 {
            return true;
        }
        let hash = ContentHash::of_parts([b"capture".as_slice(), request_id.as_bytes()]);
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        // Both are exact: a float holds 32 bits.
        f64::from(u32::from_le_bytes(*first)) < part * f64::from(u32::MAX)
    }

    /// What of attributions may be kept: no part of a redacted column, no line of a redacted score.
    pub(crate) fn of_attributions(&self, lines: &Batch) -> Batch {
        if self.redacted.is_empty() {
            return lines.clone();
        }
        let fields = lines.schema().fields();
        let score = fields.iter().position(|field| field.name == "score").expect("lines have a score");
        let told: BooleanArray = lines
            .column(score)
            .as_string::<i32>()
            .iter()
            .map(|score| Some(score.is_none_or(|score| self.redacted.iter().all(|redacted| redacted != score))))
            .collect();
        let rows = filter_record_batch(lines.arrow(), &told).expect("one flag for each line");
        let told =
            Batch::new(lines.schema().clone(), rows.columns().to_vec(), rows.num_rows()).expect("rows of a batch");
        let part_of = |field: &Field| field.name.strip_prefix(PART).map(str::to_owned);
        let kept: Vec<usize> = (0..fields.len())
            .filter(|index| part_of(&fields[*index]).is_none_or(|column| !self.redacted.contains(&column)))
            .collect();
        told.project(&kept)
    }

    /// The columns that may be kept.
    fn of(&self, rows: Batch) -> Batch {
        let fields = rows.schema().fields();
        let kept: Vec<usize> =
            (0..fields.len()).filter(|index| !self.redacted.contains(&fields[*index].name)).collect();
        if kept.len() == fields.len() { rows } else { rows.project(&kept) }
    }
}

/// Rows captured since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Handed to the sink and kept.
    pub stored: u64,
    /// Dropped because the queue was full.
    pub dropped: u64,
    /// Lost because the sink failed.
    pub failed: u64,
    /// Waiting now.
    pub waiting: u64,
    /// The same for those that are to be explained, if a part of them is.
    pub explained: Option<ExplainedStats>,
}

/// The queue and the thread that empties it.
pub(crate) struct Capture {
    shared: Arc<Shared>,
    sampled: Option<Sampled>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    sink: Arc<dyn CaptureSink>,
    keep: Keep,
    idle: Idleness,
    /// So much is put together at a time: less than half of a short queue, which is full before.
    compact_work: usize,
    /// Requests that wait for so long come before what is kept of them.
    pressed_ms: u64,
    queue: Mutex<Queue>,
    wake: Condvar,
    flushed: Condvar,
    queue_rows_max: u64,
    queue_bytes_max: u64,
    file_rows_max: usize,
    flush_after: Duration,
    /// From being queued until being written or lost.
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    stored: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// What it is to put them together.
    work: usize,
    stop: bool,
    /// How often a flush was asked for, and how many of those are done.
    flush_asked: u64,
    flush_done: u64,
}

/// One request. It names who answered and does not hold on to it: what is unloaded must not wait for a file to be full.
struct Entry {
    model: Arc<str>,
    version: Arc<str>,
    request_id: Arc<str>,
    at: Micros,
    bytes: u64,
    inputs: Batch,
    outputs: Batch,
    shadow: bool,
}

impl Capture {
    pub(crate) fn new(
        sink: Arc<dyn CaptureSink>,
        keep: Keep,
        limits: &ServeLimits,
        idle: Idleness,
    ) -> std::io::Result<Self> {
        let sampled = match keep.explained > 0.0 {
            true => Some(Sampled::new(Arc::clone(&sink), keep.clone(), limits, idle.clone())?),
            false => None,
        };
        let shared = Arc::new(Shared {
            sink,
            keep,
            idle,
            compact_work: COMPACT_WORK
                .min(limits.capture_queue_rows_max as usize / 2)
                .min(limits.capture_file_rows_max as usize)
                .max(1),
            pressed_ms: limits.queue_ms_max / 4,
            queue: Mutex::default(),
            wake: Condvar::new(),
            flushed: Condvar::new(),
            queue_rows_max: limits.capture_queue_rows_max.into(),
            // One table's text must stay below 2 GiB, whatever the configuration says.
            queue_bytes_max: limits.capture_queue_bytes_max.min(1 << 30),
            file_rows_max: (limits.capture_file_rows_max as usize).max(1),
            flush_after: Duration::from_millis(limits.capture_flush_ms),
            waiting: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new().name("plinth-capture".into()).spawn(move || worker.work())?;
        Ok(Self { shared, sampled, thread: Mutex::new(Some(thread)) })
    }

    /// Queues the rows of one request, or drops and counts them. Never waits for anything but a short lock.
    pub(crate) fn push(
        &self,
        deployment: &Arc<Deployment>,
        request_id: &Arc<str>,
        at: Micros,
        inputs: &Batch,
        outputs: &Batch,
        shadow: bool,
    ) {
        // What a shadow answered is compared, and needs no reasons.
        if let Some(sampled) = self.sampled.as_ref().filter(|_| !shadow) {
            sampled.offer(deployment, request_id, at, inputs);
        }
        let rows = inputs.num_rows();
        let shared = &*self.shared;
        if rows == 0 || !shared.keep.takes(request_id) {
            return;
        }
        let bytes = (inputs.memory_size() + outputs.memory_size()) as u64;
        let rows_waiting = shared.waiting.fetch_add(rows as u64, Relaxed) + rows as u64;
        let bytes_waiting = shared.waiting_bytes.fetch_add(bytes, Relaxed) + bytes;
        if rows_waiting > shared.queue_rows_max || bytes_waiting > shared.queue_bytes_max {
            shared.leave(rows as u64, bytes);
            shared.dropped.fetch_add(rows as u64, Relaxed);
            return;
        }
        let entry = Entry {
            model: Arc::clone(deployment.model()),
            version: Arc::clone(deployment.version()),
            request_id: Arc::clone(request_id),
            at,
            bytes,
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            shadow,
        };
        let mut queue = shared.lock();
        if queue.stop {
            // The thread that stores has gone: what comes now is not kept, and is counted.
            drop(queue);
            shared.leave(rows as u64, bytes);
            shared.dropped.fetch_add(rows as u64, Relaxed);
            return;
        }
        let before = queue.work;
        queue.work += work_of(rows);
        queue.entries.push_back(entry);
        // The thread sleeps without a deadline while there is nothing to write, so the first row wakes it.
        let full = shared.queue_bytes_max / 2;
        let wake = before == 0
            || (before < shared.compact_work && queue.work >= shared.compact_work)
            || (bytes_waiting - bytes <= full && bytes_waiting > full);
        drop(queue);
        if wake {
            shared.wake.notify_one();
        }
    }

    pub(crate) fn stats(&self) -> CaptureStats {
        CaptureStats {
            stored: self.shared.stored.load(Relaxed),
            dropped: self.shared.dropped.load(Relaxed),
            failed: self.shared.failed.load(Relaxed),
            waiting: self.shared.waiting.load(Relaxed),
            explained: self.sampled.as_ref().map(Sampled::stats),
        }
    }

    /// Returns once everything queued before the call was handed to the sink.
    pub(crate) fn flush(&self) {
        if let Some(sampled) = &self.sampled {
            sampled.flush();
        }
        let mut queue = self.shared.lock();
        if queue.stop {
            return;
        }
        queue.flush_asked += 1;
        let ticket = queue.flush_asked;
        self.shared.wake.notify_one();
        while queue.flush_done < ticket {
            queue = self.shared.flushed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes what is left and ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(sampled) = &self.sampled {
            sampled.stop();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the capture thread panicked");
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits until all is stored.
    fn is_waited_for(&self) -> bool {
        let queue = self.lock();
        queue.stop || queue.flush_asked > queue.flush_done
    }

    /// How much of what may wait does.
    fn pile(&self) -> Pile {
        let rows = Pile::of(self.waiting.load(Relaxed), self.queue_rows_max);
        rows.max(Pile::of(self.waiting_bytes.load(Relaxed), self.queue_bytes_max))
    }

    fn leave(&self, rows: u64, bytes: u64) {
        self.waiting.fetch_sub(rows, Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Relaxed);
    }

    fn work(&self) {
        let mut pending: Vec<Pending> = Vec::new();
        let per_work = || match self.is_waited_for() {
            true => SOON,
            false => per_work(&self.idle, self.pile(), self.pressed_ms),
        };
        loop {
            let (entries, flush, stop) = self.wait(pending.iter().map(|p| p.since).min());
            let (mut rest, mut work) = (Rest::new(&per_work), 0);
            for entry in entries {
                work += work_of(entry.inputs.num_rows());
                take_in(&mut pending, entry);
                if work >= self.compact_work {
                    pending.iter_mut().for_each(|held| held.compact(&self.keep));
                    work = 0;
                    rest.take();
                }
            }
            pending.iter_mut().for_each(|held| held.compact(&self.keep));
            let all = flush.is_some() || stop;
            let (ready, kept): (Vec<_>, Vec<_>) = pending
                .into_iter()
                .partition(|held| all || held.rows >= self.file_rows_max || held.since.elapsed() >= self.flush_after);
            pending = kept;
            for held in ready {
                self.write(held, &mut rest);
            }
            if let Some(ticket) = flush {
                self.lock().flush_done = ticket;
                self.flushed.notify_all();
            }
            if stop {
                let mut queue = self.lock();
                queue.flush_done = queue.flush_asked;
                self.flushed.notify_all();
                return;
            }
        }
    }

    /// Sleeps until there is enough to do: the queue, the flush ticket if one is open, whether to stop.
    fn wait(&self, since: Option<Instant>) -> (VecDeque<Entry>, Option<u64>, bool) {
        let mut queue = self.lock();
        // Rows that arrive while nothing was pending start the clock.
        let mut deadline = since.map(|since| since + self.flush_after);
        loop {
            let flush = (queue.flush_asked > queue.flush_done).then_some(queue.flush_asked);
            let now = Instant::now();
            let enough = queue.work >= self.compact_work || (queue.work > 0 && self.pile() == Pile::High);
            if queue.stop || flush.is_some() || enough || deadline.is_some_and(|at| at <= now) {
                queue.work = 0;
                return (std::mem::take(&mut queue.entries), flush, queue.stop);
            }
            if deadline.is_none() && queue.work > 0 {
                deadline = Some(now + self.flush_after);
            }
            queue = match deadline {
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let waited = self.wake.wait_timeout(queue, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn write(&self, held: Pending, rest: &mut Rest<'_>) {
        let (rows, bytes) = (held.rows as u64, held.bytes);
        let outcome = self.sink.write(held.parts, rest);
        self.leave(rows, bytes);
        match outcome {
            Ok(()) => self.stored.fetch_add(rows, Relaxed),
            Err(error) => {
                tracing::error!(%error, rows, "captured rows could not be stored and are lost");
                self.failed.fetch_add(rows, Relaxed)
            }
        };
    }
}

/// Rows of one model version on their way to the sink.
struct Pending {
    model: Arc<str>,
    version: Arc<str>,
    shadow: bool,
    /// Of inputs and outputs.
    schemas: [Schema; 2],
    since: Instant,
    rows: usize,
    bytes: u64,
    fresh: Vec<Entry>,
    /// What came before, put together.
    parts: Vec<Captured>,
}

fn take_in(pending: &mut Vec<Pending>, entry: Entry) {
    let same = |held: &Pending| {
        held.model == entry.model
            && held.version == entry.version
            && held.shadow == entry.shadow
            && held.schemas[0] == *entry.inputs.schema()
            && held.schemas[1] == *entry.outputs.schema()
    };
    let index = pending.iter().position(same);
    let index = index.unwrap_or_else(|| {
        pending.push(Pending {
            model: Arc::clone(&entry.model),
            version: Arc::clone(&entry.version),
            shadow: entry.shadow,
            schemas: [&entry.inputs, &entry.outputs].map(|rows| rows.schema().clone()),
            since: Instant::now(),
            rows: 0,
            bytes: 0,
            fresh: Vec::new(),
            parts: Vec::new(),
        });
        pending.len() - 1
    });
    let held = &mut pending[index];
    held.rows += entry.inputs.num_rows();
    held.bytes += entry.bytes;
    held.fresh.push(entry);
}

impl Pending {
    /// Puts together what came last. A part with many rows is not copied again for a few that follow it.
    fn compact(&mut self, keep: &Keep) {
        let fresh = std::mem::take(&mut self.fresh);
        let (Some(first), Some(last)) = (fresh.iter().map(|e| e.at).min(), fresh.iter().map(|e| e.at).max()) else {
            return;
        };
        let part = Captured {
            model: self.model.to_string(),
            version: self.version.to_string(),
            first_at: first,
            last_at: last,
            requests: requests(&fresh),
            inputs: keep.of(concat(fresh.iter().map(|entry| &entry.inputs))),
            outputs: keep.of(concat(fresh.iter().map(|entry| &entry.outputs))),
            shadow: self.shadow,
        };
        let part = match self.parts.pop_if(|before| before.requests.num_rows() < COMPACT_ROWS) {
            Some(before) => before.then(&part),
            None => part,
        };
        self.parts.push(part);
    }
}

/// The id and the time of each row, and its place in its request.
fn requests(entries: &[Entry]) -> Batch {
    let rows = || entries.iter().flat_map(|entry| (0..entry.inputs.num_rows()).map(move |row| (entry, row)));
    let schema = Schema::new(vec![
        Field::new("request_id", Kind::Utf8, false),
        Field::new("at", Kind::TimestampUs, false),
        Field::new("row", Kind::Int64, false),
    ])
    .expect("three names");
    let ids: StringArray = rows().map(|(entry, _)| Some(&*entry.request_id)).collect();
    let at: Vec<Micros> = rows().map(|(entry, _)| entry.at).collect();
    let row: Vec<i64> = rows().map(|(_, row)| row as i64).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")),
        Arc::new(Int64Array::from(row)),
    ];
    let rows = columns[0].len();
    Batch::new(schema, columns, rows).expect("as many ids and times as rows")
}

/// All rows; there is at least one part.
pub(crate) fn concat<'a>(parts: impl IntoIterator<Item = &'a Batch>) -> Batch {
    let parts: Vec<&Batch> = parts.into_iter().collect();
    if let [only] = parts[..] {
        return only.clone();
    }
    if let Some(whole) = Batch::join_numbers(&parts) {
        return whole;
    }
    let schema = parts[0].schema();
    let whole = concat_batches(schema.arrow(), parts.iter().map(|part| part.arrow()))
        .expect("rows of one deployment have one schema and the queue holds less than 2 GiB");
    Batch::new(schema.clone(), whole.columns().to_vec(), whole.num_rows()).expect("concatenation keeps the schema")
}
