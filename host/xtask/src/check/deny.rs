//! cargo-deny: its configuration, which is written from this tool's own tables, and running it where it is installed.

use anyhow::Result;

use super::{Findings, edges, licences};
use crate::{
    repo::{Repo, Workspace},
    shell,
};

/// Where the configuration is.
pub(crate) const CONFIG: &str = ".config/deny.toml";

/// Runs cargo-deny, or says that it is not there.
pub(super) fn check(repo: &Repo) -> Result<Findings> {
    if !shell::has("cargo-deny") {
        shell::say("deny       cargo-deny is not installed: published vulnerabilities are not looked for");
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for workspace in [Workspace::Host, Workspace::Plugins] {
        let deny = |checks: &[&str]| {
            let mut command = repo.cargo(workspace);
            command.args(["deny", "--log-level", "error", "--config"]).arg(repo.path(CONFIG));
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
                shell::say("deny       the database of vulnerabilities cannot be reached: they are not looked for");
            } else {
                findings.push(said);
            }
        }
    }
    Ok(findings)
}

/// The configuration, as the tables have it.
pub(crate) fn config() -> String {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("    \"{name}\",\n")).collect::<String>();
    let heavy = edges::HEAVY.iter().filter(|heavy| heavy.only_ours).map(|heavy| {
        let wrappers: Vec<_> = heavy.wrappers().map(|wrapper| format!("\"{wrapper}\"")).collect();
        format!("    {{ crate = \"{}\", wrappers = [{}] }},\n", heavy.pattern, wrappers.join(", "))
    });
    format!(
        "# Written by `cargo xtask docs` from the tables in host/xtask/src/check/.\n\
         [graph]\nall-features = true\n\n\
         [advisories]\nyanked = \"deny\"\n\n\
         [licenses]\nallow = [\n{}]\nconfidence-threshold = 0.9\nunused-allowed-license = \"allow\"\n\n\
         [bans]\nmultiple-versions = \"allow\"\nwildcards = \"deny\"\nallow-wildcard-paths = true\ndeny = [\n{}]\n\n\
         [sources]\nunknown-registry = \"deny\"\nunknown-git = \"deny\"\n",
        quoted(licences::ALLOWED),
        heavy.collect::<String>(),
    )
}
