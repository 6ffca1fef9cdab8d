//! What commands and stages work with: the state directory, plugins, the ONNX Runtime. Each is opened when it is first
//! needed, so that a command pays only for what it uses.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use plinth_core::{Code, Coded, ContentHash, Limits, SystemClock, UuidIds, codes};
use plinth_ext::{Batch, ExtError, LentTable, Schema, Tables};
use plinth_pipeline::{Cache, Output, StageFailure};
use plinth_store::{Access, Store};
use plinth_table::Table;
use plinth_tensor::{Device, OnnxModel, Runtime, RuntimeConfig, SessionOptions, TensorError};
use plinth_tracking::Tracking;
use serde_json::Value;

use crate::{config::Settings, output::Failure};

pub(crate) use crate::plugins::PluginRef;

/// What commands and stages work with.
pub(crate) struct Host {
    pub(crate) settings: Settings,
    pub(crate) device: Device,
    cache: Cache,
    tracking: Tracking,
    pub(crate) components: crate::components::Components,
    holds_aliases: bool,
    runtime: OnceLock<Runtime>,
    started_early: AtomicBool,
    starting: Mutex<()>,
}

impl Host {
    /// Opens the state directory: as its writer if a `command` is to run stages, else beside one.
    pub(crate) fn open(settings: Settings, device: Option<&str>, command: Option<&str>) -> Result<Self, Failure> {
        let device = read_device(device, &settings)?;
        let access = match command {
            Some(command) => Access::Writer { command: command.to_owned() },
            None => Access::Shared,
        };
        let store = Arc::new(settings.open_store(&settings.state_dir(), access)?);
        Ok(Self {
            components: crate::components::Components::new(&settings),
            tracking: Tracking::new(
                store.clone(),
                Arc::new(SystemClock),
                Arc::new(UuidIds),
                settings.config.limits.tracking.clone(),
            ),
            settings,
            device,
            cache: Cache::new(store),
            holds_aliases: false,
            runtime: OnceLock::new(),
            started_early: AtomicBool::new(false),
            starting: Mutex::new(()),
        })
    }

    /// The state directory.
    pub(crate) fn store(&self) -> &Arc<Store> {
        self.cache.store()
    }

    /// Runs and models.
    pub(crate) fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// What is remembered between runs.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// From now on stages register versions but leave aliases where they are: moving them needs an approval.
    pub(crate) fn hold_aliases(&mut self) {
        self.holds_aliases = true;
    }

    /// Whether stages leave aliases where they are.
    pub(crate) fn holds_aliases(&self) -> bool {
        self.holds_aliases
    }

    /// Every bound.
    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.config.limits
    }

    /// Begins loading the ONNX Runtime beside other work.
    pub(crate) fn start_runtime_early(&self) {
        if self.runtime.get().is_none() && !self.started_early.swap(true, Ordering::Relaxed) {
            Runtime::start_early(self.runtime_config());
        }
    }

    /// The ONNX Runtime, loaded when it is first needed.
    pub(crate) fn runtime(&self) -> Result<&Runtime, TensorError> {
        let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.runtime.get() {
            Some(runtime) => Ok(runtime),
            None => {
                let runtime = Runtime::start(&self.runtime_config())?;
                Ok(self.runtime.get_or_init(|| runtime))
            }
        }
    }

    /// A model from the blob store, its bytes checked.
    pub(crate) fn model(&self, onnx: &ContentHash, options: &SessionOptions) -> Result<OnnxModel, StageFailure> {
        let bytes = self.store().blobs().get(onnx)?;
        Ok(OnnxModel::load(self.runtime()?, &bytes, options)?)
    }

    /// So many sessions of a model, where everything runs that says nothing else.
    pub(crate) fn sessions(&self, sessions: usize) -> SessionOptions {
        SessionOptions { device: self.device, sessions, ..SessionOptions::default() }
    }

    fn runtime_config(&self) -> RuntimeConfig {
        let library = &self.settings.config.onnxruntime;
        let library = (library != "auto").then(|| self.settings.project.join(library));
        RuntimeConfig { library, device: self.device }
    }

    /// Stores bytes as an output.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<Output, StageFailure> {
        let blob = self.store().blobs().put(bytes)?;
        Ok(Output { name: name.to_owned(), blob, bytes: bytes.len() as u64 })
    }

    /// Stores a file whose content hash is known as an output.
    pub(crate) fn put_file(&self, name: &str, path: &Path, expected: ContentHash) -> Result<Output, StageFailure> {
        let (blob, bytes) = self.store().blobs().put_file(path)?;
        if blob != expected {
            return Err(HostError::Changed { path: path.to_owned() }.into());
        }
        Ok(Output { name: name.to_owned(), blob, bytes })
    }

    /// Stores a document as an output.
    pub(crate) fn write_json(&self, name: &str, document: &Value) -> Result<Output, StageFailure> {
        self.put(name, document.to_string().as_bytes())
    }

    /// Reads a document.
    pub(crate) fn read_json<T: serde::de::DeserializeOwned>(&self, blob: &ContentHash) -> Result<T, StageFailure> {
        let bytes = self.store().blobs().get(blob)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| HostError::Document { blob: *blob, message: error.to_string() }.into())
    }

    /// Stores the rows that `fill` writes as a table.
    pub(crate) fn write_table(
        &self,
        name: &str,
        schema: &Schema,
        fill: impl FnOnce(&mut dyn FnMut(&Batch) -> Result<(), StageFailure>) -> Result<(), StageFailure>,
    ) -> Result<Output, StageFailure> {
        let mut writer = plinth_table::Writer::new(self.store().blobs().writer()?, schema.clone())?;
        fill(&mut |rows| Ok(writer.write(rows)?)).map_err(|failure| self.tell_where(failure))?;
        let (blob, bytes) = writer.finish().map_err(|error| self.tell_where(error.into()))?.finish()?;
        Ok(Output { name: name.to_owned(), blob, bytes })
    }

    /// A full disk shows in a table's writer, which does not know where its bytes go.
    fn tell_where(&self, failure: StageFailure) -> StageFailure {
        if failure.error.code() == codes::DISK_FULL {
            let dir = self.store().dir().to_owned();
            return HostError::DiskFull { dir, message: failure.error.to_string() }.into();
        }
        failure
    }

    /// A stored table, its bytes checked.
    pub(crate) fn table(&self, output: &Output) -> Result<Table, StageFailure> {
        self.table_of(&output.blob)
    }

    /// A stored table by its hash, its bytes checked.
    pub(crate) fn table_of(&self, blob: &ContentHash) -> Result<Table, StageFailure> {
        Ok(Table::open(&self.store().blobs().checked_path(blob)?)?)
    }
}

