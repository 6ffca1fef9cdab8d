//! `cargo xtask bench`: measures the hot paths in release.

use std::process::Command;

use anyhow::Result;

use crate::{
    plugins,
    repo::{Repo, Workspace},
    setup, shell,
};

pub(crate) const HELP: &str = "bench [PART…] [--json]

Builds everything in release, then prints figures as ratios against a peer or a physical limit. All arguments go to
the measuring program; without any, all parts are measured.";

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
    let arguments = arguments.iter().filter(|argument| *argument != "--");
    shell::stream(Command::new(repo.target().join("release/plinth-bench")).current_dir(repo.root()).args(arguments))
}
