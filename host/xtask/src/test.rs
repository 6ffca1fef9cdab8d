//! `cargo xtask test`: prepares everything, then runs every test.

use std::{path::Path, process::Command};

use anyhow::Result;
use serde_json::Value;

use crate::{
    flags, plugins, python,
    repo::{Repo, Workspace},
    setup, shell, webui,
};

pub(crate) const HELP: &str =
    "test [--nextest] [--clients] [--soak [--minutes N] [--seed N] [--json FILE]] [-- ARGUMENT…]

Installs what is missing, builds the components and the `plinth` binary, then runs the tests of the product, of the
plugins and of the SDK, and drives the binary with the stock clients of MLflow and Triton. The tracking server's are run twice: with
the catalog on SQLite and on PostgreSQL. Arguments after `--` go to `cargo test` of the product (a test's name, for
example).

  --nextest   run the product's tests with cargo-nextest, which must be installed
  --clients   only the stock clients against the binary; arguments after `--` go to pytest
  --soak      only random abuse from all guests at once against a host that serves, for 10 minutes or N; the ordinary
              run has 20 seconds of it";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    if let Some(at) = arguments.iter().position(|argument| argument == "--soak") {
        prepare(repo)?;
        return soak(repo, &[&arguments[..at], &arguments[at + 1..]].concat());
    }
    let ([nextest, only_clients], others) = flags(arguments, ["--nextest", "--clients"])?;
    prepare(repo)?;
    if only_clients {
        return clients(repo, &others);
    }
    webui::install()?;
    setup::postgres()?;
    setup::registry()?;
    shell::say("testing the product");
    let mut host = repo.cargo(Workspace::Host);
    if nextest {
        host.args(["nextest", "run"]);
    } else {
        host.arg("test");
    }
    host.arg("--workspace").args(locked()).args(&others);
    shell::stream(&mut host)?;
    if nextest {
        // nextest does not run the examples in documentation comments.
        shell::stream(repo.cargo(Workspace::Host).args(["test", "--workspace", "--doc"]).args(locked()))?;
    }
    if others.is_empty() {
        on_postgres(repo)?;
    }
    shell::say("testing the plugins and the SDK natively");
    shell::stream(repo.cargo(Workspace::Plugins).args(["test", "--workspace"]).args(locked()))?;
    sdks(repo)?;
    clients(repo, &[])?;
    shell::say("every test passed");
    Ok(())
}

