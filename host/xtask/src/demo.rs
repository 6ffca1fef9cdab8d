//! `cargo xtask demo`: the product's main job from nothing, each step as a user would type it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{plugins, repo::Repo, setup, shell, test};

pub(crate) const HELP: &str = "demo

Installs what is missing, builds the components and the `plinth` binary, then walks a real model through its whole
life in a folder of its own below target/.";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    anyhow::ensure!(arguments.is_empty(), "demo takes no argument `{}`", arguments[0]);
    let toolchain = setup::ensure(repo)?;
    plugins::build(repo, toolchain, &[])?;
    shell::say("building plinth");
    shell::stream(&mut test::build_binary(repo))?;
    story(&Stage::prepare(repo)?)
}

/// The steps, in order.
fn story(stage: &Stage) -> Result<()> {
    stage.step("What is installed", &["--version"], 0)
}

/// Where the demo plays: the built binary and a project folder of its own.
struct Stage {
    plinth: PathBuf,
    plugins: PathBuf,
    project: PathBuf,
}

impl Stage {
    /// A fresh copy of the churn example, so that the demo starts from nothing every time.
    fn prepare(repo: &Repo) -> Result<Self> {
        let project = repo.target().join("demo");
        if project.exists() {
            std::fs::remove_dir_all(&project).with_context(|| format!("cannot empty {}", project.display()))?;
        }
        copy(&repo.path("examples/churn"), &project)?;
        Ok(Self { plinth: repo.target().join("debug/plinth"), plugins: plugins::folder(repo), project })
    }

    /// Shows a title and the command, runs it with its output on the screen, and checks how it ended.
    fn step(&self, title: &str, arguments: &[&str], expected: i32) -> Result<()> {
        println!("\n── {title}\n$ plinth {}", arguments.join(" "));
        let mut command = Command::new(&self.plinth);
        command.args(arguments).current_dir(&self.project).env("PLINTH_PLUGINS", &self.plugins);
        let status = command.status().with_context(|| format!("cannot start `{}`", shell::line(&command)))?;
        if status.code() != Some(expected) {
            bail!("`plinth {}` ended with {status}; {expected} was expected", arguments.join(" "));
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}
