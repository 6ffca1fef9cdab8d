//! Objects that clients put into buckets by themselves: no blobs, and named by nobody here but a location that a client
//! gave. The server reads them with its own keys, so only below folders that the operator allowed, and never what is the
//! store's own.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use plinth_core::{ArtifactLimits, ContentHash};

use crate::{BlobReader, BucketUrl, Environment, StoreError, bucket::Bucket, remote::RESERVED};

/// Which objects may be read.
#[derive(Debug)]
pub(crate) struct Outside {
    allowed: Vec<BucketUrl>,
    own: Option<BucketUrl>,
    environment: Environment,
    limits: ArtifactLimits,
    /// A connection to each bucket that was asked.
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// A place in a bucket that the operator allowed: an object, or a folder.
#[derive(Debug)]
pub struct Spot {
    bucket: Bucket,
    url: BucketUrl,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotObject {
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
    /// What changes when the object does.
    pub tag: ContentHash,
}

impl Outside {
    pub(crate) fn new(
        allowed: Vec<BucketUrl>,
        own: Option<BucketUrl>,
        environment: Environment,
        limits: ArtifactLimits,
    ) -> Self {
        Self { allowed, own, environment, limits, buckets: Mutex::default() }
    }

    /// The place that a URI names; nothing if it is in no bucket, or not in what is allowed.
    pub(crate) fn spot(&self, uri: &str) -> Result<Option<Spot>, StoreError> {
        let Ok(url) = uri.parse::<BucketUrl>() else { return Ok(None) };
        if !self.allowed.iter().chain(&self.own).any(|allowed| allowed.holds(&url)) {
            return Ok(None);
        }
        let own = self.own.as_ref().filter(|own| own.holds(&url)).and_then(|own| own.below(&url));
        if own.is_some_and(|rest| RESERVED.contains(&rest.split('/').next().unwrap_or_default())) {
            return Ok(None);
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match buckets.get(url.bucket()) {
            Some(bucket) => bucket.clone(),
            None => {
                let whole: BucketUrl = format!("s3://{}", url.bucket()).parse()?;
                let bucket = Bucket::new(&whole, &self.environment, &self.limits)?;
                buckets.insert(url.bucket().to_owned(), bucket.clone());
                bucket
            }
        };
        Ok(Some(Spot { bucket, url }))
    }
}

impl Spot {
    /// What lies directly in it: names, and sizes of what is no folder.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn list(&self) -> Result<Vec<(String, Option<u64>)>, StoreError> {
        let (folders, objects) = self.bucket.list_folder(self.url.prefix())?;
        let name = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
        let mut entries: Vec<(String, Option<u64>)> = folders.iter().map(|key| (name(key), None)).collect();
        entries.extend(objects.iter().map(|found| (name(&found.key), Some(found.bytes))));
        entries.sort();
        Ok(entries)
    }

    /// The object, if it is one.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn look(&self) -> Result<Option<SpotObject>, StoreError> {
        let found = self.bucket.head(self.url.prefix())?;
        Ok(found.map(|found| SpotObject {
            bytes: found.bytes,
            modified: found.modified,
            tag: ContentHash::of(format!("{:?} {} {:?}", found.tag, found.bytes, found.modified).as_bytes()),
        }))
    }

    /// The object's bytes, or some of them. Nothing is known of them by which they could be checked.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn reader(&self, object: &SpotObject, range: Option<Range<u64>>) -> Result<BlobReader, StoreError> {
        let range = range.unwrap_or(0..object.bytes);
        let range = range.start.min(object.bytes)..range.end.min(object.bytes);
        let left = range.end.saturating_sub(range.start);
        let pieces = self.bucket.stream(self.url.prefix(), range)?;
        Ok(BlobReader::outside(object.tag, self.url.to_string().into(), pieces, left))
    }

    /// Writes a small object.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn put(&self, bytes: Bytes) -> Result<(), StoreError> {
        self.bucket.put(self.url.prefix(), bytes)
    }

    /// A URL by which anybody can read the object for a time. The answer to it names the file as `disposition` says.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn signed_read(&self, valid: Duration, disposition: &str) -> Result<String, StoreError> {
        let query = [("response-content-disposition", disposition)];
        self.bucket.sign("GET", self.url.prefix(), valid, &query, &[])
    }

    /// A URL by which anybody can write the object for a time, with this type.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub fn signed_write(&self, valid: Duration, content_type: &str) -> Result<String, StoreError> {
        self.bucket.sign("PUT", self.url.prefix(), valid, &[], &[("content-type", content_type)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_is_looked_at_and_never_the_blobs() {
        let url = |text: &str| text.parse::<BucketUrl>().unwrap();
        let (environment, limits) = (Environment::new(|_| None), ArtifactLimits::default());
        let (allowed, own) = (vec![url("s3://data/team"), url("s3://own")], Some(url("s3://own/plinth")));
        let outside = Outside::new(allowed, own, environment.clone(), limits.clone());
        let may = |uri: &str| outside.spot(uri).unwrap().is_some();
        for uri in ["s3://data/team", "s3://data/team/x/y", "s3://own/plinth/1/r/artifacts", "s3://own/other"] {
            assert!(may(uri), "{uri}");
        }
        for uri in [
            "s3://data",
            "s3://data/teams",
            "s3://data/team/../other",
            "s3://other/team",
            "s3://own/plinth/blobs/ab/cd",
            "s3://own/plinth/blobs",
            "s3://own/plinth/plinth-blobs",
            "s3://own/plinth/quarantine/x",
            "gs://data/team",
            "file:///etc/passwd",
            "/etc/passwd",
        ] {
            assert!(!may(uri), "{uri}");
        }
        let nothing = Outside::new(Vec::new(), None, environment, limits);
        assert!(nothing.spot("s3://data/team").unwrap().is_none());
    }
}
