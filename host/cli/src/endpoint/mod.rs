//! `plinth endpoint`: what is served under which names, and how requests are shared out.
//!
//! Every change is one transaction that makes a new revision; running servers follow within a moment.

mod args;
mod feedback;
mod live;
mod show;

use std::process::ExitCode;

use plinth_core::{Code, codes, refs::ModelRef};
use plinth_tracking::{
    CapacitySpec, DeploymentSpec, EndpointChange, EndpointRecord, EndpointSpec, GateSpec, GuardSpec, LookupSpec,
    Policy, RolloutSpec, RuleSpec, Sticky,
};
use serde_json::{Value, json};

pub(crate) use self::args::EndpointCommand;
use self::args::{CapacityArgs, DeployArgs, DeploymentArgs, PolicyArg, RouteArgs, rounded};
use crate::{
    access::operator,
    host::{Host, PluginRef},
    output::{Failure, Output, io_failure},
    predict::read_all,
    scorer::Spec,
    tracked::confirm,
};

/// `plinth endpoint`
pub(crate) fn endpoint(command: &EndpointCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    let who = operator();
    let change = |action: &'static str, reason| EndpointChange { who: &who, action, reason, evidence: None };
    let show = |value: Value, text: &dyn Fn() -> String| {
        output.data(&value, text).map_err(|error| io_failure("stdout", &error))
    };
    let changed = |record: EndpointRecord| show(json!(record), &|| show::endpoint(&record));
    match command {
        EndpointCommand::List => {
            let all = tracking.endpoints()?;
            show(json!(all), &|| show::list(&all))?;
        }
        EndpointCommand::Status { endpoint, url } => {
            let status = live::status(tracking, endpoint, url.as_deref())?;
            show(status.value(), &|| show::status(&status))?;
        }
        EndpointCommand::Logs { endpoint, limit } => {
            let log = tracking.endpoint_events(endpoint, *limit)?;
            show(json!(log), &|| show::events(&log))?;
        }
        EndpointCommand::Create { endpoint, what, reason } => {
            let lookup = lookup(host, what)?;
            let deployment = DeploymentSpec { lookup, ..deployment(what, 100.0)? };
            check_lookup(host, &deployment, what, output)?;
            let spec = EndpointSpec { deployments: vec![deployment], ..EndpointSpec::default() };
            changed(tracking.create_endpoint(endpoint, &spec, change("create", reason))?)?;
        }
        EndpointCommand::Deploy(args) => {
            let EndpointRecord { revision, mut spec, .. } = tracking.endpoint(&args.endpoint)?;
            deploy(host, &mut spec, args, output)?;
            let action = if args.canary.is_empty() { "deploy" } else { "rollout" };
            changed(tracking.change_endpoint(&args.endpoint, revision, &spec, change(action, &args.reason))?)?;
        }
        EndpointCommand::Route(args) => {
            let EndpointRecord { revision, mut spec, .. } = tracking.endpoint(&args.endpoint)?;
            route(&mut spec, args)?;
            changed(tracking.change_endpoint(&args.endpoint, revision, &spec, change("route", &args.reason))?)?;
        }
        EndpointCommand::Remove { endpoint, deployment, reason } => {
            let EndpointRecord { revision, mut spec, .. } = tracking.endpoint(endpoint)?;
            let index = spec.deployment(endpoint, deployment)?;
            spec.without_rollout("a deployment is removed")?;
            spec.deployments.remove(index);
            spec.rules.retain(|rule| rule.deployment != *deployment);
            changed(tracking.change_endpoint(endpoint, revision, &spec, change("remove", reason))?)?;
        }
        EndpointCommand::Promote { endpoint, deployment, alias, reason } => {
            let change = change("promote", reason);
            changed(tracking.promote_endpoint(endpoint, None, deployment, alias.as_deref(), change)?)?;
        }
        EndpointCommand::Pause { endpoint, reason } => {
            changed(tracking.alter_endpoint(endpoint, change("pause", reason), EndpointSpec::pause)?)?;
        }
        EndpointCommand::Resume { endpoint, reason } => {
            changed(tracking.alter_endpoint(endpoint, change("resume", reason), EndpointSpec::resume)?)?;
        }
        EndpointCommand::Approve { endpoint, reason } => {
            changed(tracking.approve_endpoint(endpoint, change("approve", reason))?)?;
        }
        EndpointCommand::Rollback { endpoint, to, reason } => {
            changed(tracking.roll_back_endpoint(endpoint, *to, change("rollback", reason))?)?;
        }
        EndpointCommand::Feedback { endpoint, since, output: path } => {
            let since = since.as_ref().map_or(0, |since| since.micros(tracking.now()));
            feedback::write(tracking, endpoint, since, path.as_deref(), output)?;
        }
        EndpointCommand::Delete { endpoint, yes, reason } => {
            let record = tracking.endpoint(endpoint)?;
            let names: Vec<&str> = record.spec.deployments.iter().map(|there| there.name.as_str()).collect();
            confirm(yes.yes, &format!("take endpoint `{endpoint}` ({}) out of service", names.join(", ")))?;
            tracking.delete_endpoint(endpoint, change("delete", reason))?;
            output.say(format!("deleted endpoint {endpoint}; `plinth endpoint logs {endpoint}` still tells of it"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn deploy(host: &Host, spec: &mut EndpointSpec, args: &DeployArgs, output: Output) -> Result<(), Failure> {
    let lookup = lookup(host, &args.what)?;
    let new = DeploymentSpec { lookup, ..deployment(&args.what, args.weight.unwrap_or_default())? };
    let name = new.name.clone();
    if args.weight.is_some() {
        spec.without_rollout("a deployment gets another share")?;
    } else if spec.deployments.iter().any(|there| there.name == name) {
        spec.without_rollout("another model takes the place of one")?;
    }
    place(spec, new, args.weight, args.shadow);
    if let Some(deployed) = spec.deployments.iter_mut().find(|there| there.name == name) {
        if args.no_lookup {
            deployed.lookup = None;
        }
        check_lookup(host, deployed, &args.what, output)?;
    }
    if let Some(deployed) = spec.deployments.iter().find(|there| there.name == name) {
        let others = spec.deployments.iter().filter(|there| there.lookup != deployed.lookup);
        let others: Vec<&str> = others.map(|there| there.name.as_str()).collect();
        if !others.is_empty() {
            output.say(format!(
                "{name} does not look up what {} does: requests go to any of them, and must fit all",
                others.join(", ")
            ));
        }
    }
    if !args.canary.is_empty() {
        let rollout = rollout(args, name)?;
        if let Some(gate) = rollout.guards.gate.as_ref().filter(|_| !args.what.force) {
            // A server would find out when the first step ends.
            host.components.gate(&PluginRef::named(&gate.plugin), gate.item.as_deref()).map_err(|failure| {
                let failure = Failure::of(&*failure.error);
                let others = failure.hint.as_ref().map(|hint| format!("{hint}; or ")).unwrap_or_default();
                match failure.code {
                    codes::PLUGIN_NOT_FOUND => {
                        failure.hint(format!("{others}add --force if the machine that serves has the gate"))
                    }
                    _ => failure,
                }
            })?;
        }
        spec.begin_rollout(rollout, host.tracking().now())?;
    }
    Ok(())
}

fn rollout(args: &DeployArgs, deployment: String) -> Result<RolloutSpec, Failure> {
    let percent = |text: &str| {
        let number = text.trim().trim_end_matches('%').trim().parse::<f64>();
        number.map_err(|_| bad(text, "a percentage, such as 10 or 10%"))
    };
    let bake = humantime::parse_duration(&args.bake).map_err(|_| bad(&args.bake, "a time, such as 30s, 5m or 1h"))?;
    let options = args.gate_options.as_deref().unwrap_or("{}");
    let options = serde_json::from_str(options).map_err(|_| bad(options, "a JSON object"))?;
    let error_rate = args.max_error_rate.as_deref().map(percent).transpose()?.map(|percent| percent / 100.0);
    Ok(RolloutSpec {
        deployment,
        steps: args.canary.iter().map(|text| percent(text)).collect::<Result<_, _>>()?,
        bake_ms: u64::try_from(bake.as_millis()).unwrap_or(u64::MAX),
        requests_min: args.min_requests,
        guards: GuardSpec {
            error_rate,
            p99_ms: args.max_p99_ms,
            score_drift: args.max_score_drift,
            gate: args.gate.clone().map(|plugin| GateSpec { plugin, item: args.gate_item.clone(), options }),
        },
        approval: args.require_approval,
        alias: args.alias.clone(),
        ..RolloutSpec::default()
    })
}

fn deployment(what: &DeploymentArgs, weight: f64) -> Result<DeploymentSpec, Failure> {
    let DeploymentArgs { model, name, device, force, capacity, .. } = what;
    let name = match (name, model.parse::<ModelRef>()?) {
        (Some(name), _) => name.clone(),
        (None, ModelRef::Alias { alias, .. }) => alias,
        (None, ModelRef::Version { version, .. }) => format!("v{version}"),
    };
    if let Some(device) = device {
        let here = device.parse::<plinth_tensor::Device>().map_err(|error| Failure::of(&error))?.is_here();
        if !here && !force {
            return Err(Failure::new(codes::DEVICE_NOT_FOUND, format!("this machine has no device `{device}`"))
                .hint("add --force if the machine that serves has it"));
        }
    }
    let CapacityArgs { batch_rows, batch_wait_us, concurrency, queue, timeout_ms } = *capacity;
    let capacity = CapacitySpec {
        batch_rows_max: batch_rows,
        batch_wait_us,
        concurrency_max: concurrency,
        queue_max: queue,
        timeout_ms,
    };
    let (model, device) = (model.clone(), device.clone());
    Ok(DeploymentSpec { name, model, device, weight, shadow: 0.0, capacity, lookup: None })
}

/// Puts a table to look up in among the blobs, once it is known to tell entities apart.
fn lookup(host: &Host, what: &DeploymentArgs) -> Result<Option<LookupSpec>, Failure> {
    let (Some(file), Some(entity)) = (&what.lookup, &what.entity) else { return Ok(None) };
    let table = read_all(&host.components, file, "{}")?;
    plinth_score::Lookup::new(entity, &table)?;
    let bytes = plinth_table::to_bytes(table.schema(), [&table])?;
    let stored = host.store().blobs().put(&bytes)?;
    let columns = table.schema().fields().iter().map(|field| field.name.clone()).filter(|name| name != entity);
    let (rows, columns) = (table.num_rows() as u64, columns.collect());
    Ok(Some(LookupSpec { entity: entity.clone(), table: stored, rows, columns }))
}

/// Whether the model takes what is looked up for it, as far as its version says what it takes: a server would find out,
/// but whoever deploys would not hear of it. Says which columns of the table the model does not take.
fn check_lookup(
    host: &Host,
    deployment: &DeploymentSpec,
    what: &DeploymentArgs,
    output: Output,
) -> Result<(), Failure> {
    let Some(LookupSpec { entity, table, columns, .. }) = &deployment.lookup else { return Ok(()) };
    let version = host.tracking().resolve(&deployment.model.parse::<ModelRef>()?)?;
    let spec = Spec::of(&version)?;
    let Some(signature) = spec.signature() else { return Ok(()) };
    let known = host.table_of(table).map_err(|failure| Failure::of(&*failure.error))?.read_all()?;
    if let Err(error) = plinth_score::Lookup::new(entity, &known)?.check(signature) {
        return Err(match what.lookup {
            Some(_) => Failure::from(error),
            None => Failure::from(error).hint(
                "it is the table of the deployment in its place, or of the first: name another, or add --no-lookup",
            ),
        });
    }
    if what.lookup.is_none() {
        return Ok(());
    }
    let other = |name: &&String| signature.columns().index_of(name).is_none();
    let others: Vec<&str> = columns.iter().filter(other).map(String::as_str).collect();
    if !others.is_empty() {
        output.say(format!("{} takes none of these columns of the table: {}", version.reference(), others.join(", ")));
    }
    Ok(())
}

/// Puts a deployment beside the others, or in the place of the one of its name, whose parts it keeps if none are
/// said. What it gets the others give up, each in proportion. One that comes beside others gets their callers' requests,
/// so it looks up what the champion does.
fn place(spec: &mut EndpointSpec, new: DeploymentSpec, weight: Option<f64>, shadow: Option<f64>) {
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
            let there = &mut spec.deployments[index];
            let (weight, shadow) = (weight.unwrap_or(there.weight), shadow.unwrap_or(there.shadow));
            let capacity = there.capacity.altered(new.capacity);
            let lookup = new.lookup.clone().or_else(|| there.lookup.take());
            *there = DeploymentSpec { weight, shadow, capacity, lookup, ..new };
        }
        None => {
            let champion = spec.deployments.first().and_then(|champion| champion.lookup.clone());
            let (shadow, lookup) = (shadow.unwrap_or_default(), new.lookup.clone().or(champion));
            spec.deployments.push(DeploymentSpec { shadow, lookup, ..new });
        }
    }
}

fn route(spec: &mut EndpointSpec, args: &RouteArgs) -> Result<(), Failure> {
    let RouteArgs { weights, shadow, sticky, rules, no_rules, policy, .. } = args;
    if weights.is_empty() && shadow.is_empty() && rules.is_empty() && sticky.is_none() && policy.is_none() && !no_rules
    {
        return Err(Failure::new(
            codes::USAGE,
            format!("nothing is said of how requests to `{}` are shared out", args.endpoint),
        )
        .hint(
            "write NAME=PERCENT, such as champion=90 canary=10, or --shadow, --sticky, --rule, --no-rules or --policy",
        ));
    }
    if let Some(policy) = args.policy {
        spec.policy = (policy == PolicyArg::Thompson).then_some(Policy::Thompson);
    }
    if !args.weights.is_empty() {
        spec.without_rollout("the weights are changed by hand")?;
        spec.deployments.iter_mut().for_each(|deployment| deployment.weight = 0.0);
    }
    let weights = parts(spec, &args.endpoint, &args.weights)?;
    let shadows = parts(spec, &args.endpoint, shadow)?;
    for (index, weight) in weights {
        spec.deployments[index].weight = weight;
    }
    let sum: f64 = spec.deployments.iter().map(|deployment| deployment.weight).sum();
    // As many hundredths may be lost by rounding as there are deployments.
    if !args.weights.is_empty() && (sum - 100.0).abs() > 0.01 * spec.deployments.len() as f64 + 1e-9 {
        return Err(Failure::new(
            codes::BAD_ENDPOINT,
            format!("the weights {} add up to {} %", args.weights.join(" "), rounded(sum)),
        )
        .hint("what the deployments answer is 100 % of the requests together; those that are not named get none"));
    }
    for (index, shadow) in shadows {
        spec.deployments[index].shadow = shadow;
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

/// What `NAME=PERCENT` says of each deployment, by its place.
fn parts(spec: &EndpointSpec, endpoint: &str, texts: &[String]) -> Result<Vec<(usize, f64)>, Failure> {
    let mut parts: Vec<(usize, f64)> = Vec::new();
    for text in texts {
        let (name, percent) = text.split_once('=').ok_or_else(|| bad(text, "NAME=PERCENT, such as canary=10"))?;
        let index = spec.deployment(endpoint, name)?;
        if parts.iter().any(|(taken, _)| *taken == index) {
            let message = format!("deployment `{name}` is named twice in {}", texts.join(" "));
            return Err(Failure::new(codes::USAGE, message).hint("say of each once what it gets"));
        }
        let percent = percent.trim_end_matches('%').parse::<f64>();
        let percent = percent.map_err(|_| bad(text, "NAME=PERCENT, such as canary=10"))?;
        if percent > 0.0 && rounded(percent) == 0.0 {
            let message = format!("{text} is less than servers tell from nothing");
            return Err(Failure::new(codes::BAD_ENDPOINT, message).hint("a hundredth of a percent is the least"));
        }
        parts.push((index, rounded(percent)));
    }
    Ok(parts)
}

fn bad(text: &str, wanted: &str) -> Failure {
    const CODE: Code = codes::USAGE;
    Failure::new(CODE, format!("`{text}` does not read")).hint(format!("write it as {wanted}"))
}
#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, weight: f64) -> DeploymentSpec {
        let what = DeploymentArgs {
            model: "models:/m/1".into(),
            name: Some(name.into()),
            device: None,
            lookup: None,
            entity: None,
            force: false,
            capacity: CapacityArgs::default(),
        };
        deployment(&what, weight).unwrap()
    }

    #[test]
    fn a_deployment_gets_the_part_that_was_said_and_the_others_share_the_rest_as_before() {
        let parts = |held: &[(&str, f64)], name: &str, weight: Option<f64>| {
            let deployments = held.iter().map(|(name, weight)| named(name, *weight)).collect();
            let mut spec = EndpointSpec { deployments, ..EndpointSpec::default() };
            place(&mut spec, named(name, weight.unwrap_or_default()), weight, None);
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
