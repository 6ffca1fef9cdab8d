//! Where the ONNX Runtime library may lie.
//!
//! A path that was named, in the configuration or by `PLINTH_ONNXRUNTIME`, is used or it is an error. Otherwise: the
//! per-user cache that `cargo xtask setup` fills, the directory of the running program, the system's directories.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Environment variable that names the library file.
pub(crate) const VARIABLE: &str = "PLINTH_ONNXRUNTIME";

/// The oldest release whose interface we were built against.
pub(crate) const OLDEST: Version = Version(1, 24, 0);

const SYSTEM: [&str; 6] = [
    "/usr/local/lib",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/opt/onnxruntime/lib",
];

/// What the search depends on, gathered once so that it can be tested.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// A path from the configuration.
    pub(crate) configured: Option<PathBuf>,
    /// Value of [`VARIABLE`].
    pub(crate) variable: Option<OsString>,
    /// The user's cache directory.
    pub(crate) cache: Option<PathBuf>,
    /// Directory of the running program.
    pub(crate) program: Option<PathBuf>,
    /// Whether the build for GPUs goes first.
    pub(crate) gpu_first: bool,
}

impl Surroundings {
    pub(crate) fn of_this_process(configured: Option<PathBuf>, gpu_first: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")));
        let program = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
        Self { configured, variable: set(VARIABLE), cache, program, gpu_first }
    }

    /// The file that was named and must be used, if one was.
    pub(crate) fn named(&self) -> Option<PathBuf> {
        self.configured.clone().or_else(|| self.variable.clone().map(PathBuf::from))
    }

    /// Files worth trying, best first, and every place that was looked at with what it held.
    pub(crate) fn search(&self) -> (Vec<PathBuf>, Vec<String>) {
        let mut files = Vec::new();
        let mut looked = Vec::new();
        if let Some(cache) = &self.cache {
            let mut kinds = ["onnxruntime", "onnxruntime-gpu"];
            if self.gpu_first {
                kinds.reverse();
            }
            for kind in kinds {
                let place = cache.join("plinth").join(kind);
                let mut versions = entries(&place);
                versions
                    .sort_by_key(|dir| std::cmp::Reverse(dir.file_name().and_then(|n| Version::parse(n.to_str()?))));
                consider(&place, versions.iter().flat_map(|dir| libraries_in(dir)), &mut files, &mut looked);
            }
        }
        for place in self.program.iter().cloned().chain(SYSTEM.map(PathBuf::from)) {
            consider(&place, libraries_in(&place), &mut files, &mut looked);
        }
        (files, looked)
    }
}

fn consider(
    place: &Path,
    found: impl IntoIterator<Item = PathBuf>,
    files: &mut Vec<PathBuf>,
    looked: &mut Vec<String>,
) {
    let before = files.len();
    for file in found {
        match version_of(&file) {
            Some(version) if version < OLDEST => {
                looked.push(format!("{} (version {version}, at least {OLDEST} is needed)", file.display()));
            }
            _ => files.push(file),
        }
    }
    if files.len() == before && place.exists() {
        looked.push(place.display().to_string());
    } else if files.len() == before {
        looked.push(format!("{} (absent)", place.display()));
    }
}

/// Library files of a directory, newest first.
fn libraries_in(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = entries(dir).into_iter().filter(|path| is_library(path)).collect();
    files.sort_by_key(|file| std::cmp::Reverse(version_of(file)));
    files
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// `libonnxruntime.so`, `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`, `onnxruntime.dll`; not the
/// providers that lie beside it.
fn is_library(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let rest = match name.strip_prefix("libonnxruntime.") {
        Some(rest) => rest,
        None => return name == "onnxruntime.dll",
    };
    rest == "so" || rest == "dylib" || rest.strip_prefix("so.").or(rest.strip_suffix(".dylib")).is_some_and(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// The version in a file's name, after following links: `libonnxruntime.so.1` alone says too little.
pub(crate) fn version_of(path: &Path) -> Option<Version> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = real.file_name()?.to_str()?;
    let rest = name.strip_prefix("libonnxruntime.")?;
    Version::parse(rest.strip_prefix("so.").or(rest.strip_suffix(".dylib"))?)
}

/// A release of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    fn cached(dir: &Path, kind: &str, version: &str) -> PathBuf {
        let path = dir.join("plinth").join(kind).join(version).join(format!("libonnxruntime.so.{version}"));
        touch(&path);
        path
    }

    #[test]
    fn the_newest_cached_library_comes_first_and_old_ones_are_named_as_too_old() {
        let dir = tempfile::tempdir().unwrap();
        let old = cached(dir.path(), "onnxruntime", "1.23.9");
        let nine = cached(dir.path(), "onnxruntime", "1.24.4");
        let ten = cached(dir.path(), "onnxruntime", "1.100.0");
        touch(&dir.path().join("plinth/onnxruntime/1.100.0/libonnxruntime_providers_shared.so"));
        let around = Surroundings { cache: Some(dir.path().into()), ..Surroundings::default() };
        let (files, looked) = around.search();
        assert_eq!(files[..2], [ten, nine]);
        assert!(looked.iter().any(|place| place.starts_with(old.to_str().unwrap()) && place.contains("1.24.0")));
    }

    #[test]
    fn the_library_for_gpus_goes_first_only_where_it_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let cpu = cached(dir.path(), "onnxruntime", "1.32.0");
        let gpu = cached(dir.path(), "onnxruntime-gpu", "1.30.0");
        let mut around = Surroundings { cache: Some(dir.path().into()), ..Surroundings::default() };
        assert_eq!(around.search().0[..2], [cpu.clone(), gpu.clone()]);
        around.gpu_first = true;
        assert_eq!(around.search().0[..2], [gpu, cpu]);
    }

    #[test]
    fn the_configuration_goes_before_the_environment() {
        let mut around = Surroundings { variable: Some("/env/lib.so".into()), ..Surroundings::default() };
        assert_eq!(around.named(), Some("/env/lib.so".into()));
        around.configured = Some("/conf/lib.so".into());
        assert_eq!(around.named(), Some("/conf/lib.so".into()));
        assert_eq!(Surroundings::default().named(), None);
    }

    #[test]
    fn the_program_s_own_directory_is_searched_and_every_place_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join("libonnxruntime.so");
        touch(&beside);
        let around = Surroundings { program: Some(dir.path().into()), ..Surroundings::default() };
        let (files, looked) = around.search();
        assert_eq!(files[0], beside);
        assert!(looked.iter().any(|place| place.starts_with("/opt/onnxruntime/lib")));
    }

    #[test]
    fn only_the_library_itself_counts() {
        for name in ["libonnxruntime.so", "libonnxruntime.so.1.32.0", "libonnxruntime.1.32.0.dylib", "onnxruntime.dll"]
        {
            assert!(is_library(Path::new(name)), "{name}");
        }
        for name in ["libonnxruntime_providers_cuda.so", "libonnxruntime.so.bak", "libonnxruntime.a", "x"] {
            assert!(!is_library(Path::new(name)), "{name}");
        }
    }
}