/// The SDKs' own tests, natively, with the tools that `plinth plugin build` builds with.
fn sdks(repo: &Repo) -> Result<()> {
    let tool = |name: &str| -> Result<String> {
        let mut plinth = Command::new(repo.target().join("debug/plinth"));
        Ok(shell::read(plinth.args(["plugin", "tool", name]))?.trim().to_owned())
    };
    shell::say("testing the SDKs of C, Go, JavaScript and Python natively");
    shell::stream(Command::new("bash").arg(repo.path("sdk/c/tests/run.sh")))?;
    shell::stream(Command::new("bash").arg(repo.path("sdk/go/tests/run.sh")).env("GO", tool("go")?))?;
    shell::stream(
        Command::new(tool("python")?)
            .args(["-m", "unittest", "discover", "--top-level-directory", ".", "--start-directory", "tests"])
            .current_dir(repo.path("sdk/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    )?;
    let mut node = Command::new(tool("node")?);
    shell::stream(node.arg("--test").current_dir(repo.path("sdk/js")))
}

/// Abuses a host that serves, from all guests at once.
fn soak(repo: &Repo, arguments: &[String]) -> Result<()> {
    shell::stream(repo.cargo(Workspace::Host).args(["build", "--workspace", "--bin", "plinth-soak"]).args(locked()))?;
    let built = |name: &str| repo.target().join("debug").join(name);
    let mut soak = Command::new(built("plinth-soak"));
    soak.arg("--plinth").arg(built("plinth")).arg("--plugins").arg(plugins::folder(repo));
    soak.arg("--example").arg(repo.path("examples/churn")).args(arguments);
    // The gates that misbehave in other languages, each as its own toolchain makes it.
    let folder = repo.target().join("soak");
    std::fs::create_dir_all(&folder)?;
    let mut sdks: Vec<_> = std::fs::read_dir(repo.path("sdk"))?.flatten().map(|entry| entry.path()).collect();
    sdks.sort();
    for project in sdks.iter().map(|sdk| sdk.join("tests/misdeeds")).filter(|project| project.is_dir()) {
        let language = project.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let component = folder.join(format!("misdeeds-{language}.wasm"));
        let mut build = Command::new(built("plinth"));
        shell::stream(build.args(["plugin", "build"]).arg(&project).arg("--output").arg(&component))?;
        soak.arg("--guest").arg(component);
    }
    shell::stream(&mut soak)
}

/// Drives the built binary with other people's clients.
fn clients(repo: &Repo, arguments: &[String]) -> Result<()> {
    for (client, (environment, folder), workers) in [
        ("the stock MLflow client", (python::MLFLOW, "tests/conformance/mlflow"), &["--numprocesses", "auto"][..]),
        ("tritonclient", (python::TRITON, "tests/conformance/oip"), &[]),
    ] {
        let bin = python::install(repo, environment)?;
        shell::say(&format!("driving plinth with {client}"));
        shell::stream(
            Command::new(bin.join("python"))
                .args(["-m", "pytest"])
                .args(workers)
                .args(arguments)
                .current_dir(repo.path(folder))
                .env("PLINTH_BIN", repo.target().join("debug/plinth"))
                .env("PYTHONDONTWRITEBYTECODE", "1"),
        )?;
    }
    Ok(())
}

/// The suites of the tracking server once more, with their catalogs on PostgreSQL; what was built for SQLite serves.
fn on_postgres(repo: &Repo) -> Result<()> {
    let mut list = repo.cargo(Workspace::Host);
    list.args(["test", "--workspace", "--no-run", "--message-format=json"]).args(locked());
    let built = shell::read(&mut list)?;
    let messages = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut suites = 0;
    for message in messages {
        let (target, kind) = (&message["target"]["name"], &message["target"]["kind"][0]);
        let wanted = (target == "plinth_tracking" && kind == "lib") || (target == "tracking" && kind == "test");
        let (Some(executable), true) = (message["executable"].as_str(), wanted) else { continue };
        shell::say(&format!("testing {} on PostgreSQL", target.as_str().unwrap_or_default()));
        let mut suite = Command::new(executable);
        if let Some(folder) = message["manifest_path"].as_str().and_then(|path| Path::new(path).parent()) {
            suite.current_dir(folder);
        }
        shell::stream(suite.env("PLINTH_TEST_CATALOG", "postgres"))?;
        suites += 1;
    }
    anyhow::ensure!(
        suites == 2,
        "{suites} suites ran on PostgreSQL, where those of plinth-tracking and plinth-api should"
    );
    Ok(())
}

/// What tests and the demo need: what is installed, the components, and the `plinth` binary.
pub(crate) fn prepare(repo: &Repo) -> Result<()> {
    let toolchain = setup::ensure(repo)?;
    shell::say("building plinth and its components");
    std::thread::scope(|scope| {
        // Side by side: each component ends in a link that keeps one core busy and leaves the others to the product.
        let components = scope.spawn(|| plugins::build(repo, toolchain, &[]));
        // The whole workspace is selected so that features are the same as in `cargo test --workspace` and nothing
        // heavy is compiled twice.
        let mut binary = repo.cargo(Workspace::Host);
        let binary = shell::stream(
            binary.args(["build", "--workspace", "--bin", "plinth", "--bin", "plinth-test-objects"]).args(locked()),
        );
        let components = components.join().map_err(|_| anyhow::anyhow!("building the components panicked"))?;
        binary.and(components.map(|_| ()))
    })
}

/// Elsewhere than in CI a lock file may follow its manifests.
fn locked() -> Option<&'static str> {
    shell::in_ci().then_some("--locked")
}
