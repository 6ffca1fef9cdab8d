//! A name that callers ask, and the deployments that answer for it.

use std::sync::Arc;

use plinth_core::ContentHash;

use crate::{Deployment, DeploymentPlan, EndpointPlan, KeySource, Traffic, plan::SHADOW_ALL};

/// One of the deployments of an endpoint.
#[derive(Debug, Clone)]
pub struct Target {
    plan: DeploymentPlan,
    deployment: Arc<Deployment>,
    traffic: Arc<Traffic>,
}

impl Target {
    /// Its name within the endpoint.
    pub const fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    /// What was asked for.
    pub const fn plan(&self) -> &DeploymentPlan {
        &self.plan
    }

    /// What answers.
    pub const fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    /// What it did for this endpoint.
    pub const fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }
}

/// A name that callers ask, with everything that answers for it ready.
#[derive(Debug)]
pub struct Endpoint {
    plan: EndpointPlan,
    targets: Vec<Target>,
    /// For each target, the end of its part of the numbers below the first of these.
    ends: Vec<u64>,
}

impl Endpoint {
    /// An endpoint of a plan; `deployments` are those of the plan, in order, with what they did for it so far.
    pub(crate) fn new(plan: EndpointPlan, deployments: Vec<(Arc<Deployment>, Arc<Traffic>)>) -> Self {
        let target =
            |(plan, (deployment, traffic)): (&DeploymentPlan, _)| Target { plan: plan.clone(), deployment, traffic };
        let targets: Vec<Target> = plan.deployments.iter().zip(deployments).map(target).collect();
        // The newest have the lowest numbers: when their weight grows, who was theirs stays theirs.
        let mut ends = vec![0; targets.len()];
        let mut end = 0;
        for (index, target) in targets.iter().enumerate().rev() {
            end += u64::from(target.plan.weight);
            ends[index] = end;
        }
        Self { plan, targets, ends }
    }

    /// The same with other weights.
    pub(crate) fn planned(&self, plan: EndpointPlan) -> Self {
        let of = |target: &Target| (Arc::clone(&target.deployment), Arc::clone(&target.traffic));
        Self::new(plan, self.targets.iter().map(of).collect())
    }

    /// Whether anybody gets copies of requests.
    pub(crate) fn has_shadows(&self) -> bool {
        self.targets.iter().any(|target| target.plan.shadow > 0)
    }

    /// What was asked for.
    pub const fn plan(&self) -> &EndpointPlan {
        &self.plan
    }

    /// Its name.
    pub const fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    /// What answers for it, the one that others are compared with first.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Where a request says whose it is.
    pub const fn key_source(&self) -> &KeySource {
        &self.plan.routing.key
    }

    /// The first of its deployments: what it is compared and described by.
    pub fn main(&self) -> &Target {
        &self.targets[0]
    }

    /// The deployment of this name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| **target.name() == *name)
    }

    /// The deployment that answers for a version of the model: the first, if there are several.
    pub fn version(&self, version: &str) -> Option<&Target> {
        self.targets.iter().find(|target| **target.deployment.version() == *version)
    }

    /// Who answers a request: what a rule says, else by weight, the same for the same `key`.
    pub fn choose<'a>(&self, header: impl Fn(&str) -> Option<&'a str>, key: &[u8]) -> &Target {
        let fits = |rule: &&crate::Rule| {
            header(&rule.header).is_some_and(|found| rule.equals.as_ref().is_none_or(|wanted| wanted == found))
        };
        let ruled = self.plan.routing.rules.iter().find(fits).and_then(|rule| self.target(&rule.deployment));
        ruled.unwrap_or_else(|| self.weighed(key))
    }

    fn weighed(&self, key: &[u8]) -> &Target {
        let all = self.ends[0];
        if self.targets.len() == 1 || all == 0 {
            return self.main();
        }
        // The name is hashed too, or one caller would be the canary of every endpoint.
        let number = drawn([self.plan.name.as_bytes(), key]) % all;
        let index = self.ends.iter().rposition(|end| number < *end).unwrap_or(0);
        &self.targets[index]
    }

    /// The deployments that get a copy of the request of this key.
    pub fn shadows(&self, key: &[u8]) -> impl Iterator<Item = &Target> {
        let shadowed = self.targets.iter().filter(|target| target.plan.shadow > 0);
        shadowed
            .filter(move |target| drawn([target.name().as_bytes(), key]) % SHADOW_ALL < u64::from(target.plan.shadow))
    }
}

/// A number that looks random and is always the same for the same parts.
fn drawn(parts: [&[u8]; 2]) -> u64 {
    let hash = ContentHash::of_parts(parts);
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

/// Everything that is served, by name.
#[derive(Debug, Default)]
pub struct Routes {
    endpoints: Vec<Arc<Endpoint>>,
}

impl Routes {
    pub(crate) fn new(mut endpoints: Vec<Arc<Endpoint>>) -> Self {
        endpoints.sort_by(|a, b| a.name().cmp(b.name()));
        Self { endpoints }
    }

    /// All of them, by name.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoint of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Endpoint>> {
        let index = self.endpoints.binary_search_by(|endpoint| (**endpoint.name()).cmp(name)).ok()?;
        self.endpoints.get(index)
    }

    /// The only one there is, for callers whose protocol names none.
    pub fn only(&self) -> Option<&Arc<Endpoint>> {
        match &self.endpoints[..] {
            [only] => Some(only),
            _ => None,
        }
    }
}
