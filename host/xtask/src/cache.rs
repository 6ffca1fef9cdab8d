//! The folder for what is fetched or built once for a user, whatever the number of checkouts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `plinth` in the cache folder of the user; it may not be there yet.
pub(crate) fn folder() -> Result<PathBuf> {
    // As the XDG base directory specification has it: a relative path is ignored.
    if let Some(folder) = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(folder.join("plinth"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set: there is no cache folder")?;
    Ok(Path::new(&home).join(".cache/plinth"))
}
