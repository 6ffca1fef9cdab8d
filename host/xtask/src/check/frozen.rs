//! Frozen versions of the WIT packages: a file below `wit/frozen/VERSION/` never changes, appears or goes away again.
//!
//! The lock has one line for each file, its blake3 and its path. New lines are added by `cargo xtask docs`, those that
//! are there stay: a file that does not fit its line is the one that is wrong.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use plinth_core::ContentHash;

use super::{
    Findings,
    wit::{self, FROZEN},
};

/// The lock, below the folder of the packages.
pub(crate) const LOCK: &str = "frozen/frozen.lock";

/// The folder of a version's components, beside its packages.
const COMPONENTS: &str = "components";

/// Checks the frozen versions below the folder of the packages, and that the packages themselves are of another.
pub(super) fn check(wit: &Path) -> Result<Findings> {
    let mut findings = Vec::new();
    let (locked, there) = (locked(wit)?, files(wit)?);
    for (path, hash) in &there {
        match locked.get(path) {
            Some(wanted) if wanted == hash => {}
            Some(_) => findings.push(format!("{path} is frozen and was changed: restore it")),
            None => {
                findings.push(format!("{path} is not in {LOCK}: run `cargo xtask docs` if a version is being frozen"));
            }
        }
    }
    let gone = locked.keys().filter(|path| !there.contains_key(*path));
    findings.extend(gone.map(|path| format!("{path} is frozen and was removed: restore it")));
    let current = versions(wit)?;
    if current.len() > 1 {
        findings.push(format!("the packages have the versions {}: they have one together", current.join(", ")));
    }
    for version in frozen(wit)? {
        let name = version.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = versions(&version)?;
        if found != [name.as_str()] {
            findings.push(format!("the packages in frozen/{name} are of {}", found.join(", ")));
        }
        if current.contains(&name) {
            findings.push(format!("the packages are of {name}, which is frozen: give them the next version"));
        }
    }
    Ok(findings)
}

/// What the lock should say: its lines, and those of files that are new.
pub(crate) fn lock(wit: &Path) -> Result<String> {
    let mut lines = files(wit)?;
    lines.extend(locked(wit)?);
    Ok(lines.iter().map(|(path, hash)| format!("{hash}  {path}\n")).collect())
}

/// The lines of the lock, by path.
fn locked(wit: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(wit.join(LOCK)).unwrap_or_default();
    let line = |line: &str| line.split_once("  ").map(|(hash, path)| (path.to_owned(), hash.to_owned()));
    text.lines().map(|found| line(found).with_context(|| format!("{LOCK} has the line `{found}`"))).collect()
}

/// The folders of the frozen versions.
fn frozen(wit: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(wit.join(FROZEN)) else { return Ok(Vec::new()) };
    let mut versions: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    versions.retain(|path| path.is_dir());
    versions.sort();
    Ok(versions)
}

/// Every file of the frozen versions, by its path below the folder of the packages, with its hash.
fn files(wit: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = frozen(wit)?;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(wit)?.to_string_lossy().replace('\\', "/");
            found.insert(name, ContentHash::of(&fs::read(&path)?).to_string());
        }
    }
    Ok(found)
}

/// The versions that the packages below a folder have; frozen ones must resolve as the others do.
fn versions(folder: &Path) -> Result<Vec<String>> {
    let resolve = wit::resolve_without(folder, &[FROZEN, COMPONENTS])?;
    let versions = resolve.packages.iter().map(|(_, package)| match &package.name.version {
        Some(version) => version.to_string(),
        None => "none".to_owned(),
    });
    let mut versions: Vec<String> = versions.collect();
    versions.sort();
    versions.dedup();
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Packages of 0.2 with 0.1 frozen and locked.
    fn sound() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/a.wit", "package a:a@0.2.0;");
        write(folder.path(), "frozen/0.1.0/a/a.wit", "package a:a@0.1.0;");
        write(folder.path(), "frozen/0.1.0/components/a.wasm", "a");
        write(folder.path(), "frozen/README.md", "not of a version");
        let lock = lock(folder.path()).unwrap();
        assert_eq!(lock.lines().count(), 2);
        write(folder.path(), LOCK, &lock);
        assert_eq!(check(folder.path()).unwrap(), Findings::new());
        folder
    }

    #[test]
    fn a_frozen_file_that_changed_came_or_went_is_named() {
        let folder = sound();
        let before = fs::read_to_string(folder.path().join(LOCK)).unwrap();
        write(folder.path(), "frozen/0.1.0/components/a.wasm", "b");
        write(folder.path(), "frozen/0.1.0/b/b.wit", "package b:b@0.1.0;");
        fs::remove_file(folder.path().join("frozen/0.1.0/a/a.wit")).unwrap();
        fs::remove_dir(folder.path().join("frozen/0.1.0/a")).unwrap();
        assert_eq!(
            check(folder.path()).unwrap(),
            [
                "frozen/0.1.0/b/b.wit is not in frozen/frozen.lock: run `cargo xtask docs` if a version is being frozen",
                "frozen/0.1.0/components/a.wasm is frozen and was changed: restore it",
                "frozen/0.1.0/a/a.wit is frozen and was removed: restore it",
            ]
        );
        // Writing the lock anew forgives none of that but the new file.
        let after = lock(folder.path()).unwrap();
        assert!(before.lines().all(|line| after.contains(line)) && after.lines().count() == 3, "{after}");
    }

    #[test]
    fn packages_of_a_frozen_version_or_of_several_are_refused() {
        let folder = sound();
        write(folder.path(), "a/a.wit", "package a:a@0.1.0;");
        assert_eq!(
            check(folder.path()).unwrap(),
            ["the packages are of 0.1.0, which is frozen: give them the next version"]
        );
        write(folder.path(), "b/b.wit", "package b:b@0.2.0;");
        assert!(check(folder.path()).unwrap()[0].contains("the versions 0.1.0, 0.2.0"));
    }
}
