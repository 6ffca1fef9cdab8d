//! `cargo xtask test`: prepares everything, then runs every test.

use anyhow::Result;

use crate::{
    flags, plugins,
    repo::{Repo, Workspace},
    setup, shell, webui,
};

pub(crate) const HELP: &str = "test [--nextest] [-- ARGUMENT…]

Installs what is missing, builds the components and the `plinth` binary, then runs the tests of the product, of the
plugins and of the SDK. Arguments after `--` go to `cargo test` of the product (a test's name, for example).

  --nextest   run the product's tests with cargo-nextest, which must be installed";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let ([nextest], others) = flags(arguments, ["--nextest"])?;
    prepare(repo)?;
    webui::install()?;
    shell::say("testing the product");
    let mut host = repo.cargo(Workspace::Host);
    if nextest {
        host.args(["nextest", "run"]);
    } else {
        host.arg("test");
    }
    host.arg("--workspace").args(locked()).args(others);
    shell::stream(&mut host)?;
    if nextest {
        // nextest does not run the examples in documentation comments.
        shell::stream(repo.cargo(Workspace::Host).args(["test", "--workspace", "--doc"]).args(locked()))?;
    }
    shell::say("testing the plugins and the SDK natively");
    shell::stream(repo.cargo(Workspace::Plugins).args(["test", "--workspace"]).args(locked()))?;
    shell::say("every test passed");
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
        let binary = shell::stream(binary.args(["build", "--workspace", "--bin", "plinth"]).args(locked()));
        let components = components.join().map_err(|_| anyhow::anyhow!("building the components panicked"))?;
        binary.and(components.map(|_| ()))
    })
}

/// Elsewhere than in CI a lock file may follow its manifests.
fn locked() -> Option<&'static str> {
    shell::in_ci().then_some("--locked")
}
