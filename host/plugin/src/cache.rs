//! Compiled components on disk.
//!
//! A cached file is native code that this process will run, so it is believed only if it lies in a folder that nobody
//! but this user can write to, and if its bytes have the hash that was written with them. Anything else is compiled
//! again. Files appear by rename; processes that race write the same bytes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use plinth_core::ContentHash;
use wasmtime::{Engine, component::Component};

use crate::fault::PluginError;

/// Where compiled components are kept, and for how long one may be compiled.
pub(crate) struct Cache {
    pub(crate) dir: PathBuf,
    pub(crate) compile_ms_max: u64,
    pub(crate) progress: Option<Progress>,
}

/// Told while a component is compiled.
pub type Progress = Arc<dyn Fn(&Compiling<'_>) + Send + Sync>;

/// A component that is being compiled.
#[derive(Debug, Clone, Copy)]
pub struct Compiling<'a> {
    /// Name of the plugin.
    pub plugin: &'a str,
    /// Size of the component.
    pub bytes: usize,
    /// Time spent so far.
    pub elapsed: Duration,
    /// Whether it is done.
    pub done: bool,
}

/// Time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// Bytes of the hash that a cached file begins with.
const HASH_BYTES: usize = 32;

impl Cache {
    /// A component ready to run: from the cache, or compiled.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        plugin: &str,
        hash: ContentHash,
        bytes: &Arc<[u8]>,
    ) -> Result<Component, PluginError> {
        let key = key(engine, hash);
        let dir = match self.trusted_dir() {
            Ok(dir) => Some(dir),
            Err(reason) => {
                tracing::warn!(dir = %self.dir.display(), %reason, "the cache of compiled plugins is not used");
                None
            }
        };
        let path = dir.map(|dir| dir.join(format!("{}.cwasm", key.to_hex())));
        if let Some(component) = path.as_deref().and_then(|path| load(engine, plugin, path, key)) {
            return Ok(component);
        }
        let compiled = self.compile(engine, plugin, bytes, path.clone(), key)?;
        // SAFETY: the bytes were made by this engine a moment ago and did not leave this process.
        #[expect(unsafe_code, reason = "compiled code is loaded as it is")]
        let component = unsafe { Component::deserialize(engine, &compiled) };
        component.map_err(|error| engine_error(plugin, &error))
    }

    /// The folder, made if need be, if nobody else can write to it.
    fn trusted_dir(&self) -> Result<&Path, String> {
        make_private(&self.dir).map_err(|error| error.to_string())?;
        Ok(&self.dir)
    }

    /// Compiles on a thread of its own, so that a deadline can be kept. Past the deadline the thread goes on and writes
    /// what it made to the cache: compiling cannot be stopped, and the next process finds it done.
    fn compile(
        &self,
        engine: &Engine,
        plugin: &str,
        bytes: &Arc<[u8]>,
        path: Option<PathBuf>,
        key: ContentHash,
    ) -> Result<Vec<u8>, PluginError> {
        let start = Instant::now();
        let (send, receive) = mpsc::channel();
        let (engine, source, name) = (engine.clone(), bytes.clone(), plugin.to_owned());
        let worker = move || {
            let compiled = engine.precompile_component(&source);
            if let (Ok(code), Some(path)) = (&compiled, &path)
                && let Err(error) = write(path, key, code)
            {
                tracing::warn!(plugin = name, path = %path.display(), %error, "cannot keep a compiled plugin");
            }
            // Nobody listens after the deadline.
            let _ = send.send(compiled);
        };
        let spawned = std::thread::Builder::new().name("plugin-compile".into()).spawn(worker);
        spawned.map_err(|error| PluginError::Engine { plugin: plugin.to_owned(), reason: error.to_string() })?;
        let report = |done| {
            if let Some(progress) = &self.progress {
                progress(&Compiling { plugin, bytes: bytes.len(), elapsed: start.elapsed(), done });
            }
        };
        report(false);
        let deadline = Duration::from_millis(self.compile_ms_max);
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            match receive.recv_timeout(left.min(REPORT_EVERY)) {
                Ok(compiled) => {
                    report(true);
                    tracing::debug!(plugin, ms = start.elapsed().as_millis() as u64, "compiled");
                    return compiled.map_err(|error| PluginError::NotAComponent {
                        plugin: plugin.to_owned(),
                        found: format!("it is not valid: {error:#}"),
                        hint: "build it again with tools of the component model 1.0".into(),
                    });
                }
                Err(mpsc::RecvTimeoutError::Timeout) if start.elapsed() < deadline => report(false),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    report(true);
                    return Err(PluginError::CompileTime { plugin: plugin.to_owned(), ms: self.compile_ms_max });
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let reason = "the compiler stopped without a result".into();
                    return Err(PluginError::Engine { plugin: plugin.to_owned(), reason });
                }
            }
        }
    }
}

pub(crate) fn engine_error(plugin: &str, error: &wasmtime::Error) -> PluginError {
    PluginError::Engine { plugin: plugin.to_owned(), reason: format!("{error:#}") }
}

/// What a component is compiled to depends on its bytes, the engine's version, its settings and the machine.
fn key(engine: &Engine, component: ContentHash) -> ContentHash {
    /// Feeds what is hashed to blake3.
    struct Feed(blake3::Hasher);
    impl std::hash::Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut feed = Feed(blake3::Hasher::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut feed);
    ContentHash::of_parts([&component.as_bytes()[..], feed.0.finalize().as_bytes()])
}

/// A cached file is the hash of the key and the code, then the code.
fn seal(key: ContentHash, code: &[u8]) -> ContentHash {
    ContentHash::of_parts([&key.as_bytes()[..], code])
}

fn load(engine: &Engine, plugin: &str, path: &Path, key: ContentHash) -> Option<Component> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(plugin, path = %path.display(), %error, "cannot read a compiled plugin; compiling it again");
            }
            return None;
        }
    };
    let Some((hash, code)) =
        bytes.split_at_checked(HASH_BYTES).filter(|(hash, code)| *hash == seal(key, code).as_bytes())
    else {
        tracing::warn!(plugin, path = %path.display(), "a compiled plugin was changed on disk; compiling it again");
        return None;
    };
    debug_assert_eq!(hash.len(), HASH_BYTES);
    // SAFETY: the bytes in memory have the hash that this program wrote, in a folder that only this user can write to.
    #[expect(unsafe_code, reason = "compiled code is loaded as it is")]
    let component = unsafe { Component::deserialize(engine, code) };
    match component {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(plugin, path = %path.display(), error = %format!("{error:#}"), "a compiled plugin does not load; compiling it again");
            None
        }
    }
}

fn write(path: &Path, key: ContentHash, code: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut file, seal(key, code).as_bytes())?;
    io::Write::write_all(&mut file, code)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::metadata(dir)?;
    let owner = own_uid(dir)?;
    if metadata.uid() != owner {
        return Err(io::Error::other(format!("it belongs to user {} and not to user {owner}", metadata.uid())));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "others may write to it (mode {mode:03o}); remove it, or make it private and empty"
        )));
    }
    if mode != 0o700 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The user that this process runs as, without a system call of our own: files that it makes are its own.
#[cfg(unix)]
fn own_uid(dir: &Path) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    if let Ok(metadata) = fs::metadata("/proc/self") {
        return Ok(metadata.uid());
    }
    Ok(tempfile::NamedTempFile::new_in(dir)?.as_file().metadata()?.uid())
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}
