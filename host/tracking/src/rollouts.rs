//! Rollouts of an endpoint: a deployment that gets a growing part of the requests, step by step.
//!
//! Where a rollout is stands in the endpoint's specification, so it goes on from there whoever serves it, and whatever
//! was killed meanwhile. What to do next is decided by servers; here is what that does to the specification.

use plinth_core::Micros;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{DeploymentSpec, EndpointSpec, TrackingError};

/// Most steps of a rollout.
const STEPS_MAX: usize = 32;
/// Longest time of a step: 90 days.
const BAKE_MS_MAX: u64 = 90 * 86_400_000;

/// A deployment that gets a growing part of the requests, and where it is with that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// The deployment; not the champion.
    pub deployment: String,
    /// Percent of the requests in each step, growing.
    pub steps: Vec<f64>,
    /// Shortest time of a step, in milliseconds.
    pub bake_ms: u64,
    /// Fewest requests of the deployment in a step.
    #[serde(default)]
    pub requests_min: u64,
    /// What it must keep to.
    #[serde(default)]
    pub guards: GuardSpec,
    /// Whether it takes an approval to become the champion.
    #[serde(default)]
    pub approval: bool,
    /// An alias of its model that names its version once it is the champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The step it is in.
    #[serde(default)]
    pub step: usize,
    /// When that began; 0 before the first.
    #[serde(default)]
    pub since: Micros,
    /// How it goes.
    #[serde(default)]
    pub phase: RolloutPhase,
    /// Weights of the others before it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<(String, f64)>,
    /// Why it ended, where it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What a rollout must keep to; nothing where none is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardSpec {
    /// Largest part of the requests that may fail, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Milliseconds within which 99 of 100 must be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Largest population stability index against the champion's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_drift: Option<f64>,
    /// A gate that is asked at the end of each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSpec>,
}

/// A gate of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// The plugin, by name.
    pub plugin: String,
    /// Which of its gates, if it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// What it takes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// How a rollout goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutPhase {
    /// From step to step.
    #[default]
    Running,
    /// Somebody stopped it for a while.
    Paused,
    /// All steps are done; somebody must approve.
    AwaitingApproval,
    /// The deployment was taken back.
    RolledBack,
}

impl RolloutPhase {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::AwaitingApproval => "awaiting-approval",
            Self::RolledBack => "rolled-back",
        }
    }
}

impl RolloutSpec {
    /// Whether it is under way.
    pub fn is_active(&self) -> bool {
        self.phase != RolloutPhase::RolledBack
    }

    pub(crate) fn check(&self, deployments: &[DeploymentSpec]) -> Result<(), TrackingError> {
        let bad = |message: String| Err(TrackingError::BadEndpoint(message));
        match deployments.iter().position(|deployment| deployment.name == self.deployment) {
            Some(0) if self.is_active() => {
                return bad(format!("`{}` is the champion; it cannot be rolled out", self.deployment));
            }
            None if self.is_active() => {
                return bad(format!("deployment `{}` is to be rolled out and is not there", self.deployment));
            }
            _ => {}
        }
        let grows = self.steps.windows(2).all(|pair| pair[0] < pair[1]);
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX || !grows {
            return bad(format!("a rollout has 1 to {STEPS_MAX} steps of growing percentages, such as 1,10,50,100"));
        }
        if let Some(step) = self.steps.iter().find(|step| !(0.01..=100.0).contains(*step)) {
            return bad(format!("a step of {step} % cannot be: it is a percentage of 0.01 or more"));
        }
        if self.step >= self.steps.len() || self.bake_ms > BAKE_MS_MAX {
            return bad(format!("step {} of {} cannot be, or one of {} ms", self.step, self.steps.len(), self.bake_ms));
        }
        let GuardSpec { error_rate, p99_ms, score_drift, gate } = &self.guards;
        if error_rate.is_some_and(|rate| !(0.0..1.0).contains(&rate)) {
            return bad("the error rate of a rollout is a part from 0 to 1, such as 0.01 for 1 %".into());
        }
        if [p99_ms, score_drift].into_iter().flatten().any(|limit| !(limit.is_finite() && *limit > 0.0)) {
            return bad("the limits of p99 and of score drift are numbers above 0".into());
        }
        if gate.as_ref().is_some_and(|gate| gate.plugin.is_empty()) {
            return bad("a gate needs the name of a plugin".into());
        }
        Ok(())
    }
}

