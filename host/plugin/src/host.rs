//! The entry point: from the bytes of a component to what it offers.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    time::Instant,
};

use plinth_core::{ContentHash, PluginLimits};
use plinth_ext::{DriftTest, Gate, Loader, Models, Transform};
use wasmtime::Engine;

use crate::{
    cache::Cache,
    code::{Code, Codes},
    compiler::{Compiler, CompilerCommand, Progress, Refusal},
    drift::DriftAdapter,
    engine::{self, Clock},
    fault::{Deadline, PluginError},
    gate::GateAdapter,
    grants::Grants,
    instance::{Lent, Prepared, Runtime},
    limiter::Totals,
    loader::LoaderAdapter,
    manifest::{Anatomy, ExtensionPoint, Manifest},
    objects::ObjectSource,
    predict::PredictAdapter,
    transform::TransformAdapter,
    version::{self, WitVersion},
};

/// How a [`Host`] runs plugins.
#[derive(Clone)]
pub struct HostConfig {
    /// Folder for compiled components. Only this user may write to it.
    pub cache_dir: PathBuf,
    /// What plugins may use and return.
    pub limits: PluginLimits,
    /// Whether NaNs are canonical, clocks fixed and random numbers seeded. Float loops cost up to three times as much.
    pub deterministic: bool,
    /// Starts the process that compiles components.
    pub compiler: CompilerCommand,
    /// Told while a component is compiled.
    pub progress: Option<Progress>,
}

/// What the plugins of a host use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Live instances, those that wait for their next call included.
    pub instances: u32,
    /// Their linear memories together.
    pub memory_bytes: u64,
    /// The most that any one instance has had since the start.
    pub largest_bytes: u64,
}

/// Runs plugins. Cheap to make: the engine is made with the first component that is run. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    limits: Arc<PluginLimits>,
    deterministic: bool,
    cache: Cache,
    engine: OnceLock<Result<(Engine, Arc<Clock>), String>>,
    totals: Arc<Totals>,
    codes: Arc<Codes>,
    /// What became of the components that were asked for.
    components: Mutex<HashMap<ContentHash, Arc<Mutex<Known>>>>,
}

/// What is known of a component. Locked while it is found out, so that who comes meanwhile waits for the same answer.
#[derive(Default)]
enum Known {
    #[default]
    Nothing,
    /// A second load of the same bytes costs nothing.
    Ready(Arc<Code>),
    /// Neither does another try to compile it, until then or for ever.
    Refused(Refusal, Option<Instant>),
}

impl Host {
    /// A host; nothing happens until a plugin is run.
    pub fn new(config: HostConfig) -> Self {
        let HostConfig { cache_dir, limits, deterministic, compiler, progress } = config;
        let limits = Arc::new(limits);
        let compiler = Compiler::new(compiler, Arc::clone(&limits), deterministic, progress);
        Self(Arc::new(Inner {
            cache: Cache { dir: cache_dir, compiler },
            limits,
            deterministic,
            engine: OnceLock::new(),
            totals: Arc::default(),
            codes: Arc::default(),
            components: Mutex::new(HashMap::new()),
        }))
    }

    /// What its plugins use at this moment.
    pub fn usage(&self) -> Usage {
        Usage {
            instances: self.0.totals.instances.load(Ordering::Relaxed),
            memory_bytes: self.0.totals.memory.load(Ordering::Relaxed),
            largest_bytes: self.0.totals.largest.load(Ordering::Relaxed),
        }
    }

    /// Reads a component: who it is, what it exports, and whether `grants` allow what it imports. It is compiled when
    /// it is first run, not here.
    ///
    /// `name` is what it is called if its manifest does not say.
    ///
    /// # Errors
    /// [`PluginError`]: too large, no component, of a version that this host does not speak, denied, or an import that no host offers.
    pub fn load(&self, name: &str, bytes: Vec<u8>, grants: &Grants) -> Result<Plugin, PluginError> {
        self.load_for(name, bytes, grants, None)
    }

    /// The same for one extension point. A component that lacks it is said to lack it, whatever else it wants:
    /// granting it more would not help.
    ///
    /// # Errors
    /// As for [`load`](Self::load), and [`PluginError::WrongWorld`].
    pub fn load_for(
        &self,
        name: &str,
        bytes: Vec<u8>,
        grants: &Grants,
        wanted: Option<ExtensionPoint>,
    ) -> Result<Plugin, PluginError> {
        let max = self.0.limits.component_bytes_max;
        if bytes.len() as u64 > max {
            return Err(PluginError::TooLarge { plugin: name.to_owned(), bytes: bytes.len() as u64, max });
        }
        let anatomy = Anatomy::read(name, &bytes)?;
        version::check(&anatomy)?;
        if let Some(point) = wanted.filter(|point| !anatomy.points.contains(point)) {
            return Err(anatomy.wrong_world(point));
        }
        grants.check(&anatomy)?;
        Ok(Plugin(Arc::new(PluginInner {
            host: self.0.clone(),
            hash: ContentHash::of(&bytes),
            size: bytes.len(),
            bytes: Mutex::new(Some(Arc::new(bytes))),
            anatomy,
            grants: grants.clone(),
            prepared: OnceLock::new(),
            transform: Default::default(),
            drift: Default::default(),
            predict: Default::default(),
        })))
    }

