//! Blobs: files named by the blake3 of their bytes, `blobs/AB/CDEF…`.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use plinth_core::ContentHash;
use tempfile::NamedTempFile;

use crate::{StoreError, reader::Known};

/// Size of the pieces in which files are hashed and copied.
const PIECE_BYTES: usize = 1 << 18;

/// The blobs of a state directory.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
    dir: PathBuf,
    temporary: PathBuf,
    known: Arc<Known>,
}

impl Blobs {
    /// The blobs below `dir`; makes the folders if they are not there.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let blobs =
            Self { root: dir.to_owned(), dir: dir.join("blobs"), temporary: dir.join("tmp"), known: Arc::default() };
        for path in [&blobs.dir, &blobs.temporary] {
            fs::create_dir_all(path).map_err(|e| StoreError::io("create", path, e))?;
        }
        Ok(blobs)
    }

    /// Stores bytes and returns their hash once they are on the device. Bytes that are there already are not written
    /// again.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<ContentHash, StoreError> {
        let hash = ContentHash::of(bytes);
        if self.holds(&hash, bytes.len() as u64)? {
            return Ok(hash);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|e| StoreError::io("write", &self.temporary, e))?;
        Ok(writer.finish()?.0)
    }

    /// Stores a copy of a file; returns its hash and size.
    ///
    /// # Errors
    /// [`StoreError`] names the file that could not be read or written.
    pub fn put_file(&self, path: &Path) -> Result<(ContentHash, u64), StoreError> {
        let mut file = File::open(path).map_err(|e| StoreError::io("open", path, e))?;
        let mut writer = self.writer()?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let n = file.read(&mut piece).map_err(|e| StoreError::io("read", path, e))?;
            if n == 0 {
                return writer.finish();
            }
            writer.write_all(&piece[..n]).map_err(|e| StoreError::io("write", &self.temporary, e))?;
        }
    }

    /// Starts a blob whose bytes come piece by piece. Dropped without [`BlobWriter::finish`], it leaves nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        loop {
            let file = NamedTempFile::new_in(&self.temporary)
                .map_err(|e| StoreError::io("create a file in", &self.temporary, e))?;
            // Whoever sweeps up may have come between creation and lock: then the file is gone, or about to go. Where
            // the file system has no locks, blobs are written all the same, and only sweeping up has to wait.
            let swept = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock)) || !file.path().exists();
            if !swept {
                return Ok(BlobWriter { blobs: self.clone(), file, hasher: blake3::Hasher::new(), bytes: 0 });
            }
        }
    }

    /// All bytes of a blob, checked.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::BlobCorrupt`].
    pub fn get(&self, hash: &ContentHash) -> Result<Vec<u8>, StoreError> {
        let path = self.path(hash);
        let bytes = fs::read(&path).map_err(|e| self.missing(hash, &path, e))?;
        let found = ContentHash::of(&bytes);
        if found == *hash { Ok(bytes) } else { Err(StoreError::BlobCorrupt { hash: *hash, found, path }) }
    }

    /// Opens a blob for reading at any place, after one pass over it that checks its bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::BlobCorrupt`].
    pub fn open_checked(&self, hash: &ContentHash) -> Result<File, StoreError> {
        self.check(hash)?;
        let path = self.path(hash);
        File::open(&path).map_err(|e| self.missing(hash, &path, e))
    }

    /// Reads a blob once to check its bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::BlobCorrupt`].
    pub fn check(&self, hash: &ContentHash) -> Result<(), StoreError> {
        let path = self.path(hash);
        let file = File::open(&path).map_err(|e| self.missing(hash, &path, e))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(|e| StoreError::io("read", &path, e))?;
        let found = ContentHash::from_bytes(*hasher.finalize().as_bytes());
        if found == *hash { Ok(()) } else { Err(StoreError::BlobCorrupt { hash: *hash, found, path }) }
    }

    /// Whether a blob is there; its bytes are not looked at.
    pub fn contains(&self, hash: &ContentHash) -> bool {
        self.path(hash).is_file()
    }

    /// A blob's size in bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`].
    pub fn size(&self, hash: &ContentHash) -> Result<u64, StoreError> {
        let path = self.path(hash);
        Ok(fs::metadata(&path).map_err(|e| self.missing(hash, &path, e))?.len())
    }

    /// The folder that they, and what is on its way to become or to cease to be one, lie in.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies, or would lie.
    pub fn path(&self, hash: &ContentHash) -> PathBuf {
        let hex = hash.to_hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }

    /// Every blob that is there, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list(&self) -> Result<Vec<ContentHash>, StoreError> {
        let entries = |path: &Path| -> Result<Vec<PathBuf>, StoreError> {
            let io = |e| StoreError::io("read", path, e);
            fs::read_dir(path).map_err(io)?.map(|entry| entry.map(|e| e.path()).map_err(io)).collect()
        };
        let mut list = Vec::new();
        for folder in entries(&self.dir)? {
            for file in entries(&folder)? {
                let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                if let Ok(hash) = format!("{}{}", name(&folder), name(&file)).parse() {
                    list.push(hash);
                }
            }
        }
        list.sort_unstable();
        Ok(list)
    }

    /// Forgets a blob. Only for what nothing refers to any more.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, hash: &ContentHash) -> Result<(), StoreError> {
        let path = self.path(hash);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// Temporary files left by processes that were killed. A writer holds the system's lock on its file: one that
    /// can be locked here belongs to nobody any more, however young it is. With `remove`, they go.
    pub(crate) fn strays(&self, remove: bool) -> Result<Vec<PathBuf>, StoreError> {
        let io = |e| StoreError::io("read", &self.temporary, e);
        let mut strays = Vec::new();
        for entry in fs::read_dir(&self.temporary).map_err(io)? {
            let path = entry.map_err(io)?.path();
            // One that is gone was finished in the meantime.
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_err() || !path.exists() {
                continue;
            }
            if remove {
                fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
            }
            strays.push(path);
        }
        Ok(strays)
    }

    /// Whether a blob is there in its full length, under a durable name. One of another length is damaged for
    /// certain: writing it again heals it.
    fn holds(&self, hash: &ContentHash, bytes: u64) -> Result<bool, StoreError> {
        let path = self.path(hash);
        match fs::metadata(&path) {
            Ok(meta) if meta.len() == bytes => {
                // It is young again: the collector leaves it alone until there is a row that names it. If the collector
                // took it away in this moment, it is written again.
                if File::open(&path).and_then(|file| file.set_modified(SystemTime::now())).is_err() {
                    return Ok(false);
                }
                // Who gave it its name may have been killed before that was durable.
                sync_folder(path.parent().expect("a blob lies in a folder"))?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("look at", &path, error)),
        }
    }

    /// Files that were found good a short time ago.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) fn missing(&self, hash: &ContentHash, path: &Path, error: io::Error) -> StoreError {
        match error.kind() {
            // The whole folder: a device that went away.
            io::ErrorKind::NotFound if !self.dir.is_dir() => StoreError::BlobsAway { folder: self.root.clone() },
            io::ErrorKind::NotFound => StoreError::BlobNotFound { hash: *hash, dir: self.dir.clone() },
            _ => StoreError::io("read", path, error),
        }
    }
}

