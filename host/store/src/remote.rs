//! Blobs in a bucket: `blobs/AB/CDEF…` below its folder. The state directory holds verified copies, which is how
//! everything else reads them.
//!
//! A put looks first and sends only what is not there. What is there and old may be about to be collected: it is sent
//! again, which makes it young. A collector announces what it is about to remove (`condemned/HASH/…`), looks once more,
//! and removes; who sent a blob that was there before looks for an announcement and waits for its end. So no collector,
//! on whatever machine, takes a blob away from under a writer.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use plinth_core::{ContentHash, IdGen, UuidIds};

use crate::{
    StoreError,
    bucket::{Bucket, Found, Pieces},
};

/// In the folder of the bucket: the mark.
pub(crate) const MARK: &str = "plinth-blobs";
/// Everything in the folder that is the store's own.
pub(crate) const RESERVED: &[&str] = &["blobs", "condemned", "quarantine", MARK];

/// A blob that was put before this is sent again rather than trusted to stay until a row names it.
const YOUNG: Duration = Duration::from_secs(600);
/// How long a collector may take from its announcement to the request that removes.
const CONDEMN_MAX: Duration = Duration::from_secs(5);
/// How often, and how far apart, a writer looks whether an announcement has ended. Longer than a collector can take.
const LOOKS: u32 = 400;
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// An announcement of this age was left by a collector that died.
const ABANDONED: Duration = Duration::from_secs(600);

/// The bucket of a state directory.
#[derive(Debug)]
pub(crate) struct Remote {
    bucket: Bucket,
    /// What the bucket's folder must bear.
    mark: String,
    ready: AtomicBool,
    /// Blobs that are being fetched: one fetch serves all who wait.
    fetching: Mutex<HashMap<ContentHash, Arc<Mutex<()>>>>,
}

/// Blobs of a listing.
type Blobs = Vec<(ContentHash, Found)>;

/// The key of a blob.
pub(crate) fn key(hash: &ContentHash) -> String {
    let hex = hash.to_hex();
    format!("blobs/{}/{}", &hex[..2], &hex[2..])
}

impl Remote {
    pub(crate) fn new(bucket: Bucket, mark: String) -> Self {
        Self { bucket, mark, ready: AtomicBool::new(false), fetching: Mutex::default() }
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Looks once whether the folder is this store's.
    pub(crate) fn ready(&self) -> Result<(), StoreError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.bucket.get(MARK)? {
            Some(mark) if mark == self.mark.as_bytes() => {
                self.ready.store(true, Ordering::Release);
                Ok(())
            }
            _ => Err(StoreError::BlobsAway { folder: self.bucket.url().to_string().into() }),
        }
    }

    /// What is there of a blob.
    pub(crate) fn head(&self, hash: &ContentHash) -> Result<Option<Found>, StoreError> {
        self.ready()?;
        self.bucket.head(&key(hash))
    }

