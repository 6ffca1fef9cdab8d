//! The state of a scoring server: what is served, who may enter, where the work is done.

mod memory;
mod reconcile;
mod repository;
mod sound;
mod withdrawn;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use plinth_core::{Clock, IdGen, ServeLimits, SystemClock, UuidIds, codes};
use plinth_ext::Batch;

use self::{memory::Memory, withdrawn::Withdrawn};
pub use self::{memory::Resident, repository::Indexed};
use crate::{
    Answerer, CaptureSink, CaptureStats, Deployment, Endpoint, EndpointPlan, Generation, Keep, RolloutStanding, Routes,
    ServeError, Source, Steward, Target, Work,
    answers::Answers,
    capture::Capture,
    pool::Pool,
    shadow::Copied,
    steward::{self, Watches},
    turn::Queued,
};

/// Longest pause between two tries to load an endpoint that failed.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How a [`Server`] is set up.
pub struct Options {
    /// What it accepts and holds.
    pub limits: ServeLimits,
    /// Where captured rows go, if anywhere.
    pub capture: Option<Arc<dyn CaptureSink>>,
    /// What of the requests is captured.
    pub keep: Keep,
    /// Whether callers are told only that something is wrong with their rows, not what the model takes.
    pub hide_schema: bool,
    /// Who writes down what becomes of rollouts; without one they stay in the step they are in.
    pub steward: Option<Arc<dyn Steward>>,
    /// How much memory the process has, to tell what models take; without it they count with the size of their files.
    pub resident: Option<Resident>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from when a caller sends none.
    pub ids: Arc<dyn IdGen>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: ServeLimits::default(),
            capture: None,
            keep: Keep::default(),
            hide_schema: false,
            steward: None,
            resident: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(UuidIds),
        }
    }
}

/// A scoring server without a network. Shared by every request.
pub struct Server {
    limits: ServeLimits,
    hide_schema: bool,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    routes: ArcSwap<Routes>,
    pool: Pool,
    capture: Option<Capture>,
    in_flight: AtomicU32,
    shed: AtomicU64,
    draining: AtomicBool,
    source: Arc<dyn Source>,
    watched: Mutex<Watched>,
    swaps: AtomicU64,
    failed_swaps: AtomicU64,
    watcher: Watcher,
    /// Canaries that get nothing although the plan of this revision says so.
    withdrawn: Mutex<BTreeMap<Arc<str>, Withdrawn>>,
    watches: Mutex<Watches>,
    answers: Answers,
    memory: Memory,
}

/// How often endpoints changed since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwapStats {
    /// Put in service, changed or taken out of it.
    pub swapped: u64,
    /// Left as they were because something could not be found, loaded or warmed up.
    pub failed: u64,
}

#[derive(Default)]
struct Watched {
    /// The generation of the plan that was read last.
    seen: Option<Generation>,
    plan: Vec<EndpointPlan>,
    /// Endpoints that somebody asked for beside those of the plan.
    extra: Vec<EndpointPlan>,
    /// Those of the plan that somebody took out of service.
    out: BTreeSet<Arc<str>>,
    /// The plan could not be read.
    unread: Option<Failed>,
    /// Endpoints of the plan that could not be put in service.
    failed: BTreeMap<Arc<str>, Failed>,
}

impl Watched {
    /// What should be served.
    fn wanted(&self) -> impl Iterator<Item = &EndpointPlan> {
        let planned = self.plan.iter().filter(|plan| !self.out.contains(&plan.name));
        planned.chain(self.extra.iter().filter(|extra| !self.plan.iter().any(|plan| plan.name == extra.name)))
    }
}

/// What failed, when to try again, and how long to wait after that.
#[derive(Clone)]
struct Failed {
    /// The state of the endpoint that was tried.
    revision: u64,
    error: ServeError,
    again: Instant,
    pause: Duration,
}

impl Failed {
    fn after(before: Option<&Self>, revision: u64, error: ServeError) -> Self {
        let pause = match before {
            Some(before) if before.revision == revision => (before.pause * 2).min(RETRY_MAX),
            _ => Duration::from_secs(1),
        };
        Self { revision, error, again: Instant::now() + pause, pause }
    }
}

