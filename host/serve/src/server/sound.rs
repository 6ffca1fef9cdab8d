//! What of an endpoint can be served when something of it cannot: a server that comes back with one deployment broken
//! still answers by the others.

use std::sync::Arc;

use super::Server;
use crate::{DeploymentPlan, Endpoint, EndpointPlan, Routes, Routing};

impl Server {
    /// The endpoint with those of its deployments that can be loaded, if some of them has a weight. What the others
    /// would have answered is shared out by the weights; a rollout waits until all are there.
    pub(super) fn sound_part(self: &Arc<Self>, plan: &EndpointPlan, served: &Routes) -> Option<Endpoint> {
        if plan.deployments.len() < 2 {
            return None;
        }
        let routing = Routing { rollout: None, ..plan.routing.clone() };
        let (mut kept, mut built) = (Vec::new(), Vec::new());
        for deployment in &plan.deployments {
            let alone =
                EndpointPlan { deployments: vec![deployment.clone()], routing: routing.clone(), ..plan.clone() };
            let Ok(endpoint) = self.build(&alone, served) else { continue };
            built.extend(endpoint.targets().iter().map(|t| (Arc::clone(t.deployment()), Arc::clone(t.traffic()))));
            kept.push(deployment.clone());
        }
        if kept.iter().all(|deployment| deployment.weight == 0) {
            return None;
        }
        self.tell_of(plan, &kept);
        Some(Endpoint::new(EndpointPlan { deployments: kept, routing, ..plan.clone() }, built))
    }

    /// The endpoint with nobody but the first of its deployments, if that has a weight.
    pub(super) fn main_part(self: &Arc<Self>, plan: &EndpointPlan, served: &Routes) -> Option<Endpoint> {
        let main = plan.deployments.first().filter(|main| main.weight > 0 && plan.deployments.len() > 1)?;
        let routing = Routing { rollout: None, ..plan.routing.clone() };
        let alone = EndpointPlan { deployments: vec![main.clone()], routing, ..plan.clone() };
        let endpoint = self.build(&alone, served).ok()?;
        self.tell_of(plan, &alone.deployments);
        Some(endpoint)
    }

    fn tell_of(&self, plan: &EndpointPlan, kept: &[DeploymentPlan]) {
        let names: Vec<&str> = kept.iter().map(|deployment| &*deployment.name).collect();
        tracing::warn!(endpoint = %plan.name, serving = names.join(", "), "served without what could not be loaded");
    }
}