    /// Sends a blob that lies in a file, unless it is there.
    pub(crate) fn keep(&self, hash: &ContentHash, file: &Path, bytes: u64) -> Result<(), StoreError> {
        let send = || self.bucket.put_file(&key(hash), file, bytes);
        match self.head(hash)? {
            None => return send(),
            Some(found) if found.bytes == bytes && age(found.modified) < YOUNG => {}
            // One of another length is damaged for certain; an old one may be about to be collected.
            Some(_) => send()?,
        }
        for _ in 0..LOOKS {
            if !self.bucket.list(&condemned(hash))?.is_empty() {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            if self.head(hash)?.is_some_and(|found| found.bytes == bytes) {
                return Ok(());
            }
            send()?;
        }
        // A collector that is alive would have ended: this one died, and removes nothing any more.
        send()
    }

    /// A blob's bytes, unchecked, as they come.
    pub(crate) fn stream(&self, hash: &ContentHash) -> Result<(u64, Pieces), StoreError> {
        let found = self.head(hash)?.ok_or_else(|| self.missing(hash))?;
        Ok((found.bytes, self.bucket.stream(&key(hash), 0..found.bytes)?))
    }

    /// Reads a blob in the bucket, whatever copies there are.
    pub(crate) fn check(&self, hash: &ContentHash) -> Result<(), StoreError> {
        let (mut hasher, (_, mut pieces)) = (blake3::Hasher::new(), self.stream(hash)?);
        while let Some(piece) = pieces.next()? {
            hasher.update(&piece);
        }
        let found = ContentHash::from_bytes(*hasher.finalize().as_bytes());
        if found == *hash { Ok(()) } else { Err(self.corrupt(hash, found)) }
    }

    pub(crate) fn missing(&self, hash: &ContentHash) -> StoreError {
        StoreError::BlobNotFound { hash: *hash, dir: self.bucket.url().to_string().into() }
    }

    pub(crate) fn corrupt(&self, hash: &ContentHash, found: ContentHash) -> StoreError {
        StoreError::BlobCorrupt { hash: *hash, found, path: self.bucket.name(&key(hash)).into() }
    }

    /// Every blob, sorted, and whatever else lies among them.
    pub(crate) fn list(&self) -> Result<(Blobs, Vec<Found>), StoreError> {
        self.ready()?;
        let (mut blobs, mut strange) = (Vec::new(), Vec::new());
        for found in self.bucket.list("blobs")? {
            let hash = found.key.strip_prefix("blobs/").map(|rest| rest.replace('/', ""));
            match hash.and_then(|hex| hex.parse::<ContentHash>().ok()).filter(|hash| key(hash) == found.key) {
                Some(hash) => blobs.push((hash, found)),
                None => strange.push(found),
            }
        }
        Ok((blobs, strange))
    }

    /// Removes a blob unless it is young or, as `named` says, somebody needs it; says whether it was removed.
    pub(crate) fn remove(
        &self,
        hash: &ContentHash,
        grace: Duration,
        named: impl Fn() -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let announcement = format!("{}/{}", condemned(hash), UuidIds.next());
        self.bucket.put(&announcement, Bytes::from_static(b"about to be removed"))?;
        let outcome = self.remove_announced(hash, grace, named);
        self.bucket.delete(&announcement)?;
        outcome
    }

    fn remove_announced(
        &self,
        hash: &ContentHash,
        grace: Duration,
        named: impl Fn() -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let announced = Instant::now();
        let Some(found) = self.bucket.head(&key(hash))? else { return Ok(false) };
        if is_young(found.modified, grace) || named()? || announced.elapsed() > CONDEMN_MAX {
            return Ok(false);
        }
        self.bucket.delete(&key(hash))?;
        Ok(true)
    }

    /// Announcements of collectors that died.
    pub(crate) fn abandoned(&self, remove: bool) -> Result<Vec<String>, StoreError> {
        self.ready()?;
        let mut abandoned = Vec::new();
        for found in self.bucket.list("condemned")? {
            if age(found.modified) > ABANDONED {
                if remove {
                    self.bucket.delete(&found.key)?;
                }
                abandoned.push(self.bucket.name(&found.key));
            }
        }
        Ok(abandoned)
    }

    /// Sets a blob aside.
    pub(crate) fn quarantine(&self, hash: &ContentHash) -> Result<(), StoreError> {
        self.bucket.rename(&key(hash), &format!("quarantine/{}", hash.to_hex()))
    }

    /// Lets one caller at a time fetch a blob.
    pub(crate) fn one_at_a_time<T>(&self, hash: &ContentHash, fetch: impl FnOnce() -> T) -> T {
        let turn = Arc::clone(lock(&self.fetching).entry(*hash).or_default());
        let outcome = {
            let _mine = lock(&turn);
            fetch()
        };
        let mut fetching = lock(&self.fetching);
        // Nobody waits for it but this caller and the table.
        if Arc::strong_count(&turn) <= 2 {
            fetching.remove(hash);
        }
        outcome
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn condemned(hash: &ContentHash) -> String {
    format!("condemned/{}", hash.to_hex())
}

fn age(modified: SystemTime) -> Duration {
    SystemTime::now().duration_since(modified).unwrap_or_default()
}

/// What comes from the future is young, unless nothing is.
pub(crate) fn is_young(modified: SystemTime, grace: Duration) -> bool {
    !grace.is_zero() && SystemTime::now().duration_since(modified).map_or(true, |age| age < grace)
}
