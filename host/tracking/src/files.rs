//! Files by path, below one artifact root: artifacts of runs, of logged models, of experiments. Each names a blob, so
//! what is stored twice is stored once.

use plinth_core::{ContentHash, Micros, refs::path_problem};
use plinth_store::{Row, Tx, Value};
use serde::Serialize;
use serde_json::json;

use crate::{Artifact, Tracking, TrackingError, names::cut, runs};

/// Rows that a listing reads at once.
const LISTED_AT_ONCE: u64 = 256;

/// A file or a folder, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Below the folder that was listed: one name.
    pub name: String,
    /// Size of a file; nothing for a folder.
    pub bytes: Option<u64>,
}

/// Where the files of something are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Here, below this path of the artifact store.
    Here(String),
    /// Somewhere that clients reach by themselves; a URI.
    Elsewhere(String),
}

impl Place {
    /// From a location as it is stored; an empty one means the usual place.
    pub(crate) fn of(location: &str, usual: impl FnOnce() -> String) -> Self {
        if location.is_empty() {
            return Self::Here(usual());
        }
        match location.strip_prefix("mlflow-artifacts:") {
            Some(path) if path.is_empty() || path.starts_with('/') => Self::Here(path.trim_matches('/').to_owned()),
            _ => Self::Elsewhere(location.to_owned()),
        }
    }

    /// The place of a path below it.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`].
    pub fn below(self, path: &str) -> Result<Self, TrackingError> {
        if path.is_empty() {
            return Ok(self);
        }
        check_path(path)?;
        let join = |root: String| if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") };
        Ok(match self {
            Self::Here(root) => Self::Here(join(root)),
            Self::Elsewhere(root) => Self::Elsewhere(join(root)),
        })
    }
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
            check_place(tx, path)?;
            self.note(tx, "artifact.put", path, &json!({"blob": blob.to_hex(), "bytes": bytes}))?;
            put(tx, path, blob, bytes, now)
        })
    }

    /// Whether a file may be put at a path, before its bytes are read.
    ///
    /// # Errors
    /// As [`Tracking::put_file`].
    pub fn check_new_file(&self, path: &str) -> Result<(), TrackingError> {
        check_path(path)?;
        self.store.catalog().read(|tx| check_place(tx, path))
    }

    /// Where a run's artifacts are.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn run_place(&self, run_id: &str) -> Result<Place, TrackingError> {
        let run = self.store.catalog().read(|tx| runs::find(tx, run_id))?.1;
        Ok(Place::of(&run.artifact_location, || format!("{}/{}/artifacts", run.experiment_id, run.run_id)))
    }

    /// Where a logged model's files are.
    ///
    /// # Errors
    /// [`TrackingError::LoggedModelNotFound`].
    pub fn logged_model_place(&self, model_id: &str) -> Result<Place, TrackingError> {
        let model = self.logged_model(model_id, true)?;
        let usual = || format!("{}/models/{}/artifacts", model.experiment_id, model.model_id);
        Ok(Place::of(&model.artifact_location, usual))
    }

    /// Where a registered version's files are. A source that names a run, a logged model or another version is
    /// followed.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`], and what is not found on the way.
    pub fn version_place(&self, name: &str, version: u64) -> Result<Place, TrackingError> {
        let uri = self.download_uri(name, version)?;
        if let Some(rest) = uri.strip_prefix("runs:/") {
            let (run_id, path) = rest.split_once('/').unwrap_or((rest, ""));
            return self.run_place(run_id)?.below(path);
        }
        match uri.strip_prefix("models:/").filter(|id| id.starts_with("m-") && !id.contains('/')) {
            Some(model_id) => self.logged_model_place(model_id),
            None => Ok(Place::of(&uri, String::new)),
        }
    }

    /// The file of a path.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`], [`TrackingError::ArtifactNotFound`].
    pub fn file(&self, path: &str) -> Result<StoredFile, TrackingError> {
        check_path(path)?;
        let sql = "SELECT blob, bytes, updated_us FROM files WHERE path = $1";
        let row = self.store.catalog().read(|tx| match tx.query_one(sql, &[path.into()])? {
            Some(row) => Ok(row),
            None => {
                check_place(tx, path)?;
                Err(TrackingError::ArtifactNotFound { owner: "the artifact store".into(), path: cut(path) })
            }
        })?;
        Ok(StoredFile { blob: row.hash(0)?, bytes: row.int(1)? as u64, updated: row.int(2)? })
    }

    /// What lies directly in a folder, by name; nothing if there is no such folder. The root is the empty path.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`].
    pub fn list_files(&self, folder: &str) -> Result<Vec<Entry>, TrackingError> {
        let prefix = folder_prefix(folder)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut from = prefix.clone();
        // `0` is the character after `/`: everything below a folder is one stretch of the key.
        let end = prefix.strip_suffix('/').map(|folder| format!("{folder}0"));
        let sql = "SELECT path, bytes FROM files WHERE path >= $1 AND ($2 IS NULL OR path < $2) ORDER BY path LIMIT $3";
        self.store.catalog().read::<_, TrackingError>(|tx| {
            loop {
                let rows = tx.query(sql, &[Value::from(&from), end.clone().into(), LISTED_AT_ONCE.into()])?;
                for row in &rows {
                    let path = row.text(0)?;
                    // Below a folder that is listed already.
                    if path < from {
                        continue;
                    }
                    let rest = &path[prefix.len()..];
                    match rest.split_once('/') {
                        None => {
                            entries.push(Entry { name: rest.to_owned(), bytes: Some(row.int(1)? as u64) });
                            // No path has a NUL in it, so this is the first that may come after it.
                            from = format!("{path}\u{1}");
                        }
                        // What is in the folder is stepped over, however much it is.
                        Some((name, _)) => {
                            entries.push(Entry { name: name.to_owned(), bytes: None });
                            from = format!("{prefix}{name}0");
                        }
                    }
                }
                if (rows.len() as u64) < LISTED_AT_ONCE {
                    return Ok(());
                }
            }
        })?;
        // `a-b` sorts before `a/c` as a path, but after `a` as a name.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
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
            let files = tx.execute(sql, &[path.into(), from.into(), to.into()])?;
            if files > 0 {
                self.note(tx, "artifact.delete", path, &json!({"files": files}))?;
            }
            Ok(files)
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
        self.files_below(&self.run_root(run_id)?)
    }

    /// Every file below a folder of the artifact store, by path from there; nothing if there is no such folder.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`].
    pub fn files_below(&self, folder: &str) -> Result<Vec<Artifact>, TrackingError> {
        let prefix = folder_prefix(folder)?;
        self.below(&prefix)?
            .iter()
            .map(|row| {
                let path = row.text(0)?[prefix.len()..].to_owned();
                Ok(Artifact { path, blob: row.hash(1)?, bytes: row.int(2)? as u64 })
            })
            .collect()
    }

    /// Where a run's artifacts are in the artifact store.
    fn run_root(&self, run_id: &str) -> Result<String, TrackingError> {
        match self.run_place(run_id)? {
            Place::Here(root) => Ok(root),
            Place::Elsewhere(uri) => {
                Err(TrackingError::Invalid(format!("the artifacts of run {} are at {}", cut(run_id), cut(&uri))))
            }
        }
    }

    fn below(&self, prefix: &str) -> Result<Vec<Row>, TrackingError> {
        // `0` is the character after `/`: everything below a folder is one stretch of the key.
        let end = prefix.strip_suffix('/').map(|folder| format!("{folder}0"));
        let sql = "SELECT path, blob, bytes FROM files WHERE path >= $1 AND ($2 IS NULL OR path < $2) ORDER BY path";
        let parameters = [prefix.into(), end.into()];
        self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &parameters)?))
    }
}