impl EndpointSpec {
    /// The rollout that is under way.
    pub fn active_rollout(&self) -> Option<&RolloutSpec> {
        self.rollout.as_ref().filter(|rollout| rollout.is_active())
    }

    /// Begins a rollout with its first step.
    ///
    /// # Errors
    /// [`TrackingError::BadEndpoint`] if it cannot be, [`TrackingError::State`] if one is under way.
    pub fn begin_rollout(&mut self, rollout: RolloutSpec, now: Micros) -> Result<(), TrackingError> {
        self.without_rollout("another one begins")?;
        rollout.check(&self.deployments)?;
        let others = self.deployments.iter().filter(|deployment| deployment.name != rollout.deployment);
        let shares = others.map(|deployment| (deployment.name.clone(), deployment.weight)).collect();
        self.rollout = Some(RolloutSpec {
            step: 0,
            since: now,
            phase: RolloutPhase::Running,
            shares,
            why: String::new(),
            ..rollout
        });
        self.share_by_step();
        Ok(())
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`TrackingError::State`] if no rollout is under way.
    pub fn step_rollout(&mut self, to: usize, now: Micros) -> Result<(), TrackingError> {
        let rollout = self.rollout_mut()?;
        (rollout.step, rollout.since) = (to.min(rollout.steps.len() - 1), now);
        self.share_by_step();
        Ok(())
    }

    /// Keeps a rollout in its step until it is resumed; what it must keep to is watched all the same.
    ///
    /// # Errors
    /// [`TrackingError::State`] if none is running.
    pub fn pause(&mut self) -> Result<(), TrackingError> {
        self.turn(RolloutPhase::Running, RolloutPhase::Paused)
    }

    /// Lets a paused rollout go on.
    ///
    /// # Errors
    /// [`TrackingError::State`] if none is paused.
    pub fn resume(&mut self) -> Result<(), TrackingError> {
        self.turn(RolloutPhase::Paused, RolloutPhase::Running)
    }

    /// Has a rollout that came through wait for somebody to approve it.
    ///
    /// # Errors
    /// [`TrackingError::State`] if none is running.
    pub fn await_approval(&mut self) -> Result<(), TrackingError> {
        self.turn(RolloutPhase::Running, RolloutPhase::AwaitingApproval)
    }

    fn turn(&mut self, from: RolloutPhase, to: RolloutPhase) -> Result<(), TrackingError> {
        let rollout = self.rollout_mut()?;
        if rollout.phase != from {
            let (is, from) = (rollout.phase.name(), from.name());
            return Err(TrackingError::State(format!("the rollout is {is}, not {from}")));
        }
        rollout.phase = to;
        Ok(())
    }

    /// Takes the rolled-out deployment back: the others get what they had, and it stays without requests.
    ///
    /// # Errors
    /// [`TrackingError::State`] if no rollout is under way.
    pub fn roll_back(&mut self, why: &str) -> Result<(), TrackingError> {
        let rollout = self.rollout_mut()?;
        rollout.phase = RolloutPhase::RolledBack;
        why.clone_into(&mut rollout.why);
        let (canary, shares) = (rollout.deployment.clone(), std::mem::take(&mut rollout.shares));
        for deployment in &mut self.deployments {
            let share = shares.iter().find(|(name, _)| *name == deployment.name);
            deployment.weight = share.map_or(0.0, |(_, weight)| *weight);
        }
        self.rules.retain(|rule| rule.deployment != canary);
        Ok(())
    }

    /// Lets one deployment answer everything, and takes the others out of service.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`].
    pub fn promote(&mut self, endpoint: &str, deployment: &str) -> Result<(), TrackingError> {
        let index = self.deployment(endpoint, deployment)?;
        let promoted = DeploymentSpec { weight: 100.0, shadow: 0.0, ..self.deployments.swap_remove(index) };
        let sticky = self.sticky.take();
        *self = Self { deployments: vec![promoted], sticky, ..Self::default() };
        Ok(())
    }

    /// Refuses to do what a rollout that is under way would undo.
    ///
    /// # Errors
    /// [`TrackingError::State`].
    pub fn without_rollout(&self, before: &str) -> Result<(), TrackingError> {
        let Some(rollout) = self.active_rollout() else { return Ok(()) };
        Err(TrackingError::State(format!(
            "deployment `{}` is being rolled out: let it end, or take it back with `plinth endpoint rollback`, before \
             {before}",
            rollout.deployment
        )))
    }

