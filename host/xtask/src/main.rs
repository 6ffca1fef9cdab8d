//! The only build tool: `cargo xtask COMMAND`.
//!
//! It installs what is missing, builds the sandboxed components, checks the rules of the house, runs the tests, the
//! demo and the benchmarks. It is built first on every machine, so it deliberately knows no heavy dependency: it
//! drives `cargo`, `rustup`, `pip` and `apt-get`, and does only two things itself, turning a core module into a
//! component and comparing generated files.
//!
//! Start at [`COMMANDS`]. Invariants: a second run does nothing twice; nothing is installed outside the checkout and
//! the user's cache without a line that says so first; a check that could not run is never reported as passed.

mod bench;
mod cache;
mod check;
mod component;
mod debian;
mod demo;
mod docs;
mod languages;
mod once;
mod onnxruntime;
mod plugins;
mod python;
mod repo;
mod setup;
mod shell;
mod test;
mod toolchain;
mod webui;
mod wrapper;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};

use crate::repo::Repo;

/// One command of the tool.
struct Command {
    name: &'static str,
    /// One line for the list.
    summary: &'static str,
    /// What `--help` says below the summary.
    help: &'static str,
    run: fn(&Repo, &[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        summary: "Prepare everything, then walk a real model through its whole life",
        help: demo::HELP,
        run: demo::run,
    },
    Command { name: "test", summary: "Prepare everything, then run every test", help: test::HELP, run: test::run },
    Command {
        name: "check",
        summary: "Format, lints, crate edges, licences, documentation, WIT, generated files",
        help: check::HELP,
        run: check::run,
    },
    Command {
        name: "plugins",
        summary: "Build the first-party components into target/plugins",
        help: plugins::HELP,
        run: plugins::run,
    },
    Command {
        name: "setup",
        summary: "Install what is missing: the wasm target, the ONNX Runtime library, a browser",
        help: setup::HELP,
        run: setup::run,
    },
    Command { name: "bench", summary: "Build in release and measure", help: bench::HELP, run: bench::run },
    Command { name: "docs", summary: "Write the generated reference pages", help: docs::HELP, run: docs::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os(wrapper::MARK).is_some() {
        return match wrapper::run(&arguments) {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
            Err(error) => failed(&error),
        };
    }
    if let Some(rustdoc) = std::env::var_os(once::MARK) {
        return match once::run(rustdoc.as_ref(), &arguments) {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => failed(&error),
        };
    }
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        print_commands();
        return Ok(());
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print_commands();
        return Ok(());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let hint = plinth_core::did_you_mean(name, COMMANDS.iter().map(|command| command.name));
        bail!("there is no command `{name}`: {hint}");
    };
    // What follows `--` belongs to the program that the command starts.
    let own = rest.iter().take_while(|argument| *argument != "--");
    if own.clone().any(|argument| argument == "--help" || argument == "-h") {
        println!("{}\n\nUsage: cargo xtask {}", command.summary, command.help);
        return Ok(());
    }
    let start = Instant::now();
    (command.run)(&Repo::find()?, rest)?;
    shell::say(&format!("{name}: done in {}", shell::seconds(start.elapsed())));
    Ok(())
}

fn print_commands() {
    println!("The build tool of Plinth\n\nUsage: cargo xtask COMMAND [--help]\n");
    for command in COMMANDS {
        println!("  {:<8} {}", command.name, command.summary);
    }
}

/// Splits the flags that a command knows from its other arguments; refuses an unknown flag.
///
/// Everything after `--` is an argument, whatever it looks like.
fn flags<const N: usize>(arguments: &[String], known: [&str; N]) -> Result<([bool; N], Vec<String>)> {
    let mut set = [false; N];
    let mut others = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            others.extend(rest.cloned());
            break;
        }
        if let Some(index) = known.iter().position(|flag| flag == argument) {
            set[index] = true;
        } else if argument.starts_with('-') {
            bail!("unknown flag `{argument}`: {}", plinth_core::did_you_mean(argument, known));
        } else {
            others.push(argument.clone());
        }
    }
    Ok((set, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_told_from_arguments_and_unknown_ones_are_refused() {
        let (set, others) = flags(&words("one --gpu two"), ["--gpu", "--all"]).unwrap();
        assert_eq!((set, others), ([true, false], words("one two")));
        let error = flags(&words("--gpus"), ["--gpu"]).unwrap_err().to_string();
        assert!(error.contains("--gpus") && error.contains("--gpu`"), "{error}");
    }

    #[test]
    fn what_follows_two_dashes_is_passed_on_untouched() {
        let (set, others) = flags(&words("-- --gpu -x"), ["--gpu"]).unwrap();
        assert_eq!((set, others), ([false], words("--gpu -x")));
    }

    #[test]
    fn an_unknown_command_names_the_nearest_one() {
        let error = dispatch(&words("tets")).unwrap_err().to_string();
        assert!(error.contains("`tets`") && error.contains("test"), "{error}");
    }
}
