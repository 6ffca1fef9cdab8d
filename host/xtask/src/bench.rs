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

  --peers       only what other products do as well, in one run with them; they are installed from PyPI into the cache
                of the user. `serve`: FastAPI, MLServer, KServe, BentoML and LitServe; writes host/docs/serving-speed.md.
                `tracking`: MLflow's own server and FastTrackML
  --quick       loads of a fifth of the time, to see whether everything runs; for figures that mean nothing
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
        let parts: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
        let asked = |part: &str| parts.is_empty() || parts.iter().any(|one| *one == part);
        let mut peers = Vec::new();
        if asked("serve") {
            peers.extend(python::SERVERS);
        }
        if asked("tracking") {
            peers.extend([python::MLFLOW, python::FASTTRACKML]);
        }
        for peer in peers {
            bench.env(format!("PLINTH_BENCH_{}", peer.0.to_uppercase()), python::install(repo, peer)?);
        }
    }
    shell::stream(&mut bench)
}
