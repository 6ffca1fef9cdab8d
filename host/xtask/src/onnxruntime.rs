//! The ONNX Runtime library, from its Python wheel into the user's cache, where `plinth` looks for it.
//!
//! The wheel is fetched by `pip`, so that the user's own package index, proxy and certificates apply, and accepted
//! only with the hash that is written here, so that it does not matter which index that is. The library is all that
//! is taken from it: the Python version of the wheel and of the machine need not agree.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cache, shell};

/// The one version that this checkout is tested with; `plinth` takes any from 1.24 on.
pub(crate) const VERSION: &str = "1.25.1";

/// Which of the two builds of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Runs models on the processor.
    Cpu,
    /// Runs models on NVIDIA devices.
    Cuda,
}

/// One wheel: flavour, machine, and the sha256 of the file for CPython 3.12.
const WHEELS: [(Flavour, &str, &str); 3] = [
    (Flavour::Cpu, "x86_64", "905409e9eb2ef87f8226e073f56e71faf731c3e480ebd34952cf953730e4a4ff"),
    (Flavour::Cpu, "aarch64", "a5f41779f044d1ff75593df5c10a4d311bc82563687796d5218e2685b8f9da25"),
    (Flavour::Cuda, "x86_64", "264b65ed81c1a32c2e410423ef3e4ba3ebb603c099d5a374c8780fbeb3496239"),
];

/// Takes the libraries out of a wheel: the wheel, the folder to write to, then the names of the files.
const UNPACK: &str = "
import os, shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in sys.argv[3:]:
        with wheel.open('onnxruntime/capi/' + name) as source, open(os.path.join(sys.argv[2], name), 'wb') as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
";

impl Flavour {
    /// The name of the Python package, and of the folder in the cache.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Cpu => "onnxruntime",
            Self::Cuda => "onnxruntime-gpu",
        }
    }

    /// The files of the wheel that are needed to run models.
    fn files(self) -> Vec<String> {
        let main = format!("libonnxruntime.so.{VERSION}");
        match self {
            Self::Cpu => vec![main],
            Self::Cuda => {
                vec![main, "libonnxruntime_providers_shared.so".into(), "libonnxruntime_providers_cuda.so".into()]
            }
        }
    }
}

/// The library's path, after fetching it if it is not there.
pub(crate) fn install(flavour: Flavour) -> Result<PathBuf> {
    let folder = cache::folder()?.join(flavour.package()).join(VERSION);
    let files = flavour.files();
    let library = folder.join(&files[0]);
    if files.iter().all(|file| folder.join(file).is_file()) {
        return Ok(library);
    }
    if std::env::consts::OS != "linux" {
        bail!("the ONNX Runtime library is fetched for Linux only; put {} there yourself", library.display());
    }
    let machine = std::env::consts::ARCH;
    let Some((.., hash)) = WHEELS.iter().find(|(f, m, _)| *f == flavour && *m == machine) else {
        bail!("there is no {} wheel for {machine}", flavour.package());
    };
    shell::say(&format!("fetching {} {VERSION} into {}", flavour.package(), folder.display()));
    ensure_pip()?;
    let parent = folder.parent().context("a version's folder has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // Beside its place, so that the rename at the end stays on one disk and nobody sees half a library.
    let work = parent.join(format!(".fetching-{}", std::process::id()));
    let done = fetch(flavour, machine, hash, &work).and_then(|()| publish(&work.join("unpacked"), &folder, &files));
    // What is left of the work is of no use whether it went well or not; the outcome that counts is `done`.
    fs::remove_dir_all(&work).ok();
    done?;
    Ok(library)
}

fn fetch(flavour: Flavour, machine: &str, hash: &str, work: &Path) -> Result<()> {
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&unpacked).with_context(|| format!("cannot create {}", unpacked.display()))?;
    let requirement = work.join("requirements.txt");
    fs::write(&requirement, format!("{}=={VERSION} --hash=sha256:{hash}\n", flavour.package()))?;
    shell::read(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"])
            .args(["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"])
            .args(["--platform", &format!("manylinux_2_28_{machine}")])
            .arg("--dest")
            .arg(work)
            .arg("--requirement")
            .arg(&requirement),
    )
    .with_context(|| format!("cannot fetch the Python package {}=={VERSION}", flavour.package()))?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip fetched no wheel")?;
    shell::read(Command::new("python3").args(["-c", UNPACK]).arg(&wheel).arg(&unpacked).args(flavour.files()))
        .with_context(|| format!("cannot unpack {}", wheel.display()))?;
    Ok(())
}

/// Moves the files into place, the main library last: where it is, the others are.
fn publish(unpacked: &Path, folder: &Path, files: &[String]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for file in files.iter().rev() {
        fs::rename(unpacked.join(file), folder.join(file))
            .with_context(|| format!("cannot move {file} into {}", folder.display()))?;
    }
    Ok(())
}

/// Makes sure that `python3 -m pip` works.
pub(crate) fn ensure_pip() -> Result<()> {
    let works =
        || shell::output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok_and(|o| o.status.success());
    if works() {
        return Ok(());
    }
    shell::apt_install(&["python3", "python3-pip"], "fetching the ONNX Runtime library")?;
    if !works() {
        bail!("python3 -m pip does not work although python3 and python3-pip are installed");
    }
    Ok(())
}
