//! Verified copies of blobs of a bucket, in the state directory, bounded in size.
//!
//! A copy that is being used is locked, by whatever process; the others go when room is needed, those first that were not
//! read for longest. A copy whose bytes turn out wrong is thrown away and fetched again.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use plinth_core::ContentHash;
use tempfile::NamedTempFile;

/// Reading a copy makes it young, but not more often than this: what is known of a file ends when it is touched.
const TOUCH_EVERY: Duration = Duration::from_secs(900);
/// The folder is looked through when this part of the bound was added.
const SLACK: u64 = 16;

/// What the copies of a state directory may be.
#[derive(Debug)]
pub(crate) struct Cache {
    bytes_max: u64,
    /// Since the folder was last looked through. Starts full, so that the first copy of a process makes it look.
    added: AtomicU64,
    /// Copies whose path was handed out: they stay as long as the process.
    held: Mutex<HashMap<ContentHash, File>>,
}

impl Cache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, added: AtomicU64::new(bytes_max), held: Mutex::default() }
    }

    /// Makes a file a copy; one that is there is replaced. It is not removed again before the file that is returned is
    /// dropped.
    pub(crate) fn put(&self, file: NamedTempFile, path: &Path, folder: &Path) -> io::Result<File> {
        let bytes = file.as_file().metadata()?.len();
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let kept = file.persist(path).map_err(|error| error.error)?;
        // Its writer's lock, under which nobody sweeps it up, gives way to a reader's.
        kept.unlock()?;
        kept.lock_shared()?;
        if self.added.fetch_add(bytes, Ordering::Relaxed) + bytes > self.bytes_max / SLACK {
            self.added.store(0, Ordering::Relaxed);
            self.shrink(folder);
        }
        Ok(kept)
    }

    /// Notes that a copy is read.
    pub(crate) fn used(file: &File) {
        let old = file
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age > TOUCH_EVERY));
        if old {
            // That it could not be touched only makes it go earlier.
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Keeps a copy from being removed for as long as this process lives. False if it is gone.
    pub(crate) fn hold(&self, hash: &ContentHash, path: &Path) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(hash) && path.exists() {
            return true;
        }
        let Ok(file) = File::open(path) else { return false };
        // Whoever removes it has it locked for that moment.
        if file.lock_shared().is_err() || !path.exists() {
            return false;
        }
        held.insert(*hash, file);
        true
    }

    /// Removes the copies that were not read for longest, until the rest is as small as it must be.
    fn shrink(&self, folder: &Path) {
        let mut copies: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            for entry in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                if let Ok(meta) = entry.metadata() {
                    copies.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), entry.path()));
                }
            }
        }
        let mut bytes: u64 = copies.iter().map(|(_, bytes, _)| bytes).sum();
        copies.sort_unstable();
        for (_, size, path) in copies {
            if bytes <= self.bytes_max {
                return;
            }
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_ok() && fs::remove_file(&path).is_ok() {
                bytes -= size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_not_read_for_longest_goes_first_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(350);
        let put = |n: u8, age: u64| {
            let (hash, mut file) = (ContentHash::of(&[n]), NamedTempFile::new_in(dir.path()).unwrap());
            file.write_all(&[n; 100]).unwrap();
            file.as_file().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            let path = dir.path().join("copies").join(&hash.to_hex()[..2]).join(hash.to_hex());
            cache.put(file, &path, &dir.path().join("copies")).unwrap();
            (hash, path)
        };
        let (oldest, held) = put(1, 3_000);
        assert!(cache.hold(&oldest, &held));
        let (second, third) = (put(2, 2_000).1, put(3, 1_000).1);
        Cache::used(&File::open(&second).unwrap());
        let fourth = put(4, 500).1;
        assert!(held.exists() && second.exists() && !third.exists() && fourth.exists());
        let fifth = put(5, 9_000).1;
        assert!(fifth.exists(), "what was just put is not what goes");
        assert!(held.exists() && second.exists() && !fourth.exists());
        assert!(!cache.hold(&ContentHash::of(&[9]), &dir.path().join("no")));
    }
}
