//! What the models in service take of memory, and which of them sleep so that it is no more than it may be.
//!
//! A model counts with what the process grew by while it was loaded and made warm, at least with the size of its files.
//! What other requests took meanwhile counts too, and memory that was free already does not: the largest figure that was
//! seen of a version stays. While a version takes the place of another both are there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use plinth_core::{Coded, codes};

use super::{Server, Watched};
use crate::{Deployment, DeploymentPlan, Endpoint, EndpointPlan, Routes, ServeError};

/// How much memory the process has to itself, in bytes; none where that cannot be told.
pub type Resident = fn() -> Option<u64>;

/// What is known of models and of the memory they take.
#[derive(Default)]
pub(super) struct Memory {
    resident: Option<Resident>,
    /// All of them together; 0 is no limit.
    bytes_max: u64,
    state: Mutex<State>,
    /// As many names sleep: looked at by every request that names what is not in service.
    sleepers: AtomicUsize,
    put_to_sleep: AtomicU64,
}

#[derive(Default)]
struct State {
    /// By model, version and device.
    sizes: HashMap<(Arc<str>, u64, Option<String>), u64>,
    /// Endpoints that are loaded once somebody asks them.
    asleep: BTreeSet<Arc<str>>,
    /// What every endpoint that is wanted asks of models, with their versions.
    models: HashMap<Arc<str>, Vec<(Arc<str>, u64)>>,
    /// Endpoints that somebody waits for.
    asked: BTreeSet<Arc<str>>,
    /// How many requests an endpoint had, and when that was another number.
    used: BTreeMap<Arc<str>, (u64, Instant)>,
}

