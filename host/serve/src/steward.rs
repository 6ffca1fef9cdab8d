//! Watches the rollouts that are under way and takes their steps.
//!
//! What to do is decided from what this server saw ([`RolloutPlan::decide`]); that it is done is written where
//! endpoints are described, by a [`Steward`], which refuses if somebody else was first. A canary that broke a guard gets
//! no request here from that moment on, whether that could be written or not.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant},
};

use plinth_core::Micros;
use plinth_ext::{Check, CheckOutcome};

use crate::{
    Breach, Decision, EndpointPlan, Next, RolloutEvidence, RolloutPlan, Seen, ServeError, Server, Target, Traffic,
};

/// Longest pause between two tries to write a step down.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What a rollout comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// The next step, or its end.
    Go(Next),
    /// The canary is taken back.
    RollBack(Breach),
}

/// Writes down what becomes of rollouts, and asks their gates. Called from one thread; may block.
pub trait Steward: Send + Sync + 'static {
    /// What the rollout's gate says of the evidence. An error counts as a no.
    ///
    /// # Errors
    /// [`ServeError::outside`].
    fn ask_gate(&self, endpoint: &EndpointPlan, evidence: &RolloutEvidence) -> Result<Vec<Check>, ServeError>;

    /// Makes it so, if the endpoint is still at the revision of the plan; if it is not, nothing is to be done, and
    /// that is no error.
    ///
    /// # Errors
    /// [`ServeError::outside`]; it is tried again.
    fn write(
        &self,
        endpoint: &EndpointPlan,
        transition: &Transition,
        evidence: &RolloutEvidence,
    ) -> Result<(), ServeError>;
}

/// How a rollout stands on this server.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutStanding {
    /// What was seen in this step.
    pub evidence: RolloutEvidence,
    /// Why nothing is done, or what is being done.
    pub doing: String,
}

/// Rollouts by endpoint.
pub(crate) type Watches = BTreeMap<Arc<str>, Watch>;

/// A step of a rollout, as this server has seen it.
pub(crate) struct Watch {
    canary: Arc<str>,
    step: usize,
    began: Micros,
    /// How long it had lasted when this server first saw it; from then on the clock may jump.
    before: Duration,
    since: Instant,
    /// Counters at that moment, and whose they are.
    from: [Seen; 2],
    traffic: [Weak<Traffic>; 2],
    /// What is being written down, with the evidence.
    pending: Option<(Transition, RolloutEvidence)>,
    again: Instant,
    pause: Duration,
    standing: Option<RolloutStanding>,
}

impl Watch {
    fn is_of(&self, rollout: &RolloutPlan) -> bool {
        self.canary == rollout.canary && self.step == rollout.step && self.began == rollout.since
    }

    /// Whether these are still the ones it watches: an alias may put another version in the place of one.
    fn watches(&self, targets: [&Target; 2]) -> bool {
        let same = |(traffic, target): (&Weak<Traffic>, &Target)| traffic.as_ptr() == Arc::as_ptr(target.traffic());
        self.traffic.iter().zip(targets).all(same)
    }

    pub(crate) fn standing(&self) -> Option<RolloutStanding> {
        self.standing.clone()
    }
}

/// Does this until the server stops.
pub(crate) fn watch(server: &Weak<Server>, steward: &dyn Steward, pause: Duration, stopped: impl Fn(Duration) -> bool) {
    while !stopped(pause) {
        let Some(server) = server.upgrade() else { return };
        let look = || server.tend(steward);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err() {
            tracing::error!("tending the rollouts panicked; it goes on");
        }
    }
}

