//! `plinth serve`: endpoints of the catalog, or models by reference, over HTTP.

use std::{
    num::NonZeroU32,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use plinth_api::{AccessLog, Door, FindAnswerer, LogControl, Serving, Spans, Surroundings};
use plinth_core::{
    ContentHash, codes,
    refs::{ModelRef, RefError},
};
use plinth_score::Lookup;
use plinth_serve::{
    Batching, Capacity, CaptureSink, Deployment, DeploymentPlan, Endpoint, EndpointPlan, Generation, KeySource,
    LookupPlan, Options, Rewards, Routes, Routing, Rule, ServeError, Served, Server, Source, Steward, thompson,
};
use plinth_tensor::{Device, SessionOptions};
use plinth_tracking::{
    CapacitySpec, DeploymentSpec, EndpointRecord, Model, ModelVersion, Policy, Sticky, Tracking, TrackingError,
};
use serde_json::json;

use crate::{
    answerer,
    args::TlsArgs,
    captures::{self, Captures},
    config::Settings,
    host::Host,
    listen,
    output::{Failure, Output, io_failure},
    pages, scorer, spans,
    steward::{self, CatalogSteward},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth serve models:/churn@champion\n  \
    plinth serve                                     every endpoint that `plinth endpoint create` made\n  \
    curl -s http://127.0.0.1:8080/invocations -H 'content-type: application/json' \\\n      \
    -d '{\"dataframe_records\": [{\"state\": \"KS\", \"account_length\": 128, ...}]}'\n\n\
    A model named by an alias follows the alias: when it moves, the new version takes over between two requests.")]
pub(crate) struct ServeArgs {
    /// models:/NAME@ALIAS or models:/NAME/VERSION; several may be given, each an endpoint of its model's name
    /// [default: every endpoint]
    #[arg(value_name = "REF")]
    pub(crate) models: Vec<String>,
    /// Serve only these endpoints; may be given several times
    #[arg(long = "endpoint", value_name = "NAME", conflicts_with = "models")]
    pub(crate) endpoints: Vec<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// Port to listen on, for HTTP and for gRPC; 0 takes a free one
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// A second port, where clients of gRPC look for one of their own (Triton's is 8001); 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) grpc_port: Option<u16>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Where the model runs: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Memory that all models in service may take together, in MiB; beyond that those sleep that were not asked for
    /// longest, and are loaded again by the next request [default: no limit]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory_budget: Option<u64>,
    /// Do not keep requests for drift checks
    #[arg(long)]
    pub(crate) no_capture: bool,
    /// A file that gets a line of JSON for each request, or - for stderr
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,
    /// Only let in those who say who they are, with a token or a password; always so where other machines reach it
    #[arg(long)]
    pub(crate) require_auth: bool,
    /// Let in everyone, although other machines reach it
    #[arg(long, conflicts_with = "require_auth")]
    pub(crate) insecure: bool,
}

/// How often the talk on stderr looks whether another version is served.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// `plinth serve`
pub(crate) fn serve(
    args: &ServeArgs,
    settings: Settings,
    log: LogControl,
    output: Output,
) -> Result<ExitCode, Failure> {
    let models: Vec<ModelRef> = args.models.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let tls = listen::tls(&args.tls, &settings)?;
    let host = Arc::new(Host::open(settings, args.device.as_deref(), None)?);
    let source = Registry { wanted: wanted(models, args)?, host: host.clone(), seen: Mutex::new(None) };
    // Asked before anything is loaded: a wrong name is told at once.
    if source.needs_onnx()? {
        host.start_runtime_early();
    }
    let config = &host.settings.config.serve;
    let address = args.host.as_deref().unwrap_or(&config.host).to_owned();
    let port = args.port.unwrap_or(config.port);
    let capture = config.capture && !args.no_capture;
    let cors = config.cors_origins.clone();
    let access = args.require_auth || !listen::is_loopback(&address) && !args.insecure;
    if access && host.tracking().users()?.is_empty() {
        output.say("nobody can sign in yet: add someone with `plinth user add NAME --role reader`, and a token");
    }

    let traced = spans::config(&host.settings, |name| std::env::var(name).ok(), |warning| output.say(warning))?;
    let in_catalog = matches!(source.wanted, Wanted::Endpoints(_));
    if !capture && config.explain_part > 0.0 {
        output.say("nothing is explained: explain-part of [serve] needs a server that captures");
    }
    let captures = capture.then(|| Captures::new(&host)).transpose()?;
    let mut limits = host.limits().serve.clone();
    limits.models_bytes_max = args.memory_budget.map_or(limits.models_bytes_max, |mib| mib.saturating_mul(1 << 20));
    let options = Options {
        limits,
        resident: Some(resident),
        hide_schema: config.hide_schema,
        keep: captures::keep(config)?,
        capture: captures.map(|captures| Arc::new(captures) as Arc<dyn CaptureSink>),
        steward: in_catalog.then(|| Arc::new(CatalogSteward(host.clone())) as Arc<dyn Steward>),
        ..Options::default()
    };
    let server = Server::start(Arc::new(source), options)?;
    let requests_told = access_log(args, &host.settings)?;
    let finder = host.clone();
    let mut serving = Serving {
        server: server.clone(),
        tracking: in_catalog.then(|| host.tracking().clone()),
        access: access.then(|| host.tracking().clone()),
        requests: host.limits().requests.clone(),
        find_answerer: in_catalog.then(|| {
            Arc::new(move |endpoint: &str, ids: &[&str]| answerer::find(&finder, endpoint, ids)) as Arc<FindAnswerer>
        }),
        access_log: requests_told.map(Arc::new),
        spans: None,
    };

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(listen::threads())
        .enable_all()
        .build()
        .map_err(|error| io_failure("the server's threads", &error))?;
    runtime.block_on(async {
        serving.spans = traced.map(Spans::start).transpose().map_err(|error| {
            let hint = "serve.otlp-endpoint, or OTEL_EXPORTER_OTLP_ENDPOINT, is such as http://collector:4318";
            Failure::new(codes::BAD_CONFIG, error.to_string()).hint(hint)
        })?;
        let listener = listen::bind(&address, port).await?;
        let bound = listener.local_addr().map_err(|error| io_failure("the listening address", &error))?;
        let shutdown = listen::stop_signal().map_err(|error| io_failure("signals", &error))?;
        listen::warn_of_clear_text(&address, tls.as_ref(), output);
        let scheme = listen::scheme(tls.as_ref());
        let second = match args.grpc_port {
            Some(port) => Some(listen::bind(&address, port).await?),
            None => None,
        };
        let mut also = String::new();
        if let Some(second) = &second {
            let bound = second.local_addr().map_err(|error| io_failure("the address for gRPC", &error))?;
            also = format!(", gRPC on {bound}");
        }
        pages::let_go();
        output.say(format!("listening on {scheme}://{bound} {}{also}", served(&server.routes())));
        let grpc = second.as_ref().and_then(|second| second.local_addr().ok());
        listen::told(&json!({"listening": format!("{scheme}://{bound}"), "grpc": grpc}), output)?;
        if server.routes().endpoints().is_empty() && server.failures().is_empty() {
            output.say("there is no endpoint yet; what `plinth endpoint create` makes is served at once");
        }
        for (endpoint, error) in server.failures() {
            output.say(format!("endpoint {endpoint} is not served as it should be: {error}"));
        }
        let also = second.map(|second| Door::new(second, tls.clone()));
        let door = listen::door(listener, tls, output)?;
        let telling = tokio::spawn(tell_swaps(server.clone(), output));
        let served =
            plinth_api::serve(door, serving, Surroundings { also, log: Some(log), cors_origins: cors }, shutdown).await;
        telling.abort();
        served.map_err(|error| io_failure("the server", &error))
    })?;
    output.say(match server.capture_stats().map(|stats| stats.failed + stats.waiting) {
        None => "stopped".to_owned(),
        Some(0) => "stopped; what was captured is stored".to_owned(),
        Some(rows) => format!("stopped; captured rows that could not be stored: {rows}; the log says why"),
    });
    Ok(ExitCode::SUCCESS)
}

/// Which endpoints are asked for on the command line.
enum Wanted {
    /// These models, each an endpoint of its name.
    Models(Vec<ModelRef>),
    /// Those of the catalog: these, or all.
    Endpoints(Vec<String>),
}

fn wanted(models: Vec<ModelRef>, args: &ServeArgs) -> Result<Wanted, Failure> {
    let mut names: Vec<&str> = models.iter().map(ModelRef::name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("model `{}` is given twice", twice[0]);
        return Err(Failure::new(codes::USAGE, message)
            .hint("an endpoint with two deployments serves two versions of a model: see `plinth endpoint --help`"));
    }
    Ok(if models.is_empty() { Wanted::Endpoints(args.endpoints.clone()) } else { Wanted::Models(models) })
}

/// What is served, in a few words.
fn served(routes: &Routes) -> String {
    let one = |endpoint: &Arc<Endpoint>| {
        let targets = endpoint.targets().iter().map(|target| {
            let deployment = target.deployment();
            format!("model {} v{}", deployment.model(), deployment.version())
        });
        targets.collect::<Vec<_>>().join(", ")
    };
    match routes.endpoints() {
        [only] => one(only),
        many => many.iter().map(|each| format!("{}: {}", each.name(), one(each))).collect::<Vec<_>>().join("; "),
    }
}

/// Says when something else is served.
async fn tell_swaps(server: Arc<Server>, output: Output) {
    let mut told = served(&server.routes());
    let mut routes = server.routes();
    let mut pause = tokio::time::interval(TELL_EVERY);
    loop {
        pause.tick().await;
        let now = server.routes();
        if Arc::ptr_eq(&now, &routes) {
            continue;
        }
        routes = now;
        let now = served(&routes);
        if now != told {
            told = now;
            output.say(format!("now serving {told}"));
        }
    }
}

/// Endpoints from the catalog, models from the registry.
struct Registry {
    host: Arc<Host>,
    wanted: Wanted,
    /// The catalog's change counter, and what was planned then, with its number.
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone)]
struct Seen {
    counter: i64,
    number: u64,
    plan: Vec<EndpointPlan>,
}

impl Registry {
    /// Whether anything that should be served needs the ONNX Runtime.
    fn needs_onnx(&self) -> Result<bool, Failure> {
        let tracking = self.host.tracking();
        let mut references = match &self.wanted {
            Wanted::Models(models) => models.clone(),
            Wanted::Endpoints(names) => {
                for name in names {
                    tracking.endpoint(name)?;
                }
                let specs = self.specs()?;
                let models = specs.iter().flat_map(|record| &record.spec.deployments).map(|d| d.model.parse());
                models.collect::<Result<Vec<_>, _>>()?
            }
        };
        references.dedup();
        if let [only] = &references[..] {
            return Ok(scorer::Spec::of(&tracking.resolve(only)?)?.is_onnx());
        }
        // With several, one that is wrong must not keep the others from being served.
        let onnx = |reference: &ModelRef| Some(scorer::Spec::of(&tracking.resolve(reference).ok()?).ok()?.is_onnx());
        Ok(references.iter().any(|reference| onnx(reference) == Some(true)))
    }

    fn specs(&self) -> Result<Vec<EndpointRecord>, TrackingError> {
        let mut all = self.host.tracking().endpoints()?;
        if let Wanted::Endpoints(names) = &self.wanted
            && !names.is_empty()
        {
            all.retain(|record| names.contains(&record.name));
        }
        Ok(all)
    }

    /// What should be served; `before` stands in for what cannot be told now, such as an alias that was removed.
    fn plans(&self, before: &[EndpointPlan]) -> Result<Vec<EndpointPlan>, TrackingError> {
        let tracking = self.host.tracking();
        let records = match &self.wanted {
            Wanted::Models(models) => {
                let endpoint = |reference: &ModelRef| {
                    let deployment = alone(tracking, reference)?;
                    let (name, deployments) = (reference.name().into(), vec![deployment]);
                    Ok(EndpointPlan { name, revision: 1, deployments, routing: Routing::default() })
                };
                return models.iter().map(endpoint).collect();
            }
            Wanted::Endpoints(_) => self.specs()?,
        };
        let mut plans = Vec::with_capacity(records.len());
        for record in records {
            let name = record.name.clone();
            match endpoint_plan(tracking, record) {
                Ok(plan) => plans.push(plan),
                Err(error @ TrackingError::Store(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, endpoint = %name, "cannot be served as it is described");
                    plans.extend(before.iter().find(|plan| *plan.name == *name).cloned());
                }
            }
        }
        Ok(plans)
    }
}

fn endpoint_plan(tracking: &Tracking, record: EndpointRecord) -> Result<EndpointPlan, TrackingError> {
    let deployments = record.spec.deployments.iter().map(|spec| {
        let reference = spec.model.parse().map_err(|error: RefError| TrackingError::BadEndpoint(error.to_string()))?;
        plan(tracking, &reference, spec)
    });
    let mut deployments: Vec<DeploymentPlan> = deployments.collect::<Result<_, TrackingError>>()?;
    if record.spec.policy == Some(Policy::Thompson) {
        by_rewards(tracking, &record.name, &mut deployments)?;
    }
    let rollout = record.spec.active_rollout().map(steward::plan);
    let rules = record.spec.rules.into_iter().map(|rule| Rule {
        header: rule.header,
        equals: rule.equals,
        deployment: rule.deployment.into(),
    });
    let key = match record.spec.sticky {
        None => KeySource::Request,
        Some(Sticky::Header(name)) => KeySource::Header(name),
        Some(Sticky::Json(pointer)) => KeySource::Json(pointer),
        Some(Sticky::Column(name)) => KeySource::Column(name),
    };
    let routing = Routing { rules: rules.collect(), key, rollout };
    Ok(EndpointPlan { name: record.name.into(), revision: record.revision, deployments, routing })
}

/// Shares out the requests by what each deployment with a weight has earned with the version that it has now.
fn by_rewards(tracking: &Tracking, endpoint: &str, deployments: &mut [DeploymentPlan]) -> Result<(), TrackingError> {
    let earned = tracking.earned(endpoint)?;
    let (mut arms, mut seed) = (Vec::new(), endpoint.to_owned());
    for deployment in deployments.iter().filter(|deployment| deployment.weight > 0) {
        let version = deployment.version.to_string();
        let mine = earned.iter().find(|one| one.deployment == *deployment.name && one.version == version);
        let arm = mine.map_or_else(Rewards::default, |one| Rewards { count: one.count, sum: one.sum });
        seed.push_str(&format!(" {} {}", arm.count, arm.sum));
        arms.push(arm);
    }
    // Every server that knows the same rewards draws the same.
    let hash = ContentHash::of(seed.as_bytes());
    let seed = hash.as_bytes().iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let parts = thompson(&arms, seed);
    let asked = deployments.iter_mut().filter(|deployment| deployment.weight > 0);
    asked.zip(parts).for_each(|(deployment, part)| deployment.weight = part);
    Ok(())
}

/// The version of a model that is meant where none is named: its champion, else its newest.
fn preferred(model: &Model) -> Option<u64> {
    let champion = model.aliases.iter().find(|alias| alias.alias == "champion").map(|alias| alias.version);
    champion.or(model.versions.last().copied())
}

/// A registered model as an endpoint of its name.
fn model_plan(tracking: &Tracking, model: &Model) -> Result<EndpointPlan, TrackingError> {
    let name = model.name.clone();
    let reference = ModelRef::Version { name, version: preferred(model).unwrap_or(1) };
    let deployment = alone(tracking, &reference)?;
    let (name, deployments) = (model.name.as_str().into(), vec![deployment]);
    Ok(EndpointPlan { name, revision: 1, deployments, routing: Routing::default() })
}

/// A model that answers everything.
fn alone(tracking: &Tracking, reference: &ModelRef) -> Result<DeploymentPlan, TrackingError> {
    let (name, model) = ("main".into(), reference.to_string());
    let capacity = CapacitySpec::default();
    let (device, weight, shadow, lookup) = (None, 100.0, 0.0, None);
    plan(tracking, reference, &DeploymentSpec { name, model, device, weight, shadow, capacity, lookup })
}

fn plan(tracking: &Tracking, reference: &ModelRef, spec: &DeploymentSpec) -> Result<DeploymentPlan, TrackingError> {
    let version = match reference {
        ModelRef::Version { version, .. } => *version,
        ModelRef::Alias { name, alias } => tracking.alias(name, alias)?,
    };
    let hundredths = |percent: f64| (percent * 100.0).round() as u32;
    let (weight, shadow) = (hundredths(spec.weight), hundredths(spec.shadow));
    Ok(DeploymentPlan {
        name: spec.name.as_str().into(),
        model: reference.name().into(),
        version,
        device: spec.device.clone(),
        capacity: capacity(&spec.capacity),
        lookup: spec
            .lookup
            .as_ref()
            .map(|lookup| LookupPlan { entity: lookup.entity.as_str().into(), table: lookup.table }),
        weight,
        shadow,
    })
}

/// The most requests that wait for a deployment that may not score on all threads, if nothing else is said: they must
/// not take the places of those that ask others.
const HELD_MAX: u32 = 128;

fn capacity(spec: &CapacitySpec) -> Capacity {
    let normal = Batching::default();
    let concurrency_max = spec.concurrency_max.and_then(NonZeroU32::new);
    let waiting_max = spec.queue_max.or(concurrency_max.map(|_| HELD_MAX)).and_then(NonZeroU32::new);
    Capacity {
        batching: Batching {
            rows_max: spec.batch_rows_max.unwrap_or(normal.rows_max),
            wait_us: spec.batch_wait_us.unwrap_or(normal.wait_us),
        },
        concurrency_max,
        waiting_max,
        request_ms_max: spec.timeout_ms.and_then(NonZeroU32::new),
    }
}

impl Source for Registry {
    fn current(&self) -> Result<Generation, ServeError> {
        // Reading rows is done only after something was written: with 200 ms between looks, an idle server should cost
        // next to nothing.
        let counter = self.host.store().catalog().change_counter().map_err(|error| ServeError::outside(&error))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *seen {
            Some(seen) if seen.counter == counter => Ok(Generation(seen.number)),
            before => {
                // What was seen stays when this fails: numbers that began anew would be taken for the old ones.
                let (number, known) = before.as_ref().map_or((0, &[][..]), |seen| (seen.number, &seen.plan[..]));
                let plan = self.plans(known).map_err(|error| ServeError::outside(&error))?;
                let number = if number > 0 && plan == known { number } else { number + 1 };
                *before = Some(Seen { counter, number, plan });
                Ok(Generation(number))
            }
        }
    }

    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.as_ref().map(|seen| seen.plan.clone()).unwrap_or_default())
    }

    fn find(&self, name: &str) -> Result<EndpointPlan, ServeError> {
        let tracking = self.host.tracking();
        let found = match tracking.endpoint(name) {
            Ok(record) => endpoint_plan(tracking, record),
            Err(_) => tracking.model(name).and_then(|model| model_plan(tracking, &model)),
        };
        found.map_err(|error| ServeError::outside(&error))
    }

    fn known(&self) -> Result<Vec<(Arc<str>, u64)>, ServeError> {
        let models = self.host.tracking().models().map_err(|error| ServeError::outside(&error))?;
        Ok(models.iter().filter_map(|model| Some((model.name.as_str().into(), preferred(model)?))).collect())
    }

    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError> {
        let reference = ModelRef::Version { name: what.model.to_string(), version: what.version };
        let version = self.host.tracking().resolve(&reference).map_err(|error| ServeError::outside(&error))?;
        // On a CUDA device threads that score take turns; on the CPU they share.
        let threads = match self.host.limits().serve.scoring_threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            threads => threads as usize,
        };
        let threads = what.capacity.concurrency_max.map_or(threads, |most| threads.min(most.get() as usize));
        let mut sessions = self.host.sessions(threads);
        if let Some(device) = &what.device {
            sessions.device =
                device.parse().map_err(|error: plinth_tensor::TensorError| ServeError::outside(&error))?;
        }
        deployment(&self.host, &version, &sessions, what.lookup.as_ref()).map_err(told)
    }
}