impl Memory {
    pub(super) fn new(resident: Option<Resident>, bytes_max: u64) -> Self {
        Self { resident, bytes_max, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, name: &Arc<str>) {
        let mut state = self.lock();
        if state.asleep.insert(Arc::clone(name)) {
            tracing::info!(endpoint = %name, "sleeps until it is asked: the models' memory is used up");
            self.put_to_sleep.fetch_add(1, Relaxed);
            state.used.remove(name);
        }
        self.count(&state);
    }

    pub(super) fn sleeps(&self, name: &str) -> bool {
        self.sleepers.load(Relaxed) > 0 && self.lock().asleep.contains(name)
    }

    /// Whether it sleeps, or is being woken.
    fn is_drowsy(&self, name: &str) -> bool {
        if self.sleepers.load(Relaxed) == 0 {
            return false;
        }
        let state = self.lock();
        state.asleep.contains(name) || state.asked.contains(name)
    }

    pub(super) fn sleepers(&self) -> Vec<Arc<str>> {
        if self.sleepers.load(Relaxed) == 0 { Vec::new() } else { self.lock().asleep.iter().cloned().collect() }
    }

    /// It is to be in service now, whatever has to sleep for it: whether it slept.
    pub(super) fn ask_for(&self, name: &Arc<str>) -> bool {
        let mut state = self.lock();
        let slept = state.asleep.remove(name);
        state.asked.insert(Arc::clone(name));
        self.count(&state);
        slept
    }

    /// Nobody waits for it any more. Where it could not be loaded it sleeps on, and the next who asks is told why.
    pub(super) fn answered(&self, name: &Arc<str>, failed: bool) {
        let mut state = self.lock();
        state.asked.remove(name);
        if failed {
            state.asleep.insert(Arc::clone(name));
        }
        self.count(&state);
    }

    fn count(&self, state: &State) {
        self.sleepers.store(state.asleep.len() + state.asked.len(), Relaxed);
    }

    fn is_asked_for(&self, name: &str) -> bool {
        self.lock().asked.contains(name)
    }

    /// Keeps in mind what is wanted, and forgets what is not any more.
    pub(super) fn keep(&self, wanted: &[EndpointPlan]) {
        let mut state = self.lock();
        let known = |name: &Arc<str>| wanted.iter().any(|plan| plan.name == *name);
        state.asleep.retain(known);
        state.used.retain(|name, _| known(name));
        let models = |plan: &EndpointPlan| plan.deployments.iter().map(|d| (Arc::clone(&d.model), d.version)).collect();
        state.models = wanted.iter().map(|plan| (Arc::clone(&plan.name), models(plan))).collect();
        self.count(&state);
    }

    /// Looks at who was asked since the last look.
    pub(super) fn note(&self, routes: &Routes) {
        if self.bytes_max == 0 {
            return;
        }
        let mut state = self.lock();
        for endpoint in routes.endpoints() {
            let requests = endpoint.targets().iter().map(|target| target.traffic().requests()).sum();
            let used = state.used.entry(Arc::clone(endpoint.name())).or_insert((requests, Instant::now()));
            if used.0 != requests {
                *used = (requests, Instant::now());
            }
        }
    }

    /// Loads a deployment, and keeps in mind what it takes.
    pub(super) fn measured(
        &self,
        plan: &DeploymentPlan,
        load: impl FnOnce() -> Result<Deployment, ServeError>,
    ) -> Result<Deployment, ServeError> {
        let resident = || self.resident.and_then(|resident| resident());
        let before = resident();
        let deployment = load()?;
        let grown = resident().zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
        let key = (Arc::clone(&plan.model), plan.version, plan.device.clone());
        let mut state = self.lock();
        let size = state.sizes.entry(key).or_default();
        *size = grown.max(deployment.memory_bytes()).max(*size);
        deployment.takes(*size);
        Ok(deployment)
    }

    /// What an endpoint took when it was in service; none if that is not known of all its parts.
    fn known(&self, plan: &EndpointPlan) -> Option<u64> {
        let state = self.lock();
        let size = |plan: &DeploymentPlan| {
            state.sizes.get(&(Arc::clone(&plan.model), plan.version, plan.device.clone())).copied()
        };
        plan.deployments.iter().map(size).sum()
    }

    /// Those that were not asked for longest, so many of them that all others have no more than `bytes_max`.
    fn oldest(&self, mut endpoints: Vec<Arc<Endpoint>>, bytes_max: u64) -> Vec<Arc<str>> {
        let state = self.lock();
        let used = |endpoint: &Arc<Endpoint>| state.used.get(endpoint.name()).map(|(_, at)| *at);
        // The oldest last.
        endpoints.sort_by_key(|endpoint| std::cmp::Reverse(used(endpoint)));
        let mut names = Vec::new();
        while taken(endpoints.iter().map(|endpoint| &**endpoint)) > bytes_max {
            let Some(oldest) = endpoints.pop() else { break };
            names.push(Arc::clone(oldest.name()));
        }
        names
    }
}

/// Memory that endpoints take; what several of them share counts once.
fn taken<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> u64 {
    let mut seen = Vec::new();
    let mut bytes = 0;
    for target in endpoints.into_iter().flat_map(Endpoint::targets) {
        let deployment = Arc::as_ptr(target.deployment());
        if !seen.contains(&deployment) {
            seen.push(deployment);
            bytes += target.deployment().memory_bytes();
        }
    }
    bytes
}

impl Server {
    /// Memory that the models in service take, as far as that is known.
    pub fn models_bytes(&self) -> u64 {
        taken(self.routes.load().endpoints().iter().map(|endpoint| &**endpoint))
    }

    /// Endpoints that are loaded once somebody asks them: others use the memory that models may take.
    pub fn asleep(&self) -> Vec<Arc<str>> {
        self.memory.sleepers()
    }

    /// How often one was put to sleep.
    pub fn put_to_sleep(&self) -> u64 {
        self.memory.put_to_sleep.load(Relaxed)
    }

    /// The models of an endpoint, also of one that sleeps; without a name, of the only one there is.
    pub fn models(&self, name: Option<&str>) -> Option<Vec<Arc<str>>> {
        let of = |endpoint: Arc<Endpoint>| {
            endpoint.targets().iter().map(|target| Arc::clone(target.deployment().model())).collect()
        };
        let awake = self.endpoint(name).ok().map(of);
        let names = |wanted: &Vec<(Arc<str>, u64)>| wanted.iter().map(|(model, _)| Arc::clone(model)).collect();
        awake.or_else(|| self.memory.lock().models.get(name?).map(names))
    }

