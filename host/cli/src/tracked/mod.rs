//! What the tracking store holds, on the command line: `plinth experiment`, `plinth run list` and its siblings, `plinth
//! metrics`, `plinth artifact`, `plinth model`, `plinth trace`.
//!
//! Every command opens the state directory beside whoever else works in it, a running `plinth up` included: readers see
//! what was committed, small writes line up in the database, and the server sees them at once.
//!
//! `list` prints an array with `--json`, `search` a page with its `next_page_token`; times are microseconds since 1970,
//! numbers that JSON cannot say are MLflow's `"NaN"`, `"Infinity"` and `"-Infinity"`.

pub(crate) mod args;
mod artifacts;
mod columns;
mod compare;
mod download;
mod experiments;
mod metrics;
mod models;
mod names;
mod onnx;
mod page;
mod plot;
mod register;
mod runs;
mod show;
mod traces;
mod watch;

use std::{
    io::{BufRead, IsTerminal, Write},
    process::ExitCode,
};

use plinth_core::codes;
use plinth_tracking::View;
use serde_json::Value;

use crate::output::{Failure, Output, io_failure};
use args::ViewArg;

pub(crate) use self::{
    artifacts::artifact, experiments::experiment, metrics::metrics, models::model, runs::run, traces::trace,
};

/// Writes data as the flags want it.
fn print(output: Output, value: &Value, text: impl FnOnce() -> String) -> Result<ExitCode, Failure> {
    output.data(value, text).map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks before something is done that is not easily undone. Nobody to ask means no.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let mut stdin = std::io::stdin().lock();
    if !stdin.is_terminal() {
        return Err(Failure::new(codes::USAGE, format!("{question}? nobody is there to answer"))
            .hint("add --yes if that is what you want"));
    }
    let asked = write!(std::io::stderr().lock(), "{question}? [y/N] ");
    asked.map_err(|error| io_failure("stderr", &error))?;
    let mut answer = String::new();
    stdin.read_line(&mut answer).map_err(|error| io_failure("stdin", &error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(codes::INTERRUPTED, "nothing was deleted")),
    }
}

impl From<ViewArg> for View {
    fn from(view: ViewArg) -> Self {
        match view {
            ViewArg::Active => Self::Active,
            ViewArg::Deleted => Self::Deleted,
            ViewArg::All => Self::All,
        }
    }
}
