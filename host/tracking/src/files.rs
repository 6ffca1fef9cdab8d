//! Files by path, below one artifact root: artifacts of runs, of logged models, of experiments. Each names a blob, so
//! what is stored twice is stored once.

use plinth_core::{ContentHash, Micros, refs::path_problem};
use plinth_store::{Row, Tx, Value};
use serde::Serialize;

use crate::{Artifact, Tracking, TrackingError, names::cut, runs};

/// A file or a folder, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Below the folder that was listed: one name.
    pub name: String,
    /// Size of a file; nothing for a folder.
    pub bytes: Option<u64>,
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredFile {
    /// Its content.
    pub blob: ContentHash,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub updated: Micros,
}

impl Tracking {
    /// Lets a path name a stored blob; a path that is taken gets the new content.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`] if the path could lead anywhere else, or a file stands where a folder must.
    pub fn put_file(&self, path: &str, blob: ContentHash, bytes: u64) -> Result<(), TrackingError> {
        check_path(path)?;
        let now = self.clock.now();
        self.store.catalog().write(|tx| {
            for (at, _) in path.match_indices('/') {
                let above = &path[..at];
                if tx.query_one("SELECT 1 FROM files WHERE path = $1", &[above.into()])?.is_some() {
                    let reason = format!("`{}` is a file, not a folder", cut(above));
                    return Err(TrackingError::BadPath { path: cut(path), reason });
                }
            }
            put(tx, path, blob, bytes, now)
        })
    }

    /// The file of a path.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`], [`TrackingError::ArtifactNotFound`].
    pub fn file(&self, path: &str) -> Result<StoredFile, TrackingError> {
        check_path(path)?;
        let sql = "SELECT blob, bytes, updated_us FROM files WHERE path = $1";
        let row = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query_one(sql, &[path.into()])?))?;
        let row =
            row.ok_or_else(|| TrackingError::ArtifactNotFound { owner: "the artifact store".into(), path: cut(path) })?;
        Ok(StoredFile { blob: row.hash(0)?, bytes: row.int(1)? as u64, updated: row.int(2)? })
    }

    /// What lies directly in a folder, by name; nothing if there is no such folder. The root is the empty path.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`].
    pub fn list_files(&self, folder: &str) -> Result<Vec<Entry>, TrackingError> {
        let prefix = folder_prefix(folder)?;
        let mut entries: Vec<Entry> = Vec::new();
        for row in self.below(&prefix)? {
            let path = row.text(0)?;
            let rest = &path[prefix.len()..];
            match rest.split_once('/') {
                None => entries.push(Entry { name: rest.to_owned(), bytes: Some(row.int(2)? as u64) }),
                Some((name, _)) if entries.last().is_some_and(|last| last.name == name) => {}
                Some((name, _)) => entries.push(Entry { name: name.to_owned(), bytes: None }),
            }
        }
        // `a-b` sorts before `a/c` as a path, but after `a` as a name.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        Ok(entries)
    }

    /// Forgets a file, or everything below a folder; returns how many files that were. Their blobs are collected later.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`], [`TrackingError::Store`].
    pub fn delete_files(&self, path: &str) -> Result<u64, TrackingError> {
        check_path(path)?;
        let (from, to) = (format!("{path}/"), format!("{path}0"));
        self.store.catalog().write(|tx| {
            let sql = "DELETE FROM files WHERE path = $1 OR (path >= $2 AND path < $3)";
            Ok(tx.execute(sql, &[path.into(), from.into(), to.into()])?)
        })
    }

    /// Names a stored blob as one of a run's artifacts; a path that is taken gets the new content.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`], [`TrackingError::RunNotFound`].
    pub fn log_artifact(&self, run_id: &str, path: &str, blob: ContentHash, bytes: u64) -> Result<(), TrackingError> {
        check_path(path)?;
        let root = self.run_root(run_id)?;
        self.put_file(&format!("{root}/{path}"), blob, bytes)
    }

    /// A run's artifacts, by path.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn run_artifacts(&self, run_id: &str) -> Result<Vec<Artifact>, TrackingError> {
        let prefix = format!("{}/", self.run_root(run_id)?);
        self.below(&prefix)?
            .iter()
            .map(|row| {
                let path = row.text(0)?[prefix.len()..].to_owned();
                Ok(Artifact { path, blob: row.hash(1)?, bytes: row.int(2)? as u64 })
            })
            .collect()
    }

    /// `EXPERIMENT/RUN/artifacts`.
    fn run_root(&self, run_id: &str) -> Result<String, TrackingError> {
        let summary = self.store.catalog().read(|tx| runs::find(tx, run_id))?.1;
        Ok(format!("{}/{}/artifacts", summary.experiment_id, summary.run_id))
    }

    fn below(&self, prefix: &str) -> Result<Vec<Row>, TrackingError> {
        // `0` is the character after `/`: everything below a folder is one stretch of the key.
        let end = prefix.strip_suffix('/').map(|folder| format!("{folder}0"));
        let sql = "SELECT path, blob, bytes FROM files WHERE path >= $1 AND ($2 IS NULL OR path < $2) ORDER BY path";
        let parameters = [prefix.into(), end.into()];
        self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &parameters)?))
    }
}