    /// The same for a file; its name without extension is the plugin's unless its manifest has another.
    ///
    /// # Errors
    /// As for [`load`](Self::load), and if the file cannot be read.
    pub fn load_file(&self, path: &Path, grants: &Grants) -> Result<Plugin, PluginError> {
        let failed = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => PluginError::NotFound { path: path.to_owned() },
            _ => PluginError::Unreadable { path: path.to_owned(), reason: error.to_string() },
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
        if size > self.0.limits.component_bytes_max {
            let max = self.0.limits.component_bytes_max;
            return Err(PluginError::TooLarge { plugin: name.into_owned(), bytes: size, max });
        }
        let bytes = fs::read(path).map_err(|error| failed(&error))?;
        self.load(&name, bytes, grants)
    }
}

impl Inner {
    fn engine(&self, plugin: &str) -> Result<&(Engine, Arc<Clock>), PluginError> {
        let made = self.engine.get_or_init(|| {
            let engine = engine::make(&self.limits, self.deterministic).map_err(|error| format!("{error:#}"))?;
            let clock = Arc::new(Clock::new(engine.clone(), self.codes.clone()));
            Ok((engine, clock))
        });
        made.as_ref().map_err(|reason| PluginError::Engine { plugin: plugin.to_owned(), reason: reason.clone() })
    }

