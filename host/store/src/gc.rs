//! Removes blobs that nothing refers to.
//!
//! Writers go on meanwhile. A blob is put before the row that names it, so for a moment it has no row: what is younger
//! than a grace period stays, and putting bytes that are there already makes their file young again. Between looking and
//! removing, a writer may come: a blob is set aside first, looked at once more, and put back if it became young or got a
//! row. A collector that dies leaves what it had set aside, and the next writer's lock puts it back. In a bucket, where
//! nothing can be set aside in one step, a collector announces what it is about to remove (see `remote`).
//!
//! Documents of pipelines name further blobs by their hash; whatever looks like one counts.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use plinth_core::ContentHash;
use serde::Serialize;

use crate::{Store, StoreError, blob::Held, doctor::REFERENCES, remote::is_young};

/// Largest document that is searched for hashes.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// What a collection found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Blobs that something refers to.
    pub kept: u64,
    /// Blobs that nothing refers to, but that are too young to be sure.
    pub young: u64,
    /// Blobs that were removed, or would have been.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
}

/// Removes every blob that is older than `grace` and that nothing refers to. With `dry_run` nothing is removed, and
/// files below the folders `gone` count as if they were not there any more. Pipelines must not run meanwhile: the store
/// has to be open as the writer.
///
/// # Errors
/// [`StoreError`]; what was removed by then stays removed, and doing it again goes on.
pub fn collect(store: &Store, grace: Duration, dry_run: bool, gone: &[String]) -> Result<Collected, StoreError> {
    if let Some(far) = store.blobs().far() {
        far.remote.abandoned(!dry_run)?;
    }
    let held = store.blobs().held()?;
    let referenced = referenced(store, gone, &held)?;
    let mut collected = Collected::default();
    for Held { hash, bytes, modified } in held {
        if referenced.contains(&hash) {
            collected.kept += 1;
        } else if is_young(modified, grace) {
            collected.young += 1;
        } else if dry_run || remove(store, &hash, grace)? {
            collected.removed += 1;
            collected.removed_bytes += bytes;
        } else {
            collected.kept += 1;
        }
    }
    Ok(collected)
}

/// Everything that a row names, or that a document names which a row names.
fn referenced(store: &Store, gone: &[String], held: &[Held]) -> Result<HashSet<ContentHash>, StoreError> {
    let mut gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    gone.sort_unstable();
    let is_gone = |path: &str| {
        // The last folder that sorts before a path is the only one that it can be in, unless folders are nested.
        let after = gone.partition_point(|folder| *folder <= path);
        gone[..after]
            .iter()
            .rev()
            .take(2)
            .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    let mut found = HashSet::new();
    let mut documents = Vec::new();
    store.catalog().read::<_, StoreError>(|tx| {
        for (table, sql, _) in REFERENCES {
            for row in tx.query(sql, &[])? {
                let hash = row.hash(0)?;
                if *table == "files" && is_gone(&row.text(1)?) {
                    continue;
                }
                if found.insert(hash) && *table != "files" {
                    documents.push(hash);
                }
            }
        }
        for sql in [
            "SELECT spec FROM versions",
            "SELECT report FROM checks",
            "SELECT evidence FROM approvals",
            // One can be rolled back to what it was.
            "SELECT spec FROM endpoints UNION SELECT spec FROM endpoint_events WHERE spec IS NOT NULL",
        ] {
            for row in tx.query(sql, &[])? {
                hashes(row.text(0)?.as_bytes(), |hash| {
                    if found.insert(hash) {
                        documents.push(hash);
                    }
                });
            }
        }
        Ok(())
    })?;
    let sizes: HashMap<ContentHash, u64> = held.iter().map(|held| (held.hash, held.bytes)).collect();
    while let Some(hash) = documents.pop() {
        // One that was put after the blobs were listed names nothing that is old and that no other names.
        if sizes.get(&hash).is_none_or(|bytes| *bytes > DOCUMENT_BYTES_MAX) {
            continue;
        }
        let bytes = match store.blobs().get(&hash) {
            Ok(bytes) => bytes,
            Err(StoreError::BlobNotFound { .. }) => continue,
            // What a damaged document named cannot be known: nothing is removed before somebody looked at it.
            Err(error) => return Err(error),
        };
        if bytes.first() == Some(&b'{') {
            hashes(&bytes, |hash| {
                if found.insert(hash) {
                    documents.push(hash);
                }
            });
        }
    }
    Ok(found)
}

/// Every run of 64 hexadecimal digits.
fn hashes(bytes: &[u8], mut each: impl FnMut(ContentHash)) {
    for word in bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|word| word.len() == 64) {
        if let Some(hash) = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok()) {
            each(hash);
        }
    }
}

/// Removes a blob unless somebody needs it meanwhile; says whether it was removed.
fn remove(store: &Store, hash: &ContentHash, grace: Duration) -> Result<bool, StoreError> {
    let path = store.blobs().path(hash);
    if let Some(far) = store.blobs().far() {
        let removed = far.remote.remove(hash, grace, || is_named(store, hash))?;
        if removed {
            // A copy that stays is found out when it is read for the last time: nothing names it.
            drop(fs::remove_file(&path));
        }
        return Ok(removed);
    }
    let folder = aside(store.blobs().root());
    fs::create_dir_all(&folder).map_err(|e| StoreError::io("create", &folder, e))?;
    let set_aside = folder.join(hash.to_hex());
    fs::rename(&path, &set_aside).map_err(|e| StoreError::io("move", &path, e))?;
    // Whoever put the same bytes before this moment made the file young; whoever comes later writes it anew.
    let modified = fs::metadata(&set_aside).and_then(|meta| meta.modified());
    let modified = modified.map_err(|e| StoreError::io("look at", &set_aside, e))?;
    if is_young(modified, grace) || is_named(store, hash)? {
        put_back(&set_aside, &path)?;
        return Ok(false);
    }
    fs::remove_file(&set_aside).map_err(|e| StoreError::io("remove", &set_aside, e))?;
    Ok(true)
}

