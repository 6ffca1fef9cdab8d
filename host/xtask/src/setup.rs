//! `cargo xtask setup`: what a build, a test or the demo needs and cargo does not bring.

use anyhow::Result;

use crate::{
    flags,
    onnxruntime::{self, Flavour},
    repo::Repo,
    shell,
    toolchain::{TARGET, Toolchain},
    webui,
};

pub(crate) const HELP: &str = "setup [--gpu]

Installs what is missing and says so; a second run finds everything and changes nothing.
  - the compiler for wasm32-unknown-unknown: `rustup target add`, or Debian's packages where rustup cannot download
    (PLINTH_WASM_TOOLCHAIN=rustup|distribution chooses)
  - the ONNX Runtime library, from its Python wheel, into the cache of the user
  - MLflow's web interface, from its Python wheel, into the cache of the user, and Chromium, which the tests look at it
    with, from Debian's package

  --gpu   also the library for CUDA devices (270 MB to download)";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let ([gpu], others) = flags(arguments, ["--gpu"])?;
    anyhow::ensure!(others.is_empty(), "setup takes no argument `{}`", others[0]);
    let toolchain = Toolchain::install(repo)?;
    shell::say(&format!("{TARGET}: {}", toolchain.describe(repo)?));
    report(Flavour::Cpu)?;
    shell::say(&format!("mlflow's web interface {}: {}", webui::VERSION, webui::install()?.display()));
    if gpu {
        report(Flavour::Cuda)?;
    }
    Ok(())
}

/// What every other command needs first: silent where nothing is missing.
pub(crate) fn ensure(repo: &Repo) -> Result<Toolchain> {
    let toolchain = Toolchain::install(repo)?;
    onnxruntime::install(Flavour::Cpu)?;
    Ok(toolchain)
}

fn report(flavour: Flavour) -> Result<()> {
    let library = onnxruntime::install(flavour)?;
    shell::say(&format!("{} {}: {}", flavour.package(), onnxruntime::VERSION, library.display()));
    Ok(())
}
