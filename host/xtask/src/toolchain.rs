//! The compiler that turns plugins into WebAssembly.
//!
//! The ordinary one is the `cargo` that runs this tool, once its rustc has the standard library of the target; rustup
//! adds that where it can. A machine whose rustup cannot download gets the distribution's compiler, which builds the
//! standard library from its own sources once.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    repo::{Repo, Workspace, forget_cargo},
    shell,
};

/// The target of every plugin: no system interface at all, so a component imports only what the host offers.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Chooses a compiler instead of taking the first that works: `rustup` or `distribution`.
const CHOICE: &str = "PLINTH_WASM_TOOLCHAIN";

/// Where Debian puts the sources of the standard library that its compiler was built with.
const STD_SOURCES: &str = "/usr/lib/rustlib/src/rust/library";

/// Debian 12's names. The linker must be of the compiler's LLVM or later than the modules' features need.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];
const LINKER: &str = "wasm-ld-19";

/// Longest wait for `rustup … add`, in seconds: it retries by itself, and there is another way to the target.
const RUSTUP_SECONDS_MAX: &str = "180";

/// A compiler that can build for [`TARGET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The `cargo` that runs this tool.
    Ordinary,
    /// `/usr/bin/cargo` and `/usr/bin/rustc`, with the standard library built from source.
    Distribution,
}

impl Toolchain {
    /// A compiler that is ready, without installing anything.
    pub(crate) fn ready(repo: &Repo) -> Result<Option<Self>> {
        let choice = std::env::var(CHOICE).unwrap_or_default();
        let (ordinary, distribution) = match choice.as_str() {
            "" => (true, true),
            "rustup" => (true, false),
            "distribution" => (false, true),
            other => bail!("{CHOICE} is `{other}`: it may be `rustup` or `distribution`"),
        };
        if ordinary && has_target(repo)? {
            return Ok(Some(Self::Ordinary));
        }
        Ok((distribution && has_distribution()).then_some(Self::Distribution))
    }

    /// A compiler that is ready, after installing one if need be.
    pub(crate) fn install(repo: &Repo) -> Result<Self> {
        if let Some(toolchain) = Self::ready(repo)? {
            return Ok(toolchain);
        }
        let refusal = if std::env::var(CHOICE).is_ok_and(|choice| choice == "distribution") {
            format!("{CHOICE} asks for the distribution's")
        } else {
            match rustup_add(repo, "target", TARGET) {
                Ok(()) => match Self::ready(repo)? {
                    Some(toolchain) => return Ok(toolchain),
                    None => "rustup added the target, and rustc still does not have it".to_owned(),
                },
                Err(error) => format!("{error:#}"),
            }
        };
        shell::say(&format!("the compiler for {TARGET} comes from the distribution: {refusal}"));
        shell::apt_install(&PACKAGES, "compiling plugins to WebAssembly")
            .with_context(|| format!("no compiler for {TARGET}: rustup could not add it ({refusal})"))?;
        match Self::ready(repo)? {
            Some(toolchain) => Ok(toolchain),
            None => {
                bail!("the packages {} are installed, but {STD_SOURCES} or {LINKER} is missing", PACKAGES.join(", "))
            }
        }
    }

    /// The name and version for a person.
    pub(crate) fn describe(self, repo: &Repo) -> Result<String> {
        let version = shell::read(self.rustc(repo).arg("--version"))?;
        Ok(match self {
            Self::Ordinary => version.trim().to_owned(),
            Self::Distribution => format!("{} of the distribution", version.trim()),
        })
    }

    /// A `cargo` in the plugins' workspace that builds for [`TARGET`]; `build` is `build`, `rustc` and the like.
    pub(crate) fn cargo(self, repo: &Repo, build: &str) -> Command {
        let mut command = match self {
            Self::Ordinary => repo.cargo(Workspace::Plugins),
            Self::Distribution => {
                let mut command = Command::new("/usr/bin/cargo");
                command.current_dir(repo.path(Workspace::Plugins.folder()));
                forget_cargo(&mut command);
                // Only what lies beside this compiler may be found: rustup's shims would start another one.
                command.env("PATH", "/usr/bin:/bin").env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", LINKER);
                for name in ["CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER"] {
                    command.env_remove(name);
                }
                command
            }
        };
        command.args([build, "--target", TARGET]);
        if self == Self::Distribution {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", remaps(repo).join("\x1f"));
        command
    }

    fn rustc(self, repo: &Repo) -> Command {
        match self {
            Self::Ordinary => rustc(repo),
            Self::Distribution => {
                let mut command = Command::new("/usr/bin/rustc");
                forget_cargo(&mut command);
                command
            }
        }
    }
}

/// The host's own target triple.
pub(crate) fn host_triple(repo: &Repo) -> Result<String> {
    let version = shell::read(rustc(repo).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// The `rustc` beside the `cargo` that runs this tool.
fn rustc(repo: &Repo) -> Command {
    let beside = std::env::var_os("CARGO").map(PathBuf::from).map(|cargo| cargo.with_file_name("rustc"));
    let mut command = Command::new(beside.filter(|path| path.is_file()).unwrap_or_else(|| "rustc".into()));
    command.current_dir(repo.root());
    forget_cargo(&mut command);
    command
}

fn has_target(repo: &Repo) -> Result<bool> {
    let folder = shell::output(rustc(repo).args(["--print", "target-libdir", "--target", TARGET]))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim());
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(false) };
    Ok(entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

fn has_distribution() -> bool {
    ["/usr/bin/cargo", "/usr/bin/rustc"].iter().all(|path| Path::new(path).is_file())
        && Path::new(STD_SOURCES).join("std/Cargo.toml").is_file()
        && Path::new("/usr/bin").join(LINKER).is_file()
}

/// The tools of `cargo xtask check` that a minimal installation of Rust lacks, after adding those that are missing.
pub(crate) fn ensure_checkers(repo: &Repo) -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let present = shell::output(repo.cargo(Workspace::Host).args([subcommand, "--version"]))?;
        if !present.status.success() {
            rustup_add(repo, "component", component)
                .with_context(|| format!("`cargo {subcommand}` is missing and could not be added"))?;
        }
    }
    Ok(())
}

/// Adds a `target` or a `component` to the toolchain that builds here.
fn rustup_add(repo: &Repo, what: &str, name: &str) -> Result<()> {
    if !shell::has("rustup") {
        bail!("rustup is not installed");
    }
    shell::say(&format!("adding to the Rust toolchain: rustup {what} add {name}"));
    let mut command = if shell::has("timeout") {
        let mut command = Command::new("timeout");
        command.args([RUSTUP_SECONDS_MAX, "rustup"]);
        command
    } else {
        Command::new("rustup")
    };
    // In the checkout's root, so that the toolchain it adds to is the one that builds here.
    command.current_dir(repo.root()).args([what, "add", name]);
    forget_cargo(&mut command);
    shell::read(&mut command).map(|_| ())
}

/// Replaces the folders of this machine by fixed names: a component's bytes are its identity, and panic messages
/// hold paths.
fn remaps(repo: &Repo) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut folders = vec![(repo.root().to_path_buf(), "/plinth".to_owned()), (STD_SOURCES.into(), "/rust".to_owned())];
    // The folder below `src` is named after the registry, which may be a mirror.
    let sources = home.and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
    let mut sources: Vec<_> = sources.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    sources.sort();
    folders.extend(sources.into_iter().map(|path| (path, "/cargo".to_owned())));
    folders.into_iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect()
}