fn is_named(store: &Store, hash: &ContentHash) -> Result<bool, StoreError> {
    store.catalog().read(|tx| {
        for (table, ..) in REFERENCES {
            let sql = format!("SELECT 1 FROM {table} WHERE blob = $1 LIMIT 1");
            if tx.query_one(&sql, &[(*hash).into()])?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

fn aside(dir: &Path) -> PathBuf {
    dir.join("collected")
}

fn put_back(set_aside: &Path, path: &Path) -> Result<(), StoreError> {
    // The bytes are the same: it does not matter whose file stays.
    fs::rename(set_aside, path).map_err(|e| StoreError::io("move", set_aside, e))
}

/// Puts back what a collector had set aside when it died. Only for who holds the writer's lock.
pub(crate) fn recover(dir: &Path, path_of: impl Fn(&ContentHash) -> PathBuf) -> Result<(), StoreError> {
    let folder = aside(dir);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("read", &folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| StoreError::io("read", &folder, e))?;
        if let Ok(hash) = entry.file_name().to_string_lossy().parse() {
            put_back(&entry.path(), &path_of(&hash))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::Access;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn writer(dir: &Path) -> Store {
        Store::open(dir, Access::Writer { command: "test".into() }).unwrap()
    }

    fn put(store: &Store, bytes: &[u8], age: Duration) -> ContentHash {
        let hash = store.blobs().put(bytes).unwrap();
        let file = fs::File::options().write(true).open(store.blobs().path(&hash)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        hash
    }

    fn name(store: &Store, path: &str, hash: ContentHash) {
        let sql = "INSERT INTO files (path, blob, bytes, updated_us) VALUES ($1, $2, 1, 0)";
        store.catalog().write::<_, StoreError>(|tx| tx.execute(sql, &[path.into(), hash.into()])).unwrap();
    }

    #[test]
    fn only_what_is_old_and_unnamed_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = writer(dir.path());
        let named = put(&store, b"named", 2 * HOUR);
        name(&store, "1/r/artifacts/a", named);
        let (old, young) = (put(&store, b"old", 2 * HOUR), put(&store, b"young", HOUR / 2));
        // A document that a stage made names another blob.
        let inner = put(&store, b"inner", 2 * HOUR);
        let document = put(&store, format!("{{\"onnx\":\"{}\"}}", inner.to_hex()).as_bytes(), 2 * HOUR);
        store
            .catalog()
            .write::<_, StoreError>(|tx| {
                tx.execute("INSERT INTO stage_runs VALUES ('k', 'p', 's', 'ok', 'r', 0, 0, '1')", &[])?;
                let sql = "INSERT INTO stage_outputs (stage_key, name, blob, bytes) VALUES ('k', 'o', $1, 1)";
                tx.execute(sql, &[document.into()])
            })
            .unwrap();
        let wanted = Collected { kept: 3, young: 1, removed: 1, removed_bytes: 3 };
        assert_eq!(collect(&store, HOUR, true, &[]).unwrap(), wanted);
        assert!(store.blobs().contains(&old).unwrap(), "a dry run");
        let gone = collect(&store, HOUR, true, &["1/r".to_owned(), "1/r/x".to_owned(), "2".to_owned()]).unwrap();
        assert_eq!((gone.kept, gone.removed), (2, 2));
        assert_eq!(collect(&store, HOUR, false, &[]).unwrap(), wanted);
        assert!(!store.blobs().contains(&old).unwrap());
        for hash in [named, young, inner, document] {
            assert!(store.blobs().contains(&hash).unwrap());
        }
        assert_eq!(collect(&store, HOUR, false, &[]).unwrap().removed, 0);
    }

    #[test]
    fn bytes_that_are_put_again_are_young_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = writer(dir.path());
        let hash = put(&store, b"twice", 2 * HOUR);
        store.blobs().put(b"twice").unwrap();
        assert_eq!(collect(&store, HOUR, false, &[]).unwrap().young, 1);
        // The same in the moment between looking and removing.
        assert!(!remove(&store, &hash, HOUR).unwrap());
        let hash = put(&store, b"named late", 2 * HOUR);
        name(&store, "x", hash);
        assert!(!remove(&store, &hash, HOUR).unwrap());
        assert_eq!(store.blobs().get(&hash).unwrap(), b"named late");
    }

    #[test]
    fn writers_and_a_collector_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = writer(dir.path());
        for n in 0..20_u8 {
            put(&store, &[n; 100], 2 * HOUR);
        }
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|w| {
                    let store = &store;
                    scope.spawn(move || {
                        for n in 0..20_u8 {
                            let hash = store.blobs().put(&[n; 100]).unwrap();
                            name(store, &format!("{w}/{n}"), hash);
                        }
                    })
                })
                .collect();
            while writers.iter().any(|writer| !writer.is_finished()) {
                collect(&store, HOUR, false, &[]).unwrap();
            }
        });
        for n in 0..20_u8 {
            assert_eq!(store.blobs().get(&ContentHash::of(&[n; 100])).unwrap(), [n; 100]);
        }
    }

    #[test]
    fn what_a_dead_collector_had_set_aside_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = writer(dir.path());
        let hash = put(&store, b"aside", 2 * HOUR);
        fs::create_dir_all(aside(dir.path())).unwrap();
        fs::rename(store.blobs().path(&hash), aside(dir.path()).join(hash.to_hex())).unwrap();
        drop(store);
        assert_eq!(writer(dir.path()).blobs().get(&hash).unwrap(), b"aside");
    }
}