    /// The versions of models that an endpoint is meant to answer with, also of one that sleeps, in order.
    pub fn versions(&self, name: &str) -> Vec<u64> {
        let state = self.memory.lock();
        let mut versions: Vec<u64> =
            state.models.get(name).into_iter().flatten().map(|(_, version)| *version).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// Whether an endpoint is loaded once somebody asks it.
    pub fn sleeps(&self, name: &str) -> bool {
        self.memory.is_drowsy(name)
    }

    /// Puts an endpoint that sleeps in service; who was not asked for longest sleeps in its place. What it gives answers
    /// whoever asked, also if it has to make room again at once. None if nothing of that name is wanted. Blocks.
    ///
    /// # Errors
    /// [`ServeError`] if it cannot be loaded.
    pub fn wake(self: &Arc<Self>, name: &str) -> Result<Option<Arc<Endpoint>>, ServeError> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = &mut *watched;
        let there = || self.routes.load().get(name).cloned();
        let Some(plan) = watched.wanted().find(|plan| *plan.name == *name).cloned() else { return Ok(there()) };
        if !self.memory.sleeps(name) {
            return Ok(there());
        }
        // What had no room may have it now, as somebody waits for it.
        if watched.failed.get(name).is_some_and(|failed| failed.error.code() == codes::LIMIT_EXCEEDED) {
            watched.failed.remove(name);
        }
        self.make_room(watched, &plan);
        self.memory.ask_for(&plan.name);
        let _ = self.reconcile(watched);
        let there = there();
        self.memory.answered(&plan.name, there.is_none());
        match (there, watched.failed.get(name)) {
            (None, Some(failed)) => Err(failed.error.clone()),
            (there, _) => Ok(there),
        }
    }

    /// Puts others to sleep before an endpoint is loaded whose size is known.
    fn make_room(self: &Arc<Self>, watched: &mut Watched, plan: &EndpointPlan) {
        let bytes_max = self.memory.bytes_max;
        let Some(bytes) = self.memory.known(plan).filter(|bytes| *bytes <= bytes_max) else { return };
        let routes = self.routes.load_full();
        self.memory.note(&routes);
        let names = self.memory.oldest(routes.endpoints().to_vec(), bytes_max - bytes);
        if !names.is_empty() {
            names.iter().for_each(|name| self.memory.sleep(name));
            // Told and counted there already.
            let _ = self.reconcile(watched);
        }
    }

    /// Whether an endpoint that nobody waits for should not even be loaded: there was no room for another before it.
    pub(super) fn skips(&self, name: &Arc<str>, full: bool) -> bool {
        let skips = full && !self.memory.is_asked_for(name);
        if skips {
            self.memory.sleep(name);
        }
        skips
    }

    /// Finds room for an endpoint beside `others`: whether it may be in service. One that nobody waits for sleeps where
    /// there is none; for one that is new or was changed on purpose others do.
    pub(super) fn fits(&self, endpoint: &Endpoint, others: &[Arc<Endpoint>], is_new: bool) -> Result<bool, ServeError> {
        let bytes_max = self.memory.bytes_max;
        if bytes_max == 0 {
            return Ok(true);
        }
        let beside = |names: &[Arc<str>]| {
            let others = others.iter().filter(|other| !names.contains(other.name())).map(|other| &**other);
            taken(others.chain([endpoint]))
        };
        if beside(&[]) <= bytes_max {
            return Ok(true);
        }
        let alone = taken([endpoint]);
        if alone > bytes_max {
            let (name, [alone, most]) = (endpoint.name(), [alone, bytes_max].map(|bytes| bytes.div_ceil(1 << 20)));
            return Err(ServeError::Outside {
                code: codes::LIMIT_EXCEEDED,
                message: format!("endpoint `{name}` takes {alone} MiB, and all models together may take {most} MiB"),
                hint: Some("raise limits.serve.models-bytes-max, or serve it with --memory-budget".into()),
            });
        }
        let name = endpoint.name();
        if is_new && !self.memory.is_asked_for(name) {
            self.memory.sleep(name);
            return Ok(false);
        }
        self.memory.note(&self.routes.load());
        // What it shares with others would count twice here; one more of them may sleep than has to.
        self.memory.oldest(others.to_vec(), bytes_max - alone).iter().for_each(|name| self.memory.sleep(name));
        Ok(true)
    }
}
