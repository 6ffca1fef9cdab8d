//! What somebody loads and unloads beside what is planned, and everything that is or might be in service.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use super::{Server, Watched};
use crate::ServeError;

/// An endpoint that is served, or might be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// Its name.
    pub name: Arc<str>,
    /// The version of a model that answers, or would.
    pub version: Option<u64>,
    /// Whether it answers: it is loaded, or will be by whoever asks it first.
    pub ready: bool,
    /// Why it is not loaded; none if it is.
    pub reason: Option<String>,
}

impl Server {
    /// Puts an endpoint in service that is not, as it should be now. Blocks.
    ///
    /// # Errors
    /// [`ServeError`] if there is none of that name, or it cannot be loaded; what is in service stays.
    pub fn load(self: &Arc<Self>, name: &str) -> Result<(), ServeError> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = &mut *watched;
        watched.out.remove(name);
        watched.failed.remove(name);
        let asked = name.into();
        self.memory.ask_for(&asked);
        let outcome = self.load_asked(watched, name);
        self.memory.answered(&asked, false);
        outcome
    }

    fn load_asked(self: &Arc<Self>, watched: &mut Watched, name: &str) -> Result<(), ServeError> {
        // Others may fail, which is told where they are asked for.
        let _ = self.look(watched);
        let known = watched.wanted().any(|plan| *plan.name == *name);
        if !known {
            watched.extra.push(self.source.find(name)?);
            let _ = self.reconcile(watched);
        }
        let Some(failed) = watched.failed.get(name) else { return Ok(()) };
        let error = failed.error.clone();
        if !known {
            // Asked for once, and not to be tried for ever.
            watched.extra.retain(|plan| *plan.name != *name);
            watched.failed.remove(name);
        }
        Err(error)
    }

    /// Takes an endpoint out of service. Requests that it has begun are answered. Blocks.
    ///
    /// # Errors
    /// [`ServeError::NoEndpoint`] if there is none of that name.
    pub fn unload(self: &Arc<Self>, name: &str) -> Result<(), ServeError> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = &mut *watched;
        if watched.out.contains(name) {
            return Ok(());
        }
        let Some(plan) = watched.wanted().find(|plan| *plan.name == *name) else {
            let known = watched.wanted().map(|plan| plan.name.to_string()).collect();
            return Err(ServeError::NoEndpoint { name: name.to_owned(), known });
        };
        let name = Arc::clone(&plan.name);
        watched.extra.retain(|plan| plan.name != name);
        watched.failed.remove(&name);
        watched.out.insert(name);
        let _ = self.reconcile(watched);
        Ok(())
    }

    /// Everything that is served or might be, by name.
    pub fn index(&self) -> Vec<Indexed> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Indexed> = Vec::new();
        for endpoint in self.routes.load().endpoints() {
            for target in endpoint.targets() {
                let (name, version) = (Arc::clone(endpoint.name()), Some(target.plan().version));
                // Several deployments may be of one version.
                if !all.iter().any(|indexed| indexed.name == name && indexed.version == version) {
                    all.push(Indexed { name, version, ready: true, reason: None });
                }
            }
        }
        let awake: HashSet<Arc<str>> = all.iter().map(|indexed| Arc::clone(&indexed.name)).collect();
        let known = match self.source.known() {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "which models there are beside those that are served could not be read");
                Vec::new()
            }
        };
        let planned = watched
            .plan
            .iter()
            .flat_map(|plan| plan.deployments.iter().map(move |d| (Arc::clone(&plan.name), d.version)));
        let planned: Vec<(Arc<str>, u64)> = planned.collect();
        let named: HashSet<Arc<str>> = planned.iter().map(|(name, _)| Arc::clone(name)).collect();
        let others = known.into_iter().filter(|(name, _)| !named.contains(name));
        for (name, version) in planned.iter().cloned().chain(others) {
            if awake.contains(&name)
                || all.iter().any(|indexed| indexed.name == name && indexed.version == Some(version))
            {
                continue;
            }
            let failed = watched.failed.get(&name).map(|failed| failed.error.to_string());
            let (ready, why) = match () {
                () if watched.out.contains(&name) => (false, "unloaded"),
                () if self.sleeps(&name) => (true, "asleep: it is loaded once it is asked"),
                () => (false, "not loaded"),
            };
            let ready = ready && failed.is_none();
            let reason = Some(failed.unwrap_or_else(|| why.to_owned()));
            all.push(Indexed { name, version: Some(version), ready, reason });
        }
        all.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        all
    }
}
