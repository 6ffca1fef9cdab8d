//! Python environments of the tests and of the benchmarks' peers: made once for a user, in the cache.
//!
//! Packages are fetched by `pip`, so that the user's own package index, proxy and certificates apply. Every version is
//! pinned; an environment is named after the pins it was made from, so that a change makes a new one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use plinth_core::ContentHash;

use crate::{cache, repo::Repo, shell};

/// The stock MLflow client, its server, and what drives them in tests.
pub(crate) const MLFLOW: (&str, &str) = ("mlflow", "tests/conformance/mlflow/requirements.txt");

/// The stock clients of the Open Inference Protocol.
pub(crate) const TRITON: (&str, &str) = ("tritonclient", "tests/conformance/oip/requirements.txt");

/// The fastest server there is that speaks MLflow's protocol.
pub(crate) const FASTTRACKML: (&str, &str) = ("fasttrackml", "tests/bench/fasttrackml.txt");

/// Servers of models, which ours is measured against.
pub(crate) const SERVERS: [(&str, &str); 5] = [
    ("fastapi", "tests/bench/peers/fastapi/requirements.txt"),
    ("mlserver", "tests/bench/peers/mlserver/requirements.txt"),
    ("kserve", "tests/bench/peers/kserve/requirements.txt"),
    ("bentoml", "tests/bench/peers/bentoml/requirements.txt"),
    ("litserve", "tests/bench/peers/litserve/requirements.txt"),
];

/// The `bin` folder of an environment, after making it if it is not there.
pub(crate) fn install(repo: &Repo, (name, pins): (&str, &str)) -> Result<PathBuf> {
    let pins = repo.path(pins);
    let text = fs::read(&pins).with_context(|| format!("cannot read {}", pins.display()))?;
    let hash = ContentHash::of(&text).to_string();
    let parent = cache::folder()?.join("python");
    let folder = parent.join(format!("{name}-{}", &hash[..12]));
    // Written last: where it is, all the rest is.
    let complete = folder.join("complete");
    if complete.is_file() {
        return Ok(folder.join("bin"));
    }
    fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let lock = fs::File::create(parent.join(format!("{name}.lock")))?;
    lock.lock().context("waiting for another process that makes the same environment")?;
    if complete.is_file() {
        return Ok(folder.join("bin"));
    }
    shell::say(&format!("making a Python environment with {name} in {}", folder.display()));
    if folder.exists() {
        // What a process left that was stopped at it.
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    make(&folder)?;
    shell::read(
        Command::new(folder.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary=:all:",
                "--no-deps",
            ])
            .arg("--requirement")
            .arg(&pins),
    )
    .with_context(|| format!("cannot install the packages of {}", pins.display()))?;
    fs::write(&complete, hash)?;
    Ok(folder.join("bin"))
}

fn make(folder: &Path) -> Result<()> {
    let venv = || shell::read(Command::new("python3").args(["-m", "venv"]).arg(folder)).map(drop);
    if venv().is_ok() {
        return Ok(());
    }
    // Debian splits the module off.
    shell::apt_install(&["python3", "python3-venv"], "an environment of Python packages")?;
    venv()
}
