//! A canary that gets a growing part of the requests, step by step, as long as it does well: what is decided, from what
//! was seen. Nothing here reads a clock or changes anything.

use std::{sync::Arc, time::Duration};

use plinth_core::Micros;
use plinth_ext::Check;

use crate::{Drift, Rewards, Seen};

/// Before as many requests came as a step must have, a guard is broken only by evidence that chance gives once in so
/// many rollouts.
const EVIDENCE: f64 = 1_000.0;

/// A rollout that is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutPlan {
    /// The deployment that is rolled out.
    pub canary: Arc<str>,
    /// The part of the requests that it gets in each step, in percent.
    pub steps: Vec<f64>,
    /// The step it is in.
    pub step: usize,
    /// When that began.
    pub since: Micros,
    /// Shortest time of a step.
    pub bake: Duration,
    /// Fewest requests of the canary in a step.
    pub requests_min: u64,
    /// What it must keep to.
    pub guards: Guards,
    /// What holds it, if anything does. The guards are watched all the same.
    pub hold: Option<Hold>,
    /// Whether somebody must approve that it becomes the champion.
    pub approval: bool,
}

/// What a canary must keep to; nothing where none is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Guards {
    /// Largest part of its requests that may fail. Requests that it refuses count as far as it refuses more of them than
    /// the champion does.
    pub error_rate: Option<f64>,
    /// The time within which 99 of 100 requests must be answered.
    pub p99: Option<Duration>,
    /// Largest population stability index of its answers against the champion's.
    pub score_drift: Option<f64>,
    /// Whether a gate is asked at the end of each step.
    pub gate: bool,
}

/// Why a rollout does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Somebody paused it.
    Paused,
    /// It waits for an approval.
    Approval,
}

/// What was seen in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutEvidence {
    /// How long the step has lasted.
    pub elapsed: Duration,
    /// What the canary did.
    pub canary: Seen,
    /// What the champion did meanwhile.
    pub champion: Seen,
    /// How far their answers are apart, where that can be told.
    pub drift: Option<Drift>,
    /// What the gate said, if it was asked.
    pub checks: Vec<Check>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing yet, for this reason.
    Wait(String),
    /// The step is over and all is well, up to the gate, which was not asked.
    Pass(Next),
    /// Take the canary out of the way.
    RollBack(Breach),
}

/// What comes after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This step.
    Step(usize),
    /// The canary becomes the champion.
    Promote,
    /// It stays as it is until somebody approves it.
    AwaitApproval,
}

/// Which guard was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Such as `error rate`.
    pub guard: &'static str,
    /// What was seen.
    pub observed: String,
    /// What was allowed.
    pub allowed: String,
}

impl RolloutEvidence {
    /// Failures of the canary, and the requests that it refused although the champion refuses fewer.
    pub fn errors(&self) -> f64 {
        let champion = match self.champion.requests() {
            0 => 0.0,
            all => self.champion.refused as f64 / all as f64,
        };
        let beyond = (self.canary.refused as f64 - champion * self.canary.requests() as f64).max(0.0);
        self.canary.faults as f64 + beyond
    }

    /// Those as a part of its requests.
    pub fn error_rate(&self) -> f64 {
        if self.canary.requests() == 0 { 0.0 } else { self.errors() / self.canary.requests() as f64 }
    }
}

impl RolloutPlan {
    /// The part of the requests that the canary gets now, in percent.
    pub fn percent(&self) -> f64 {
        self.steps.get(self.step).copied().unwrap_or_default()
    }

    /// What is to be done, from what was seen in this step.
    pub fn decide(&self, seen: &RolloutEvidence) -> Decision {
        if let Some(breach) = self.breach(seen) {
            return Decision::RollBack(breach);
        }
        match self.hold {
            Some(Hold::Paused) => return Decision::Wait("paused".into()),
            Some(Hold::Approval) => return Decision::Wait("waits for an approval".into()),
            None => {}
        }
        if seen.elapsed < self.bake {
            let left = (self.bake - seen.elapsed).as_secs_f64().ceil();
            return Decision::Wait(format!("bakes for {left} s more"));
        }
        let requests = seen.canary.requests();
        if requests < self.requests_min {
            return Decision::Wait(format!("{requests} of at least {} requests", self.requests_min));
        }
        if let Some(limit) = self.guards.score_drift {
            match &seen.drift {
                Some(drift) if drift.psi > limit => {
                    let Drift { output, psi, answers: [_, canary], .. } = drift;
                    return Decision::Wait(format!(
                        "`{output}` has drifted by {psi:.3}, which {canary} answers are too few to be sure of"
                    ));
                }
                // Where nobody asks the champion any more there may be nothing to compare with; it was, in every step
                // before.
                None if self.percent() < 100.0 => {
                    return Decision::Wait("too few answers to compare with the champion's".into());
                }
                _ => {}
            }
        }
        let next = self.step + 1;
        Decision::Pass(match next < self.steps.len() {
            true => Next::Step(next),
            false if self.approval => Next::AwaitApproval,
            false => Next::Promote,
        })
    }

