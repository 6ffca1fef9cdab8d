//! The `plinth` binary: reads arguments and configuration, puts the crates together, runs one command.
//!
//! This is the composition root: the only place that knows both the domain crates and what stands behind their
//! traits (WebAssembly plugins, ONNX Runtime, SQLite). It holds no domain logic of its own.
//!
//! Invariants: stdout is data, stderr is talk; every failure ends in [`output::Failure`], whose code decides the
//! exit code; nothing is loaded before the command that needs it (`--version` touches no file, a pipeline run in
//! which everything is known loads no plugin and no ONNX Runtime).

mod access;
#[cfg(target_os = "linux")]
mod allocator;
mod answerer;
mod args;
mod captures;
mod components;
mod config;
mod doctor;
mod endpoint;
mod exchange;
mod explain;
mod explained;
mod gc;
mod host;
mod info;
mod listen;
mod logging;
mod models;
mod monitor;
mod onnx;
mod outfile;
mod output;
mod pages;
mod performance;
mod plugin;
mod plugins;
mod predict;
mod record;
mod replay;
mod rows;
mod run;
mod scorer;
mod serve;
mod services;
mod spans;
mod sql;
mod stages;
mod steward;
mod top;
mod tracked;
mod ui;
mod up;
mod webhook;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use plinth_core::codes;

use crate::{
    args::{Cli, Command, ConfigCommand, ExportCommand, ImportCommand, MonitorCommand, RunArgs},
    config::Settings,
    host::Host,
    output::{Failure, Output},
    plugin::PluginCommand,
};

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: allocator::BySize = allocator::BySize;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows which stream each belongs on.
            let code = if error.use_stderr() { 2 } else { 0 };
            if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
                Output { json: true, color: false, live: false }.error(&usage(&error));
            } else if error.use_stderr() {
                say_usage(&error);
            } else {
                let _ = error.print();
            }
            return ExitCode::from(code);
        }
    };
    let output = Output::new(&cli.global);
    #[cfg(target_os = "linux")]
    match cli.command {
        Command::Serve(_) | Command::Up(_) => allocator::return_large(),
        _ => allocator::keep_large(),
    }
    match dispatch(&cli, output) {
        Ok(code) => code,
        // Whoever read the rows has seen enough.
        Err(failure) if output::reader_left(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            output.error(&failure);
            ExitCode::from(failure.code.class().exit_code())
        }
    }
}

/// What clap says about a command line, with the code that all errors have.
fn say_usage(error: &clap::Error) {
    let said = error.render();
    let code = format!("error[{}]:", codes::USAGE);
    let colored = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let said = if colored { said.ansi().to_string() } else { said.to_string() };
    // Talk that cannot be heard is no reason to end otherwise.
    let _ = write!(std::io::stderr().lock(), "{}", said.replacen("error:", &code, 1));
}

/// What clap says about a command line, for those who read JSON.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let said: Vec<&str> = text.split("\n\n").next().unwrap_or_default().lines().map(str::trim).collect();
    let message = said.join(" ");
    Failure::new(codes::USAGE, message.strip_prefix("error: ").unwrap_or(&message)).hint("see --help")
}

fn dispatch(cli: &Cli, output: Output) -> Result<ExitCode, Failure> {
    // These need neither configuration nor state.
    match &cli.command {
        Command::Errors => return info::errors(output),
        Command::Completions { shell } => return info::completions(*shell),
        Command::Plugin(PluginCommand::CompileWorker) => return Ok(plinth_plugin::compile_worker()),
        _ => {}
    }
    let cwd = std::env::current_dir().map_err(|error| output::io_failure("the current folder", &error))?;
    let settings = Settings::load(&cli.global, &cwd, |name| std::env::var(name).ok())?;
    let log = logging::start(cli, &settings, output);
    match &cli.command {
        Command::Run(RunArgs { verb: Some(verb), .. }) | Command::Runs(verb) => {
            tracked::run(verb, &Host::open(settings, None, None)?, output)
        }
        Command::Run(args) => run::run(args, settings, output),
        Command::Up(args) => up::up(args, &settings, output),
        Command::Serve(args) => serve::serve(args, settings, log, output),
        Command::Endpoint(command) => endpoint::endpoint(command, &Host::open(settings, None, None)?, output),
        Command::Top(args) => top::top(args, output),
        Command::Sql(args) => sql::sql(args, &settings, output),
        Command::Predict(args) => predict::predict(args, settings, output),
        Command::Explain(args) => explain::explain(args, settings, output),
        Command::Replay(args) => replay::replay(args, settings, output),
        Command::Monitor(MonitorCommand::Check(args)) => monitor::check(args, settings, output),
        Command::Experiment(command) => tracked::experiment(command, &Host::open(settings, None, None)?, output),
        Command::Metrics(command) => tracked::metrics(command, &Host::open(settings, None, None)?, output),
        Command::Artifact(command) => tracked::artifact(command, &Host::open(settings, None, None)?, output),
        Command::Model(command) => tracked::model(command, &Host::open(settings, None, None)?, output),
        Command::Trace(command) => tracked::trace(command, &Host::open(settings, None, None)?, output),
        Command::User(command) => access::user(command, &Host::open(settings, None, None)?, output),
        Command::Token(command) => access::token(command, &Host::open(settings, None, None)?, output),
        Command::Webhook(command) => webhook::webhook(command, &Host::open(settings, None, None)?, output),
        Command::Audit(command) => access::audit(command, &Host::open(settings, None, None)?, output),
        Command::Plugin(command) => plugin::plugin(command, &settings, output),
        Command::Import(ImportCommand::Mlflow(args)) => exchange::import(args, &settings, output),
        Command::Export(ExportCommand::Mlflow(args)) => exchange::export(args, &settings, output),
        Command::Gc(args) => gc::gc(args, &settings, output),
        Command::Doctor(args) => doctor::doctor(args.repair, &settings, output),
        Command::Config(ConfigCommand::Show { origin }) => info::config(&settings, *origin, output),
        Command::Errors | Command::Completions { .. } => unreachable!("answered above"),
    }
}
