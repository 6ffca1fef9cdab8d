//! The ONNX Runtime library, found and loaded once in a process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{LoadDynamicError, environment::Environment, logging::LogLevel};

use crate::{
    Device, TensorError,
    find::{Surroundings, version_of},
};

/// Which library to load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// The library file; none to search for it.
    pub library: Option<PathBuf>,
    /// Decides whether the build for GPUs is looked for first.
    pub device: Device,
}

/// The loaded library. Cheap to clone; lives until the process ends.
#[derive(Debug, Clone)]
pub struct Runtime {
    loaded: Arc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    environment: Environment,
    library: PathBuf,
}

/// The process has one: the library keeps global state and cannot be loaded twice or taken away again. It is held
/// here, never dropped, so that nothing of it is torn down while another thread still uses it.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// The library, loaded if no earlier call did: that takes about a quarter of a second. A later call gets the
    /// library of the first whatever it asks for; a failed call leaves nothing behind and may be repeated.
    ///
    /// # Errors
    /// [`TensorError::RuntimeNotFound`] lists where it looked; [`TensorError::RuntimeUnusable`] if a file that was
    /// named is not a library of version 1.24 or newer.
    pub fn start(config: &RuntimeConfig) -> Result<Self, TensorError> {
        // A panic inside the library's loader leaves the slot empty, which is a sound state.
        let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*slot {
            return Ok(runtime.clone());
        }
        let around = Surroundings::of_this_process(config.library.clone(), config.device.wants_gpu());
        let runtime = Self { loaded: Arc::new(load(&around)?) };
        Ok(slot.insert(runtime).clone())
    }

    /// Begins loading on a thread of its own, so that a later [`Runtime::start`] finds it done or waits for the rest.
    /// What goes wrong is told by that call.
    pub fn start_early(config: RuntimeConfig) {
        let begun = std::thread::Builder::new().name("plinth-onnx-load".into()).spawn(move || {
            if let Err(error) = Self::start(&config) {
                tracing::debug!(%error, "the ONNX Runtime library was not loaded early");
            }
        });
        if let Err(error) = begun {
            tracing::debug!(%error, "no thread to load the ONNX Runtime library early");
        }
    }

    /// The file it was loaded from.
    pub fn library(&self) -> &Path {
        &self.loaded.library
    }

    /// The library's version, if its file's name tells.
    pub fn version(&self) -> Option<String> {
        version_of(self.library()).map(|version| version.to_string())
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.loaded.environment
    }
}

fn load(around: &Surroundings) -> Result<Loaded, TensorError> {
    if let Some(path) = around.named() {
        return load_file(&path).map_err(|reason| TensorError::RuntimeUnusable { path, reason });
    }
    let (files, mut looked) = around.search();
    for file in files {
        match load_file(&file) {
            Ok(loaded) => return Ok(loaded),
            Err(reason) => {
                tracing::warn!(library = %file.display(), %reason, "an ONNX Runtime library was passed over");
                looked.push(format!("{} ({reason})", file.display()));
            }
        }
    }
    Err(TensorError::RuntimeNotFound { looked })
}

fn load_file(path: &Path) -> Result<Loaded, String> {
    // The loader resolves a name without a directory by its own rules; we only take files that we can show.
    let library = path.canonicalize().map_err(|error| error.to_string())?;
    let environment = ort::init_from(&library)
        .map_err(|error| match &error {
            // The loader's own words lie beneath ort's.
            LoadDynamicError::Dlopen { error, .. } => innermost(error),
            _ => error.to_string(),
        })?
        .with_name("plinth")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| error.to_string())?;
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %library.display(), "loaded ONNX Runtime");
    Ok(Loaded { environment, library })
}

fn innermost(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn log(level: LogLevel, category: &str, _id: &str, place: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::error!(target: "onnxruntime", category, place, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "onnxruntime", category, place, "{message}"),
        _ => tracing::trace!(target: "onnxruntime", category, place, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use plinth_core::{Coded, codes};

    use super::*;

    #[test]
    fn a_named_file_that_is_no_library_is_an_error_and_not_a_reason_to_search() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&file, b"not a library").unwrap();
        let named = Surroundings { configured: Some(file.clone()), ..Surroundings::default() };
        let error = load(&named).unwrap_err();
        assert_eq!(error.code(), codes::RUNTIME_NOT_FOUND);
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
        let absent = Surroundings { configured: Some(dir.path().join("absent.so")), ..Surroundings::default() };
        assert!(load(&absent).unwrap_err().to_string().contains("absent.so"));
    }

    #[test]
    fn a_search_that_fails_tells_what_was_wrong_with_each_file() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("plinth/onnxruntime/1.30.0/libonnxruntime.so.1.30.0");
        std::fs::create_dir_all(broken.parent().unwrap()).unwrap();
        std::fs::write(&broken, b"not a library").unwrap();
        let around = Surroundings { cache: Some(dir.path().into()), ..Surroundings::default() };
        let Err(TensorError::RuntimeNotFound { looked }) = load(&around) else {
            // A library installed system-wide was found instead, which is what the search is for.
            return;
        };
        let said = looked.iter().find(|place| place.contains("1.30.0/libonnxruntime.so.1.30.0")).unwrap();
        assert!(said.contains("too short"), "{said}");
    }
}
