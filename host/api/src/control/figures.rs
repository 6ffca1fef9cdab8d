//! How endpoints do on this server, as JSON.

use std::time::Duration;

use plinth_serve::{Endpoint, Rewards, RolloutEvidence, Seen, Server, ShadowSnapshot, Target, compare};
use plinth_tracking::{Earned, EndpointSpec};
use serde_json::{Value, json};

/// How sure an experiment is to be, over all looks together.
const ALPHA: f64 = 0.05;

/// What an endpoint did on this server, deployment by deployment, and how its rollout stands.
pub fn endpoint_figures(server: &Server, endpoint: &Endpoint) -> Value {
    let all: f64 = endpoint.targets().iter().map(|target| f64::from(target.plan().weight)).sum();
    let deployments: Vec<Value> = endpoint.targets().iter().map(|target| deployment(target, all)).collect();
    let mut told = json!({"revision": endpoint.plan().revision, "deployments": deployments});
    if let Some(rollout) = &endpoint.plan().routing.rollout {
        told["rollout"] = json!({
            "deployment": *rollout.canary,
            "step": rollout.step + 1,
            "steps": rollout.steps,
            "percent": rollout.percent(),
        });
        if let Some(standing) = server.rollout(endpoint.name()) {
            told["rollout"]["doing"] = json!(standing.doing);
            told["rollout"]["evidence"] = evidence_figures(&standing.evidence);
        }
    }
    told
}

fn deployment(target: &Target, all: f64) -> Value {
    let (plan, deployment) = (target.plan(), target.deployment());
    let batches = deployment.stats().snapshot();
    let share = if all > 0.0 { 100.0 * f64::from(plan.weight) / all } else { 0.0 };
    let mut told = seen(&target.traffic().seen());
    told["name"] = json!(**target.name());
    told["model"] = json!(**deployment.model());
    told["version"] = json!(**deployment.version());
    told["weight_percent"] = json!(share);
    told["shadow_percent"] = json!(f64::from(plan.shadow) / 100.0);
    told["rows"] = json!(batches.rows);
    told["batches"] = json!(batches.batches);
    told["batch_rows"] = json!(batches.batch_rows);
    told["waiting"] = json!(deployment.waiting());
    told["memory_bytes"] = json!(deployment.memory_bytes());
    told["batch_sizes"] =
        batches.sizes.iter().map(|(size, count)| json!({"rows_at_most": size, "batches": count})).collect();
    if let Some(shadow) = target.traffic().shadow() {
        told["shadow"] = shadowed(&shadow);
    }
    told
}

fn shadowed(shadow: &ShadowSnapshot) -> Value {
    let outputs = shadow.outputs.iter().map(|output| {
        let max = output.mean().map(|_| output.max);
        json!({
            "name": output.name, "rows": output.rows, "differing_share": output.share(),
            "mean_difference": output.mean(), "max_difference": max,
        })
    });
    json!({
        "compared": shadow.compared, "failed": shadow.failed, "dropped": shadow.dropped, "waiting": shadow.waiting,
        "outputs": outputs.collect::<Vec<_>>(),
    })
}

fn seen(seen: &Seen) -> Value {
    let ms = |time: Option<Duration>| time.map(|time| (time.as_secs_f64() * 1e6).round() / 1e3);
    json!({
        "requests": seen.requests(), "answered": seen.answered, "refused": seen.refused, "errors": seen.faults,
        "p50_ms": ms(seen.quantile(0.5)), "p99_ms": ms(seen.quantile(0.99)),
    })
}

/// What a step of a rollout was decided by.
pub fn evidence_figures(evidence: &RolloutEvidence) -> Value {
    let mut told = json!({
        "elapsed_s": (evidence.elapsed.as_secs_f64() * 1e3).round() / 1e3,
        "canary": seen(&evidence.canary),
        "champion": seen(&evidence.champion),
        "error_rate": evidence.error_rate(),
    });
    if let Some(drift) = &evidence.drift {
        told["score_drift"] = json!({
            "output": drift.output, "psi": finite(drift.psi), "by_chance_at_most": finite(drift.chance),
            "answers_champion": drift.answers[0], "answers_canary": drift.answers[1],
        });
    }
    if !evidence.checks.is_empty() {
        told["gate"] = json!(evidence.checks);
    }
    told
}

/// JSON knows no infinity.
fn finite(number: f64) -> f64 {
    number.clamp(-1e9, 1e9)
}

/// What the rewards say of the deployments: each beside the champion, with a test that may be looked at all the time.
pub fn experiment_figures(spec: &EndpointSpec, earned: &[Earned]) -> Value {
    // A deployment counts with all versions that it had: an alias moves with what its deployment is for.
    let rewards = |name: &str| {
        let mine = earned.iter().filter(|earned| earned.deployment == name);
        mine.fold(Rewards::default(), |sum, one| Rewards { count: sum.count + one.count, sum: sum.sum + one.sum })
    };
    if earned.is_empty() {
        return Value::Null;
    }
    let Some((champion, others)) = spec.deployments.split_first() else { return Value::Null };
    let one = rewards(&champion.name);
    let alpha = ALPHA / others.len().max(1) as f64;
    let arms = spec.deployments.iter().map(|deployment| {
        let mine = rewards(&deployment.name);
        let mean = (mine.count > 0).then(|| mine.mean());
        let mut told = json!({"deployment": deployment.name, "rewards": mine.count, "mean": mean});
        if deployment.name == champion.name || mine.count == 0 || one.count == 0 {
            return told;
        }
        let found = compare(one, mine, alpha);
        let [low, high] = found.interval;
        told["difference"] = json!(found.difference);
        told["interval"] = json!([low, high]);
        told["p_value"] = json!(found.p_value);
        let range = format!("{:+.4} [{low:+.4}, {high:+.4}]", found.difference);
        told["verdict"] = json!(if low > 0.0 {
            format!("enough evidence: {} is better than {} by {range}", deployment.name, champion.name)
        } else if high < 0.0 {
            format!("enough evidence: {} is worse than {} by {range}", deployment.name, champion.name)
        } else {
            format!("not enough evidence yet: {range}")
        });
        told
    });
    json!({"alpha": ALPHA, "deployments": arms.collect::<Vec<_>>()})
}