    fn breach(&self, seen: &RolloutEvidence) -> Option<Breach> {
        let requests = seen.canary.requests();
        let enough = requests >= self.requests_min.max(1);
        if let Some(limit) = self.guards.error_rate {
            let rewards = Rewards { count: requests, sum: seen.errors() };
            if enough && seen.error_rate() > limit || rewards.evidence_above(limit) > EVIDENCE {
                return Some(Breach {
                    guard: "error rate",
                    observed: format!("{:.2} % of {requests} requests", 100.0 * seen.error_rate()),
                    allowed: format!("{:.2} %", 100.0 * limit),
                });
            }
        }
        if let Some(limit) = self.guards.p99 {
            let (slow, answered) = (seen.canary.slower_than(limit), seen.canary.answered);
            let rewards = Rewards { count: answered, sum: slow as f64 };
            let part = slow as f64 / answered.max(1) as f64;
            if enough && part > 0.01 || rewards.evidence_above(0.01) > EVIDENCE {
                let p99 = seen.canary.quantile(0.99).unwrap_or_default();
                return Some(Breach {
                    guard: "p99",
                    observed: format!("{p99:.1?}, {slow} of {answered} answers too slow"),
                    allowed: format!("{limit:.1?}"),
                });
            }
        }
        if let (Some(limit), Some(drift)) = (self.guards.score_drift, &seen.drift)
            && drift.psi > limit
            && drift.psi > drift.chance
        {
            let Drift { output, psi, answers: [champion, canary], .. } = drift;
            return Some(Breach {
                guard: "score drift",
                observed: format!("{psi:.3} in `{output}` over {canary} answers against the champion's {champion}"),
                allowed: format!("{limit}"),
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use plinth_core::{Clock, FixedClock};
    use proptest::prelude::*;

    use super::*;
    use crate::Outcome;

    fn plan() -> RolloutPlan {
        RolloutPlan {
            canary: "canary".into(),
            steps: vec![1.0, 10.0, 50.0, 100.0],
            step: 0,
            since: 0,
            bake: Duration::from_secs(300),
            requests_min: 100,
            guards: Guards {
                error_rate: Some(0.01),
                p99: Some(Duration::from_millis(50)),
                score_drift: Some(0.2),
                gate: false,
            },
            hold: None,
            approval: false,
        }
    }

    fn seen(elapsed_s: u64, good: u64, faults: u64) -> RolloutEvidence {
        let fast = Duration::from_millis(2);
        let count =
            |good, faults| Seen::default().with(Outcome::Answered, fast, good).with(Outcome::Fault, fast, faults);
        RolloutEvidence {
            elapsed: Duration::from_secs(elapsed_s),
            canary: count(good, faults),
            champion: count(1_000, 0),
            drift: Some(Drift { output: "score".into(), psi: 0.01, chance: 0.05, answers: [1_000, good] }),
            checks: Vec::new(),
        }
    }

    #[test]
    fn a_step_takes_its_time_and_its_requests() {
        let plan = plan();
        let waits = |seen| matches!(plan.decide(&seen), Decision::Wait(_));
        assert!(waits(seen(299, 10_000, 0)) && waits(seen(10_000, 99, 0)));
        assert_eq!(plan.decide(&seen(300, 100, 0)), Decision::Pass(Next::Step(1)));
        let last = RolloutPlan { step: 3, ..plan.clone() };
        assert_eq!(last.decide(&seen(300, 100, 0)), Decision::Pass(Next::Promote));
        let approved = RolloutPlan { approval: true, ..last };
        assert_eq!(approved.decide(&seen(300, 100, 0)), Decision::Pass(Next::AwaitApproval));
        for hold in [Hold::Paused, Hold::Approval] {
            let held = RolloutPlan { hold: Some(hold), ..approved.clone() };
            assert!(matches!(held.decide(&seen(9_000, 9_000, 0)), Decision::Wait(_)));
            assert!(matches!(held.decide(&seen(1, 100, 90)), Decision::RollBack(_)), "guards are watched all the same");
        }
    }

    #[test]
    fn each_guard_takes_the_canary_back() {
        let plan = plan();
        let guard = |seen: &RolloutEvidence| match plan.decide(seen) {
            Decision::RollBack(breach) => breach.guard,
            other => panic!("{other:?}"),
        };
        assert_eq!(guard(&seen(0, 97, 3)), "error rate");
        assert_eq!(guard(&seen(0, 0, 6)), "error rate", "before the fewest requests came, by evidence");
        assert!(matches!(plan.decide(&seen(0, 0, 1)), Decision::Wait(_)), "one is none");
        let mut slow = seen(0, 90, 0);
        slow.canary = slow.canary.with(Outcome::Answered, Duration::from_millis(80), 20);
        assert_eq!(guard(&slow), "p99");
        let mut far = seen(0, 500, 0);
        far.drift = Some(Drift { output: "score".into(), psi: 0.4, chance: 0.1, answers: [1_000, 500] });
        assert_eq!(guard(&far), "score drift");
        // Far, but perhaps by chance: neither back nor on.
        let mut unsure = seen(9_000, 500, 0);
        unsure.drift = Some(Drift { output: "score".into(), psi: 0.4, chance: 0.5, answers: [30, 30] });
        assert!(matches!(plan.decide(&unsure), Decision::Wait(_)));
        unsure.drift = None;
        assert!(matches!(plan.decide(&unsure), Decision::Wait(_)));
        let last = RolloutPlan { step: 3, ..plan.clone() };
        assert_eq!(last.decide(&unsure), Decision::Pass(Next::Promote), "nobody asks the champion any more");
    }

    #[test]
    fn what_the_champion_refuses_too_is_not_the_canarys_fault() {
        let plan = plan();
        let mut seen = seen(300, 900, 0);
        let bad = |seen: Seen, requests| seen.with(Outcome::Refused, Duration::ZERO, requests);
        seen.canary = bad(seen.canary, 100);
        seen.champion = bad(seen.champion, 120);
        assert_eq!(plan.decide(&seen), Decision::Pass(Next::Step(1)));
        seen.champion.refused = 0;
        assert!(matches!(plan.decide(&seen), Decision::RollBack(_)));
    }

    /// A rollout as a server drives it, with a clock that a test moves.
    fn drive(plan: &mut RolloutPlan, clock: &FixedClock, ticks: &[(u32, u16, u16)]) -> (Vec<f64>, Option<Decision>) {
        let (mut good, mut faults) = (0_u64, 0_u64);
        let mut percents = vec![plan.percent()];
        for (seconds, more, failed) in ticks {
            clock.advance(i64::from(*seconds) * 1_000_000);
            good += u64::from(*more);
            faults += u64::from(*failed);
            let elapsed = ((clock.now() - plan.since) / 1_000_000) as u64;
            match plan.decide(&seen(elapsed, good, faults)) {
                Decision::Wait(_) => {}
                Decision::Pass(Next::Step(step)) => {
                    assert!(elapsed >= 300 && good + faults >= 100, "too early: {elapsed} s, {good} requests");
                    (plan.step, plan.since, good, faults) = (step, clock.now(), 0, 0);
                    percents.push(plan.percent());
                }
                ended => return (percents, Some(ended)),
            }
        }
        (percents, None)
    }

    proptest! {
        #[test]
        fn steps_are_taken_one_by_one_never_early_and_never_past_a_broken_guard(
            ticks in proptest::collection::vec((0_u32..200, 0_u16..200, 0_u16..2), 0..60)
        ) {
            let clock = FixedClock::at(5_000_000_000);
            let mut plan = RolloutPlan { since: clock.now(), ..plan() };
            let (percents, ended) = drive(&mut plan, &clock, &ticks);
            prop_assert_eq!(&percents[..], &[1.0, 10.0, 50.0, 100.0][..percents.len()]);
            if let Some(Decision::Pass(next)) = &ended {
                prop_assert_eq!(*next, Next::Promote);
                prop_assert_eq!(percents.len(), 4);
            }
        }

        #[test]
        fn what_is_decided_depends_on_nothing_but_what_was_seen(elapsed in 0_u64..1_000, good in 0_u64..1_000, faults in 0_u64..20) {
            let plan = plan();
            let decided = plan.decide(&seen(elapsed, good, faults));
            prop_assert_eq!(&decided, &plan.decide(&seen(elapsed, good, faults)));
            let all = good + faults;
            let broken = all >= 100 && faults as f64 / all as f64 > 0.01;
            if broken {
                prop_assert!(matches!(decided, Decision::RollBack(_)));
            }
            if faults == 0 {
                prop_assert!(!matches!(decided, Decision::RollBack(_)));
            }
        }
    }
}
