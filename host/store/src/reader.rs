//! Reads blobs in large pieces, for those who send them on, and never hands out a last piece of bytes that are not the
//! blob's.
//!
//! A whole blob is hashed while it is read: its last piece is held back until the hash is known to be right, so whoever
//! receives fewer bytes than announced knows that something is wrong. A part of a blob cannot be checked by itself: the
//! whole is read once, and for a while afterwards its file is known to be good as long as the system says that nobody
//! touched it.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::{Read, Seek, SeekFrom, Write},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use plinth_core::ContentHash;

use crate::{BlobWriter, Blobs, StoreError, blob::Far, bucket::Pieces, cache::Cache};

/// Bytes of a piece.
const PIECE_BYTES: usize = 1 << 19;
/// How many files are remembered as good.
const KNOWN_MAX: usize = 4_096;
/// How long a file is believed to be good although nobody looked: disks forget too.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// Files that were read whole and found good a short time ago.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<ContentHash, (Stamp, Instant)>>);

/// What changes when somebody touches a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    file: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        #[cfg(unix)]
        let (file, changed) = {
            use std::os::unix::fs::MetadataExt;
            (meta.ino(), (meta.ctime(), meta.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (file, changed) = (0, (0, 0));
        Self { bytes: meta.len(), modified: meta.modified().ok(), file, changed }
    }
}

impl Known {
    pub(crate) fn is_good(&self, hash: &ContentHash, stamp: &Stamp) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).is_some_and(|(found, when)| found == stamp && when.elapsed() < KNOWN_FOR)
    }

    pub(crate) fn remember(&self, hash: ContentHash, stamp: Stamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(hash, (stamp, Instant::now()));
    }
}

/// A blob, or a part of one, on its way out.
#[derive(Debug)]
pub struct BlobReader {
    hash: ContentHash,
    path: PathBuf,
    source: Source,
    /// Bytes that were not read yet.
    left: u64,
    /// For a whole blob that has to be checked.
    hasher: Option<blake3::Hasher>,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Source {
    File(File),
    /// A copy of a blob in a bucket, to be thrown away if it is wrong.
    Copy(File),
    /// An object that is no blob.
    Outside(Pieces),
    /// The bucket itself; what comes is kept as a copy, as long as that works.
    Bucket {
        far: Arc<Far>,
        blobs: Blobs,
        pieces: Pieces,
        spool: Option<Box<BlobWriter>>,
    },
}

impl Blobs {
    /// Opens a blob, or the bytes of it that `range` names, for reading in pieces.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`]; for a part, [`StoreError::BlobCorrupt`].
    pub fn reader(&self, hash: &ContentHash, range: Option<Range<u64>>) -> Result<BlobReader, StoreError> {
        let path = self.path(hash);
        if let Some(far) = self.far() {
            return self.far_reader(far, hash, range, path);
        }
        let mut file = File::open(&path).map_err(|e| self.missing(hash, &path, e))?;
        let meta = file.metadata().map_err(|e| StoreError::io("look at", &path, e))?;
        let Some(range) = range else {
            let hasher = Some(blake3::Hasher::new());
            return Ok(BlobReader { hash: *hash, path, source: Source::File(file), left: meta.len(), hasher });
        };
        let stamp = Stamp::of(&meta);
        if !self.known().is_good(hash, &stamp) {
            self.check(hash)?;
            self.known().remember(*hash, stamp);
        }
        let (start, end) = (range.start.min(meta.len()), range.end.min(meta.len()));
        file.seek(SeekFrom::Start(start)).map_err(|e| StoreError::io("read", &path, e))?;
        let source = Source::File(file);
        Ok(BlobReader { hash: *hash, path, source, left: end.saturating_sub(start), hasher: None })
    }

    fn far_reader(
        &self,
        far: &Arc<Far>,
        hash: &ContentHash,
        range: Option<Range<u64>>,
        path: PathBuf,
    ) -> Result<BlobReader, StoreError> {
        let length = |file: &File| Ok(file.metadata().map_err(|e| StoreError::io("look at", &path, e))?.len());
        if let Some(range) = range {
            let mut file = self.copy(far, hash, false)?;
            let bytes = length(&file)?;
            let (start, end) = (range.start.min(bytes), range.end.min(bytes));
            file.seek(SeekFrom::Start(start)).map_err(|e| StoreError::io("read", &path, e))?;
            let left = end.saturating_sub(start);
            return Ok(BlobReader { hash: *hash, path, source: Source::Copy(file), left, hasher: None });
        }
        let hasher = Some(blake3::Hasher::new());
        if let Ok(file) = File::open(&path) {
            Cache::used(&file);
            let left = length(&file)?;
            return Ok(BlobReader { hash: *hash, path, source: Source::Copy(file), left, hasher });
        }
        let (left, pieces) = far.remote.stream(hash)?;
        let source = Source::Bucket {
            far: Arc::clone(far),
            blobs: self.clone(),
            pieces,
            spool: self.writer().ok().map(Box::new),
        };
        Ok(BlobReader { hash: *hash, path, source, left, hasher })
    }
}

impl BlobReader {
    /// The bytes of an object that is no blob; there is nothing to check them by.
    pub(crate) fn outside(tag: ContentHash, path: PathBuf, pieces: Pieces, left: u64) -> Self {
        Self { hash: tag, path, source: Source::Outside(pieces), left, hasher: None }
    }

