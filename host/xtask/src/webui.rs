//! What the tests of MLflow's web interface need: its build, from the Python wheel into the user's cache, and Chromium.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{cache, debian, onnxruntime, shell};

/// The one version that this checkout is tested with; its protocol is the server's.
pub(crate) const VERSION: &str = "3.17.2";

/// The sha256 of the wheel, which is the same for every machine.
const HASH: &str = "4e44c03791beb518d8b0a40b0982d958c2634d902f46d67d7907c82107f21fac";

/// Takes the build out of a wheel: the wheel, then the folder to write to.
const UNPACK: &str = "
import os, shutil, sys, zipfile
root = 'mlflow/server/js/build/'
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        parts = name[len(root):].split('/')
        if not name.startswith(root) or name.endswith('/') or '..' in parts:
            continue
        target = os.path.join(sys.argv[2], *parts)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with wheel.open(name) as source, open(target, 'wb') as file:
            shutil.copyfileobj(source, file)
";

/// Installs what is missing; the folder of the build.
pub(crate) fn install() -> Result<PathBuf> {
    debian::ensure("chromium", "chromium", "testing the web interface")?;
    let folder = cache::folder()?.join("mlflow-ui").join(VERSION);
    if folder.join("index.html").is_file() {
        return Ok(folder);
    }
    shell::say(&format!("fetching MLflow's web interface {VERSION} into {}", folder.display()));
    onnxruntime::ensure_pip()?;
    let parent = folder.parent().context("a version's folder has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // Beside its place, so that the rename at the end stays on one disk and nobody sees half of it.
    let work = parent.join(format!(".fetching-{}", std::process::id()));
    let done = fetch(&work).and_then(|build| {
        fs::rename(&build, &folder).with_context(|| format!("cannot move the build to {}", folder.display()))
    });
    // What is left of the work is of no use whether it went well or not; the outcome that counts is `done`.
    fs::remove_dir_all(&work).ok();
    done?;
    Ok(folder)
}

fn fetch(work: &Path) -> Result<PathBuf> {
    let build = work.join("build");
    fs::create_dir_all(&build).with_context(|| format!("cannot create {}", build.display()))?;
    let requirement = work.join("requirements.txt");
    fs::write(&requirement, format!("mlflow=={VERSION} --hash=sha256:{HASH}\n"))?;
    shell::read(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"])
            // The Python that runs it does not matter: no more than files are taken from it.
            .args(["--python-version", "3.12"])
            .arg("--dest")
            .arg(work)
            .arg("--requirement")
            .arg(&requirement),
    )
    .with_context(|| format!("cannot fetch the Python package mlflow=={VERSION}"))?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip fetched no wheel")?;
    shell::read(Command::new("python3").args(["-c", UNPACK]).arg(&wheel).arg(&build))
        .with_context(|| format!("cannot unpack {}", wheel.display()))?;
    Ok(build)
}
