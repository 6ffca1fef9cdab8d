//! `cargo xtask setup`: what a build, a test or the demo needs and cargo does not bring.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    debian, flags,
    onnxruntime::{self, Flavour},
    python,
    repo::Repo,
    shell,
    toolchain::{TARGET, Toolchain},
    webui,
};

pub(crate) const HELP: &str = "setup [--gpu]

Installs what is missing and says so; a second run finds everything and changes nothing.
  - the compiler for wasm32-unknown-unknown: `rustup target add`, or Debian's packages where rustup cannot download
    (PLINTH_WASM_TOOLCHAIN=rustup|distribution chooses)
  - make, Debian's package, with which the program's memory allocator is built
  - the ONNX Runtime library, from its Python wheel, into the cache of the user
  - MLflow's web interface, from its Python wheel, into the cache of the user, and Chromium, which the tests look at it
    with, from Debian's package
  - PostgreSQL's server, Debian's package, for the tests that keep a catalog on it; they start servers of their own
  - the stock MLflow client that tests drive the server with, in a Python environment in the cache of the user

  --gpu   also the library for CUDA devices (270 MB to download)";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let ([gpu], others) = flags(arguments, ["--gpu"])?;
    anyhow::ensure!(others.is_empty(), "setup takes no argument `{}`", others[0]);
    make()?;
    let toolchain = Toolchain::install(repo)?;
    shell::say(&format!("{TARGET}: {}", toolchain.describe(repo)?));
    report(Flavour::Cpu)?;
    shell::say(&format!("mlflow's web interface {}: {}", webui::VERSION, webui::install()?.display()));
    shell::say(&format!("PostgreSQL: {}", postgres()?.display()));
    registry()?;
    shell::say(&format!("stock MLflow client: {}", python::install(repo, python::MLFLOW)?.display()));
    if gpu {
        report(Flavour::Cuda)?;
    }
    Ok(())
}

/// What every other command needs first: silent where nothing is missing.
pub(crate) fn ensure(repo: &Repo) -> Result<Toolchain> {
    make()?;
    let toolchain = Toolchain::install(repo)?;
    onnxruntime::install(Flavour::Cpu)?;
    Ok(toolchain)
}

/// What jemalloc is built with.
fn make() -> Result<()> {
    debian::ensure("make", "make", "building the program's memory allocator")
}

/// An OCI registry, to and from which tests push and pull.
pub(crate) fn registry() -> Result<()> {
    debian::ensure("docker-registry", "docker-registry", "testing plugins in a registry")
}

/// The folder of PostgreSQL's programs, where Debian puts them or in PATH; installed first if it is not there.
pub(crate) fn postgres() -> Result<PathBuf> {
    if let Some(folder) = find_postgres() {
        return Ok(folder);
    }
    shell::apt_install(&["postgresql"], "testing catalogs on PostgreSQL")?;
    find_postgres()
        .context("Debian's package `postgresql` is installed, but brought no /usr/lib/postgresql/*/bin/initdb")
}

fn find_postgres() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = installed.map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").is_file())
}

fn report(flavour: Flavour) -> Result<()> {
    let library = onnxruntime::install(flavour)?;
    shell::say(&format!("{} {}: {}", flavour.package(), onnxruntime::VERSION, library.display()));
    Ok(())
}
