//! Programs that tests need and that come as packages of the distribution.

use anyhow::{Result, bail};

use crate::shell;

/// Installs a package unless its program is there.
pub(crate) fn ensure(program: &str, package: &str, purpose: &str) -> Result<()> {
    if shell::has(program) {
        return Ok(());
    }
    shell::apt_install(&[package], purpose)?;
    if !shell::has(program) {
        bail!("there is no `{program}` although the package {package} is installed");
    }
    Ok(())
}
