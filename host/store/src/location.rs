//! Where the blobs of a state directory lie, if not in it: a folder on another device, say. The state directory notes the
//! folder, and the folder bears the same mark, so that an empty mount point or another store's folder is never taken for
//! it. Every command finds it by itself.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use plinth_core::{IdGen, UuidIds};

use crate::StoreError;

/// In the state directory: the mark, and the folder.
const NOTE: &str = "blobs.location";
/// In the folder: the mark.
const MARK: &str = "plinth-blobs";

/// The folder that holds `blobs/` and `tmp/`.
pub(crate) fn root(dir: &Path) -> Result<PathBuf, StoreError> {
    let Some((mark, folder)) = noted(dir)? else { return Ok(dir.to_owned()) };
    if marked(&folder).as_deref() == Some(mark.as_str()) { Ok(folder) } else { Err(StoreError::BlobsAway { folder }) }
}

/// Lets the blobs lie in `folder` from now on. A folder that bears this directory's mark may be somewhere else than it
/// was.
///
/// # Errors
/// [`StoreError::BlobsElsewhere`] if they lie somewhere else already; [`StoreError::Io`].
pub(crate) fn set(dir: &Path, folder: &Path) -> Result<(), StoreError> {
    for path in [dir, folder] {
        fs::create_dir_all(path).map_err(|e| StoreError::io("create", path, e))?;
    }
    let folder = fs::canonicalize(folder).map_err(|e| StoreError::io("open", folder, e))?;
    let found = marked(&folder);
    let mark = match noted(dir)? {
        Some((mark, _)) if found.as_deref() == Some(mark.as_str()) => mark,
        Some((_, known)) => return Err(StoreError::BlobsElsewhere { known, wanted: folder }),
        None => {
            let own = dir.join("blobs");
            if fs::read_dir(&own).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(StoreError::BlobsElsewhere { known: own, wanted: folder });
            }
            if found.is_some() {
                return Err(StoreError::BlobsElsewhere { known: dir.to_owned(), wanted: folder });
            }
            UuidIds.next()
        }
    };
    // The mark first: a note without a mark would keep the store from being opened.
    write(&folder.join(MARK), &mark)?;
    write(&dir.join(NOTE), &format!("{mark}\n{}", folder.display()))
}

fn noted(dir: &Path) -> Result<Option<(String, PathBuf)>, StoreError> {
    let path = dir.join(NOTE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.split_once('\n').map(|(mark, folder)| (mark.to_owned(), PathBuf::from(folder)))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
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
    use crate::{Access, Store, StoreError};

    #[test]
    fn blobs_lie_where_they_were_put_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let (state, far) = (dir.path().join("state"), dir.path().join("far"));
        Store::put_blobs_in(&state, &far).unwrap();
        Store::put_blobs_in(&state, &far).unwrap();
        let open = || Store::open(&state, Access::Shared);
        let hash = open().unwrap().blobs().put(b"x").unwrap();
        assert!(far.join("blobs").is_dir() && !state.join("blobs").exists());
        // Moved, it is found once it is named; until then, nothing is made in its place.
        let further = dir.path().join("further");
        std::fs::rename(&far, &further).unwrap();
        std::fs::create_dir(&far).unwrap();
        assert!(matches!(open(), Err(StoreError::BlobsAway { .. })));
        assert_eq!(std::fs::read_dir(&far).unwrap().count(), 0);
        Store::put_blobs_in(&state, &further).unwrap();
        assert_eq!(open().unwrap().blobs().get(&hash).unwrap(), b"x");
        // Not the folder of another, nor another folder.
        let other = dir.path().join("other");
        assert!(matches!(Store::put_blobs_in(&other, &further), Err(StoreError::BlobsElsewhere { .. })));
        assert!(matches!(Store::put_blobs_in(&state, &far), Err(StoreError::BlobsElsewhere { .. })));
        Store::open(&other, Access::Shared).unwrap().blobs().put(b"y").unwrap();
        assert!(matches!(Store::put_blobs_in(&other, &dir.path().join("new")), Err(StoreError::BlobsElsewhere { .. })));
    }
}
