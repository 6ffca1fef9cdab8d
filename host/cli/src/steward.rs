//! What becomes of rollouts, written to the catalog by the server that saw it; and their gates.

use std::sync::Arc;

use plinth_api::evidence_figures;
use plinth_ext::{Check, Evidence, Metric, NoTables, Subject};
use plinth_serve::{
    Breach, EndpointPlan, Guards, Hold, Next, RolloutEvidence, RolloutPlan, Seen, ServeError, Steward, Transition,
};
use plinth_tracking::{EndpointChange, RolloutPhase, RolloutSpec, TrackingError};

use crate::{
    host::{Host, PluginRef},
    stages::options_text,
};

/// Whose name such a change bears in the log: nobody's.
const WHO: &str = "rollout";

/// Writes to the catalog of a state directory.
pub(crate) struct CatalogSteward(pub(crate) Arc<Host>);

/// A rollout that is under way as servers know it.
pub(crate) fn plan(rollout: &RolloutSpec) -> RolloutPlan {
    let guards = &rollout.guards;
    RolloutPlan {
        canary: rollout.deployment.as_str().into(),
        steps: rollout.steps.clone(),
        step: rollout.step,
        since: rollout.since,
        bake: std::time::Duration::from_millis(rollout.bake_ms),
        requests_min: rollout.requests_min,
        guards: Guards {
            error_rate: guards.error_rate,
            p99: guards.p99_ms.map(|ms| std::time::Duration::from_secs_f64(ms / 1e3)),
            score_drift: guards.score_drift,
            gate: guards.gate.is_some(),
        },
        hold: match rollout.phase {
            RolloutPhase::Paused => Some(Hold::Paused),
            RolloutPhase::AwaitingApproval => Some(Hold::Approval),
            RolloutPhase::Running | RolloutPhase::RolledBack => None,
        },
        approval: rollout.approval,
    }
}

impl Steward for CatalogSteward {
    fn ask_gate(&self, endpoint: &EndpointPlan, evidence: &RolloutEvidence) -> Result<Vec<Check>, ServeError> {
        let outside = |error: TrackingError| ServeError::outside(&error);
        let record = self.0.tracking().endpoint(&endpoint.name).map_err(outside)?;
        let gate = record.spec.active_rollout().and_then(|rollout| rollout.guards.gate.clone());
        let Some(gate) = gate.filter(|_| record.revision == endpoint.revision) else {
            let error = TrackingError::State("the rollout changed meanwhile".into());
            return Err(ServeError::outside(&error));
        };
        let told = |failure: plinth_pipeline::StageFailure| ServeError::outside(&*failure.error);
        let plugin = PluginRef::named(&gate.plugin);
        let (judge, item) = self.0.components.gate(&plugin, gate.item.as_deref()).map_err(told)?;
        let canary = endpoint.routing.rollout.as_ref().map(|rollout| &rollout.canary);
        let reference = |plan: Option<&plinth_serve::DeploymentPlan>| {
            plan.map_or_else(String::new, |plan| format!("models:/{}/{}", plan.model, plan.version))
        };
        let mut metrics = measured(&evidence.canary);
        metrics.push(metric("error_rate", evidence.error_rate(), evidence.canary.requests()));
        if let Some(drift) = &evidence.drift {
            metrics.push(metric("score_drift", drift.psi, drift.answers[1]));
        }
        let deployment = |name| endpoint.deployments.iter().find(|deployment| Some(&deployment.name) == name);
        let evidence = Evidence {
            candidate: Subject { reference: reference(deployment(canary)), metrics, tags: Vec::new() },
            baseline: Some(Subject {
                reference: reference(endpoint.deployments.first()),
                metrics: measured(&evidence.champion),
                tags: Vec::new(),
            }),
        };
        let checks = judge.evaluate(&item, &evidence, &options_text(&gate.options), Arc::new(NoTables));
        checks.map_err(|error| ServeError::outside(&error))
    }

    fn write(
        &self,
        endpoint: &EndpointPlan,
        transition: &Transition,
        evidence: &RolloutEvidence,
    ) -> Result<(), ServeError> {
        match self.try_write(endpoint, transition, evidence) {
            // Somebody was first: another server, or a person. What they wrote counts.
            Err(TrackingError::EndpointChanged { .. } | TrackingError::EndpointNotFound { .. }) => Ok(()),
            other => other.map_err(|error| ServeError::outside(&error)),
        }
    }
}

impl CatalogSteward {
    fn try_write(
        &self,
        endpoint: &EndpointPlan,
        transition: &Transition,
        evidence: &RolloutEvidence,
    ) -> Result<(), TrackingError> {
        let tracking = self.0.tracking();
        let name = &*endpoint.name;
        let record = tracking.endpoint(name)?;
        let (from, found) = (endpoint.revision, record.revision);
        if from != found {
            return Err(TrackingError::EndpointChanged { name: name.to_owned(), from, found });
        }
        let mut spec = record.spec;
        let Some(rollout) = spec.active_rollout().cloned() else { return Ok(()) };
        let figures = evidence_figures(evidence);
        let seen = format!(
            "{} requests, {:.2} % errors in {:.0?}",
            evidence.canary.requests(),
            100.0 * evidence.error_rate(),
            evidence.elapsed
        );
        let change = |action, reason| EndpointChange { who: WHO, action, reason, evidence: Some(&figures) };
        match transition {
            Transition::Go(Next::Step(to)) => {
                spec.step_rollout(*to, tracking.now())?;
                let percent = |step: usize| rollout.steps.get(step).copied().unwrap_or_default();
                let reason =
                    format!("{} from {} % to {} %: {seen}", rollout.deployment, percent(rollout.step), percent(*to));
                tracking.change_endpoint(name, from, &spec, change("rollout-step", &reason))?;
            }
            Transition::Go(Next::AwaitApproval) => {
                spec.await_approval()?;
                let reason = format!("{} came through all steps and waits for an approval: {seen}", rollout.deployment);
                tracking.change_endpoint(name, from, &spec, change("rollout-done", &reason))?;
            }
            Transition::Go(Next::Promote) => {
                let reason = format!("{} came through all steps: {seen}", rollout.deployment);
                let change = change("promote", &reason);
                tracking.promote_endpoint(name, Some(from), &rollout.deployment, rollout.alias.as_deref(), change)?;
            }
            Transition::RollBack(Breach { guard, observed, allowed }) => {
                let reason = format!("{guard}: {observed}; allowed: {allowed}");
                spec.roll_back(&reason)?;
                tracking.change_endpoint(name, from, &spec, change("rollout-back", &reason))?;
            }
        }
        Ok(())
    }
}

fn metric(name: &str, value: f64, n: u64) -> Metric {
    Metric { name: name.to_owned(), value, slice: None, n: Some(n) }
}

/// What a gate is told of a deployment.
fn measured(seen: &Seen) -> Vec<Metric> {
    let requests = seen.requests();
    let ms = |q| seen.quantile(q).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    let part = |count: u64| if requests == 0 { f64::NAN } else { count as f64 / requests as f64 };
    vec![
        metric("requests", requests as f64, requests),
        metric("fault_rate", part(seen.faults), requests),
        metric("refusal_rate", part(seen.refused), requests),
        metric("p50_ms", ms(0.5), seen.answered),
        metric("p99_ms", ms(0.99), seen.answered),
    ]
}