/// A blob being written.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl BlobWriter {
    /// Makes the bytes durable under their name; returns hash and size.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn finish(self) -> Result<(ContentHash, u64), StoreError> {
        let hash = ContentHash::from_bytes(*self.hasher.finalize().as_bytes());
        if self.blobs.holds(&hash, self.bytes)? {
            return Ok((hash, self.bytes));
        }
        let path = self.blobs.path(&hash);
        let folder = path.parent().expect("a blob lies in a folder");
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))?;
            sync_folder(&self.blobs.dir)?;
        }
        self.file.as_file().sync_all().map_err(|e| StoreError::io("write", self.file.path(), e))?;
        self.file.persist(&path).map_err(|e| StoreError::io("write", &path, e.error))?;
        sync_folder(folder)?;
        Ok((hash, self.bytes))
    }

    /// Where the bytes lie for now; for errors.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.as_file_mut().write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// A name is durable only when its folder is.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|d| d.sync_all()).map_err(|e| StoreError::io("write", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        (dir, blobs)
    }

    #[test]
    fn what_was_put_comes_back_whole_or_in_pieces() {
        let (_dir, blobs) = blobs();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|i| i as u8).collect();
        let hash = blobs.put(&bytes).unwrap();
        assert_eq!(blobs.get(&hash).unwrap(), bytes);
        let mut writer = blobs.writer().unwrap();
        for piece in bytes.chunks(777) {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), (hash, bytes.len() as u64));
        assert_eq!(blobs.list().unwrap(), [hash]);
        assert_eq!(blobs.strays(false).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_flipped_bit_is_found_by_every_way_of_reading() {
        let (_dir, blobs) = blobs();
        let hash = blobs.put(b"hello").unwrap();
        fs::write(blobs.path(&hash), b"hellp").unwrap();
        assert!(matches!(blobs.get(&hash), Err(StoreError::BlobCorrupt { .. })));
        assert!(matches!(blobs.open_checked(&hash), Err(StoreError::BlobCorrupt { .. })));
        blobs.remove(&hash).unwrap();
        assert!(matches!(blobs.get(&hash), Err(StoreError::BlobNotFound { .. })));
    }

    #[test]
    fn an_unfinished_blob_leaves_nothing() {
        let (_dir, blobs) = blobs();
        let mut writer = blobs.writer().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert!(blobs.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(&blobs.temporary).unwrap().count(), 0);
    }

    #[test]
    fn sweeping_up_takes_what_nobody_holds_and_leaves_a_living_writer_its_file() {
        let (_dir, blobs) = blobs();
        let mut writer = blobs.writer().unwrap();
        writer.write_all(b"goes on").unwrap();
        let orphan = blobs.temporary.join("orphan");
        fs::write(&orphan, b"half").unwrap();
        assert_eq!(blobs.strays(false).unwrap(), std::slice::from_ref(&orphan));
        assert_eq!(blobs.strays(true).unwrap(), std::slice::from_ref(&orphan));
        assert!(!orphan.exists());
        let (hash, _) = writer.finish().unwrap();
        assert_eq!(blobs.get(&hash).unwrap(), b"goes on");
    }

    #[test]
    fn a_shortened_blob_is_whole_again_once_its_bytes_are_put() {
        let (_dir, blobs) = blobs();
        let hash = blobs.put(b"the whole text").unwrap();
        fs::write(blobs.path(&hash), b"the").unwrap();
        blobs.put(b"the whole text").unwrap();
        assert_eq!(blobs.get(&hash).unwrap(), b"the whole text");
    }
}
