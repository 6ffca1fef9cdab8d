//! Where a test keeps its state: a folder, and a catalog in it or in a database.

use std::path::Path;

use plinth_store::{Access, Store};

#[derive(Debug)]
pub(crate) struct Place {
    dir: tempfile::TempDir,
    catalog: Option<String>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), catalog: None }
    }

    pub(crate) fn postgres() -> Self {
        Self::at(&plinth_test_catalog::postgres())
    }

    /// With the catalog of this URL.
    pub(crate) fn at(url: &str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), catalog: Some(url.to_owned()) }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn catalog(&self) -> Option<&str> {
        self.catalog.as_deref()
    }

    /// As another process would open it.
    pub(crate) fn open(&self) -> Store {
        Store::open_with(self.dir(), self.catalog(), Access::Shared).unwrap()
    }
}