#[derive(Default)]
struct Watcher {
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<(Mutex<bool>, Condvar)>,
}

/// A request's place among those in flight; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    server: Arc<Server>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Server {
    /// Loads what `source` says should be served, warms it up, and watches for changes from then on. Blocks.
    ///
    /// # Errors
    /// [`ServeError`] if the first deployment cannot be loaded or threads cannot be started.
    pub fn start(source: Arc<dyn Source>, options: Options) -> Result<Arc<Self>, ServeError> {
        let limits = options.limits;
        let pool = Pool::new(limits.scoring_threads as usize).map_err(|e| no_thread(&e))?;
        let capture = |sink| Capture::new(sink, options.keep, &limits, pool.idleness()).map_err(|e| no_thread(&e));
        let capture = options.capture.map(capture).transpose()?;
        let server = Arc::new(Self {
            pool,
            hide_schema: options.hide_schema,
            clock: options.clock,
            ids: options.ids,
            routes: ArcSwap::default(),
            capture,
            in_flight: AtomicU32::new(0),
            shed: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            source,
            watched: Mutex::default(),
            swaps: AtomicU64::new(0),
            failed_swaps: AtomicU64::new(0),
            watcher: Watcher::default(),
            withdrawn: Mutex::default(),
            watches: Mutex::default(),
            answers: Answers::new(limits.feedback_ids_max as usize),
            memory: Memory::new(options.resident, limits.models_bytes_max),
            limits,
        });
        let first = server.refresh();
        // One bad endpoint must not keep the others from their callers.
        if server.routes.load().endpoints().is_empty() {
            first?;
        }
        // What is told is how often something changed.
        server.swaps.store(0, Relaxed);
        server.watch()?;
        if let Some(steward) = options.steward {
            server.tend_rollouts(steward)?;
        }
        Ok(server)
    }

    /// What is served now. A request takes its endpoint once and keeps it to its end.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// The endpoint of this name; without a name, the only one there is.
    ///
    /// # Errors
    /// [`ServeError::NoEndpoint`], [`ServeError::ManyEndpoints`].
    pub fn endpoint(&self, name: Option<&str>) -> Result<Arc<Endpoint>, ServeError> {
        let routes = self.routes.load();
        let asleep = || self.memory.sleepers();
        // Where others sleep, the one that does not is not the only one.
        let found = name.map_or_else(|| routes.only().filter(|_| asleep().is_empty()), |name| routes.get(name));
        found.cloned().ok_or_else(|| {
            let known = || {
                let awake = routes.endpoints().iter().map(|endpoint| Arc::clone(endpoint.name()));
                awake.chain(asleep()).map(|name| name.to_string()).collect()
            };
            match name {
                Some(name) => ServeError::NoEndpoint { name: name.to_owned(), known: known() },
                None => ServeError::ManyEndpoints { known: known() },
            }
        })
    }

    /// Endpoints that should be served as they are not, and why.
    pub fn failures(&self) -> Vec<(Arc<str>, ServeError)> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.failed.iter().map(|(name, failed)| (Arc::clone(name), failed.error.clone())).collect()
    }

    /// What it accepts and holds.
    pub const fn limits(&self) -> &ServeLimits {
        &self.limits
    }

    /// Whether callers are told only that something is wrong with their rows, not what the model takes.
    pub const fn hides_schema(&self) -> bool {
        self.hide_schema
    }

    /// Where times come from.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// A fresh request id.
    pub fn next_id(&self) -> String {
        self.ids.next()
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// [`ServeError::Overloaded`] if as many as may be are in flight; [`ServeError::Slow`] if it would wait too
    /// long for a thread.
    pub fn admit(self: &Arc<Self>) -> Result<Admission, ServeError> {
        let in_flight_max = self.limits.requests_in_flight_max;
        let admission = Admission { server: Arc::clone(self) };
        if self.in_flight.fetch_add(1, Relaxed) >= in_flight_max {
            self.shed.fetch_add(1, Relaxed);
            return Err(ServeError::Overloaded { in_flight_max });
        }
        // Better told now than let in and answered too late.
        let (wait_ms, max) = (self.pool.wait_ms(), self.limits.queue_ms_max);
        if wait_ms > max {
            self.shed.fetch_add(1, Relaxed);
            return Err(ServeError::Slow { wait_ms, max });
        }
        Ok(admission)
    }

    /// Puts an admitted request into the queue of those that `deployment` scores. What comes back says when somebody is
    /// woken for it.
    ///
    /// # Errors
    /// [`ServeError::GivenUp`] if the server has stopped. Work that panics is dropped without an answer.
    pub fn score(&self, deployment: Arc<Deployment>, work: Box<dyn Work>) -> Result<Queued, ServeError> {
        let queued = self.pool.score(deployment, work);
        if let Err(ServeError::Full { .. }) = &queued {
            self.shed.fetch_add(1, Relaxed);
        }
        queued
    }

    /// Requests in flight that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Does other work than scoring on a scoring thread.
    ///
    /// # Errors
    /// [`ServeError::GivenUp`] if it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServeError> {
        self.pool.run(work).await
    }

    /// Keeps a request's rows and their predictions for monitoring, if capture is on; never waits.
    pub fn capture(&self, deployment: &Arc<Deployment>, request_id: &Arc<str>, inputs: &Batch, outputs: &Batch) {
        if let Some(capture) = &self.capture {
            capture.push(deployment, request_id, self.clock.now(), inputs, outputs, false);
        }
    }

    pub(crate) fn capture_shadow(
        &self,
        deployment: &Arc<Deployment>,
        request_id: &Arc<str>,
        inputs: &Batch,
        outputs: &Batch,
    ) {
        if let Some(capture) = &self.capture {
            capture.push(deployment, request_id, self.clock.now(), inputs, outputs, true);
        }
    }

    /// What is done once `target` has answered a request of this routing key: a rollout looks at what was answered, and
    /// each shadow gets a copy, or counts that it had no room for it. Never waits.
    pub fn answered(
        &self,
        endpoint: &Endpoint,
        target: &Target,
        key: &[u8],
        request_id: &Arc<str>,
        (rows, joined): (&Batch, Option<&Batch>),
        given: &Batch,
    ) {
        if endpoint.plan().routing.rollout.is_some() {
            target.traffic().scores.observe(given);
        }
        if !endpoint.has_shadows() {
            return;
        }
        for shadow in endpoint.shadows(key).filter(|shadow| shadow.name() != target.name()) {
            if let Some(lane) = shadow.traffic().lane.get() {
                // One that takes what callers send looks up by itself, perhaps in another table.
                let takes = shadow.deployment().scorer().map(|scorer| scorer.signature().columns());
                let rows = if takes == Some(rows.schema()) { rows } else { joined.unwrap_or(rows) };
                let copied = || Copied { request_id: Arc::clone(request_id), rows: rows.clone(), given: given.clone() };
                lane.offer(copied, rows.num_rows());
            }
        }
    }

    /// Whether anything is done by [`Server::answered`] for requests of this endpoint.
    pub fn looks_at_answers(endpoint: &Endpoint) -> bool {
        endpoint.plan().routing.rollout.is_some() || endpoint.has_shadows()
    }

    /// Remembers who answered a request, for rewards that are told later; the last ones of them.
    pub fn remember(&self, endpoint: &Endpoint, target: &Target, request_id: &str) {
        self.answers.remember(endpoint.name(), request_id, target.name(), target.deployment().version());
    }

    /// Who answered a request, if that is still remembered.
    pub fn who_answered(&self, endpoint: &str, request_id: &str) -> Option<Answerer> {
        self.answers.find(endpoint, request_id)
    }

    /// How the rollout of an endpoint stands on this server.
    pub fn rollout(&self, endpoint: &str) -> Option<RolloutStanding> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).get(endpoint)?.standing()
    }

    pub(crate) const fn watches(&self) -> &Mutex<Watches> {
        &self.watches
    }

    pub(crate) fn has_idle_thread(&self) -> bool {
        self.pool.idle() > 0
    }

    /// Returns once every row captured before the call was handed to the sink. Blocks.
    pub fn flush_capture(&self) {
        if let Some(capture) = &self.capture {
            capture.flush();
        }
    }

    /// Asks the source once and changes what it says: whether anything changed. The watching thread does this all the
    /// time. Blocks.
    ///
    /// # Errors
    /// The first [`ServeError`] for which an endpoint stays as it is; the others have changed all the same. What failed
    /// is tried again after a pause that grows.
    pub fn refresh(self: &Arc<Self>) -> Result<bool, ServeError> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut watched)
    }

    fn look(self: &Arc<Self>, watched: &mut Watched) -> Result<bool, ServeError> {
        if watched.unread.as_ref().is_some_and(|unread| Instant::now() < unread.again) {
            return Ok(false);
        }
        let current = self.source.current().and_then(|wanted| {
            if watched.seen != Some(wanted) {
                watched.plan = self.source.plan()?;
                // What cannot be found now stays as it is: an alias may be about to be set again.
                watched.extra.iter_mut().for_each(|extra| {
                    if let Ok(found) = self.source.find(&extra.name) {
                        *extra = found;
                    }
                });
                watched.seen = Some(wanted);
            }
            Ok(())
        });
        if let Err(error) = current {
            tracing::error!(%error, "what to serve could not be read; what is in service stays");
            self.failed_swaps.fetch_add(1, Relaxed);
            watched.unread = Some(Failed::after(watched.unread.as_ref(), 0, error.clone()));
            return Err(error);
        }
        watched.unread = None;
        self.memory.note(&self.routes.load());
        self.reconcile(watched)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests that were turned away since the start.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Swaps since the start.
    pub fn swap_stats(&self) -> SwapStats {
        SwapStats { swapped: self.swaps.load(Relaxed), failed: self.failed_swaps.load(Relaxed) }
    }

    /// Captured rows since the start, if capture is on.
    pub fn capture_stats(&self) -> Option<CaptureStats> {
        self.capture.as_ref().map(Capture::stats)
    }

    /// Says that the server is about to stop, so that balancers send no more. Requests are still answered.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether [`Server::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Stops watching and stores what was captured. Call it once nobody is in flight. Blocks; does nothing twice.
    pub fn shutdown(&self) {
        self.drain();
        self.watcher.stop();
        if let Some(capture) = &self.capture {
            capture.stop();
        }
    }

    fn watch(self: &Arc<Self>) -> Result<(), ServeError> {
        let server = Arc::downgrade(self);
        let stop = Arc::clone(&self.watcher.stop);
        let pause = self.pause();
        let watch = move || {
            while !stopped(&stop, pause) {
                let Some(server) = server.upgrade() else { return };
                // Told and counted there already.
                let _ = server.refresh();
            }
        };
        self.spawn("plinth-watch", watch)
    }

    /// A thread of its own: a gate may think for long, and must not keep a change from taking effect.
    fn tend_rollouts(self: &Arc<Self>, steward: Arc<dyn Steward>) -> Result<(), ServeError> {
        let server = Arc::downgrade(self);
        let stop = Arc::clone(&self.watcher.stop);
        let pause = self.pause();
        self.spawn("plinth-rollout", move || steward::watch(&server, &*steward, pause, |pause| stopped(&stop, pause)))
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(self.limits.source_poll_ms.max(1))
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), ServeError> {
        let thread = thread::Builder::new().name(name.into()).spawn(work).map_err(|e| no_thread(&e))?;
        self.watcher.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

/// Waits for `pause`, or until it is time to stop: whether it is.
fn stopped(stop: &(Mutex<bool>, Condvar), pause: Duration) -> bool {
    let (stopped, wake) = stop;
    let guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
    // The flag is looked at before the wait too: a stop that came meanwhile wakes nobody.
    let waited = wake.wait_timeout_while(guard, pause, |stopped| !*stopped);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("routes", &self.routes.load()).finish_non_exhaustive()
    }
}

impl Watcher {
    fn stop(&self) {
        let (stopped, wake) = &*self.stop;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            // The last to hold the server may be one of these very threads.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("the thread that watches for changes panicked");
            }
        }
    }
}

fn no_thread(error: &std::io::Error) -> ServeError {
    ServeError::Outside { code: codes::IO, message: format!("a thread could not be started: {error}"), hint: None }
}
