//! Compiled components on disk.
//!
//! A cached file is native code that this process will run, so it is believed only if it lies in a folder that nobody
//! but this user can write to, and if its bytes have the hash that was written with them. Anything else is compiled
//! again. Files appear by rename; processes that race write the same bytes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use plinth_core::{ContentHash, PluginLimits, codes};
use wasmtime::{Engine, component::Component};

use crate::{
    code::Code,
    compiler::{Compiler, Refusal},
    fault::PluginError,
};

/// Where compiled components are kept, and who compiles them.
pub(crate) struct Cache {
    pub(crate) dir: PathBuf,
    pub(crate) compiler: Compiler,
}

/// Bytes of the hash that a cached file ends with.
const HASH_BYTES: u64 = 32;
/// How much of a file is read and hashed at a time.
const PIECE_BYTES: usize = 256 << 10;

impl Cache {
    /// A component ready to run: from the cache, or compiled.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        plugin: &str,
        hash: ContentHash,
        bytes: &[u8],
    ) -> Result<Arc<Code>, Refusal> {
        let key = key(engine, hash);
        let limits = &*self.compiler.limits;
        let dir = match self.trusted_dir() {
            Ok(dir) => Some(dir),
            Err(reason) => {
                tracing::warn!(dir = %self.dir.display(), %reason, "the cache of compiled plugins is not used");
                None
            }
        };
        let path = dir.map(|dir| dir.join(format!("{}.cwasm", key.to_hex())));
        if let Some(found) = path.as_deref().and_then(|path| load(engine, plugin, path, key, limits)) {
            return found;
        }
        let code = self.compiler.compile(plugin, bytes)?;
        // What is on disk is mapped: pages that nothing touches cost no memory, and those that are touched can be dropped.
        if let Some(path) = &path {
            match write(path, key, &code) {
                Ok(()) => {
                    prune(&self.dir, limits.compiled_cache_bytes_max);
                    if let Some(found) = load(engine, plugin, path, key, limits) {
                        return found;
                    }
                }
                Err(error) => {
                    tracing::warn!(plugin, path = %path.display(), %error, "cannot keep a compiled plugin");
                }
            }
        }
        // SAFETY: this program made the bytes a moment ago, and they came through a pipe that nobody else holds.
        #[expect(unsafe_code, reason = "compiled code is loaded as it is")]
        let component = unsafe { Component::deserialize(engine, &code) };
        component.map(Code::in_memory).map_err(|error| needs(&error, limits).unwrap_or_else(|| broken(&error)))
    }

    /// The folder, made if need be, if nobody else can write to it.
    fn trusted_dir(&self) -> Result<&Path, String> {
        make_private(&self.dir).map_err(|error| error.to_string())?;
        Ok(&self.dir)
    }
}

fn broken(error: &wasmtime::Error) -> Refusal {
    Refusal::Broken(format!("{error:#}"))
}

/// What wasmtime says where a component does not fit the pool of instances: its words, what they are about, and which
/// limit that is. The first number behind the words is what is wanted.
const NEEDS: [(&str, &str, &str); 8] = [
    ("The component transitively contains", "core module instances", "core-instances-max"),
    ("The component transitively contains", "Wasm linear memories", "memories-max"),
    ("The component transitively contains", "tables, which", "tables-max"),
    ("defined memories count of", "", "memories-max"),
    ("defined tables count of", "", "tables-max"),
    ("memory has a minimum byte size of", "", "memory-bytes-max"),
    ("has a minimum element size of", "", "table-elements-max"),
    ("instance allocation for this", "", "instance-bytes-max"),
];

/// The limit that a component does not keep within, where that is why it does not load.
fn needs(error: &wasmtime::Error, limits: &PluginLimits) -> Option<Refusal> {
    let text = format!("{error:#}");
    let (start, _, limit) = NEEDS.into_iter().find(|(start, what, _)| text.contains(start) && text.contains(what))?;
    let number = text.split_once(start)?.1.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
    let wanted: u64 = number?.parse().ok()?;
    let (what, max, code) = match limit {
        "core-instances-max" => {
            (format!("{wanted} core instances"), limits.core_instances_max.into(), codes::LIMIT_EXCEEDED)
        }
        "memories-max" => (format!("{wanted} memories"), limits.memories_max.into(), codes::LIMIT_EXCEEDED),
        "tables-max" => (format!("{wanted} tables"), limits.tables_max.into(), codes::LIMIT_EXCEEDED),
        "memory-bytes-max" => (format!("a memory of {wanted} bytes"), limits.memory_bytes_max, codes::PLUGIN_MEMORY),
        "table-elements-max" => {
            (format!("a table of {wanted} elements"), limits.table_elements_max, codes::LIMIT_EXCEEDED)
        }
        _ => (
            format!("{wanted} bytes for what an instance has beside its memories"),
            limits.instance_bytes_max,
            codes::LIMIT_EXCEEDED,
        ),
    };
    Some(Refusal::Needs { what, max, limit, code })
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
    ContentHash::of_parts([&component.as_bytes()[..], feed.0.finalize().as_bytes(), b"sealed at the end"])
}

