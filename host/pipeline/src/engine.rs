//! Runs a graph: what is filed under its key is linked, what is not is run, at most two stages at a time.
//!
//! A stage's row is written only after its blobs are durable, so a process that dies at any moment leaves rows for
//! exactly the stages that finished; the next run starts at the first stage without one.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use plinth_core::{Code, Coded, ContentHash, codes};

use crate::{
    Cancel, Graph, Output, PipelineError, StageContext, StageFailure, StageOutcome,
    cache::{Acquired, Cache, Filed, LEASE_RENEW},
    graph::Node,
    key::stage_key,
};

/// Stages that run at once. Two keep a small machine busy; each stage may use more threads inside.
const THREADS: usize = 2;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions<'a> {
    /// Only this stage and what it needs.
    pub only: Option<&'a str>,
    /// Run stages although their results are known; with [`RunOptions::only`], that stage alone.
    pub force: bool,
}

/// Hears what happens, from any thread.
pub trait Observer: Sync {
    /// A stage has to run for the first time: gives the id of the run that it belongs to.
    ///
    /// # Errors
    /// [`StageFailure`]: the run cannot be recorded.
    fn begin(&self) -> Result<String, StageFailure>;

    /// A stage is about to run. `abandoned` is the run of a process that died while it held the stage.
    fn started(&self, stage: &str, abandoned: Option<&str>);

    /// A running stage got this far.
    fn progress(&self, stage: &str, done: u64, total: Option<u64>);

    /// A stage's result is there.
    fn finished(&self, stage: &StageReport);
}

/// How one stage went.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: ContentHash,
    /// Whether the result was known already.
    pub cached: bool,
    /// What it took, now or when it ran.
    pub elapsed: Duration,
    /// What it made.
    pub outcome: StageOutcome,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every selected stage, in order.
    pub stages: Vec<StageReport>,
    /// The run that was recorded; none if nothing had to run.
    pub run_id: Option<String>,
}

impl Report {
    /// Whether every result was known already.
    pub fn nothing_to_do(&self) -> bool {
        self.stages.iter().all(|stage| stage.cached)
    }

    /// A stage by name.
    pub fn stage(&self, name: &str) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

/// Runs what has to run.
///
/// # Errors
/// The first [`PipelineError`]; stages that were running beside it are finished and filed first.
pub fn run(
    graph: &Graph<'_>,
    cache: &Cache,
    observer: &dyn Observer,
    cancel: &Cancel,
    options: &RunOptions<'_>,
) -> Result<Report, PipelineError> {
    let selected = graph.select(options.only)?;
    let engine = Engine {
        graph,
        cache,
        observer,
        cancel,
        options,
        selected: &selected,
        run_id: OnceLock::new(),
        beginning: Mutex::new(()),
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
    };
    // One stage after the other when no two can run at once: a thread costs more than a cached stage.
    std::thread::scope(|scope| {
        for _ in 1..THREADS.min(engine.width()) {
            scope.spawn(|| engine.work());
        }
        engine.work();
    });
    // At the end, so that a stage whose process died is told of it when it is run again.
    if let Err(error) = cache.sweep() {
        tracing::warn!(%error, "leases of processes that died could not be removed");
    }
    let state = engine.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => {
            let mut done = state.done;
            let stages = graph.order.iter().filter_map(|index| done.remove(index)).collect();
            Ok(Report { stages, run_id: engine.run_id.into_inner() })
        }
    }
}

struct Engine<'a> {
    graph: &'a Graph<'a>,
    cache: &'a Cache,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    options: &'a RunOptions<'a>,
    selected: &'a BTreeSet<usize>,
    run_id: OnceLock<String>,
    beginning: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: BTreeSet<usize>,
    done: BTreeMap<usize, StageReport>,
    failed: Option<PipelineError>,
}

