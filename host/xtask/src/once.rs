//! CI compiles the product once.
//!
//! `cargo clippy` and `cargo doc` want every dependency in a form of their own, which takes as long as building them. So
//! in CI our own crates are compiled by clippy's compiler, which is rustc with more lints, and what it makes is what the
//! demo and the tests run. The pages of rustdoc are looked at where cargo has its doctests run: it names every crate to
//! rustdoc, with the dependencies as they were built, and this tool, in rustdoc's place, asks for the page instead.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use anyhow::{Context, Result};

use crate::{repo::Repo, shell};

/// Set where this tool is started in the place of `rustdoc`: to the path of that.
pub(crate) const MARK: &str = "PLINTH_XTASK_IS_RUSTDOC";

/// Separates the arguments that clippy's compiler takes from the environment.
const CLIPPY_SEPARATOR: &str = "__CLIPPY_HACKERY__";

/// Has a `cargo` of the product's workspace compile our crates with clippy's compiler, if that is there. As an argument
/// and not in the environment, where builds of plugins that the tests start would find it.
pub(crate) fn install(cargo: &mut Command, root: &Path) {
    if let Ok(driver) = tool(root, "clippy-driver") {
        cargo.arg("--config").arg(format!("build.rustc-workspace-wrapper={:?}", driver.display().to_string()));
        cargo.env("CLIPPY_ARGS", format!("-Dwarnings{CLIPPY_SEPARATOR}"));
    }
}

/// The command that compiles everything with clippy's compiler: a warning is an error.
pub(crate) fn lint(repo: &Repo, mut cargo: Command) -> Result<Command> {
    tool(repo.root(), "clippy-driver")?;
    cargo.args(["test", "--workspace", "--all-targets", "--no-run", "--quiet"]);
    Ok(cargo)
}

/// The command that has every page made.
pub(crate) fn document(repo: &Repo, mut cargo: Command) -> Result<Command> {
    let this = std::env::current_exe().context("this tool does not know where it is")?;
    cargo.args(["test", "--workspace", "--doc", "--quiet"]).env("RUSTDOC", this);
    cargo.env(MARK, tool(repo.root(), "rustdoc")?).env("RUSTDOCFLAGS", "-Dwarnings");
    Ok(cargo)
}

fn tool(root: &Path, name: &str) -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    let sysroot = shell::read(rustc.current_dir(root).args(["--print", "sysroot"]))?;
    let path = Path::new(sysroot.trim()).join("bin").join(name);
    anyhow::ensure!(path.is_file(), "{} is missing", path.display());
    Ok(path)
}

/// Asks rustdoc for the page of the crate whose doctests it is told to run.
pub(crate) fn run(rustdoc: &Path, arguments: &[String]) -> Result<ExitStatus> {
    let mut command = Command::new(rustdoc);
    command.args(page(arguments)).env_remove(MARK);
    if arguments.iter().any(|argument| argument == "--test") {
        // Nobody reads it: what counts is what rustdoc says of it.
        let folder = std::env::temp_dir().join("plinth-xtask-pages");
        command.arg("--out-dir").arg(folder);
    }
    command.status().with_context(|| format!("cannot start {}", rustdoc.display()))
}

/// The arguments without those that are about doctests.
fn page(arguments: &[String]) -> Vec<String> {
    let mut rest = arguments.iter();
    let mut kept = Vec::new();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--test" => {}
            "--test-run-directory" | "--test-args" | "--test-runtool" | "--test-runtool-arg" => {
                rest.next();
            }
            _ => kept.push(argument.clone()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_about_doctests_is_left_out() {
        let given = words("--crate-name a --test src/lib.rs --test-run-directory /b --extern c=d --test-args e");
        assert_eq!(page(&given), words("--crate-name a src/lib.rs --extern c=d"));
        assert_eq!(page(&words("-vV")), words("-vV"));
    }
}
