//! Blobs: files named by the blake3 of their bytes, `blobs/AB/CDEF…`, or objects of a bucket that are named so.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use plinth_core::ContentHash;
use tempfile::NamedTempFile;

use crate::{
    StoreError,
    cache::Cache,
    reader::{Known, Stamp},
    remote::Remote,
};

/// Size of the pieces in which files are hashed and copied.
const PIECE_BYTES: usize = 1 << 18;

/// The blobs of a state directory.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
    dir: PathBuf,
    temporary: PathBuf,
    known: Arc<Known>,
    far: Option<Arc<Far>>,
}

/// Blobs that lie in a bucket; the folder holds copies.
#[derive(Debug)]
pub(crate) struct Far {
    pub(crate) remote: Remote,
    pub(crate) cache: Cache,
}

/// A blob that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

impl Blobs {
    /// The blobs below `dir`, or copies of those that are `far`; makes the folders if they are not there.
    pub(crate) fn open(dir: &Path, far: Option<Far>) -> Result<Self, StoreError> {
        let blobs = Self {
            root: dir.to_owned(),
            dir: dir.join("blobs"),
            temporary: dir.join("tmp"),
            known: Arc::default(),
            far: far.map(Arc::new),
        };
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
        if self.far.is_none() && self.holds(&hash, bytes.len() as u64)? {
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
        if let Some(far) = &self.far {
            let mut bytes = Vec::new();
            let mut file = self.copy(far, hash, false)?;
            file.read_to_end(&mut bytes).map_err(|e| StoreError::io("read", &path, e))?;
            return Ok(bytes);
        }
        let bytes = fs::read(&path).map_err(|e| self.missing(hash, &path, e))?;
        let found = ContentHash::of(&bytes);
        if found == *hash { Ok(bytes) } else { Err(StoreError::BlobCorrupt { hash: *hash, found, path }) }
    }

    /// Opens a blob for reading at any place, after one pass over it that checks its bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::BlobCorrupt`].
    pub fn open_checked(&self, hash: &ContentHash) -> Result<File, StoreError> {
        if let Some(far) = &self.far {
            return self.copy(far, hash, false);
        }
        self.check(hash)?;
        let path = self.path(hash);
        File::open(&path).map_err(|e| self.missing(hash, &path, e))
    }

    /// The file of a blob, its bytes checked. It stays for as long as this process lives.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::BlobCorrupt`].
    pub fn checked_path(&self, hash: &ContentHash) -> Result<PathBuf, StoreError> {
        match &self.far {
            Some(far) => drop(self.copy(far, hash, true)?),
            None => self.check(hash)?,
        }
        Ok(self.path(hash))
    }

    /// Reads a blob once to check its bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::BlobCorrupt`].
    pub fn check(&self, hash: &ContentHash) -> Result<(), StoreError> {
        match &self.far {
            Some(far) => far.remote.check(hash),
            None => {
                let path = self.path(hash);
                let file = File::open(&path).map_err(|e| self.missing(hash, &path, e))?;
                check_file(hash, &path, &file)
            }
        }
    }

    /// A checked copy of a blob, fetched if there is none; one that is held stays as long as the process.
    pub(crate) fn copy(&self, far: &Far, hash: &ContentHash, hold: bool) -> Result<File, StoreError> {
        let path = self.path(hash);
        let found = |mut file: File| -> Result<File, StoreError> {
            let io = |e| StoreError::io("read", &path, e);
            Cache::used(&file);
            let stamp = Stamp::of(&file.metadata().map_err(io)?);
            if !self.known.is_good(hash, &stamp) {
                check_file(hash, &path, &file)?;
                file.rewind().map_err(io)?;
                self.known.remember(*hash, stamp);
            }
            Ok(file)
        };
        let held = |file: File| if hold && !far.cache.hold(hash, &path) { None } else { Some(file) };
        // A copy may be removed at any moment before it is held.
        for _ in 0..3 {
            let copy = far.remote.one_at_a_time(hash, || match File::open(&path).ok().map(found) {
                Some(Ok(file)) => Ok(file),
                // Copies are there to be thrown away.
                Some(Err(_)) | None => self.fetch(far, hash),
            })?;
            if let Some(file) = held(copy) {
                return Ok(file);
            }
        }
        Err(StoreError::io("keep a copy in", &self.dir, io::Error::other("it is removed again and again")))
    }

    fn fetch(&self, far: &Far, hash: &ContentHash) -> Result<File, StoreError> {
        let (_, mut pieces) = far.remote.stream(hash)?;
        let mut writer = self.writer()?;
        while let Some(piece) = pieces.next()? {
            writer.write_all(&piece).map_err(|e| StoreError::io("write", &self.temporary, e))?;
        }
        let found = ContentHash::from_bytes(*writer.hasher.finalize().as_bytes());
        if found != *hash {
            return Err(far.remote.corrupt(hash, found));
        }
        let path = self.path(hash);
        let mut file = far.cache.put(writer.file, &path, &self.dir).map_err(|e| StoreError::io("write", &path, e))?;
        let io = |e| StoreError::io("read", &path, e);
        self.known.remember(*hash, Stamp::of(&file.metadata().map_err(io)?));
        // From the start, and whoever removes the copy meanwhile.
        file.rewind().map_err(io)?;
        Ok(file)
    }

    /// Whether a blob is there; its bytes are not looked at.
    ///
    /// # Errors
    /// [`StoreError::Bucket`] if the object store does not say; never for a folder.
    pub fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        match &self.far {
            Some(far) => Ok(far.remote.head(hash)?.is_some()),
            None => Ok(self.path(hash).is_file()),
        }
    }