impl Engine<'_> {
    /// How many stages can be ready at once, at most: those that share a distance from the start.
    fn width(&self) -> usize {
        let mut depth: BTreeMap<usize, usize> = BTreeMap::new();
        let mut count: BTreeMap<usize, usize> = BTreeMap::new();
        for &index in self.graph.order.iter().filter(|index| self.selected.contains(index)) {
            let level = self.graph.nodes[index].needs.iter().map(|need| depth[need] + 1).max().unwrap_or_default();
            depth.insert(index, level);
            *count.entry(level).or_default() += 1;
        }
        count.into_values().max().unwrap_or(1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes stages as they become ready until none is left or one failed.
    fn work(&self) {
        loop {
            let mut state = self.lock();
            let index = loop {
                if state.failed.is_some() || state.taken.len() == self.selected.len() {
                    return;
                }
                let ready = self.graph.order.iter().copied().find(|index| {
                    self.selected.contains(index)
                        && !state.taken.contains(index)
                        && self.graph.nodes[*index].needs.iter().all(|need| state.done.contains_key(need))
                });
                match ready {
                    Some(index) => break index,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            state.taken.insert(index);
            let node = &self.graph.nodes[index];
            let inputs: BTreeMap<&'static str, Output> = node
                .inputs
                .iter()
                .filter_map(|(key, (from, name))| {
                    let outputs = &state.done[from].outcome.outputs;
                    outputs.iter().find(|output| output.name == *name).map(|output| (*key, output.clone()))
                })
                .collect();
            drop(state);

            // A panic is a defect; it must not leave the other thread waiting for ever.
            let result = catch_unwind(AssertUnwindSafe(|| self.stage(node, &inputs))).unwrap_or_else(|_| {
                Err(PipelineError::Stage { stage: node.spec.name.clone(), failure: Panicked.into() })
            });
            let mut state = self.lock();
            match result {
                Ok(report) => {
                    self.observer.finished(&report);
                    state.done.insert(index, report);
                }
                Err(error) => {
                    // A stage that was not begun because of the stop has less to tell than the one that was stopped.
                    let vague =
                        |e: &PipelineError| matches!(e, PipelineError::Interrupted { stage } if stage.is_empty());
                    if state.failed.as_ref().is_none_or(vague) {
                        state.failed = Some(error);
                    }
                }
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Links or runs one stage.
    fn stage(&self, node: &Node<'_>, inputs: &BTreeMap<&'static str, Output>) -> Result<StageReport, PipelineError> {
        let name = &node.spec.name;
        let failed = |failure: StageFailure| self.failure(name, failure);
        let silent = |_, _| {};
        let context = |run_id, progress| StageContext {
            pipeline: self.graph.pipeline,
            stage: node.spec,
            inputs,
            cache: self.cache,
            cancel: self.cancel,
            run_id,
            progress,
        };
        if self.cancel.is_stopped() {
            return Err(PipelineError::Interrupted { stage: String::new() });
        }
        let parts = node.handler.key_parts(&context("", &silent)).map_err(failed)?;
        let named = inputs.iter().map(|(key, output)| (*key, output));
        let key = stage_key(node.handler.kind(), node.handler.version(), &node.plan.params, named, &parts);
        let report = |cached, elapsed, outcome| StageReport {
            name: name.clone(),
            kind: node.spec.kind.clone(),
            key,
            cached,
            elapsed,
            outcome,
        };
        let force = self.options.force && self.options.only.is_none_or(|only| only == name);
        let find = || -> Result<_, PipelineError> {
            let Some(known) = self.cache.find(key)?.filter(|_| !force) else { return Ok(None) };
            Ok(node.handler.stands(&known.outcome).map_err(failed)?.then_some(known))
        };
        if let Some(known) = find()? {
            return Ok(report(true, known.elapsed, known.outcome));
        }

        let run_id = self.begin().map_err(failed)?;
        let abandoned = match self.cache.acquire(key, run_id)? {
            Acquired::Free { abandoned } => abandoned,
            Acquired::Held { holder } => return Err(PipelineError::Leased { stage: name.clone(), holder }),
        };
        let lease = Lease { cache: self.cache, key };
        // Another process may have finished it between the look and the lease.
        if let Some(known) = find()? {
            return Ok(report(true, known.elapsed, known.outcome));
        }
        self.observer.started(name, abandoned.as_deref());
        tracing::debug!(stage = %name, stage.key = %key, run.id = %run_id, "stage starts");
        let start = Instant::now();
        let progress = |done, total| self.observer.progress(name, done, total);
        let result = lease.kept_alive(|| node.handler.run(&context(run_id, &progress)));
        let outcome = result.map_err(failed)?;
        let missing = node.plan.outputs.iter().find(|name| !outcome.outputs.iter().any(|o| o.name == **name));
        if let Some(missing) = missing {
            return Err(failed(MissingOutput((*missing).to_owned()).into()));
        }
        let elapsed = start.elapsed();
        self.cache.record(&Filed {
            key,
            pipeline: &self.graph.pipeline.name,
            stage: name,
            run_id,
            outcome: &outcome,
            elapsed,
        })?;
        Ok(report(false, elapsed, outcome))
    }

    /// The run that stages of this process belong to, made when the first of them has to run.
    fn begin(&self) -> Result<&str, StageFailure> {
        let _one_at_a_time = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = self.run_id.get() {
            return Ok(id);
        }
        let id = self.observer.begin()?;
        Ok(self.run_id.get_or_init(|| id))
    }

    fn failure(&self, stage: &str, failure: StageFailure) -> PipelineError {
        if failure.error.code() == codes::INTERRUPTED {
            PipelineError::Interrupted { stage: stage.to_owned() }
        } else {
            PipelineError::Stage { stage: stage.to_owned(), failure }
        }
    }
}

/// The right to run a stage; given back when it goes.
struct Lease<'a> {
    cache: &'a Cache,
    key: ContentHash,
}

impl Lease<'_> {
    /// Does `work` while another thread prolongs the lease.
    fn kept_alive<T>(&self, work: impl FnOnce() -> T) -> T {
        let ended = (Mutex::new(false), Condvar::new());
        let end = || {
            *ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            ended.1.notify_all();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut done = ended.0.lock().unwrap_or_else(PoisonError::into_inner);
                while !*done {
                    let (guard, wait) = ended.1.wait_timeout(done, LEASE_RENEW).unwrap_or_else(PoisonError::into_inner);
                    done = guard;
                    if wait.timed_out()
                        && !*done
                        && let Err(error) = self.cache.renew(self.key)
                    {
                        tracing::warn!(%error, "the lease of a stage could not be prolonged");
                    }
                }
            });
            // A panic in `work` must end the other thread too, or the scope would wait for ever.
            let result = catch_unwind(AssertUnwindSafe(work));
            end();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cache.release(self.key) {
            tracing::warn!(%error, "the lease of a stage could not be given back; it ends by itself");
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it panicked; the message is above")]
struct Panicked;

#[derive(Debug, thiserror::Error)]
#[error("its handler did not make the output `{0}`")]
struct MissingOutput(String);

impl Coded for Panicked {
    fn code(&self) -> Code {
        codes::INTERNAL
    }
}

impl Coded for MissingOutput {
    fn code(&self) -> Code {
        codes::INTERNAL
    }
}