/// Whether there is room for a file at a path that was checked: no file where a folder must be, no folder where the
/// file is to be.
pub(crate) fn check_place(tx: &mut dyn Tx, path: &str) -> Result<(), TrackingError> {
    let refused = |reason: String| Err(TrackingError::BadPath { path: cut(path), reason });
    for (at, _) in path.match_indices('/') {
        let above = &path[..at];
        if tx.query_one("SELECT 1 FROM files WHERE path = $1", &[above.into()])?.is_some() {
            return refused(format!("`{}` is a file, not a folder", cut(above)));
        }
    }
    let (from, to) = (format!("{path}/"), format!("{path}0"));
    let sql = "SELECT 1 FROM files WHERE path >= $1 AND path < $2 LIMIT 1";
    match tx.query_one(sql, &[from.into(), to.into()])? {
        Some(_) => refused("it is a folder, not a file".into()),
        None => Ok(()),
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
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
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
        for n in 0..300 {
            tracking.put_file(&format!("2/many/{}/{n:03}", n % 2), blob, 1).unwrap();
            tracking.put_file(&format!("2/many/f{n:03}"), blob, 1).unwrap();
        }
        assert_eq!(list("2/many").len(), 302);
        assert_eq!(list("2/many/1").len(), 150);
        assert_eq!(list(""), [("1".to_owned(), true), ("2".to_owned(), true)]);
        assert_eq!(tracking.delete_files("2").unwrap(), 600);
        assert!(tracking.put_file("1/r/artifacts/a/x/below-a-file", blob, 1).is_err());
        assert!(tracking.put_file("1/r/artifacts/a", blob, 1).is_err(), "a folder");
        assert!(matches!(tracking.file("1/r/artifacts/a"), Err(TrackingError::BadPath { .. })));
        assert!(matches!(tracking.file("1/r/artifacts/b"), Err(TrackingError::ArtifactNotFound { .. })));
        assert_eq!(tracking.delete_files("1/r/artifacts/a").unwrap(), 2);
        assert_eq!(list("1/r/artifacts"), [("a-b".to_owned(), false)]);
        assert!(tracking.file("1/r/artifacts0").is_ok());
    }
}
