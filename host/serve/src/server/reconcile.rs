//! From what is served to what is planned.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Instant,
};

use super::{
    Failed, Server, Watched, no_thread,
    withdrawn::{lessened, without},
};
use crate::{Endpoint, EndpointPlan, Routes, ServeError, Traffic, shadow::Lane};

impl Server {
    /// Brings what is served to what is planned, endpoint by endpoint.
    pub(super) fn reconcile(self: &Arc<Self>, watched: &mut Watched) -> Result<bool, ServeError> {
        let served = self.routes.load_full();
        let wanted: Vec<EndpointPlan> = watched.wanted().cloned().collect();
        let mut next: Vec<Arc<Endpoint>> = Vec::with_capacity(wanted.len());
        let (mut changed, mut first, mut full) = (0, None, false);
        self.memory.keep(&wanted);
        let withdrawn = self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (index, plan) in wanted.iter().enumerate() {
            let plan = &*without(plan, &withdrawn);
            if self.memory.sleeps(&plan.name) {
                continue;
            }
            let now = served.get(&plan.name);
            if let Some(now) = now.filter(|now| now.plan() == plan) {
                next.push(Arc::clone(now));
                watched.failed.remove(&plan.name);
                continue;
            }
            let failed = watched.failed.get(&plan.name);
            if failed.is_some_and(|failed| failed.revision == plan.revision && Instant::now() < failed.again) {
                next.extend(now.cloned());
                continue;
            }
            if now.is_none() && self.skips(&plan.name, full) {
                continue;
            }
            // What is in service beside it: what was looked at, and what is still to be.
            let later = wanted[index + 1..].iter().filter_map(|plan| served.get(&plan.name));
            let others: Vec<_> = next.iter().chain(later).filter(|e| !self.memory.sleeps(e.name())).cloned().collect();
            let fitting = |endpoint: Endpoint| Ok((self.fits(&endpoint, &others, now.is_none())?, endpoint));
            let built = self.build(plan, &served).and_then(fitting);
            next.retain(|endpoint| !self.memory.sleeps(endpoint.name()));
            match built {
                Ok((false, _)) => full = true,
                Ok((true, endpoint)) => {
                    for target in endpoint.targets() {
                        let (deployment, name) = (target.deployment(), target.name());
                        tracing::info!(
                            endpoint = %plan.name, deployment = %name, model.name = %deployment.model(),
                            model.version = %deployment.version(), weight = target.plan().weight, "now serving"
                        );
                    }
                    watched.failed.remove(&plan.name);
                    next.push(Arc::new(endpoint));
                    changed += 1;
                }
                Err(error) => {
                    tracing::error!(%error, endpoint = %plan.name, "could not be put in service; what is stays");
                    self.failed_swaps.fetch_add(1, Relaxed);
                    let failed = Failed::after(failed, plan.revision, error.clone());
                    watched.failed.insert(Arc::clone(&plan.name), failed);
                    first.get_or_insert(error);
                    let sound = if now.is_none() { self.sound_part(plan, &served) } else { None };
                    let sound = sound.filter(|part| self.fits(part, &others, true).is_ok_and(|fits| fits));
                    // Where there is no room for all of it, who is asked first still answers.
                    let sound = sound.or_else(|| {
                        let part = if now.is_none() { self.main_part(plan, &served) } else { None };
                        part.filter(|part| self.fits(part, &others, true).is_ok_and(|fits| fits))
                    });
                    next.retain(|endpoint| !self.memory.sleeps(endpoint.name()));
                    changed += usize::from(sound.is_some());
                    next.extend(now.cloned().or(sound.map(Arc::new)));
                }
            }
        }
        watched.failed.retain(|name, _| wanted.iter().any(|plan| plan.name == *name));
        let gone = served.endpoints().iter().filter(|was| !next.iter().any(|is| is.name() == was.name())).count();
        changed += gone;
        if changed > 0 {
            // One that was withdrawn meanwhile stays so.
            let mut withdrawn = self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner);
            let next: Vec<_> = next.iter().map(|endpoint| lessened(endpoint, &withdrawn)).collect();
            withdrawn.retain(|name, mark| {
                next.iter().any(|endpoint| endpoint.name() == name && endpoint.plan().revision <= mark.revision)
            });
            self.routes.store(Arc::new(Routes::new(next)));
            self.memory.note(&self.routes.load());
            self.swaps.fetch_add(changed as u64, Relaxed);
        }
        first.map_or(Ok(changed > 0), Err)
    }

    /// An endpoint with everything that answers for it loaded, warm, and taken over from what is served where that is
    /// the same.
    pub(super) fn build(self: &Arc<Self>, plan: &EndpointPlan, served: &Routes) -> Result<Endpoint, ServeError> {
        let mut deployments = Vec::with_capacity(plan.deployments.len());
        for wanted in &plan.deployments {
            let mut there = served.endpoints().iter().flat_map(|endpoint| endpoint.targets());
            let deployment = match there.find(|target| target.plan().loads_the_same(wanted)) {
                Some(same) => Arc::clone(same.deployment()),
                None => {
                    let load = || {
                        let deployment = self.source.load(wanted)?.with(wanted.capacity);
                        deployment.warm_up().map(|()| deployment)
                    };
                    Arc::new(self.memory.measured(wanted, load)?)
                }
            };
            let before = served.get(&plan.name).and_then(|endpoint| endpoint.target(&wanted.name));
            let before = before.filter(|target| Arc::ptr_eq(target.deployment(), &deployment));
            let traffic = before.map_or_else(Arc::<Traffic>::default, |target| Arc::clone(target.traffic()));
            if wanted.shadow > 0 && traffic.lane.get().is_none() {
                let most = [self.limits.shadow_requests_max, self.limits.shadow_rows_max];
                let lane = Lane::start(Arc::clone(&deployment), Arc::downgrade(self), most);
                // Only this thread sets it.
                let _ = traffic.lane.set(lane.map_err(|e| no_thread(&e))?);
            }
            deployments.push((deployment, traffic));
        }
        Ok(Endpoint::new(plan.clone(), deployments))
    }
}
