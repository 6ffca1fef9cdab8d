//! `cargo xtask check`: the rules of the house, each told by name with how long it took.
//!
//! Every rule runs even if an earlier one failed. The edges between our crates are checked here over `cargo metadata`,
//! and so are licences and sources, of which cargo-deny also sees what our tables do not: the texts of the licences, and
//! what crates of others bring.

pub(crate) mod deny;
mod edges;
pub(crate) mod frozen;
mod licences;
mod tree;
pub(crate) mod wit;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    docs, flags, once,
    repo::{Repo, Workspace},
    shell,
    toolchain::{self, TARGET, Toolchain},
};

pub(crate) const HELP: &str = "check

Runs every rule and lists those that are broken:
  format       rustfmt
  clippy       no warning, in the product, the plugins (natively and for WebAssembly) and the tests
  edges        which crate may use which, and which one owns each heavy dependency
  licences     of every dependency, and that all come from crates.io
  deny         cargo-deny: licences, bans, sources, and published vulnerabilities where their database can be reached
  docs         rustdoc without a warning
  wit          every package parses and every item is documented
  frozen       frozen versions of the WIT packages are what they were
  tree         file lengths, module comments, words and paths that do not belong
  generated    generated files are what the code says";

/// What a rule found: nothing, or what is wrong, one line or block each.
type Findings = Vec<String>;

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let ([], others) = flags(arguments, [])?;
    anyhow::ensure!(others.is_empty(), "check takes no argument `{}`", others[0]);
    let toolchain = Toolchain::install(repo)?;
    toolchain::ensure_checkers(repo)?;
    let rules: [(&str, &dyn Fn() -> Result<Findings>); 10] = [
        ("format", &|| format(repo)),
        ("tree", &|| tree::check(repo)),
        ("wit", &|| wit::check(&repo.path("wit"))),
        ("frozen", &|| frozen::check(&repo.path("wit"))),
        ("edges", &|| edges::check(repo)),
        ("licences", &|| licences::check(repo)),
        ("generated", &|| generated(repo)),
        ("deny", &|| deny::check(repo)),
        ("clippy", &|| clippy(repo, toolchain)),
        ("docs", &|| rustdoc(repo)),
    ];
    let mut broken = Vec::new();
    for (name, rule) in rules {
        let start = Instant::now();
        let findings = rule().unwrap_or_else(|error| vec![format!("{error:#}")]);
        let verdict = if findings.is_empty() { "ok" } else { "BROKEN" };
        shell::say(&format!("{name:<10} {verdict:<7} {}", shell::seconds(start.elapsed())));
        for finding in &findings {
            eprintln!("  {}", finding.trim_end().replace('\n', "\n  "));
        }
        if !findings.is_empty() {
            broken.push(name);
        }
    }
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

/// The outcome of commands that are their own judges; each of them runs.
fn commands(commands: impl IntoIterator<Item = std::process::Command>) -> Result<Findings> {
    let mut findings = Vec::new();
    for mut command in commands {
        let output = shell::output(&mut command)?;
        if !output.status.success() {
            findings.push(format!("$ {}\n{}", shell::line(&command), shell::said(&output)));
        }
    }
    Ok(findings)
}

fn format(repo: &Repo) -> Result<Findings> {
    commands([Workspace::Host, Workspace::Plugins].map(|workspace| {
        let mut command = repo.cargo(workspace);
        command.args(["fmt", "--all", "--check", "--", "--files-with-diff"]);
        command
    }))
}

fn clippy(repo: &Repo, toolchain: Toolchain) -> Result<Findings> {
    let product = if shell::in_ci() {
        let mut command = once::lint(repo, repo.cargo(Workspace::Host))?;
        command.args(locked());
        Some(command)
    } else {
        None
    };
    let rest = if product.is_some() { &[Workspace::Plugins][..] } else { &[Workspace::Host, Workspace::Plugins] };
    let native = rest.iter().map(|workspace| {
        let mut command = repo.cargo(*workspace);
        command.args(["clippy", "--workspace", "--all-targets", "--quiet"]);
        command
    });
    // The bindings exist only in a guest. The distribution's compiler comes without clippy, so there its own warnings
    // are all there is; they are seen when the plugins are built.
    let guest = (toolchain == Toolchain::Ordinary).then(|| {
        let mut command = toolchain.cargo(repo, "clippy");
        command.args(["--workspace", "--lib", "--quiet"]);
        command
    });
    if guest.is_none() {
        shell::say(&format!("clippy     cannot look at the plugins' code for {TARGET}: its compiler has none"));
    }
    let linted = native.chain(guest).map(|mut command| {
        command.args(locked()).args(["--", "-Dwarnings"]);
        command
    });
    commands(product.into_iter().chain(linted))
}

fn rustdoc(repo: &Repo) -> Result<Findings> {
    let documented = [Workspace::Host, Workspace::Plugins].map(|workspace| {
        let mut command = repo.cargo(workspace);
        if shell::in_ci() && workspace == Workspace::Host {
            command = once::document(repo, command)?;
        } else {
            command.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-Dwarnings");
        }
        command.args(locked());
        Ok(command)
    });
    commands(documented.into_iter().collect::<Result<Vec<_>>>()?)
}

fn generated(repo: &Repo) -> Result<Findings> {
    let stale = docs::pages(repo)?.into_iter().filter(|page| {
        // A page that cannot be read is as wrong as one that says something else.
        std::fs::read_to_string(repo.path(page.path)).unwrap_or_default() != page.content
    });
    Ok(stale.map(|page| format!("{} is not what the code says: run `cargo xtask docs`", page.path)).collect())
}

fn locked() -> Option<&'static str> {
    shell::in_ci().then_some("--locked")
}
