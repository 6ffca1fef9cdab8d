//! Random abuse from all guests at once against a host that serves, while good requests must not notice.
//!
//! Two processes. The **host** ([`host`]) is the server of `plinth serve`, put together from the same crates around a
//! real model version and its transform; beside it, on the same plugin engine and under the same limits, threads run
//! components that misbehave ([`abuse`], [`deeds`]). No command of the product runs other people's components in the
//! process that serves, so this is harder on the server than any of them. The **driver** ([`driver`]) trains the
//! model with the real `plinth`, asks the real `plinth serve` for the answers that are expected, sends good requests to
//! the host all the time ([`load`]) and compares every answer byte for byte, watches the host from outside, and judges
//! ([`report`]).
#![expect(clippy::print_stdout, reason = "a program that talks to a person")]

mod abuse;
mod deeds;
mod driver;
mod each;
mod guests;
mod host;
mod lent;
mod load;
mod report;
mod seed;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};

const HELP: &str = "plinth-soak --plinth FILE --plugins FOLDER --example FOLDER [--minutes N | --seconds N] [--seed N]
            [--json FILE] [--guest FILE]…
plinth-soak each --plugins FOLDER --neighbour FILE… --cache FOLDER --expected FILE [--guest FILE]… [--write]

  --plinth    the binary that trains the model and says what answers are right
  --plugins   the folder of the built components
  --example   the folder of the example that the model is trained of, examples/churn
  --minutes   how long [default: 10]
  --seed      of all that is random; printed, so that a run can be repeated
  --json      also writes the figures to a file
  --guest     one more component that misbehaves: by the names of its items, or a gate `misdeeds` by its option `deed`

`each` commits every misdeed by itself, in turn.
  --neighbour a transform that must not notice
  --cache     where compiled components are kept
  --expected  the file of the words in which each misdeed ends
  --write     writes this file";

/// What a run is asked for.
pub(crate) struct Plan {
    pub(crate) plinth: PathBuf,
    pub(crate) plugins: PathBuf,
    pub(crate) example: PathBuf,
    pub(crate) guests: Vec<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        // The host starts this for components that are not compiled yet.
        Some((first, [])) if first == "compile-worker" => return plinth_plugin::compile_worker(),
        Some((first, rest)) if first == "host" => host::run(rest).map(|()| true),
        Some((first, rest)) if first == "each" => each_plan(rest).and_then(|plan| each::run(&plan)),
        _ => plan(&arguments).and_then(|plan| driver::run(&plan)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("plinth-soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[String]) -> Result<Plan> {
    let (mut plinth, mut plugins, mut example, mut json) = (None, None, None, None);
    let (mut seconds, mut seed, mut guests) = (600, seed::from_the_clock(), Vec::new());
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("`{name}` wants a value\n{HELP}"))?;
        let path = || Some(std::path::absolute(value));
        match name.as_str() {
            "--plinth" => plinth = path().transpose()?,
            "--plugins" => plugins = path().transpose()?,
            "--example" => example = path().transpose()?,
            "--json" => json = path().transpose()?,
            "--guest" => guests.extend(path().transpose()?),
            "--minutes" => seconds = value.parse::<u64>().context("--minutes")? * 60,
            "--seconds" => seconds = value.parse().context("--seconds")?,
            "--seed" => seed = value.parse().context("--seed")?,
            _ => bail!("there is no `{name}`\n{HELP}"),
        }
    }
    Ok(Plan {
        plinth: plinth.context(HELP)?,
        plugins: plugins.context(HELP)?,
        example: example.context(HELP)?,
        guests,
        json,
        duration: Duration::from_secs(seconds.max(1)),
        seed,
    })
}

fn each_plan(arguments: &[String]) -> Result<each::Plan> {
    let (mut components, mut neighbours, mut cache, mut expected, mut write) =
        (Vec::new(), Vec::new(), None, None, false);
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        if name == "--write" {
            write = true;
            continue;
        }
        let value = arguments.next().with_context(|| format!("`{name}` wants a value\n{HELP}"))?;
        match name.as_str() {
            "--plugins" => components.extend(guests::in_rust(value.as_ref())),
            "--guest" => components.push(value.into()),
            "--neighbour" => neighbours.push(value.into()),
            "--cache" => cache = Some(value.into()),
            "--expected" => expected = Some(value.into()),
            _ => bail!("there is no `{name}`\n{HELP}"),
        }
    }
    let (cache, expected) = (cache.context(HELP)?, expected.context(HELP)?);
    Ok(each::Plan { components, neighbours, cache, expected, write })
}