    /// The next bytes; nothing at the end.
    ///
    /// # Errors
    /// [`StoreError::BlobCorrupt`] in place of the last piece of a blob that is not what its name says.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if self.left == 0 {
            // An empty blob has no last piece to hold back.
            return self.verify().map(|()| None);
        }
        let piece = self.read()?;
        let n = piece.len();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        // A file that became shorter meanwhile is no blob any more.
        self.left = if n == 0 { 0 } else { self.left.saturating_sub(n as u64) };
        if n == 0 && self.hasher.is_none() {
            return Err(StoreError::BlobNotFound { hash: self.hash, dir: self.path.clone() });
        }
        if self.left == 0 {
            self.verify()?;
        }
        Ok((n > 0).then_some(piece))
    }

    fn read(&mut self) -> Result<Vec<u8>, StoreError> {
        match &mut self.source {
            Source::File(file) | Source::Copy(file) => {
                let mut piece = Vec::with_capacity(self.left.min(PIECE_BYTES as u64) as usize);
                let read = file.take(piece.capacity() as u64).read_to_end(&mut piece);
                read.map_err(|e| StoreError::io("read", &self.path, e))?;
                Ok(piece)
            }
            Source::Outside(pieces) => Ok(pieces.next()?.unwrap_or_default().into()),
            Source::Bucket { pieces, spool, .. } => {
                let piece = pieces.next()?.unwrap_or_default();
                // Without room for a copy the reader gets its bytes all the same.
                if spool.as_mut().is_some_and(|spool| spool.write_all(&piece).is_err()) {
                    *spool = None;
                }
                Ok(piece.into())
            }
        }
    }

    fn verify(&mut self) -> Result<(), StoreError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = ContentHash::from_bytes(*hasher.finalize().as_bytes());
        let right = found == self.hash;
        match &mut self.source {
            Source::Bucket { far, blobs, spool, .. } if right => {
                if let Some(spool) = spool.take() {
                    spool.keep_copy(far, blobs, &self.path);
                }
            }
            Source::Bucket { far, .. } => return Err(far.remote.corrupt(&self.hash, found)),
            // The next reader fetches it again.
            Source::Copy(_) if !right => drop(std::fs::remove_file(&self.path)),
            Source::File(_) | Source::Copy(_) | Source::Outside(_) => {}
        }
        if right { Ok(()) } else { Err(StoreError::BlobCorrupt { hash: self.hash, found, path: self.path.clone() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Store};

    fn all(mut reader: BlobReader) -> Result<Vec<u8>, (usize, StoreError)> {
        let mut bytes = Vec::new();
        loop {
            match reader.piece() {
                Ok(Some(piece)) => bytes.extend(piece),
                Ok(None) => return Ok(bytes),
                Err(error) => return Err((bytes.len(), error)),
            }
        }
    }

    #[test]
    fn a_blob_is_read_whole_or_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::Shared).unwrap();
        let blobs = store.blobs();
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES as u32 + 7).map(|i| (i / 3) as u8).collect();
        let (hash, empty) = (blobs.put(&bytes).unwrap(), blobs.put(b"").unwrap());
        assert_eq!(all(blobs.reader(&hash, None).unwrap()).unwrap(), bytes);
        for range in [0..1, 5..PIECE_BYTES as u64 + 9, bytes.len() as u64 - 1..bytes.len() as u64] {
            let part = &bytes[range.start as usize..range.end as usize];
            assert_eq!(all(blobs.reader(&hash, Some(range)).unwrap()).unwrap(), part);
        }
        assert!(all(blobs.reader(&empty, None).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn the_last_piece_of_a_damaged_blob_is_never_sent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::Shared).unwrap();
        let blobs = store.blobs();
        let mut bytes = vec![7; 2 * PIECE_BYTES + 1];
        let hash = blobs.put(&bytes).unwrap();
        assert!(blobs.reader(&hash, Some(0..3)).is_ok());
        bytes[PIECE_BYTES] = 8;
        std::fs::write(blobs.path(&hash), &bytes).unwrap();
        let (sent, error) = all(blobs.reader(&hash, None).unwrap()).unwrap_err();
        assert!(sent < bytes.len() && matches!(error, StoreError::BlobCorrupt { .. }), "{sent} {error}");
        // It was good a moment ago, but somebody touched it.
        assert!(matches!(blobs.reader(&hash, Some(0..3)), Err(StoreError::BlobCorrupt { .. })));
        std::fs::write(blobs.path(&hash), &bytes[..PIECE_BYTES]).unwrap();
        assert!(all(blobs.reader(&hash, None).unwrap()).is_err());
    }
}
