//! The process that serves and is abused. It is told what to do on stdin, a word a line, answers each on stdout, and
//! ends where stdin does: so that it never outlives the driver.

use std::{
    io::{BufRead, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};
use plinth_core::{ContentHash, PluginLimits};
use plinth_ext::Batch;
use plinth_plugin::{Grants, Host, HostConfig};
use plinth_score::{Scorer, Signature};
use plinth_serve::{
    CaptureSink, Captured, Deployment, DeploymentPlan, EndpointPlan, Generation, Options, Rest, ServeError, Server,
    Source,
};
use plinth_tensor::{OnnxModel, Runtime, RuntimeConfig, SessionOptions};
use serde_json::{Value, json};

use crate::{abuse::Abuse, guests::Guests};

/// Limits under which every misdeed meets its own one soon; the others are the product's. A plugin that keeps failing is
/// not given its rest: it would fail less.
pub(crate) fn limits() -> PluginLimits {
    PluginLimits {
        call_ms_max: 2_000,
        online_call_ms_max: 2_000,
        memory_bytes_max: 192 << 20,
        state_bytes_max: 32 << 20,
        kv_keys_max: 100,
        open_readers_max: 16,
        breaker_faults_max: u32::MAX,
        ..PluginLimits::default()
    }
}

/// A plugin engine, with its compiler in a process of its own.
pub(crate) fn engine(cache_dir: PathBuf, limits: &PluginLimits) -> Host {
    Host::new(HostConfig {
        cache_dir,
        limits: limits.clone(),
        deterministic: false,
        compiler: Arc::new(|| {
            let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| "plinth-soak".into()));
            command.arg("compile-worker");
            command
        }),
        progress: None,
    })
}

/// Serves and is abused until stdin ends.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [version, blobs, folder, seed, threads, components @ ..] = arguments else {
        bail!("host wants a version, the blobs, a folder, a seed, a number of threads, and components");
    };
    let (seed, threads) = (seed.parse().context("the seed")?, threads.parse().context("the number of threads")?);
    let folder = PathBuf::from(folder);
    let limits = limits();
    let host = engine(folder.join("compiled"), &limits);
    let components: Vec<PathBuf> = components.iter().map(PathBuf::from).collect();
    let abuse = Abuse::new(Guests::new(&host, &components, &folder, &limits)?);
    let captured = Arc::new(Counted::default());
    let server = serving(&host, &serde_json::from_str(version)?, Path::new(blobs), captured.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stopped = async move {
            let _ = stopped.await;
        };
        plinth_api::serve(listener, server, plinth_api::Surroundings::default(), stopped).await
    });
    let say = |answer: &Value| -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        Ok(out.flush()?)
    };
    say(&json!({"port": address.port(), "misdeeds": abuse.count()}))?;
    abuse.run(seed, threads, || {
        for line in std::io::stdin().lock().lines() {
            match line?.as_str() {
                "go" => abuse.go(),
                "pause" => abuse.pause(),
                "look" => {}
                "end" => break,
                other => bail!("there is no `{other}`"),
            }
            let usage = host.usage();
            say(&json!({
                "calls": abuse.calls(), "instances": usage.instances, "guest_bytes": usage.memory_bytes,
                "captured": captured.rows.load(Ordering::Relaxed),
            }))?;
        }
        abuse.pause();
        say(&abuse.told())
    })?;
    let _ = stop.send(());
    runtime.block_on(serving)??;
    Ok(())
}

/// The server of a model version, as `plinth serve` puts it together.
fn serving(host: &Host, version: &Value, blobs: &Path, captured: Arc<Counted>) -> Result<Arc<Server>> {
    let hash = |value: &Value| -> Result<String> { Ok(value.as_str().context("a hash in the version")?.to_owned()) };
    let blob = |hash: &str| -> Result<Vec<u8>> {
        let bytes = std::fs::read(blobs.join(&hash[..2]).join(&hash[2..]))?;
        ensure!(ContentHash::of(&bytes).to_string() == hash, "the blob {hash} has other bytes");
        Ok(bytes)
    };
    let (model, transform) = (&version["spec"]["model"], &version["spec"]["model"]["transform"]);
    let signature: Signature = serde_json::from_value(transform["signature"].clone())?;
    let component = blob(&hash(&transform["component"])?)?;
    let state = blob(&hash(&transform["state"])?)?;
    let item = transform["item"].as_str().context("the transform's item")?;
    let name = transform["plugin"].as_str().context("the transform's plugin")?;
    let plugin = host.load(name, component, &Grants::none())?;
    let fitted = plugin.online_transform()?.load(item, &state, signature.columns())?;
    let sessions = std::thread::available_parallelism().map_or(1, Into::into);
    let options = SessionOptions { sessions, ..SessionOptions::default() };
    let onnx = OnnxModel::load(&Runtime::start(&RuntimeConfig::default())?, &blob(&hash(&model["onnx"])?)?, &options)?;
    let scorer = Scorer::new(signature, vec![fitted], Arc::new(onnx))?;
    let name = version["model"].as_str().context("the model's name")?;
    let number = version["version"].as_u64().context("the version's number")?;
    let deployment = Deployment::new(name, number, scorer, vec![]);
    let source = Arc::new(Once(Mutex::new(Some(deployment)), EndpointPlan::single(name, number)));
    Ok(Server::start(source, Options { capture: Some(captured), ..Options::default() })?)
}

/// One version, served for ever.
struct Once(Mutex<Option<Deployment>>, EndpointPlan);

impl Source for Once {
    fn current(&self) -> Result<Generation, ServeError> {
        Ok(Generation(1))
    }

    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        Ok(vec![self.1.clone()])
    }

    fn load(&self, _: &DeploymentPlan) -> Result<Deployment, ServeError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().ok_or_else(|| ServeError::Outside {
            code: plinth_core::codes::INTERNAL,
            message: "the version is served already".into(),
            hint: None,
        })
    }
}

/// Makes Parquet of what is captured, as the product does, and counts it.
#[derive(Default)]
struct Counted {
    rows: AtomicU64,
}

impl CaptureSink for Counted {
    fn write(&self, captured: Vec<Captured>, rest: &mut Rest<'_>) -> Result<(), ServeError> {
        let parts = Captured::tables(captured, rest);
        let bytes = plinth_table::write_in_pieces(Vec::new(), parts[0].schema(), &parts, || rest.take());
        std::hint::black_box(bytes.map_err(|error| ServeError::outside(&error))?);
        let rows: usize = parts.iter().map(Batch::num_rows).sum();
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        Ok(())
    }
}
