//! cargo-deny: its configuration, which is written from this tool's own tables, its installation, and running it.
//!
//! It is built from source into the user's cache, once for each version, because distributions do not have it. What it
//! needs beside the sources that cargo has anyway is the database of published vulnerabilities, which it fetches; where
//! that cannot be reached, the rest is checked and what was left out is said.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::{Findings, edges, licences};
use crate::{
    cache,
    repo::{Repo, Workspace, forget_cargo},
    shell,
};

/// Where the configuration is.
pub(crate) const CONFIG: &str = ".config/deny.toml";

/// The version that the configuration is written for.
const VERSION: &str = "0.20.2";

/// Runs cargo-deny.
pub(super) fn check(repo: &Repo) -> Result<Findings> {
    let program = install()?;
    let mut findings = Vec::new();
    let mut unreachable = false;
    for workspace in [Workspace::Host, Workspace::Plugins] {
        let deny = |checks: &[&str]| {
            let mut command = Command::new(&program);
            forget_cargo(&mut command);
            command.current_dir(repo.path(workspace.folder()));
            command.args(["--log-level", "error", "--config"]).arg(repo.path(CONFIG));
            command.args(["check", "--hide-inclusion-graph"]).args(checks);
            shell::output(&mut command)
        };
        // Who may name a heavy crate is a rule of the product: a guest is one package with what it needs.
        let offline: &[&str] = match workspace {
            Workspace::Host => &["bans", "licenses", "sources"],
            Workspace::Plugins => &["licenses", "sources"],
        };
        let offline = deny(offline)?;
        if !offline.status.success() {
            findings.push(shell::said(&offline));
        }
        let advisories = deny(&["advisories"])?;
        if !advisories.status.success() {
            let said = shell::said(&advisories);
            if said.contains("failed to fetch advisory database") {
                unreachable = true;
            } else {
                findings.push(said);
            }
        }
    }
    if unreachable {
        shell::say("deny       left out: published vulnerabilities, whose database cannot be reached from here");
    }
    Ok(findings)
}

/// The program, after building it if it is not there.
fn install() -> Result<PathBuf> {
    let folder = cache::folder()?.join("cargo-deny").join(VERSION);
    let program = folder.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    shell::say(&format!("building cargo-deny {VERSION} into {}, once; it takes a minute or two", folder.display()));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Outside of the checkout, whose settings are not its own.
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    command.current_dir(&folder);
    forget_cargo(&mut command);
    // It looks at some hundred packages: building it fast is worth more than running it fast.
    command
        .args(["install", "cargo-deny", "--locked", "--quiet", "--debug", "--version", VERSION, "--root"])
        .arg(&folder);
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    shell::read(&mut command).context("cannot build cargo-deny")?;
    Ok(program)
}

/// The configuration, as the tables have it.
pub(crate) fn config() -> String {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("    \"{name}\",\n")).collect::<String>();
    let heavy = edges::HEAVY.iter().filter(|heavy| heavy.only_ours).map(|heavy| {
        let wrappers: Vec<_> = heavy.wrappers().map(|wrapper| format!("\"{wrapper}\"")).collect();
        format!("    {{ crate = \"{}\", wrappers = [{}] }},\n", heavy.pattern, wrappers.join(", "))
    });
    let unchanged = licences::UNCHANGED
        .iter()
        .map(|(name, licence)| format!("    {{ crate = \"{name}\", allow = [\"{licence}\"] }},\n"));
    format!(
        "# Written by `cargo xtask docs` from the tables in host/xtask/src/check/.\n\
         [graph]\nall-features = true\n\n\
         [advisories]\nyanked = \"deny\"\n\n\
         [licenses]\nallow = [\n{}]\nexceptions = [\n{}]\nconfidence-threshold = 0.9\nunused-allowed-license = \"allow\"\n\n\
         [bans]\nmultiple-versions = \"allow\"\nwildcards = \"deny\"\nallow-wildcard-paths = true\ndeny = [\n{}]\n\n\
         [sources]\nunknown-registry = \"deny\"\nunknown-git = \"deny\"\n",
        quoted(licences::ALLOWED),
        unchanged.collect::<String>(),
        heavy.collect::<String>(),
    )
}
