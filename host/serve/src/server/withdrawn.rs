//! Canaries that get nothing although their plan says so: what was found out here counts until there is a newer plan.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use super::Server;
use crate::{Endpoint, EndpointPlan, Routes};

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Withdrawn {
    deployment: Arc<str>,
    /// The newest revision of which this holds.
    pub(super) revision: u64,
}

impl Server {
    /// Sends a canary nothing from now on, whatever its plan says, until there is a newer one: whether it got anything
    /// before.
    pub(crate) fn withdraw(&self, plan: &EndpointPlan, canary: &Arc<str>) -> bool {
        let mut withdrawn = self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = Withdrawn { deployment: Arc::clone(canary), revision: plan.revision };
        if withdrawn.get(&plan.name).is_some_and(|there| there.revision >= mark.revision) {
            return false;
        }
        withdrawn.insert(Arc::clone(&plan.name), mark);
        let endpoints = self.routes.load().endpoints().iter().map(|endpoint| lessened(endpoint, &withdrawn)).collect();
        self.routes.store(Arc::new(Routes::new(endpoints)));
        true
    }
}

/// A plan without the weight of what was withdrawn since it was made.
pub(super) fn without<'a>(plan: &'a EndpointPlan, withdrawn: &BTreeMap<Arc<str>, Withdrawn>) -> Cow<'a, EndpointPlan> {
    let Some(mark) = withdrawn.get(&plan.name).filter(|mark| plan.revision <= mark.revision) else {
        return Cow::Borrowed(plan);
    };
    let mut plan = plan.clone();
    let canary = plan.deployments.iter_mut().find(|deployment| deployment.name == mark.deployment);
    canary.into_iter().for_each(|deployment| deployment.weight = 0);
    plan.routing.rules.retain(|rule| rule.deployment != mark.deployment);
    Cow::Owned(plan)
}

pub(super) fn lessened(endpoint: &Arc<Endpoint>, withdrawn: &BTreeMap<Arc<str>, Withdrawn>) -> Arc<Endpoint> {
    match without(endpoint.plan(), withdrawn) {
        Cow::Owned(plan) if plan != *endpoint.plan() => Arc::new(endpoint.planned(plan)),
        _ => Arc::clone(endpoint),
    }
}
