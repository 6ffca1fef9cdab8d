//! The checkout: where things are, how `cargo` is started in it, what its packages say of themselves.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{once, shell};

/// The checkout that this tool was started for.
pub(crate) struct Repo {
    root: PathBuf,
}

/// One of our two workspaces: guests are compiled for another machine, so they are not in the host's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workspace {
    /// The product.
    Host,
    /// The plugins and the Rust SDK.
    Plugins,
}

/// A package of ours, as its manifest describes it.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) license: String,
    pub(crate) manifest: PathBuf,
    /// What it depends on, with the kind of each dependency.
    pub(crate) dependencies: Vec<(String, DependencyKind)>,
    /// `[package.metadata.plinth]`, if it is a plugin.
    pub(crate) plinth: Option<Value>,
}

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DependencyKind {
    Normal,
    Dev,
    Build,
}

impl Repo {
    /// The checkout around this tool's sources.
    pub(crate) fn find() -> Result<Self> {
        // `cargo run` tells where the package lies now; the path at compile time is the fallback for a direct start.
        let manifest =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.join("../..").canonicalize().context("the checkout around the build tool is gone")?;
        if !root.join("plugins/Cargo.toml").exists() {
            bail!("{} is not a checkout of Plinth: it has no plugins/Cargo.toml", root.display());
        }
        Ok(Self { root })
    }

    /// A path in the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The root of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The host's target directory.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), |folder| self.root.join(folder))
    }

    /// The `cargo` that started this tool, in a workspace of ours.
    pub(crate) fn cargo(&self, workspace: Workspace) -> Command {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(program);
        command.current_dir(self.path(workspace.folder()));
        forget_cargo(&mut command);
        if workspace == Workspace::Plugins {
            // One target directory for all guests, whatever the caller has set for the host.
            command.env_remove("CARGO_TARGET_DIR");
        } else if shell::in_ci() {
            once::install(&mut command, &self.root);
        }
        command
    }

    /// Our own packages in a workspace, by name.
    pub(crate) fn packages(&self, workspace: Workspace) -> Result<Vec<Package>> {
        let text = shell::read(self.cargo(workspace).args(["metadata", "--format-version", "1", "--no-deps"]))?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
        let mut packages = list(&metadata, "packages").iter().map(Package::read).collect::<Vec<_>>();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(packages)
    }

    /// The whole resolved graph of a workspace for this machine, as `cargo metadata` gives it.
    pub(crate) fn graph(&self, workspace: Workspace, host: &str) -> Result<Value> {
        let mut command = self.cargo(workspace);
        command.args(["metadata", "--format-version", "1", "--filter-platform", host]);
        serde_json::from_str(&shell::read(&mut command)?).context("cargo metadata")
    }

    /// The files that are part of the checkout: tracked ones and those that git does not ignore.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut command = Command::new("git");
        command.current_dir(&self.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let names = shell::read(&mut command)?;
        let mut files: Vec<_> = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
        files.sort();
        files.dedup();
        files.retain(|file| self.root.join(file).is_file());
        Ok(files)
    }
}

impl Workspace {
    /// Its folder below the root.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Host => ".",
            Self::Plugins => "plugins",
        }
    }
}

impl Package {
    fn read(package: &Value) -> Self {
        let dependencies = list(package, "dependencies")
            .iter()
            .map(|dependency| {
                let kind = match dependency["kind"].as_str() {
                    Some("dev") => DependencyKind::Dev,
                    Some("build") => DependencyKind::Build,
                    _ => DependencyKind::Normal,
                };
                (text(dependency, "name"), kind)
            })
            .collect();
        Self {
            name: text(package, "name"),
            version: text(package, "version"),
            description: text(package, "description"),
            license: text(package, "license"),
            manifest: text(package, "manifest_path").into(),
            dependencies,
            plinth: package["metadata"].get("plinth").cloned(),
        }
    }
}

/// A list in a JSON object; empty if it is absent.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A text in a JSON object; empty if it is absent or null.
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Removes what `cargo run` put into the environment for this tool, so that a nested `cargo` sees what the user's
/// shell would give it and nothing is rebuilt for a difference that means nothing.
pub(crate) fn forget_cargo(command: &mut Command) {
    let ours: BTreeMap<_, _> = std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_")
                || matches!(
                    &*name,
                    "CARGO"
                        | "CARGO_MANIFEST_DIR"
                        | "CARGO_MANIFEST_PATH"
                        | "CARGO_BIN_NAME"
                        | "CARGO_CRATE_NAME"
                        | "LD_LIBRARY_PATH"
                )
        })
        .collect();
    for name in ours.keys() {
        command.env_remove(name);
    }
}