    /// A blob's size in bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`].
    pub fn size(&self, hash: &ContentHash) -> Result<u64, StoreError> {
        if let Some(far) = &self.far {
            return Ok(far.remote.head(hash)?.ok_or_else(|| far.remote.missing(hash))?.bytes);
        }
        let path = self.path(hash);
        Ok(fs::metadata(&path).map_err(|e| self.missing(hash, &path, e))?.len())
    }

    /// Where the blobs are if not in a folder, and the copies of them.
    pub(crate) fn far(&self) -> Option<&Arc<Far>> {
        self.far.as_ref()
    }

    /// Looks whether the place of the blobs can be reached and is this store's, if it is a bucket.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], [`StoreError::BlobsAway`].
    pub fn reach(&self) -> Result<(), StoreError> {
        self.far.as_ref().map_or(Ok(()), |far| far.remote.ready())
    }

    /// Whether there are URLs by which blobs can be read without this server.
    pub fn signs(&self) -> bool {
        self.far.is_some()
    }

    /// A URL by which anybody can read a blob for a time, without this server; nothing if blobs are in a folder. The
    /// answer to it names the file `disposition` says.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::Bucket`].
    pub fn signed_url(
        &self,
        hash: &ContentHash,
        valid: Duration,
        disposition: &str,
    ) -> Result<Option<String>, StoreError> {
        let Some(far) = &self.far else { return Ok(None) };
        far.remote.head(hash)?.ok_or_else(|| far.remote.missing(hash))?;
        let query = [("response-content-disposition", disposition)];
        far.remote.bucket().sign("GET", &crate::remote::key(hash), valid, &query, &[]).map(Some)
    }

    /// The folder that they, and what is on its way to become or to cease to be one, lie in.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies, or would lie; if blobs are in a bucket, its copy.
    pub fn path(&self, hash: &ContentHash) -> PathBuf {
        let hex = hash.to_hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }

    /// Every blob that is there, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list(&self) -> Result<Vec<ContentHash>, StoreError> {
        if let Some(far) = &self.far {
            return Ok(far.remote.list()?.0.into_iter().map(|(hash, _)| hash).collect());
        }
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

