//! What is wrong with a state directory, and what can be done about it.

use std::{collections::HashSet, fs, path::Path};

use plinth_core::ContentHash;
use serde::Serialize;

use crate::{Access, Blobs, Setup, Store, StoreError, migrate, verify_audit};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// For a person: names the file, the blob or the row.
    pub what: String,
    /// What a repair does, or did.
    pub repair: String,
    /// Whether a repair was made.
    pub repaired: bool,
    /// Whether it is a loss, as opposed to leftovers.
    pub harmful: bool,
}

/// Tables that name blobs, and how a person calls their rows.
pub(crate) const REFERENCES: &[(&str, &str, &str)] = &[
    ("stage_outputs", "SELECT blob, stage_key || '/' || name FROM stage_outputs", "a stage's output"),
    ("files", "SELECT blob, path FROM files", "an artifact"),
    (
        "version_files",
        "SELECT blob, 'models:/' || model || '/' || version || ' ' || role FROM version_files",
        "a model version's file",
    ),
    ("upload_parts", "SELECT blob, upload_id || '/' || part FROM upload_parts", "a part of an upload"),
    ("captures", "SELECT blob, 'models:/' || model || '/' || version FROM captures", "captured requests"),
];

/// Looks at everything: the catalog's file, its migrations, the audit log, temporary files, every blob's bytes and
/// every reference to a blob. With `repair`, leftovers are removed, corrupt blobs are set aside in `quarantine/`, and
/// stage results that lost a blob are forgotten, so that the next run makes them again.
///
/// # Errors
/// [`StoreError::NoDirectory`]; [`StoreError`] if the directory cannot even be looked at; with `repair`, [`StoreError::InUse`].
pub fn doctor(dir: &Path, repair: bool) -> Result<Vec<Finding>, StoreError> {
    doctor_with(dir, None, repair)
}

/// The same for a state directory whose catalog is elsewhere, as in [`Store::open_with`].
///
/// # Errors
/// As [`doctor`].
pub fn doctor_with(dir: &Path, catalog: Option<&str>, repair: bool) -> Result<Vec<Finding>, StoreError> {
    doctor_set(dir, &Setup { catalog: catalog.map(str::to_owned), ..Setup::default() }, repair)
}

/// The same for a state directory that is opened as in [`Store::open_set`]. Of blobs in a bucket, the bucket's bytes are
/// read, whatever copies there are.
///
/// # Errors
/// As [`doctor`]; [`StoreError::Bucket`] if a bucket cannot be looked at.
pub fn doctor_set(dir: &Path, setup: &Setup, repair: bool) -> Result<Vec<Finding>, StoreError> {
    let access = if repair { Access::Writer { command: "plinth doctor --repair".into() } } else { Access::Shared };
    // Opening makes what is not there, and a doctor makes nothing.
    if !dir.is_dir() {
        return Err(StoreError::NoDirectory { dir: dir.to_owned() });
    }
    // Opening for repair sweeps them up; they are to be named all the same.
    let (root, far) = crate::location::root(dir, setup)?;
    let strays = Blobs::open(&root, far)?.strays(false)?;
    let store = Store::open_set(dir, setup, access)?;
    let mut findings = Vec::new();
    let mut found = |what: String, repair_text: &str, repaired, harmful| {
        findings.push(Finding { what, repair: repair_text.into(), repaired, harmful });
    };

    for line in store.catalog().integrity()? {
        found(format!("catalog.db: {line}"), "restore the catalog from a backup", false, true);
    }
    let path = store.catalog().name();
    if let Err(error) = store.catalog().read(|tx| migrate::verify(tx, &path)) {
        found(error.to_string(), "use the plinth that wrote it", false, true);
    }
    if let Err(error) = store.catalog().read(verify_audit) {
        found(error.to_string(), "restore the catalog from a backup", false, true);
    }
    for path in strays {
        found(format!("{} was left by a process that ended early", path.display()), "remove it", repair, false);
    }

    if let Some(far) = store.blobs().far() {
        for name in far.remote.abandoned(repair)? {
            found(format!("{name} was left by a collection that ended early"), "remove it", repair, false);
        }
        for strange in far.remote.list()?.1 {
            let name = far.remote.bucket().name(&strange.key);
            found(format!("{name} is no blob, but lies among them"), "none: look who put it there", false, false);
        }
    }
    let mut lost = Vec::new();
    let mut there = HashSet::new();
    for hash in store.blobs().list()? {
        there.insert(hash);
        match store.blobs().check(&hash) {
            Ok(()) => {}
            Err(error @ StoreError::BlobCorrupt { .. }) => {
                found(error.to_string(), "set it aside in quarantine/", repair, true);
                lost.push(hash);
                if repair {
                    quarantine(&store, &hash)?;
                }
            }
            // A server collects or repairs at the same time: what refers to it is looked at below.
            Err(StoreError::BlobNotFound { .. }) => {}
            // Its bytes are not known to be wrong, so it stays where it is and so does what refers to it.
            Err(error) => found(error.to_string(), "make it readable and look again", false, true),
        }
    }
    for (table, sql, kind) in REFERENCES {
        for row in store.catalog().read::<_, StoreError>(|tx| tx.query(sql, &[]))? {
            let (hash, owner) = (row.hash(0)?, row.text(1)?);
            // What was put since the blobs were listed is looked for by itself.
            if !lost.contains(&hash) && (there.contains(&hash) || store.blobs().contains(&hash)?) {
                continue;
            }
            let again = *table == "stage_outputs";
            let fix = if again {
                "forget the stage's result; the next run makes it again"
            } else {
                "restore the blob from a backup"
            };
            found(format!("blob {} of {kind} ({owner}) is lost", hash.short()), fix, repair && again, true);
            if repair && again {
                forget_stage(&store, &hash)?;
            }
        }
    }
    Ok(findings)
}

fn quarantine(store: &Store, hash: &ContentHash) -> Result<(), StoreError> {
    if let Some(far) = store.blobs().far() {
        return far.remote.quarantine(hash);
    }
    let folder = store.blobs().root().join("quarantine");
    fs::create_dir_all(&folder).map_err(|e| StoreError::io("create", &folder, e))?;
    let (from, to) = (store.blobs().path(hash), folder.join(hash.to_hex()));
    fs::rename(&from, &to).map_err(|e| StoreError::io("move", &from, e))
}

fn forget_stage(store: &Store, hash: &ContentHash) -> Result<(), StoreError> {
    store.catalog().write(|tx| {
        let keys = tx.query("SELECT DISTINCT stage_key FROM stage_outputs WHERE blob = $1", &[(*hash).into()])?;
        for row in keys {
            let key = [row.text(0)?.into()];
            tx.execute("DELETE FROM stage_outputs WHERE stage_key = $1", &key)?;
            tx.execute("DELETE FROM stage_runs WHERE stage_key = $1", &key)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_told_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("elsewhere");
        for repair in [false, true] {
            let error = doctor(&missing, repair).unwrap_err();
            assert_eq!(error.to_string(), format!("there is no state directory {}", missing.display()));
            assert_eq!(plinth_core::Coded::code(&error), plinth_core::codes::FILE_NOT_FOUND);
            assert!(!missing.exists());
        }
    }

    #[test]
    fn a_blob_that_cannot_be_read_is_named_and_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::Shared).unwrap();
        // A folder in its place cannot be read, even by a user who may read everything.
        let path = store.blobs().path(&ContentHash::of(b"x"));
        fs::create_dir_all(&path).unwrap();
        drop(store);
        let findings = doctor(dir.path(), true).unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].harmful && !findings[0].repaired && path.exists(), "{findings:?}");
    }
}