    fn rollout_mut(&mut self) -> Result<&mut RolloutSpec, TrackingError> {
        let active = self.rollout.as_mut().filter(|rollout| rollout.is_active());
        active.ok_or_else(|| TrackingError::State("no rollout is under way".into()))
    }

    /// The deployment gets what its step says, the others the rest, in proportion to what they had.
    fn share_by_step(&mut self) {
        let Some(rollout) = &self.rollout else { return };
        let percent = rollout.steps.get(rollout.step).copied().unwrap_or_default();
        let all: f64 = rollout.shares.iter().map(|(_, weight)| weight).sum();
        for deployment in &mut self.deployments {
            let share = rollout.shares.iter().find(|(name, _)| *name == deployment.name);
            deployment.weight = match share {
                _ if deployment.name == rollout.deployment => percent,
                Some((_, weight)) if all > 0.0 => ((100.0 - percent) * weight / all * 100.0).round() / 100.0,
                _ => 0.0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CapacitySpec;

    fn spec() -> EndpointSpec {
        let deployment = |name: &str, weight| DeploymentSpec {
            name: name.into(),
            model: "models:/churn/1".into(),
            device: None,
            weight,
            shadow: 0.0,
            capacity: CapacitySpec::default(),
            lookup: None,
        };
        let deployments = vec![deployment("champion", 60.0), deployment("second", 20.0), deployment("canary", 20.0)];
        EndpointSpec { deployments, ..EndpointSpec::default() }
    }

    fn rollout() -> RolloutSpec {
        RolloutSpec { deployment: "canary".into(), steps: vec![1.0, 50.0, 100.0], bake_ms: 1_000, ..Default::default() }
    }

    fn weights(spec: &EndpointSpec) -> Vec<f64> {
        spec.deployments.iter().map(|deployment| deployment.weight).collect()
    }

    #[test]
    fn each_step_shares_the_rest_in_proportion_and_a_way_back_restores_it() {
        let mut spec = spec();
        spec.begin_rollout(rollout(), 5).unwrap();
        assert_eq!(weights(&spec), [74.25, 24.75, 1.0]);
        assert!(spec.begin_rollout(rollout(), 6).is_err() && spec.without_rollout("x").is_err());
        spec.step_rollout(1, 7).unwrap();
        spec.step_rollout(2, 8).unwrap();
        assert_eq!((weights(&spec), spec.rollout.as_ref().unwrap().since), (vec![0.0, 0.0, 100.0], 8));
        spec.check().unwrap();
        spec.pause().unwrap();
        assert!(spec.pause().is_err() && spec.await_approval().is_err());
        spec.resume().unwrap();
        spec.await_approval().unwrap();
        assert!(spec.resume().is_err() && spec.pause().is_err());
        spec.roll_back("too slow").unwrap();
        assert_eq!(weights(&spec), [60.0, 20.0, 0.0]);
        assert!(spec.roll_back("again").is_err() && spec.step_rollout(1, 9).is_err());
        spec.check().unwrap();
        spec.begin_rollout(rollout(), 10).unwrap();
        spec.promote("churn", "canary").unwrap();
        assert_eq!((weights(&spec), &spec.rollout), (vec![100.0], &None));
    }

    #[test]
    fn what_cannot_be_rolled_out_is_told() {
        let wrong = |change: &dyn Fn(&mut RolloutSpec)| {
            let mut rollout = rollout();
            change(&mut rollout);
            spec().begin_rollout(rollout, 1).unwrap_err().to_string()
        };
        assert!(wrong(&|r| r.deployment = "champion".into()).contains("is the champion"));
        assert!(wrong(&|r| r.deployment = "nobody".into()).contains("is not there"));
        assert!(wrong(&|r| r.steps = vec![10.0, 5.0]).contains("growing"));
        assert!(wrong(&|r| r.steps = vec![]).contains("growing"));
        assert!(wrong(&|r| r.steps = vec![0.0, 120.0]).contains("percentage"));
        assert!(wrong(&|r| r.guards.error_rate = Some(1.5)).contains("from 0 to 1"));
        assert!(wrong(&|r| r.guards.p99_ms = Some(-1.0)).contains("above 0"));
        assert!(wrong(&|r| r.guards.gate = Some(GateSpec::default())).contains("plugin"));
    }
}
