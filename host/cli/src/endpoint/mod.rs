//! `plinth endpoint`: what is served under which names, and how requests are shared out.
//!
//! Every change is one transaction that makes a new revision; running servers follow within a moment.

mod args;

use std::process::ExitCode;

use plinth_core::{Code, codes, refs::ModelRef};
use plinth_tracking::{
    AliasMove, DeploymentSpec, EndpointChange, EndpointEvent, EndpointRecord, EndpointSpec, RuleSpec, Sticky,
};
use serde_json::{Value, json};

use crate::{
    access::operator,
    host::Host,
    output::{Failure, Output, io_failure, table},
};

pub(crate) use args::EndpointCommand;
use args::{DeploymentArgs, RouteArgs};

/// `plinth endpoint`
pub(crate) fn endpoint(command: &EndpointCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    let who = operator();
    let change = |action: &'static str, reason| EndpointChange { who: &who, action, reason };
    let show = |value: Value, text: &dyn Fn() -> String| {
        output.data(&value, text).map_err(|error| io_failure("stdout", &error))
    };
    let changed = |record: EndpointRecord| show(json!(record), &|| describe(&record));
    match command {
        EndpointCommand::List => {
            let all = tracking.endpoints()?;
            show(json!(all), &|| list(&all))?;
        }
        EndpointCommand::Status { endpoint } => {
            let record = tracking.endpoint(endpoint)?;
            changed(record)?;
        }
        EndpointCommand::Logs { endpoint, limit } => {
            let log = tracking.endpoint_events(endpoint, *limit)?;
            show(json!(log), &|| events(&log))?;
        }
        EndpointCommand::Create { endpoint, what, reason } => {
            let deployment = deployment(what, 100.0)?;
            let spec = EndpointSpec { deployments: vec![deployment], ..EndpointSpec::default() };
            changed(tracking.create_endpoint(endpoint, &spec, change("create", reason))?)?;
        }
        EndpointCommand::Deploy { endpoint, what, weight, reason } => {
            let EndpointRecord { revision, mut spec, .. } = tracking.endpoint(endpoint)?;
            let new = deployment(what, weight.unwrap_or_default())?;
            place(&mut spec, new, *weight);
            changed(tracking.change_endpoint(endpoint, revision, &spec, change("deploy", reason))?)?;
        }
        EndpointCommand::Route(args) => {
            let EndpointRecord { revision, mut spec, .. } = tracking.endpoint(&args.endpoint)?;
            route(&mut spec, args)?;
            changed(tracking.change_endpoint(&args.endpoint, revision, &spec, change("route", &args.reason))?)?;
        }
        EndpointCommand::Remove { endpoint, deployment, reason } => {
            let EndpointRecord { revision, mut spec, .. } = tracking.endpoint(endpoint)?;
            let index = spec.deployment(endpoint, deployment)?;
            spec.deployments.remove(index);
            spec.rules.retain(|rule| rule.deployment != *deployment);
            changed(tracking.change_endpoint(endpoint, revision, &spec, change("remove", reason))?)?;
        }
        EndpointCommand::Promote { endpoint, deployment, alias, reason } => {
            let EndpointRecord { revision, mut spec, .. } = tracking.endpoint(endpoint)?;
            let index = spec.deployment(endpoint, deployment)?;
            let promoted = DeploymentSpec { weight: 100.0, ..spec.deployments.swap_remove(index) };
            let reference: ModelRef = promoted.model.parse()?;
            spec = EndpointSpec { deployments: vec![promoted], sticky: spec.sticky, rules: Vec::new() };
            let record = tracking.change_endpoint(endpoint, revision, &spec, change("promote", reason))?;
            if let Some(alias) = alias {
                let version = tracking.resolve(&reference)?.version;
                let reason = format!("deployment {deployment} of endpoint {endpoint} was promoted");
                let to = AliasMove {
                    model: reference.name(),
                    alias,
                    version,
                    principal: &who,
                    reason: &reason,
                    evidence: None,
                };
                tracking.set_alias(&to)?;
            }
            changed(record)?;
        }
        EndpointCommand::Rollback { endpoint, to, reason } => {
            let record = tracking.endpoint(endpoint)?;
            let to = match to {
                Some(to) => *to,
                None => {
                    before(&tracking.endpoint_events(endpoint, u64::from(u32::MAX))?, &record).ok_or_else(|| {
                        Failure::new(codes::BAD_ENDPOINT, format!("endpoint `{endpoint}` has no earlier revision"))
                    })?
                }
            };
            let spec = tracking.endpoint_revision(endpoint, to)?;
            let told = format!("back to revision {to}{}{reason}", if reason.is_empty() { "" } else { ": " });
            changed(tracking.change_endpoint(endpoint, record.revision, &spec, change("rollback", &told))?)?;
        }
        EndpointCommand::Delete { endpoint, reason } => {
            tracking.delete_endpoint(endpoint, change("delete", reason))?;
            output.say(format!("deleted endpoint {endpoint}; `plinth endpoint logs {endpoint}` still tells of it"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest revision that was something else than what is there, passing over those that were rolled back from.
fn before(log: &[EndpointEvent], now: &EndpointRecord) -> Option<u64> {
    let back = |event: &&EndpointEvent| event.revision == now.revision && event.action == "rollback";
    let mut from = now.revision;
    if let Some(event) = log.iter().find(back) {
        let number = event.reason.strip_prefix("back to revision ")?;
        from = number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    }
    log.iter()
        .filter(|event| event.revision < from && event.spec.as_ref().is_some_and(|spec| *spec != now.spec))
        .map(|event| event.revision)
        .max()
}

fn deployment(what: &DeploymentArgs, weight: f64) -> Result<DeploymentSpec, Failure> {
    let DeploymentArgs { model, name, device } = what;
    let name = match (name, model.parse::<ModelRef>()?) {
        (Some(name), _) => name.clone(),
        (None, ModelRef::Alias { alias, .. }) => alias,
        (None, ModelRef::Version { version, .. }) => format!("v{version}"),
    };
    if let Some(device) = device {
        device.parse::<plinth_tensor::Device>().map_err(|error| Failure::of(&error))?;
    }
    Ok(DeploymentSpec { name, model: model.clone(), device: device.clone(), weight })
}

/// Percentages are kept to a hundredth, which is what servers tell apart.
fn rounded(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

/// Puts a deployment beside the others, or in the place of the one of its name, whose part it keeps if none is said.
/// What it gets the others give up, each in proportion.
fn place(spec: &mut EndpointSpec, new: DeploymentSpec, weight: Option<f64>) {
    let held = spec.deployments.iter().position(|there| there.name == new.name);
    if let Some(weight) = weight {
        let others = || spec.deployments.iter().filter(|there| there.name != new.name);
        let all: f64 = others().map(|there| there.weight).sum();
        if all > 0.0 {
            let rest = (100.0 - weight) / all;
            let others = spec.deployments.iter_mut().filter(|there| there.name != new.name);
            others.for_each(|there| there.weight = rounded(there.weight * rest));
        }
    }
    match held {
        Some(index) => {
            let weight = weight.unwrap_or(spec.deployments[index].weight);
            spec.deployments[index] = DeploymentSpec { weight, ..new };
        }
        None => spec.deployments.push(new),
    }
}

fn route(spec: &mut EndpointSpec, args: &RouteArgs) -> Result<(), Failure> {
    if !args.weights.is_empty() {
        spec.deployments.iter_mut().for_each(|deployment| deployment.weight = 0.0);
    }
    let percent = |text: &str, (name, percent): (&str, &str)| {
        let number = percent.trim_end_matches('%').parse::<f64>();
        number.map(|number| (name.to_owned(), number)).map_err(|_| bad(text, "NAME=PERCENT, such as canary=10"))
    };
    let pair = |text: &String| {
        text.split_once('=')
            .ok_or_else(|| bad(text, "NAME=PERCENT, such as canary=10"))
            .and_then(|pair| percent(text, pair))
    };
    for (name, weight) in args.weights.iter().map(pair).collect::<Result<Vec<_>, _>>()? {
        let index = spec.deployment(&args.endpoint, &name)?;
        spec.deployments[index].weight = weight;
    }
    if let Some(sticky) = &args.sticky {
        spec.sticky = match sticky.split_once(':') {
            _ if sticky == "none" => None,
            Some(("header", name)) => Some(Sticky::Header(name.to_ascii_lowercase())),
            Some(("json", pointer)) => Some(Sticky::Json(pointer.to_owned())),
            Some(("column", name)) => Some(Sticky::Column(name.to_owned())),
            _ => return Err(bad(sticky, "header:NAME, json:/POINTER, column:NAME or none")),
        };
    }
    if args.no_rules {
        spec.rules.clear();
    }
    for text in &args.rules {
        let (condition, deployment) = text.rsplit_once(':').ok_or_else(|| bad(text, "HEADER[=VALUE]:DEPLOYMENT"))?;
        let (header, equals) = condition.split_once('=').map_or((condition, None), |(name, value)| (name, Some(value)));
        spec.rules.push(RuleSpec {
            header: header.to_ascii_lowercase(),
            equals: equals.map(str::to_owned),
            deployment: deployment.to_owned(),
        });
    }
    Ok(())
}

fn bad(text: &str, wanted: &str) -> Failure {
    const CODE: Code = codes::USAGE;
    Failure::new(CODE, format!("`{text}` does not read")).hint(format!("write it as {wanted}"))
}

fn list(all: &[EndpointRecord]) -> String {
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

fn describe(record: &EndpointRecord) -> String {
    let rows = record.spec.deployments.iter().map(|deployment| {
        vec![
            deployment.name.clone(),
            deployment.model.clone(),
            format!("{}%", deployment.weight),
            deployment.device.clone().unwrap_or_default(),
        ]
    });
    let mut text = format!("{}, revision {}, {}\n\n", record.name, record.revision, moment(record.updated));
    text += &table(["deployment", "model", "weight", "device"], rows);
    match &record.spec.sticky {
        Some(Sticky::Header(name)) => text += &format!("\nsticky by header {name}\n"),
        Some(Sticky::Json(pointer)) => text += &format!("\nsticky by {pointer} of the body\n"),
        Some(Sticky::Column(name)) => text += &format!("\nsticky by column {name}\n"),
        None => {}
    }
    for rule in &record.spec.rules {
        let value = rule.equals.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
        text += &format!("\nrule: {}{value} goes to {}\n", rule.header, rule.deployment);
    }
    text
}

fn events(log: &[EndpointEvent]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, weight: f64) -> DeploymentSpec {
        let what = DeploymentArgs { model: "models:/m/1".into(), name: Some(name.into()), device: None };
        deployment(&what, weight).unwrap()
    }

    #[test]
    fn a_deployment_gets_the_part_that_was_said_and_the_others_share_the_rest_as_before() {
        let parts = |held: &[(&str, f64)], name: &str, weight: Option<f64>| {
            let deployments = held.iter().map(|(name, weight)| named(name, *weight)).collect();
            let mut spec = EndpointSpec { deployments, ..EndpointSpec::default() };
            place(&mut spec, named(name, weight.unwrap_or_default()), weight);
            spec.deployments.into_iter().map(|d| (d.name, d.weight)).collect::<Vec<_>>()
        };
        let told = |parts: &[(&str, f64)]| parts.iter().map(|(n, w)| ((*n).to_owned(), *w)).collect::<Vec<_>>();
        assert_eq!(parts(&[("a", 100.0)], "b", Some(20.0)), told(&[("a", 80.0), ("b", 20.0)]));
        assert_eq!(parts(&[("a", 100.0)], "b", None), told(&[("a", 100.0), ("b", 0.0)]));
        assert_eq!(parts(&[("a", 60.0), ("b", 20.0)], "c", Some(20.0)), told(&[("a", 60.0), ("b", 20.0), ("c", 20.0)]));
        // In the place of another it is a part of all requests too, not beside what the others have.
        assert_eq!(parts(&[("a", 80.0), ("b", 20.0)], "b", Some(50.0)), told(&[("a", 50.0), ("b", 50.0)]));
        assert_eq!(parts(&[("a", 80.0), ("b", 20.0)], "b", None), told(&[("a", 80.0), ("b", 20.0)]));
        assert_eq!(parts(&[("a", 100.0)], "a", Some(30.0)), told(&[("a", 30.0)]));
        assert_eq!(parts(&[("a", 100.0), ("b", 0.0)], "a", Some(30.0)), told(&[("a", 30.0), ("b", 0.0)]));
    }
}