impl Server {
    /// Looks at every rollout once and does what is to be done. A thread does this all the time. Blocks.
    pub fn tend(self: &Arc<Self>, steward: &dyn Steward) {
        let routes = self.routes();
        let mut watches = self.watches().lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|name, _| routes.get(name).is_some_and(|endpoint| endpoint.plan().routing.rollout.is_some()));
        drop(watches);
        for endpoint in routes.endpoints() {
            let plan = endpoint.plan();
            let Some(rollout) = &plan.routing.rollout else { continue };
            let Some(canary) = endpoint.target(&rollout.canary) else { continue };
            let champion = endpoint.main();
            let seen = [canary.traffic().seen(), champion.traffic().seen()];
            let mut watches = self.watches().lock().unwrap_or_else(PoisonError::into_inner);
            let there = watches.get(&plan.name).filter(|watch| watch.is_of(rollout));
            if !there.is_some_and(|watch| watch.watches([canary, champion])) {
                canary.traffic().scores.restart();
                champion.traffic().scores.restart();
                // With another version the step begins anew.
                let lasted = if there.is_some() { 0 } else { self.clock().now() - rollout.since };
                let lasted = u64::try_from(lasted).unwrap_or_default();
                let watch = Watch {
                    canary: Arc::clone(&rollout.canary),
                    step: rollout.step,
                    began: rollout.since,
                    before: Duration::from_micros(lasted),
                    since: Instant::now(),
                    from: seen.clone(),
                    traffic: [canary, champion].map(|target| Arc::downgrade(target.traffic())),
                    pending: None,
                    again: Instant::now(),
                    pause: Duration::from_secs(1),
                    standing: None,
                };
                watches.insert(Arc::clone(&plan.name), watch);
            }
            let Some(watch) = watches.get_mut(&plan.name) else { continue };
            let [canary_seen, champion_seen] = seen;
            let mut evidence = RolloutEvidence {
                elapsed: watch.before + watch.since.elapsed(),
                canary: canary_seen.since(&watch.from[0]),
                champion: champion_seen.since(&watch.from[1]),
                drift: None,
                checks: Vec::new(),
            };
            let (pending, again) = (watch.pending.clone(), watch.again);
            drop(watches);
            evidence.drift = champion.traffic().scores.drift(&canary.traffic().scores);
            let (transition, evidence) = match pending {
                Some(pending) => pending,
                None => match rollout.decide(&evidence) {
                    Decision::Wait(why) => {
                        self.stands(&plan.name, evidence, why);
                        continue;
                    }
                    Decision::RollBack(breach) => (Transition::RollBack(breach), evidence),
                    Decision::Pass(next) if rollout.guards.gate => judged(steward, plan, next, evidence),
                    Decision::Pass(next) => (Transition::Go(next), evidence),
                },
            };
            if let Transition::RollBack(breach) = &transition
                && self.withdraw(plan, &rollout.canary)
            {
                tracing::warn!(
                    endpoint = %plan.name, deployment = %rollout.canary, guard = breach.guard,
                    observed = %breach.observed, allowed = %breach.allowed, "a canary is taken back"
                );
            }
            if Instant::now() >= again {
                self.write_down(steward, plan, transition, evidence);
            }
        }
    }

    fn stands(&self, endpoint: &Arc<str>, evidence: RolloutEvidence, doing: String) {
        let mut watches = self.watches().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = watches.get_mut(endpoint) {
            watch.standing = Some(RolloutStanding { evidence, doing });
        }
    }

    fn write_down(
        self: &Arc<Self>,
        steward: &dyn Steward,
        plan: &EndpointPlan,
        transition: Transition,
        evidence: RolloutEvidence,
    ) {
        match steward.write(plan, &transition, &evidence) {
            Ok(()) => {
                // Also when somebody else was first: what they wrote counts. Errors are told and counted there.
                let _ = self.refresh();
                self.stands(&plan.name, evidence, "done".into());
            }
            Err(error) => {
                tracing::error!(%error, endpoint = %plan.name, "what became of a rollout could not be written down");
                self.stands(&plan.name, evidence.clone(), format!("cannot be written down: {error}"));
                let mut watches = self.watches().lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(watch) = watches.get_mut(&plan.name) {
                    // A canary that was taken back stays so; whether to go on is looked at anew.
                    watch.pending = matches!(transition, Transition::RollBack(_)).then_some((transition, evidence));
                    watch.again = Instant::now() + watch.pause;
                    watch.pause = (watch.pause * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

/// What a gate makes of a step that is over. One that cannot answer lets nothing through.
fn judged(
    steward: &dyn Steward,
    plan: &EndpointPlan,
    next: Next,
    mut evidence: RolloutEvidence,
) -> (Transition, RolloutEvidence) {
    let asked = std::panic::AssertUnwindSafe(|| steward.ask_gate(plan, &evidence));
    let checks = match std::panic::catch_unwind(asked) {
        Ok(Ok(checks)) if !checks.is_empty() => Ok(checks),
        Ok(Ok(_)) => Err("it checked nothing".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    };
    let breach = match checks {
        Ok(checks) => {
            let failed = checks.iter().find(|check| check.outcome == CheckOutcome::Fail).map(|check| Breach {
                guard: "gate",
                observed: format!("{}: {}", check.name, check.observed),
                allowed: check.expected.clone(),
            });
            evidence.checks = checks;
            failed
        }
        Err(why) => Some(Breach { guard: "gate", observed: format!("no answer: {why}"), allowed: "an answer".into() }),
    };
    (breach.map_or(Transition::Go(next), Transition::RollBack), evidence)
}
