//! Endpoints for a person to read.

use std::time::Duration;

use plinth_tracking::{CapacitySpec, EndpointEvent, EndpointRecord, Policy, RolloutSpec, Sticky};
use serde_json::Value;

use super::live::Status;
use crate::output::table;

fn rollout(rollout: &RolloutSpec) -> String {
    let RolloutSpec { deployment, steps, step, phase, bake_ms, guards, why, .. } = rollout;
    let percents: Vec<String> = steps.iter().map(f64::to_string).collect();
    let bake = humantime::format_duration(Duration::from_millis(*bake_ms));
    let mut text = format!(
        "\nrollout of {deployment}: {}, step {} of {} ({} %), {bake} each\n",
        phase.name(),
        step + 1,
        steps.len(),
        percents.join(", ")
    );
    let limits = [
        guards.error_rate.map(|rate| format!("errors {} %", 100.0 * rate)),
        guards.p99_ms.map(|ms| format!("p99 {ms} ms")),
        guards.score_drift.map(|psi| format!("score drift {psi}")),
        guards.gate.as_ref().map(|gate| format!("gate {}", gate.plugin)),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if !limits.is_empty() {
        text += &format!("  must keep to: {}\n", limits.join(", "));
    }
    if !why.is_empty() {
        text += &format!("  ended: {why}\n");
    }
    text
}

/// An endpoint, what it has earned, and how it does on a server.
pub(super) fn status(status: &Status) -> String {
    let mut text = endpoint(&status.record);
    if let Some(arms) = status.experiment["deployments"].as_array() {
        let rows = arms.iter().map(|arm| {
            let number = |name: &str| arm[name].as_f64().map_or_else(String::new, |number| format!("{number:.4}"));
            let text = |name: &str| arm[name].as_str().unwrap_or_default().to_owned();
            vec![text("deployment"), arm["rewards"].to_string(), number("mean"), number("p_value"), text("verdict")]
        });
        text += &format!("\n{}", table(["deployment", "rewards", "mean", "p", "against the champion"], rows));
    }
    if let Some(live) = &status.live {
        text += &self::live(live);
    }
    text
}

fn live(live: &Value) -> String {
    let serving = &live["serving"];
    if let Some(message) = live["failure"]["message"].as_str() {
        return format!("\nnot served as it should be: {message}\n");
    }
    let deployments = serving["deployments"].as_array().map(Vec::as_slice).unwrap_or_default();
    if deployments.is_empty() {
        return "\nnot served there\n".into();
    }
    let number = |value: &Value| value.as_f64().map_or_else(String::new, |number| format!("{number:.2}"));
    let rows = deployments.iter().map(|one| {
        let count = |name: &str| one[name].as_f64().unwrap_or_default();
        let (rows, batches) = (count("batch_rows"), count("batches"));
        vec![
            one["name"].as_str().unwrap_or_default().to_owned(),
            one["version"].as_str().unwrap_or_default().to_owned(),
            format!("{}%", number(&one["weight_percent"])),
            one["requests"].to_string(),
            one["errors"].to_string(),
            one["refused"].to_string(),
            number(&one["p50_ms"]),
            number(&one["p99_ms"]),
            if batches > 0.0 { format!("{:.1}", rows / batches) } else { String::new() },
        ]
    });
    let header = ["deployment", "version", "gets", "requests", "errors", "refused", "p50 ms", "p99 ms", "rows/batch"];
    let mut text = format!("\non that server, revision {}:\n{}", serving["revision"], table(header, rows));
    for one in deployments.iter().filter(|one| one["shadow"].is_object()) {
        let shadow = &one["shadow"];
        let name = one["name"].as_str().unwrap_or_default();
        text += &format!(
            "\nshadow {name}: {} compared, {} failed, {} dropped\n",
            shadow["compared"], shadow["failed"], shadow["dropped"]
        );
        for output in shadow["outputs"].as_array().into_iter().flatten() {
            let share = 100.0 * output["differing_share"].as_f64().unwrap_or_default();
            text += &format!("  {}: {share:.2} % differ", output["name"].as_str().unwrap_or_default());
            if let (Some(mean), Some(max)) = (output["mean_difference"].as_f64(), output["max_difference"].as_f64()) {
                text += &format!(", by {mean:.6} on average and {max:.6} at most");
            }
            text.push('\n');
        }
    }
    if let Some(doing) = serving["rollout"]["doing"].as_str() {
        text += &format!("\nrollout: {doing}\n");
    }
    text
}

pub(super) fn list(all: &[EndpointRecord]) -> String {
    if all.is_empty() {
        return "there is no endpoint yet: `plinth endpoint create` makes one\n".into();
    }
    let rows = all.iter().map(|record| {
        let shares = record.spec.deployments.iter().map(|d| format!("{} {}%", d.name, d.weight));
        let shares: Vec<String> = shares.collect();
        vec![record.name.clone(), record.revision.to_string(), shares.join(", "), moment(record.updated)]
    });
    table(["endpoint", "revision", "deployments", "changed"], rows)
}

fn capacity(spec: &CapacitySpec) -> String {
    let parts = [
        spec.batch_rows_max.map(|rows| format!("batches of {rows}")),
        spec.batch_wait_us.map(|us| format!("wait {us} us")),
        spec.concurrency_max.map(|most| format!("{most} at once")),
        spec.queue_max.map(|most| format!("{most} waiting")),
        spec.timeout_ms.map(|ms| format!("{ms} ms")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn endpoint(record: &EndpointRecord) -> String {
    let rows = record.spec.deployments.iter().map(|deployment| {
        vec![
            deployment.name.clone(),
            deployment.model.clone(),
            format!("{}%", deployment.weight),
            if deployment.shadow > 0.0 { format!("{}%", deployment.shadow) } else { String::new() },
            deployment.device.clone().unwrap_or_default(),
            capacity(&deployment.capacity),
        ]
    });
    let mut text = format!("{}, revision {}, {}\n\n", record.name, record.revision, moment(record.updated));
    text += &table(["deployment", "model", "weight", "shadow", "device", "capacity"], rows);
    match &record.spec.sticky {
        Some(Sticky::Header(name)) => text += &format!("\nsticky by header {name}\n"),
        Some(Sticky::Json(pointer)) => text += &format!("\nsticky by {pointer} of the body\n"),
        Some(Sticky::Column(name)) => text += &format!("\nsticky by column {name}\n"),
        None => {}
    }
    for deployment in &record.spec.deployments {
        if let Some(lookup) = &deployment.lookup {
            let (name, columns) = (&deployment.name, lookup.columns.join(", "));
            text += &format!("\n{name} looks up, of {} entities by {}: {columns}\n", lookup.rows, lookup.entity);
        }
    }
    if record.spec.policy == Some(Policy::Thompson) {
        text += "\nby rewards (thompson), among those with a weight\n";
    }
    if let Some(rollout) = &record.spec.rollout {
        text += &self::rollout(rollout);
    }
    for rule in &record.spec.rules {
        let value = rule.equals.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
        text += &format!("\nrule: {}{value} goes to {}\n", rule.header, rule.deployment);
    }
    text
}

pub(super) fn events(log: &[EndpointEvent]) -> String {
    let rows = log.iter().map(|event| {
        let shares: Vec<String> =
            event.spec.iter().flat_map(|spec| &spec.deployments).map(|d| format!("{} {}%", d.name, d.weight)).collect();
        vec![
            moment(event.time),
            event.revision.to_string(),
            event.action.clone(),
            event.principal.clone(),
            shares.join(", "),
            event.reason.clone(),
        ]
    });
    table(["time", "revision", "action", "by", "deployments", "reason"], rows)
}

fn moment(time: i64) -> String {
    chrono::DateTime::from_timestamp_micros(time).unwrap_or_default().format("%Y-%m-%d %H:%M:%S").to_string()
}
