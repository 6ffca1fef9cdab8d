//! This tool in the place of `rustc`, for the packages of the plugins' workspace.
//!
//! cargo tells rustc apart two crates of one name by `-C metadata`, a hash that holds the absolute path of a package
//! outside of its workspace's folder, as the SDK is. The hash goes into symbol names, and so the folder of the checkout
//! would go into a component's bytes, which are its identity. In this workspace a crate's name alone tells it apart.

use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

/// Set where this tool is started in the place of `rustc`.
pub(crate) const MARK: &str = "PLINTH_XTASK_IS_RUSTC";

/// Makes cargo start this tool for the packages of its workspace.
pub(crate) fn install(cargo: &mut Command) -> Result<()> {
    let this = std::env::current_exe().context("this tool does not know where it is")?;
    cargo.env("RUSTC_WORKSPACE_WRAPPER", this).env(MARK, "1");
    Ok(())
}

/// Runs the `rustc` that the first argument names with the others, the metadata replaced.
pub(crate) fn run(arguments: &[String]) -> Result<ExitStatus> {
    let (rustc, arguments) = arguments.split_first().context("cargo names no rustc")?;
    let mut command = Command::new(rustc);
    command.args(with_stable_metadata(arguments)).env_remove(MARK);
    command.status().with_context(|| format!("cannot start {rustc}"))
}

fn with_stable_metadata(arguments: &[String]) -> Vec<String> {
    let after = |flag: &str| arguments.iter().skip_while(move |argument| *argument != flag).nth(1);
    // Asked for its version, rustc gets no crate.
    let Some(name) = after("--crate-name") else { return arguments.to_vec() };
    let replace = |argument: &String| match argument.strip_prefix("metadata=") {
        Some(_) => format!("metadata={name}"),
        None => argument.clone(),
    };
    arguments.iter().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_crate_is_told_apart_by_its_name_wherever_the_checkout_is() {
        let given = words("--crate-name evil --edition=2024 -C metadata=0123456789abcdef -C extra-filename=-0123");
        let expected = words("--crate-name evil --edition=2024 -C metadata=evil -C extra-filename=-0123");
        assert_eq!(with_stable_metadata(&given), expected);
    }

    #[test]
    fn other_questions_to_rustc_are_passed_on() {
        assert_eq!(with_stable_metadata(&words("-vV")), words("-vV"));
    }
}
