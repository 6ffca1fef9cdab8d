//! Where the blobs of a state directory lie, if not in it: a folder on another device, or a bucket. The state directory
//! notes the place, and the place bears the same mark, so that an empty mount point or another store's folder is never
//! taken for it. Every command finds it by itself. A bucket's mark is in the catalog too: servers on other machines that
//! share the catalog share the bucket.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use plinth_core::{IdGen, UuidIds};

use crate::{
    BucketUrl, Catalog, Location, Setup, StoreError,
    blob::Far,
    bucket::Bucket,
    cache::Cache,
    doctor::REFERENCES,
    remote::{self, Remote},
};

/// In the state directory: the mark, and the place.
const NOTE: &str = "blobs.location";
/// In the folder: the mark.
const MARK: &str = "plinth-blobs";
/// In the state directory: copies of what lies in a bucket.
const COPIES: &str = "copies";

/// The folder that holds `blobs/` and `tmp/`, and the bucket that they are copies of.
pub(crate) fn root(dir: &Path, setup: &Setup) -> Result<(PathBuf, Option<Far>), StoreError> {
    let Some((mark, place)) = noted(dir)? else { return Ok((dir.to_owned(), None)) };
    match place {
        Location::Folder(folder) if marked(&folder).as_deref() == Some(mark.as_str()) => Ok((folder, None)),
        Location::Folder(folder) => Err(StoreError::BlobsAway { folder }),
        Location::Bucket(url) => {
            let bucket = Bucket::new(&url, &setup.environment, &setup.artifacts)?;
            let (remote, cache) = (Remote::new(bucket, mark), Cache::new(setup.artifacts.cache_bytes_max));
            Ok((dir.join(COPIES), Some(Far { remote, cache })))
        }
    }
}

/// The bucket that was noted.
pub(crate) fn bucket(dir: &Path) -> Result<Option<BucketUrl>, StoreError> {
    Ok(noted(dir)?.and_then(|(_, place)| match place {
        Location::Bucket(url) => Some(url),
        Location::Folder(_) => None,
    }))
}

/// Lets the blobs lie in `place` from now on. A place that bears this directory's mark may be somewhere else than it was.
///
/// # Errors
/// [`StoreError::BlobsElsewhere`] if they lie somewhere else already; [`StoreError::Bucket`]; [`StoreError::Io`].
pub(crate) fn set(dir: &Path, place: &Location, setup: &Setup) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
    match place {
        Location::Folder(folder) => set_folder(dir, folder),
        Location::Bucket(url) => set_bucket(dir, url, setup),
    }
}

fn set_folder(dir: &Path, folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))?;
    let folder = fs::canonicalize(folder).map_err(|e| StoreError::io("open", folder, e))?;
    let found = marked(&folder);
    let mark = match noted(dir)? {
        Some((mark, Location::Folder(_))) if found.as_deref() == Some(mark.as_str()) => mark,
        Some((_, known)) => return Err(elsewhere(known, Location::Folder(folder))),
        None => {
            unused(dir, || Location::Folder(folder.clone()))?;
            if found.is_some() {
                return Err(elsewhere(Location::Folder(dir.to_owned()), Location::Folder(folder)));
            }
            UuidIds.next()
        }
    };
    // The mark first: a note without a mark would keep the store from being opened.
    write(&folder.join(MARK), &mark)?;
    note(dir, &mark, &Location::Folder(folder))
}

