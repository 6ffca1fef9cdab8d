//! Where MLflow's web interface is: a folder that is named, or the build in an installed `mlflow` package.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use plinth_core::codes;

use crate::output::Failure;

/// What says that there is to be no web interface.
const NONE: &str = "none";
/// The build inside Python's folder of packages.
const BUILD: &str = "mlflow/server/js/build";

/// The folder of the interface: the one that is named, which must hold one, or the first that is found; nothing for
/// `none` and where there is none.
pub(crate) fn folder(
    named: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<PathBuf>, Failure> {
    match named {
        Some(named) if named.as_os_str() == NONE => Ok(None),
        // The package that holds it will do as well.
        Some(named) => {
            let inside = [named.to_path_buf(), named.join("server/js/build"), named.join(BUILD)];
            inside.into_iter().find(|folder| is_one(folder)).map(Some).ok_or_else(|| {
                let message = format!("there is no web interface in {}: it has no index.html", named.display());
                Failure::new(codes::USAGE, message)
                    .hint("name the folder mlflow/server/js/build of an installed mlflow package, or none")
            })
        }
        None => Ok(pythons(&variable).iter().find_map(|python| installed(python))),
    }
}

/// Where Python may be, the active environment first.
fn pythons(variable: &impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).map(PathBuf::from);
    let paths = variable("PATH").unwrap_or_default();
    let paths = std::env::split_paths(&paths)
        .filter(|folder| folder.join("python3").exists())
        .filter_map(|folder| folder.parent().map(Path::to_path_buf));
    let own = variable("HOME").map(|home| Path::new(&home).join(".local"));
    active.chain(paths).chain(own).filter(|folder| folder.is_absolute()).collect()
}

/// The build among the packages of a Python, which need not be started for that.
fn installed(python: &Path) -> Option<PathBuf> {
    let mut roots = Vec::new();
    for library in ["lib", "local/lib"] {
        let entries = std::fs::read_dir(python.join(library)).into_iter().flatten().flatten();
        let folders = entries.map(|entry| entry.path()).filter(|folder| {
            folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python3"))
        });
        roots.extend(folders);
    }
    // The newest first, and always in the same order.
    roots.sort();
    let packages = roots.iter().rev().flat_map(|root| ["site-packages", "dist-packages"].map(|name| root.join(name)));
    packages.map(|packages| packages.join(BUILD)).find(|folder| is_one(folder))
}

fn is_one(folder: &Path) -> bool {
    folder.join("index.html").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(root: &Path, packages: &str) -> PathBuf {
        let folder = root.join(packages).join(BUILD);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), "<html>").unwrap();
        folder
    }

    #[test]
    fn the_active_environment_is_looked_into_first() {
        let dir = tempfile::tempdir().unwrap();
        let (active, other) = (dir.path().join("venv"), dir.path().join("usr"));
        std::fs::create_dir_all(other.join("bin")).unwrap();
        std::fs::write(other.join("bin/python3"), "").unwrap();
        let variable = |name: &str| match name {
            "VIRTUAL_ENV" => Some(active.clone().into_os_string()),
            "PATH" => Some(other.join("bin").into_os_string()),
            _ => None,
        };
        assert_eq!(folder(None, variable).unwrap(), None);
        let system = build(&other, "lib/python3.9/dist-packages");
        assert_eq!(folder(None, variable).unwrap(), Some(system));
        let own = build(&active, "lib/python3.12/site-packages");
        assert_eq!(folder(None, variable).unwrap(), Some(own));
        assert_eq!(folder(Some(Path::new("none")), variable).unwrap(), None);
    }

    #[test]
    fn a_named_folder_must_hold_an_interface() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = |_: &str| None;
        let message = folder(Some(dir.path()), nothing).unwrap_err().message;
        assert!(message.contains("no web interface"), "{message}");
        let found = build(dir.path(), ".");
        assert!(folder(Some(dir.path()), nothing).unwrap().is_some());
        assert_eq!(folder(Some(&found), nothing).unwrap(), Some(found));
    }
}
