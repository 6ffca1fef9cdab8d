//! `cargo xtask plugins`: builds the first-party components.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use plinth_core::ContentHash;

use crate::{
    component, flags,
    repo::{Package, Repo, Workspace},
    shell,
    toolchain::{TARGET, Toolchain},
    wrapper,
};

pub(crate) const HELP: &str = "plugins [NAME…]

Builds every plugin of the plugins/ workspace, or those named, into target/plugins/NAME.wasm and prints their sizes
and content hashes. A plugin is a package with [package.metadata.plinth]. The same sources give the same bytes.";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let ([], names) = flags(arguments, [])?;
    let built = build(repo, Toolchain::install(repo)?, &names)?;
    let width = built.iter().map(|plugin| plugin.name.len()).max().unwrap_or(0);
    for plugin in built {
        let size = plugin.bytes.div_ceil(1024);
        println!("{:<width$}  {size:>6} KiB  {}", plugin.name, plugin.hash);
    }
    Ok(())
}

/// A component on disk.
pub(crate) struct Built {
    /// Its name, which is its file's name without `.wasm`.
    name: String,
    bytes: usize,
    hash: ContentHash,
}

/// Where the components are.
pub(crate) fn folder(repo: &Repo) -> PathBuf {
    repo.path("target/plugins")
}

/// Builds the plugins named, or all of them if none is.
pub(crate) fn build(repo: &Repo, toolchain: Toolchain, names: &[String]) -> Result<Vec<Built>> {
    let mut plugins = repo.packages(Workspace::Plugins)?;
    plugins.retain(|package| package.plinth.is_some());
    let known: Vec<&str> = plugins.iter().map(|package| package.name.as_str()).collect();
    for name in names {
        if !known.contains(&name.as_str()) {
            let hint = plinth_core::did_you_mean(name, known.iter().copied());
            bail!("there is no plugin `{name}`: {hint}");
        }
    }
    let folder = folder(repo);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if names.is_empty() {
        // A plugin that is gone from the sources would otherwise stay on disk and be found.
        remove_others(&folder, &known)?;
    }
    let chosen = plugins.iter().filter(|package| names.is_empty() || names.contains(&package.name));
    chosen.map(|package| build_one(repo, toolchain, package, &folder)).collect()
}

fn build_one(repo: &Repo, toolchain: Toolchain, package: &Package, folder: &Path) -> Result<Built> {
    let name = &package.name;
    let start = Instant::now();
    let module = compile(repo, toolchain, name)?;
    let path = folder.join(format!("{name}.wasm"));
    let bytes = if is_newer(&path, &[&module, &package.manifest, &std::env::current_exe()?])? {
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?
    } else {
        let core = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        let bytes = component::encode(&core, &component::manifest(package))
            .with_context(|| format!("the plugin `{name}` is not a component"))?;
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        fs::write(&temporary, &bytes).with_context(|| format!("cannot write {}", temporary.display()))?;
        fs::rename(&temporary, &path).with_context(|| format!("cannot write {}", path.display()))?;
        shell::say(&format!("built {name} in {}", shell::seconds(start.elapsed())));
        bytes
    };
    Ok(Built { name: name.clone(), bytes: bytes.len(), hash: ContentHash::of(&bytes) })
}

/// Compiles one plugin to a core module. What needs compiling is cargo's to know.
fn compile(repo: &Repo, toolchain: Toolchain, name: &str) -> Result<PathBuf> {
    let mut command = toolchain.cargo(repo, "rustc");
    wrapper::install(&mut command)?;
    command.args(["--release", "--quiet", "--package", name, "--lib", "--crate-type", "cdylib"]);
    if shell::in_ci() {
        command.arg("--locked");
    }
    // SIMD for the plugin itself only: as a flag for all it would be one more standard library to build.
    command.args(["--", "-Ctarget-feature=+simd128"]);
    shell::stream(&mut command).with_context(|| format!("the plugin `{name}` does not compile"))?;
    let file = format!("plugins/target/{TARGET}/release/{}.wasm", name.replace('-', "_"));
    Ok(repo.path(&file))
}

fn remove_others(folder: &Path, known: &[&str]) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|extension| extension == "wasm") && !known.contains(&&*name) {
            shell::say(&format!("removing {}: no plugin has that name any more", path.display()));
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Whether `path` exists and none of `sources` was changed after it.
fn is_newer(path: &Path, sources: &[&Path]) -> Result<bool> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(false) };
    let written = metadata.modified()?;
    let changed = |source: &&Path| -> Result<SystemTime> {
        let metadata = fs::metadata(source).with_context(|| format!("cannot read {}", source.display()))?;
        Ok(metadata.modified()?)
    };
    let latest = sources.iter().map(changed).collect::<Result<Vec<_>>>()?;
    Ok(latest.iter().all(|time| *time <= written))
}