/// Lets a path that was checked name a blob.
pub(crate) fn put(
    tx: &mut dyn Tx,
    path: &str,
    blob: ContentHash,
    bytes: u64,
    now: Micros,
) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO files (path, blob, bytes, updated_us) VALUES ($1, $2, $3, $4)
         ON CONFLICT (path) DO UPDATE SET blob = excluded.blob, bytes = excluded.bytes,
            updated_us = excluded.updated_us",
        &[path.into(), blob.into(), bytes.into(), Value::Int(now)],
    )?;
    Ok(())
}

fn folder_prefix(folder: &str) -> Result<String, TrackingError> {
    let folder = folder.trim_end_matches('/');
    if folder.is_empty() {
        return Ok(String::new());
    }
    check_path(folder)?;
    Ok(format!("{folder}/"))
}

fn check_path(path: &str) -> Result<(), TrackingError> {
    match path_problem(path).or(path.is_empty().then_some("it is empty")) {
        Some(reason) => Err(TrackingError::BadPath { path: cut(path), reason: reason.into() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store};

    use super::*;

    #[test]
    fn folders_are_what_paths_share() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
        let tracking = Tracking::new(store, Arc::new(FixedClock::at(1)), Arc::new(UuidIds), TrackingLimits::default());
        let blob = tracking.store().blobs().put(b"x").unwrap();
        for path in ["1/r/artifacts/a/x", "1/r/artifacts/a/y/z", "1/r/artifacts/a-b", "1/r/artifacts0"] {
            tracking.put_file(path, blob, 1).unwrap();
        }
        let list = |folder: &str| -> Vec<(String, bool)> {
            let entries = tracking.list_files(folder).unwrap();
            entries.into_iter().map(|entry| (entry.name, entry.bytes.is_none())).collect()
        };
        assert_eq!(list("1/r/artifacts"), [("a".to_owned(), true), ("a-b".to_owned(), false)]);
        assert_eq!(list("1/r/artifacts/a/"), [("x".to_owned(), false), ("y".to_owned(), true)]);
        assert_eq!(list(""), [("1".to_owned(), true)]);
        assert!(list("nowhere").is_empty());
        assert!(tracking.put_file("1/r/artifacts/a/x/below-a-file", blob, 1).is_err());
        assert_eq!(tracking.delete_files("1/r/artifacts/a").unwrap(), 2);
        assert_eq!(list("1/r/artifacts"), [("a-b".to_owned(), false)]);
        assert!(tracking.file("1/r/artifacts0").is_ok());
    }
}
