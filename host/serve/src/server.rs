//! The state of a scoring server: what is served, who may enter, where the work is done.

use std::{
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

use crate::{CaptureSink, CaptureStats, Deployment, Generation, ServeError, Source, capture::Capture, pool::Pool};

/// Longest pause between two tries to load a generation that failed.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How a [`Server`] is set up.
pub struct Options {
    /// What it accepts and holds.
    pub limits: ServeLimits,
    /// Where captured rows go, if anywhere.
    pub capture: Option<Arc<dyn CaptureSink>>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from when a caller sends none.
    pub ids: Arc<dyn IdGen>,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: ServeLimits::default(), capture: None, clock: Arc::new(SystemClock), ids: Arc::new(UuidIds) }
    }
}

/// A scoring server without a network. Shared by every request.
pub struct Server {
    limits: ServeLimits,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    active: ArcSwap<Deployment>,
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
}

/// How often another deployment was put in service since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwapStats {
    /// Put in service.
    pub swapped: u64,
    /// Not put in service because it could not be found, loaded or warmed up.
    pub failed: u64,
}

struct Watched {
    served: Generation,
    /// What could not be loaded, when to try again, and how long to wait after that.
    failed: Option<(Option<Generation>, Instant, Duration)>,
}

#[derive(Default)]
struct Watcher {
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let served = source.current()?;
        let deployment = source.load(served)?;
        deployment.warm_up()?;
        let limits = options.limits;
        let capture = match options.capture {
            Some(sink) => Some(Capture::new(sink, &limits).map_err(|e| no_thread(&e))?),
            None => None,
        };
        let server = Arc::new(Self {
            pool: Pool::new(limits.scoring_threads as usize).map_err(|e| no_thread(&e))?,
            clock: options.clock,
            ids: options.ids,
            active: ArcSwap::from_pointee(deployment),
            capture,
            in_flight: AtomicU32::new(0),
            shed: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            source,
            watched: Mutex::new(Watched { served, failed: None }),
            swaps: AtomicU64::new(0),
            failed_swaps: AtomicU64::new(0),
            watcher: Watcher::default(),
            limits,
        });
        server.watch()?;
        Ok(server)
    }

    /// What is served now. A request takes it once and keeps it to its end.
    pub fn deployment(&self) -> Arc<Deployment> {
        self.active.load_full()
    }

    /// What it accepts and holds.
    pub const fn limits(&self) -> &ServeLimits {
        &self.limits
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
    /// [`ServeError::Overloaded`] if as many as may be are in flight.
    pub fn admit(self: &Arc<Self>) -> Result<Admission, ServeError> {
        let in_flight_max = self.limits.requests_in_flight_max;
        let admission = Admission { server: Arc::clone(self) };
        if self.in_flight.fetch_add(1, Relaxed) >= in_flight_max {
            self.shed.fetch_add(1, Relaxed);
            return Err(ServeError::Overloaded { in_flight_max });
        }
        Ok(admission)
    }

    /// Does the work of an admitted request on a scoring thread.
    ///
    /// # Errors
    /// [`ServeError::GivenUp`] if it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServeError> {
        self.pool.run(work).await
    }

    /// Keeps a request's rows and their predictions for monitoring, if capture is on; never waits.
    pub fn capture(&self, deployment: &Arc<Deployment>, request_id: &Arc<str>, inputs: &Batch, outputs: &Batch) {
        if let Some(capture) = &self.capture {
            capture.push(deployment, request_id, self.clock.now(), inputs, outputs);
        }
    }

    /// Returns once every row captured before the call was handed to the sink. Blocks.
    pub fn flush_capture(&self) {
        if let Some(capture) = &self.capture {
            capture.flush();
        }
    }

    /// Asks the source once and swaps if it says so: whether it swapped. The watching thread does this all the time.
    /// Blocks.
    ///
    /// # Errors
    /// [`ServeError`]; what was served stays in service.
    pub fn refresh(&self) -> Result<bool, ServeError> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = match self.source.current() {
            Ok(wanted) => wanted,
            Err(error) => return Err(self.not_swapped(&mut watched, None, error)),
        };
        if wanted == watched.served {
            watched.failed = None;
            return Ok(false);
        }
        if watched.failed.is_some_and(|(failed, again, _)| failed == Some(wanted) && Instant::now() < again) {
            return Ok(false);
        }
        let loaded = self.source.load(wanted).and_then(|deployment| deployment.warm_up().map(|()| deployment));
        match loaded {
            Ok(deployment) => {
                tracing::info!(model.name = %deployment.model(), model.version = %deployment.version(), "now serving");
                self.active.store(Arc::new(deployment));
                *watched = Watched { served: wanted, failed: None };
                self.swaps.fetch_add(1, Relaxed);
                Ok(true)
            }
            Err(error) => Err(self.not_swapped(&mut watched, Some(wanted), error)),
        }
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
        let pause = Duration::from_millis(self.limits.source_poll_ms.max(1));
        let watch = move || {
            let (stopped, wake) = &*stop;
            let mut guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                // The flag is looked at before the wait too: a stop that came meanwhile wakes nobody.
                let waited = wake.wait_timeout_while(guard, pause, |stopped| !*stopped);
                guard = waited.unwrap_or_else(PoisonError::into_inner).0;
                if *guard {
                    return;
                }
                drop(guard);
                let Some(server) = server.upgrade() else { return };
                // Told and counted there already.
                let _ = server.refresh();
                drop(server);
                guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            }
        };
        let thread = thread::Builder::new().name("plinth-watch".into()).spawn(watch);
        let thread = thread.map_err(|e| no_thread(&e))?;
        *self.watcher.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Counts and logs a failure, but not the same one again at every poll.
    fn not_swapped(&self, watched: &mut Watched, wanted: Option<Generation>, error: ServeError) -> ServeError {
        let pause = match watched.failed {
            Some((failed, again, pause)) if failed == wanted => {
                if wanted.is_none() && Instant::now() < again {
                    return error;
                }
                (pause * 2).min(RETRY_MAX)
            }
            _ => Duration::from_secs(1),
        };
        watched.failed = Some((wanted, Instant::now() + pause, pause));
        self.failed_swaps.fetch_add(1, Relaxed);
        let served = self.active.load();
        tracing::error!(
            %error, model.name = %served.model(), model.version = %served.version(),
            "the model to serve could not be loaded; the one in service stays"
        );
        error
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("deployment", &self.active.load()).finish_non_exhaustive()
    }
}

impl Watcher {
    fn stop(&self) {
        let (stopped, wake) = &*self.stop;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches for new versions panicked");
        }
    }
}

fn no_thread(error: &std::io::Error) -> ServeError {
    ServeError::Outside { code: codes::IO, message: format!("a thread could not be started: {error}"), hint: None }
}