/// A cached file is the code, then the hash of the key and the code: so the code lies at the start of a page, and is run
/// where the system maps the file, without a copy.
fn seal(key: ContentHash, code: &[u8]) -> blake3::Hash {
    let mut hasher = sealing(key);
    hasher.update(code);
    hasher.finalize()
}

fn sealing(key: ContentHash) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes());
    hasher
}

/// What is in the cache: a component, or why it cannot be run here. `None` if it is to be compiled.
fn load(
    engine: &Engine,
    plugin: &str,
    path: &Path,
    key: ContentHash,
    limits: &PluginLimits,
) -> Option<Result<Arc<Code>, Refusal>> {
    match sealed(path, key, limits.compiled_bytes_max.saturating_add(HASH_BYTES)) {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(plugin, path = %path.display(), "a compiled plugin was changed on disk; compiling it again");
            return None;
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(plugin, path = %path.display(), %error, "cannot read a compiled plugin; compiling it again");
            }
            return None;
        }
    }
    // SAFETY: the file's bytes have the hash that this program wrote. It lies in a folder that only this user can write
    // to, and is never written again once it has its name, which belongs to these bytes: what is mapped is what was
    // hashed.
    #[expect(unsafe_code, reason = "compiled code is loaded as it is")]
    let component = unsafe { Component::deserialize_file(engine, path) };
    match component {
        Ok(component) => Some(Ok(Code::mapped(component))),
        Err(error) => needs(&error, limits).map(Err).or_else(|| {
            tracing::warn!(plugin, path = %path.display(), error = %format!("{error:#}"), "a compiled plugin does not load; compiling it again");
            None
        }),
    }
}

/// Whether the file ends with the hash of what comes before; then its time is set to now.
fn sealed(path: &Path, key: ContentHash, max: u64) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > max {
        return Err(io::Error::other(format!("it has {size} bytes, more than the limit of {max}")));
    }
    let Some(code) = size.checked_sub(HASH_BYTES) else { return Ok(false) };
    let (mut hasher, mut left) = (sealing(key), code);
    // Piece by piece: a buffer of the whole would cost more than the hash, in pages that are made and thrown away.
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        io::Read::read_exact(&mut file, &mut piece[..wanted])?;
        hasher.update(&piece[..wanted]);
        left -= wanted as u64;
    }
    let mut found = [0; HASH_BYTES as usize];
    io::Read::read_exact(&mut file, &mut found)?;
    // Compared in constant time, as blake3 does it.
    let sound = hasher.finalize() == blake3::Hash::from_bytes(found);
    if sound {
        // Its time is when it was last loaded; one that cannot be set makes it go earlier from the cache, and no more.
        let _ = file.set_modified(SystemTime::now());
    }
    Ok(sound)
}

/// What was loaded so lately stays in the cache. Who has one of the others mapped keeps it, on a disk of this machine; a home
/// that machines share must not lose what one of them runs.
const LATELY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Removes what nobody loaded for the longest, until the cache holds no more than `max` bytes, and what was left of a process
/// that ended while it wrote.
fn prune(dir: &Path, max: u64) {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(SystemTime, u64, PathBuf)> = files
        .filter_map(|file| Some((file.path(), file.metadata().ok()?)))
        .filter(|(path, _)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".cwasm") || name.starts_with(".tmp")
        })
        .filter_map(|(path, about)| Some((about.modified().ok()?, about.len(), path)))
        .collect();
    let mut total: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
    found.sort_unstable();
    let old = |at: &SystemTime| at.elapsed().is_ok_and(|since| since > LATELY);
    for (_, bytes, path) in found.iter().filter(|(at, ..)| old(at)) {
        if total <= max {
            return;
        }
        match fs::remove_file(path) {
            Ok(()) => total -= bytes,
            // Somebody else was faster, or may not.
            Err(error) => tracing::debug!(path = %path.display(), %error, "a compiled plugin stays in the cache"),
        }
    }
}

fn write(path: &Path, key: ContentHash, code: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut file, code)?;
    io::Write::write_all(&mut file, seal(key, code).as_bytes())?;
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
