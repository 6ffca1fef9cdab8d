//! `cargo xtask bench`: measures the hot paths in release.

use std::process::Command;

use anyhow::Result;

use crate::{
    languages, plugins, python,
    repo::{Repo, Workspace},
    setup, shell,
};

pub(crate) const HELP: &str = "bench [PART…] [--peers] [--json]

Builds everything in release, then prints figures as ratios against a peer or a physical limit. All arguments go to
the measuring program; without any, all parts are measured.

  --peers       only the tracking server, in one run with MLflow's own and with FastTrackML, which are installed from
                PyPI into the cache of the user
  --languages   only the same plugin in five languages; writes host/docs/plugin-languages.md";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let toolchain = setup::ensure(repo)?;
    plugins::build(repo, toolchain, &[])?;
    shell::say("building in release");
    shell::stream(repo.cargo(Workspace::Host).args([
        "build",
        "--release",
        "--workspace",
        "--bin",
        "plinth",
        "--bin",
        "plinth-bench",
    ]))?;
    if arguments.iter().any(|argument| argument == "--languages") {
        return languages::run(repo);
    }
    let mut bench = Command::new(repo.target().join("release/plinth-bench"));
    bench.current_dir(repo.root()).args(arguments.iter().filter(|argument| *argument != "--"));
    if arguments.iter().any(|argument| argument == "--peers") {
        bench.env("PLINTH_BENCH_MLFLOW", python::install(repo, python::MLFLOW)?);
        bench.env("PLINTH_BENCH_FASTTRACKML", python::install(repo, python::FASTTRACKML)?);
    }
    shell::stream(&mut bench)
}