impl Drop for Host {
    /// A process that ends while the library is half loaded crashes in its own tear-down, so an early start that
    /// nobody came to need is waited for.
    fn drop(&mut self) {
        if self.started_early.load(Ordering::Relaxed)
            && let Err(error) = self.runtime()
        {
            tracing::debug!(%error, "the ONNX Runtime that was started early is not there");
        }
    }
}

/// The device that a flag, or else the configuration, names.
fn read_device(flag: Option<&str>, settings: &Settings) -> Result<Device, Failure> {
    flag.unwrap_or(&settings.config.device).parse().map_err(|error: TensorError| {
        let mut failure = Failure::of(&error);
        if flag.is_some() {
            failure.code = codes::USAGE;
        }
        failure
    })
}

/// Stored tables, lent to a gate.
pub(crate) struct Lent(Vec<(&'static str, Table)>);

impl Lent {
    /// Tables by the names that a gate asks for.
    pub(crate) fn new(tables: impl IntoIterator<Item = (&'static str, Table)>) -> Self {
        Self(tables.into_iter().collect())
    }
}

impl Tables for Lent {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn open(&self, name: &str) -> Result<Option<LentTable>, ExtError> {
        let Some((_, table)) = self.0.iter().find(|(known, _)| *known == name) else { return Ok(None) };
        let fault = |error: plinth_table::TableError| ExtError::fault("table", error.code(), error.to_string());
        let batches = table.batches().map_err(fault)?;
        Ok(Some((table.schema().clone(), Box::new(batches.map(move |batch| batch.map_err(fault))))))
    }
}

/// Trouble with stored things that no other crate's error tells.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("`{}` changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("the document {blob} does not read: {message}")]
    Document { blob: ContentHash, message: String },
    #[error("there is no room in {}: {message}", dir.display())]
    DiskFull { dir: PathBuf, message: String },
    #[error("{}", .0.message)]
    Other(Box<Failure>),
}

impl From<Failure> for HostError {
    fn from(failure: Failure) -> Self {
        Self::Other(Box::new(failure))
    }
}

impl Coded for HostError {
    fn code(&self) -> Code {
        match self {
            Self::Changed { .. } => codes::FILE_UNREADABLE,
            Self::Document { .. } => codes::BLOB_CORRUPT,
            Self::DiskFull { .. } => codes::DISK_FULL,
            Self::Other(failure) => failure.code,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Changed { .. } => Some("run the command again once it is written".into()),
            Self::Document { .. } => Some("another plinth wrote it; run with --force to make it again".into()),
            Self::DiskFull { .. } => Some("free some room; what was stored before is safe".into()),
            Self::Other(failure) => failure.hint.clone(),
        }
    }
}
