//! `plinth serve`: a model version, or whatever version an alias names, over HTTP.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use plinth_core::refs::ModelRef;
use plinth_serve::{CaptureSink, Captured, Deployment, Generation, Options, ServeError, Server, Source};
use plinth_tracking::{Capture, ModelVersion};

use crate::{
    args::ServeArgs,
    config::Settings,
    host::Host,
    listen,
    output::{Failure, Output, io_failure},
    scorer,
};

/// How often the talk on stderr looks whether another version is served.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// `plinth serve`
pub(crate) fn serve(args: &ServeArgs, settings: Settings, output: Output) -> Result<ExitCode, Failure> {
    let reference: ModelRef = args.model.parse()?;
    let tls = listen::tls(&args.tls, &settings)?;
    let host = Arc::new(Host::open(settings, args.device.as_deref(), None)?);
    // Asked before anything is loaded: a wrong name is told at once.
    if scorer::Spec::of(&host.tracking().resolve(&reference)?)?.is_onnx() {
        host.start_runtime_early();
    }
    let config = &host.settings.config.serve;
    let address = args.host.as_deref().unwrap_or(&config.host).to_owned();
    let port = args.port.unwrap_or(config.port);
    let capture = config.capture && !args.no_capture;

    let source = Arc::new(Registry { host: host.clone(), reference, seen: Mutex::new(None) });
    let options = Options {
        limits: host.limits().serve.clone(),
        capture: capture.then(|| Arc::new(Captures(host.clone())) as Arc<dyn CaptureSink>),
        ..Options::default()
    };
    let server = Server::start(source, options)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| io_failure("the server's threads", &error))?;
    runtime.block_on(async {
        let listener = listen::bind(&address, port).await?;
        let bound = listener.local_addr().map_err(|error| io_failure("the listening address", &error))?;
        let shutdown = listen::stop_signal().map_err(|error| io_failure("signals", &error))?;
        let serving = server.deployment();
        listen::warn_of_clear_text(&address, tls.as_ref(), output);
        let (scheme, model, version) = (listen::scheme(tls.as_ref()), serving.model(), serving.version());
        output.say(format!("listening on {scheme}://{bound} model {model} v{version}"));
        let door = listen::door(listener, tls, output)?;
        let telling = tokio::spawn(tell_swaps(server.clone(), output));
        let served = plinth_api::serve(door, server, shutdown).await;
        telling.abort();
        served.map_err(|error| io_failure("the server", &error))
    })?;
    output.say("stopped; what was captured is stored");
    Ok(ExitCode::SUCCESS)
}

/// Says when another version is served.
async fn tell_swaps(server: Arc<Server>, output: Output) {
    let mut told = server.deployment().version().clone();
    let mut pause = tokio::time::interval(TELL_EVERY);
    loop {
        pause.tick().await;
        let now = server.deployment();
        if *now.version() != told {
            told = now.version().clone();
            output.say(format!("now serving model {} v{told}", now.model()));
        }
    }
}

/// Deployments from the model registry.
struct Registry {
    host: Arc<Host>,
    reference: ModelRef,
    /// The catalog's change counter, and the version that the alias named then.
    seen: Mutex<Option<(i64, u64)>>,
}

impl Source for Registry {
    fn current(&self) -> Result<Generation, ServeError> {
        let (name, alias) = match &self.reference {
            ModelRef::Version { version, .. } => return Ok(Generation(*version)),
            ModelRef::Alias { name, alias } => (name, alias),
        };
        let outside = |error: plinth_store::StoreError| ServeError::outside(&error);
        let counter = self.host.store().catalog().change_counter().map_err(outside)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, version)) = *seen
            && at == counter
        {
            return Ok(Generation(version));
        }
        let version = self.host.tracking().alias(name, alias).map_err(|error| ServeError::outside(&error))?;
        *seen = Some((counter, version));
        Ok(Generation(version))
    }

    fn load(&self, generation: Generation) -> Result<Deployment, ServeError> {
        let name = self.reference.name().to_owned();
        let reference = ModelRef::Version { name, version: generation.0 };
        let version = self.host.tracking().resolve(&reference).map_err(|error| ServeError::outside(&error))?;
        // A session for each thread that scores, or one long request would hold up all others.
        let threads = match self.host.limits().serve.scoring_threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            threads => threads as usize,
        };
        deployment(&self.host, &version, threads).map_err(|failure| ServeError::Outside {
            code: failure.code,
            message: failure.message,
            hint: failure.hint,
        })
    }
}

fn deployment(host: &Host, version: &ModelVersion, sessions: usize) -> Result<Deployment, Failure> {
    let scorer = scorer::of_version(host, version, sessions, scorer::Use::Online)?;
    Ok(Deployment::new(&version.model, version.version, scorer, scorer::Spec::of(version)?.hashes()))
}

/// Captured requests, as Parquet blobs with a row in the catalog.
struct Captures(Arc<Host>);

impl CaptureSink for Captures {
    fn write(&self, captured: Captured) -> Result<(), ServeError> {
        let table = captured.table();
        let bytes = plinth_table::to_bytes(table.schema(), [&table]).map_err(|error| ServeError::outside(&error))?;
        let blob = self.0.store().blobs().put(&bytes).map_err(|error| ServeError::outside(&error))?;
        let capture = Capture {
            blob,
            version: captured.version.parse().unwrap_or_default(),
            model: captured.model,
            rows: table.num_rows() as u64,
            from: captured.first_at,
            to: captured.last_at,
        };
        self.0.tracking().add_capture(&capture).map_err(|error| ServeError::outside(&error))
    }
}