    fn code(&self, engine: &Engine, plugin: &PluginInner) -> Result<Arc<Code>, PluginError> {
        let name = &plugin.anatomy.manifest.name;
        let known = Arc::clone(lock(&self.components).entry(plugin.hash).or_default());
        let mut known = lock(&known);
        match &*known {
            Known::Ready(code) => {
                lock(&plugin.bytes).take();
                return Ok(code.clone());
            }
            Known::Refused(refusal, until) if until.is_none_or(|until| Instant::now() < until) => {
                return Err(refusal.error(name, &self.limits));
            }
            _ => {}
        }
        let bytes = lock(&plugin.bytes).clone().unwrap_or_default();
        match self.cache.component(engine, name, plugin.hash, &bytes) {
            Ok(code) => {
                lock(&plugin.bytes).take();
                self.codes.add(&code);
                *known = Known::Ready(code.clone());
                Ok(code)
            }
            Err(refusal) => {
                let error = refusal.error(name, &self.limits);
                let until = refusal.stands_until();
                *known = Known::Refused(refusal, until);
                Err(error)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A component that was read and found to be allowed. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<PluginInner>);

struct PluginInner {
    host: Arc<Inner>,
    hash: ContentHash,
    /// Until it is compiled: compiled code does not need them, and they may be many.
    bytes: Mutex<Option<Arc<Vec<u8>>>>,
    size: usize,
    anatomy: Anatomy,
    grants: Grants,
    prepared: OnceLock<Arc<Prepared>>,
    transform: OnceLock<Arc<TransformAdapter>>,
    drift: OnceLock<Arc<DriftAdapter>>,
    predict: OnceLock<Arc<PredictAdapter>>,
}

impl Plugin {
    /// The blake3 of the component.
    pub fn hash(&self) -> ContentHash {
        self.0.hash
    }

    /// Who it is.
    pub fn manifest(&self) -> &Manifest {
        &self.0.anatomy.manifest
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.anatomy.manifest.name
    }

    /// The size of the component in bytes.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// The component's bytes; they are given up when it is first run.
    pub fn bytes(&self) -> Option<Arc<Vec<u8>>> {
        lock(&self.0.bytes).clone()
    }

    /// The extension points that it exports.
    pub fn exports(&self) -> &[ExtensionPoint] {
        &self.0.anatomy.points
    }

    /// The interfaces that it exports for them, such as `plinth:gate/gate@0.2.0`.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        let ours = self.0.anatomy.exports.iter().filter(|name| ExtensionPoint::of_export(name).is_some());
        ours.map(String::as_str)
    }

    /// The versions of the WIT packages that it was built against, the oldest first: one, unless it mixes them, and
    /// none where it names no interface of ours.
    pub fn wit_versions(&self) -> Vec<WitVersion> {
        self.0.anatomy.versions()
    }

    /// Its imports, such as `plinth:host/log@0.2.0`.
    pub fn imports(&self) -> &[String] {
        &self.0.anatomy.imports
    }

    /// Its loaders, which read through `source` and nothing else.
    ///
    /// # Errors
    /// [`PluginError::WrongWorld`] if it has none; what compiling and asking it what it offers can lead to.
    pub fn loader(&self, source: Arc<dyn ObjectSource>) -> Result<Arc<dyn Loader>, PluginError> {
        let prepared = self.prepared(ExtensionPoint::Loader)?;
        Ok(Arc::new(LoaderAdapter::new(&prepared, source)?))
    }

    /// Its transforms, for fitting and for batches.
    ///
    /// # Errors
    /// As for [`loader`](Self::loader).
    pub fn transform(&self) -> Result<Arc<dyn Transform>, PluginError> {
        Ok(self.transforms()?)
    }

    /// Its transforms, for answering requests: a call may take `online-call-ms-max`.
    ///
    /// # Errors
    /// As for [`loader`](Self::loader).
    pub fn online_transform(&self) -> Result<Arc<dyn Transform>, PluginError> {
        Ok(Arc::new(self.transforms()?.online()))
    }

    /// Its quality gates.
    ///
    /// # Errors
    /// As for [`loader`](Self::loader).
    pub fn gate(&self) -> Result<Arc<dyn Gate>, PluginError> {
        Ok(Arc::new(GateAdapter::new(&self.prepared(ExtensionPoint::Gate)?)?))
    }

    /// Its drift tests.
    ///
    /// # Errors
    /// As for [`loader`](Self::loader).
    pub fn drift_test(&self) -> Result<Arc<dyn DriftTest>, PluginError> {
        if let Some(drift) = self.0.drift.get() {
            return Ok(drift.clone());
        }
        let drift = Arc::new(DriftAdapter::new(&self.prepared(ExtensionPoint::DriftTest)?)?);
        Ok(self.0.drift.get_or_init(|| drift).clone())
    }

    /// Its kinds of model, for batches.
    ///
    /// # Errors
    /// As for [`loader`](Self::loader).
    pub fn models(&self) -> Result<Arc<dyn Models>, PluginError> {
        Ok(self.predictors()?)
    }

    /// Its kinds of model, for answering requests: a call may take `online-call-ms-max`.
    ///
    /// # Errors
    /// As for [`loader`](Self::loader).
    pub fn online_models(&self) -> Result<Arc<dyn Models>, PluginError> {
        Ok(Arc::new(self.predictors()?.online()))
    }

    /// Makes an instance and discards it: whether it can be made at all.
    ///
    /// # Errors
    /// As for [`loader`](Self::loader).
    pub fn try_instance(&self) -> Result<(), PluginError> {
        let anatomy = &self.0.anatomy;
        let point = anatomy.points.first().copied().ok_or_else(|| anatomy.wrong_world(ExtensionPoint::Transform))?;
        let prepared = self.prepared(point)?;
        prepared.instantiate("", Lent::default(), Deadline::ordinary(&prepared.limits))?;
        Ok(())
    }

    fn transforms(&self) -> Result<Arc<TransformAdapter>, PluginError> {
        if let Some(transform) = self.0.transform.get() {
            return Ok(transform.clone());
        }
        let transform = Arc::new(TransformAdapter::new(&self.prepared(ExtensionPoint::Transform)?)?);
        Ok(self.0.transform.get_or_init(|| transform).clone())
    }

    fn predictors(&self) -> Result<Arc<PredictAdapter>, PluginError> {
        if let Some(predict) = self.0.predict.get() {
            return Ok(predict.clone());
        }
        let predict = Arc::new(PredictAdapter::new(&self.prepared(ExtensionPoint::Predict)?)?);
        Ok(self.0.predict.get_or_init(|| predict).clone())
    }

    /// Compiles and links it, once.
    fn prepared(&self, point: ExtensionPoint) -> Result<Arc<Prepared>, PluginError> {
        let plugin = &*self.0;
        if !plugin.anatomy.points.contains(&point) {
            return Err(plugin.anatomy.wrong_world(point));
        }
        if let Some(prepared) = plugin.prepared.get() {
            return Ok(prepared.clone());
        }
        let host = &plugin.host;
        let (engine, clock) = host.engine(self.name())?;
        let code = host.code(engine, plugin)?;
        let prepared = Prepared::new(
            code,
            plugin.hash,
            &plugin.anatomy,
            &plugin.grants,
            Runtime {
                limits: host.limits.clone(),
                clock: clock.clone(),
                totals: host.totals.clone(),
                deterministic: host.deterministic,
            },
        )?;
        Ok(plugin.prepared.get_or_init(|| Arc::new(prepared)).clone())
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({} {:?})", self.name(), self.hash())
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host(cache {})", self.0.cache.dir.display())
    }
}