/// A command's failure as a server tells it.
fn told(failure: Failure) -> ServeError {
    ServeError::Outside { code: failure.code, message: failure.message, hint: failure.hint }
}

fn deployment(
    host: &Arc<Host>,
    version: &ModelVersion,
    sessions: &SessionOptions,
    lookup: Option<&LookupPlan>,
) -> Result<Deployment, Failure> {
    let (mut served, mut hashes) = scorer::served(host, version, sessions, scorer::Use::Online)?;
    if let Some(lookup) = lookup {
        let Served::Rows(scorer) = served else {
            let message = format!("{} takes tensors: nothing can be looked up for it", version.reference());
            return Err(Failure::new(codes::BAD_ENDPOINT, message));
        };
        let table = host.table_of(&lookup.table).map_err(|failure| Failure::of(&*failure.error))?.read_all()?;
        served = scorer.with_lookup(Lookup::new(&lookup.entity, &table)?)?.into();
        hashes.push(("lookup".into(), lookup.table));
    }
    let files = version.files.iter().filter(|file| scorer::is_loaded(file.role)).map(|file| file.bytes).sum();
    let transformed = matches!(&served, Served::Rows(scorer) if !scorer.is_model_alone());
    let sandboxed = transformed || matches!(scorer::Spec::of(version)?, scorer::Spec::Component(_));
    let mut deployment = Deployment::new(&version.model, version.version, served, hashes).of_bytes(files);
    // On a device that is shared those who score wait for their turn.
    let shared = sessions.device != Device::Cpu && Device::Cuda(0).is_here();
    if !sandboxed && !shared {
        deployment = deployment.native();
    }
    let (host, version) = (Arc::clone(host), version.clone());
    Ok(deployment.explained_by(Box::new(move |scorer| {
        crate::explain::explainer(&host, &version, scorer, None, 0).map_err(told)
    })))
}

/// Memory that this process has to itself. What is mapped from files is shared and can be given back at any time.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Where each request is told of, if the command line or the configuration says so.
fn access_log(args: &ServeArgs, settings: &Settings) -> Result<Option<AccessLog>, Failure> {
    let configured = &settings.config.serve.access_log;
    let path = match &args.access_log {
        Some(path) => path.clone(),
        None if configured.is_empty() => return Ok(None),
        None if configured == "-" => PathBuf::from(configured),
        None => settings.project.join(configured),
    };
    let log = if path.as_os_str() == "-" {
        AccessLog::start(std::io::stderr())
    } else {
        // Appended to, so that who moves or cuts the file meanwhile loses nothing that is written later.
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        AccessLog::start(file.map_err(|error| io_failure(&path.display().to_string(), &error))?)
    };
    Ok(Some(log.map_err(|error| io_failure("the access log", &error))?))
}