fn set_bucket(dir: &Path, url: &BucketUrl, setup: &Setup) -> Result<(), StoreError> {
    let wanted = || Location::Bucket(url.clone());
    let noted = noted(dir)?;
    // Whoever needs it looks whether it bears the mark; commands that need no artifact need no network.
    if noted.as_ref().is_some_and(|(_, known)| *known == wanted()) {
        return Ok(());
    }
    let bucket = Bucket::new(url, &setup.environment, &setup.artifacts)?;
    let found = bucket.get(remote::MARK)?;
    if let Some((mark, known)) = noted {
        if found.as_deref() != Some(mark.as_bytes()) {
            return Err(elsewhere(known, wanted()));
        }
        return note(dir, &mark, &wanted());
    }
    unused(dir, wanted)?;
    let catalog = match &setup.catalog {
        Some(url) => Catalog::connect(url)?,
        None => Catalog::open(&dir.join("catalog.db"))?,
    };
    // Of servers that start at once, one decides.
    let (mark, named) = catalog.write::<_, StoreError>(|tx| {
        let sql = "INSERT INTO artifact_store (name, mark) VALUES ('blobs', $1) ON CONFLICT (name) DO NOTHING";
        tx.execute(sql, &[UuidIds.next().into()])?;
        let row = tx.query_one("SELECT mark FROM artifact_store WHERE name = 'blobs'", &[])?;
        let mark = row.map_or_else(|| Ok(String::new()), |row| row.text(0))?;
        let mut named = false;
        for (table, ..) in REFERENCES {
            named |= tx.query_one(&format!("SELECT 1 FROM {table} LIMIT 1"), &[])?.is_some();
        }
        Ok((mark, named))
    })?;
    match found {
        Some(found) if found == mark.as_bytes() => {}
        Some(_) => return Err(StoreError::BucketTaken { place: url.to_string() }),
        // What the rows name lies somewhere else.
        None if named => {
            return Err(elsewhere(Location::Folder("another place, as the catalog has it".into()), wanted()));
        }
        None => {
            bucket.put(remote::MARK, Bytes::from(mark.clone()))?;
            if bucket.get(remote::MARK)?.as_deref() != Some(mark.as_bytes()) {
                return Err(StoreError::BucketTaken { place: url.to_string() });
            }
        }
    }
    note(dir, &mark, &wanted())
}

/// A state directory that has no note may not hold blobs by itself.
fn unused(dir: &Path, wanted: impl FnOnce() -> Location) -> Result<(), StoreError> {
    let own = dir.join("blobs");
    if fs::read_dir(&own).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(elsewhere(Location::Folder(own), wanted()));
    }
    Ok(())
}

fn elsewhere(known: Location, wanted: Location) -> StoreError {
    let path = |place: Location| PathBuf::from(place.to_string());
    StoreError::BlobsElsewhere { known: path(known), wanted: path(wanted) }
}

fn note(dir: &Path, mark: &str, place: &Location) -> Result<(), StoreError> {
    write(&dir.join(NOTE), &format!("{mark}\n{place}"))
}

fn noted(dir: &Path) -> Result<Option<(String, Location)>, StoreError> {
    let path = dir.join(NOTE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", &path, error)),
    };
    let Some((mark, place)) = text.split_once('\n') else { return Ok(None) };
    let place = match place.starts_with("s3://") {
        true => Location::Bucket(place.parse()?),
        false => Location::Folder(place.into()),
    };
    Ok(Some((mark.to_owned(), place)))
}

fn marked(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(MARK)).ok()
}

/// Whole or not at all, and durable.
fn write(path: &Path, text: &str) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(path);
    let failed = |e| StoreError::io("write", path, e);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{Access, Location, Setup, Store, StoreError};

    fn put_blobs_in(dir: &Path, folder: &Path) -> Result<(), StoreError> {
        Store::put_blobs_in(dir, &Location::Folder(folder.to_owned()), &Setup::default())
    }

    #[test]
    fn blobs_lie_where_they_were_put_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let (state, far) = (dir.path().join("state"), dir.path().join("far"));
        put_blobs_in(&state, &far).unwrap();
        put_blobs_in(&state, &far).unwrap();
        let open = || Store::open(&state, Access::Shared);
        let hash = open().unwrap().blobs().put(b"x").unwrap();
        assert!(far.join("blobs").is_dir() && !state.join("blobs").exists());
        // Moved, it is found once it is named; until then, nothing is made in its place.
        let further = dir.path().join("further");
        std::fs::rename(&far, &further).unwrap();
        std::fs::create_dir(&far).unwrap();
        assert!(matches!(open(), Err(StoreError::BlobsAway { .. })));
        assert_eq!(std::fs::read_dir(&far).unwrap().count(), 0);
        put_blobs_in(&state, &further).unwrap();
        assert_eq!(open().unwrap().blobs().get(&hash).unwrap(), b"x");
        // Not the folder of another, nor another folder.
        let other = dir.path().join("other");
        assert!(matches!(put_blobs_in(&other, &further), Err(StoreError::BlobsElsewhere { .. })));
        assert!(matches!(put_blobs_in(&state, &far), Err(StoreError::BlobsElsewhere { .. })));
        Store::open(&other, Access::Shared).unwrap().blobs().put(b"y").unwrap();
        assert!(matches!(put_blobs_in(&other, &dir.path().join("new")), Err(StoreError::BlobsElsewhere { .. })));
    }
}
