//! The example plugins of every SDK, built by the binary under test and kept under `target/` for as long as their
//! sources stay the same.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{binary, plugins, root};

/// The component of an example, such as `psi` in `go`; its name ends with the language, or `py` for Python.
pub fn example(language: &str, example: &str) -> PathBuf {
    if language == "rust" {
        // These are members of the workspace that `cargo xtask plugins` builds.
        let path = plugins().join(format!("{example}-rust.wasm"));
        assert!(path.exists(), "{} is missing: run `cargo xtask plugins`", path.display());
        return path;
    }
    let sdk = root().join("sdk");
    let sources = [sdk.join(language), sdk.join("componentize.sh"), root().join("wit")];
    built(&format!("{example}-{language}"), &sdk.join(language).join("examples").join(example), &sources)
}

/// The component of a project, built anew only if one of its sources changed.
pub fn built(name: &str, project: &Path, sources: &[PathBuf]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    sources.iter().for_each(|source| hash_tree(source, &mut hasher));
    let folder = root().join("target/guests");
    fs::create_dir_all(&folder).expect("a folder below target");
    let path = folder.join(format!("{name}.{:016x}.wasm", hasher.finish()));
    // One build at a time: tests run side by side, and compilers want all cores for themselves.
    let lock = File::create(folder.join("lock")).expect("a file below target");
    lock.lock().expect("a lock");
    if path.exists() {
        return path;
    }
    for entry in fs::read_dir(&folder).expect("the folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}.")) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let mut build = Command::new(binary());
    build.args(["plugin", "build"]).arg(project).arg("--output").arg(&path).stdin(Stdio::null());
    let done = build.output().expect("the binary runs");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{name} does not build\n{out}\n{err}");
    path
}

fn hash_tree(path: &Path, hasher: &mut DefaultHasher) {
    if path.is_file() {
        path.file_name().hash(hasher);
        fs::read(path).expect("a readable source").hash(hasher);
        return;
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let made = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["node_modules", "target", "__pycache__", "tests", "frozen"].contains(&&*name)
    };
    entries.iter().filter(|path| !made(path)).for_each(|path| hash_tree(path, hasher));
}

/// A gate in some language that misbehaves on command: `good`, `loop`, `bomb`, `flood`, `lie` or `crash`.
pub fn misdeeds(language: &str) -> PathBuf {
    let sdk = root().join("sdk");
    let project = sdk.join(language).join("tests/misdeeds");
    let sources = [sdk.join(language), sdk.join("componentize.sh"), root().join("wit"), project.clone()];
    built(&format!("misdeeds-{language}"), &project, &sources)
}