    /// Every blob that is there, sorted, with size and age.
    pub(crate) fn held(&self) -> Result<Vec<Held>, StoreError> {
        if let Some(far) = &self.far {
            let (found, _) = far.remote.list()?;
            let held = |(hash, found): (ContentHash, crate::bucket::Found)| Held {
                hash,
                bytes: found.bytes,
                modified: found.modified,
            };
            return Ok(found.into_iter().map(held).collect());
        }
        let mut held = Vec::new();
        for hash in self.list()? {
            let path = self.path(&hash);
            let meta = match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("look at", &path, error)),
            };
            let modified = meta.modified().map_err(|e| StoreError::io("look at", &path, e))?;
            held.push(Held { hash, bytes: meta.len(), modified });
        }
        Ok(held)
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
    /// Keeps what was read from a bucket, and found right, as a copy of it.
    pub(crate) fn keep_copy(self, far: &Far, blobs: &Blobs, path: &Path) {
        if let Err(error) = far.cache.put(self.file, path, &blobs.dir) {
            tracing::warn!(%error, path = %path.display(), "no copy of a blob was kept");
        }
    }

    /// Makes the bytes durable under their name; returns hash and size.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn finish(self) -> Result<(ContentHash, u64), StoreError> {
        let hash = ContentHash::from_bytes(*self.hasher.finalize().as_bytes());
        let path = self.blobs.path(&hash);
        if let Some(far) = &self.blobs.far {
            far.remote.keep(&hash, self.file.path(), self.bytes)?;
            // What was written is soon read, more often than not.
            if let Err(error) = far.cache.put(self.file, &path, &self.blobs.dir) {
                tracing::warn!(%error, path = %path.display(), "no copy of a blob was kept");
            }
            return Ok((hash, self.bytes));
        }
        if self.blobs.holds(&hash, self.bytes)? {
            return Ok((hash, self.bytes));
        }
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

/// A blob being written whose bytes are hashed elsewhere, by [`BlobHasher`].
#[derive(Debug)]
pub struct UnhashedBlob(BlobWriter);

/// The hash of a blob in the making.
#[derive(Debug)]
pub struct BlobHasher(blake3::Hasher);

impl BlobWriter {
    /// Takes the hashing apart from the writing, for whoever has a thread for each. Every byte is to be shown to both.
    pub fn split(mut self) -> (UnhashedBlob, BlobHasher) {
        let hasher = std::mem::take(&mut self.hasher);
        (UnhashedBlob(self), BlobHasher(hasher))
    }
}

impl BlobHasher {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl UnhashedBlob {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.0.file.as_file_mut().write_all(bytes);
        written.map_err(|error| StoreError::writing(self.0.path(), error))?;
        self.0.bytes += bytes.len() as u64;
        Ok(())
    }

    /// As [`BlobWriter::finish`], with the hash of what was written.
    ///
    /// # Errors
    /// Those of it; [`StoreError::Io`] if not as many bytes were hashed as written.
    pub fn finish(mut self, hasher: BlobHasher) -> Result<(ContentHash, u64), StoreError> {
        let (written, hashed) = (self.0.bytes, hasher.0.count());
        if written != hashed {
            let error = io::Error::other(format!("{written} bytes were written, and {hashed} hashed"));
            return Err(StoreError::io("write", self.0.path(), error));
        }
        self.0.hasher = hasher.0;
        self.0.finish()
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

/// Reads the file of a blob once to check its bytes.
fn check_file(hash: &ContentHash, path: &Path, file: &File) -> Result<(), StoreError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|e| StoreError::io("read", path, e))?;
    let found = ContentHash::from_bytes(*hasher.finalize().as_bytes());
    if found == *hash { Ok(()) } else { Err(StoreError::BlobCorrupt { hash: *hash, found, path: path.to_owned() }) }
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
        let blobs = Blobs::open(dir.path(), None).unwrap();
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
    fn a_blob_that_is_hashed_beside_has_the_name_of_its_bytes_or_none() {
        let (_dir, blobs) = blobs();
        let write = |hashed: &[u8]| {
            let (mut file, mut hasher) = blobs.writer().unwrap().split();
            file.write(b"hel").unwrap();
            file.write(b"lo").unwrap();
            hasher.update(hashed);
            file.finish(hasher)
        };
        assert_eq!(write(b"hello").unwrap(), (ContentHash::of(b"hello"), 5));
        assert_eq!(blobs.get(&ContentHash::of(b"hello")).unwrap(), b"hello");
        assert!(matches!(write(b"hell"), Err(StoreError::Io { .. })));
        assert_eq!(blobs.list().unwrap(), [ContentHash::of(b"hello")]);
    }

    #[test]
    fn a_flipped_bit_is_found_by_every_way_of_reading() {
        let (_dir, blobs) = blobs();
        let hash = blobs.put(b"hello").unwrap();
        fs::write(blobs.path(&hash), b"hellp").unwrap();
        assert!(matches!(blobs.get(&hash), Err(StoreError::BlobCorrupt { .. })));
        assert!(matches!(blobs.open_checked(&hash), Err(StoreError::BlobCorrupt { .. })));
        fs::remove_file(blobs.path(&hash)).unwrap();
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
