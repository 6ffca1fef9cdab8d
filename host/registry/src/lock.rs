//! `plinth.lock`: the plugins that a project pulled, by content.

use std::{collections::BTreeMap, io, path::Path};

use plinth_core::{Code, Coded, ContentHash, codes};
use serde::{Deserialize, Serialize};

/// The form of the file.
const VERSION: u32 = 1;

/// A lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It cannot be read or written.
    #[error("plinth.lock: {0}")]
    Io(#[from] io::Error),
    /// It is no lock file, or one of a later version.
    #[error("plinth.lock: {0}")]
    Form(String),
}

impl Coded for LockError {
    fn code(&self) -> Code {
        match self {
            Self::Io(_) => codes::IO,
            Self::Form(_) => codes::BAD_CONFIG,
        }
    }
}

/// What a project pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// By the name that the project knows each by.
    #[serde(default, rename = "plugin")]
    pub plugins: BTreeMap<String, Locked>,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Where it was pulled from, such as `registry.example/team/scale:1.2.0`.
    pub reference: String,
    /// The manifest's digest there, `sha256:…`: what the reference stood for.
    pub digest: String,
    /// The component's blake3.
    pub hash: ContentHash,
}

impl Default for Lock {
    fn default() -> Self {
        Self { version: VERSION, plugins: BTreeMap::new() }
    }
}

impl Lock {
    /// Reads a project's; an empty one if there is none.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text?,
        };
        let lock: Self = toml::from_str(&text).map_err(|error| LockError::Form(error.message().to_owned()))?;
        if lock.version != VERSION {
            let message = format!("it is of version {}, and this plinth knows {VERSION}", lock.version);
            return Err(LockError::Form(message));
        }
        Ok(lock)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let text = toml::to_string(self).map_err(|error| LockError::Form(error.to_string()))?;
        let beside = path.with_extension(format!("lock.{}", std::process::id()));
        std::fs::write(&beside, format!("# Written by `plinth plugin pull`; belongs under version control.\n{text}"))?;
        Ok(std::fs::rename(beside, path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plinth.lock");
        assert_eq!(Lock::read(&path).unwrap(), Lock::default());
        let mut lock = Lock::default();
        let one = Locked { reference: "r.example/a:1".into(), digest: "sha256:00".into(), hash: ContentHash::of(b"a") };
        lock.plugins.insert("a".into(), one);
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
        std::fs::write(&path, "version = 2").unwrap();
        assert!(Lock::read(&path).unwrap_err().to_string().contains("version 2"));
        std::fs::write(&path, "version = 1\nnonsense = 1").unwrap();
        assert!(Lock::read(&path).unwrap_err().to_string().contains("nonsense"));
    }
}
