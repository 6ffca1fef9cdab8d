//! How a folder of a bucket is named: `s3://BUCKET/PREFIX`.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{StoreError, Trouble};

/// A folder of a bucket, or the whole bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketUrl {
    bucket: String,
    prefix: String,
}

impl BucketUrl {
    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The folder's key, without slashes at its ends; empty for the whole bucket.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether another folder is this one or lies in it.
    pub fn holds(&self, other: &Self) -> bool {
        self.bucket == other.bucket && self.below(other).is_some()
    }

    /// The rest of another folder's key that lies in this one.
    pub(crate) fn below<'a>(&self, other: &'a Self) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(&other.prefix);
        }
        match other.prefix.strip_prefix(self.prefix.as_str())? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.as_str() {
            "" => write!(f, "s3://{}", self.bucket),
            prefix => write!(f, "s3://{}/{prefix}", self.bucket),
        }
    }
}

impl FromStr for BucketUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let refused = |reason: &str| {
            // What stands before an @ may be a secret.
            let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            StoreError::ArtifactUrl { url: shown.chars().take(200).collect(), reason: reason.to_owned() }
        };
        let rest = text.strip_prefix("s3://").or_else(|| text.strip_prefix("s3a://"));
        let rest = rest.ok_or_else(|| refused("it does not begin with s3:// or file://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') || bucket.contains(':') {
            return Err(refused("it has more than a bucket in it; keys and endpoint are read from the environment"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(plain) {
            return Err(refused("its bucket is not named as buckets are"));
        }
        let prefix = prefix.trim_matches('/');
        let bad = |part: &str| part.is_empty() || part == "." || part == "..";
        if !prefix.is_empty() && prefix.split('/').any(bad) || prefix.contains(char::is_control) {
            return Err(refused("its folder has an empty part, `.`, `..` or a control character in it"));
        }
        if prefix.len() > 1_000 {
            return Err(refused("its folder is longer than 1,000 bytes"));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// Where artifacts may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A folder of a bucket.
    Bucket(BucketUrl),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket(url) => url.fmt(f),
        }
    }
}

impl FromStr for Location {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(Self::Folder(PathBuf::from(path))),
            Some(_) => Err(StoreError::ArtifactUrl {
                url: text.chars().take(200).collect(),
                reason: "a folder is named by its whole path, file:///PATH".into(),
            }),
            None => text.parse().map(Self::Bucket),
        }
    }
}

impl StoreError {
    /// Trouble with a bucket.
    pub(crate) fn bucket(url: &BucketUrl, action: &'static str, trouble: Trouble) -> Self {
        Self::Bucket { place: url.to_string(), action, trouble }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written_the_same_way() {
        for (text, shown) in [
            ("s3://b", "s3://b"),
            ("s3://b/", "s3://b"),
            ("s3a://b/x/y/", "s3://b/x/y"),
            ("s3://my.bucket-1/ml flow", "s3://my.bucket-1/ml flow"),
        ] {
            assert_eq!(text.parse::<BucketUrl>().unwrap().to_string(), shown);
        }
        for text in ["b", "gs://b", "s3://", "s3:///x", "s3://b/../x", "s3://b/x//y", "s3://b/x\ny", "s3://b:80/x"] {
            assert!(text.parse::<BucketUrl>().is_err(), "{text}");
        }
        let error = "s3://KEY:SECRET@bucket/x".parse::<BucketUrl>().unwrap_err().to_string();
        assert!(!error.contains("SECRET"), "{error}");
        assert_eq!("file:///a/b".parse::<Location>().unwrap(), Location::Folder("/a/b".into()));
        assert!("file://a/b".parse::<Location>().is_err());
    }

    #[test]
    fn a_folder_holds_what_lies_in_it_and_not_what_is_named_alike() {
        let url = |text: &str| text.parse::<BucketUrl>().unwrap();
        assert!(url("s3://b").holds(&url("s3://b/x")) && url("s3://b/x").holds(&url("s3://b/x/y")));
        assert!(url("s3://b/x").holds(&url("s3://b/x")));
        assert!(!url("s3://b/x").holds(&url("s3://b/xy")) && !url("s3://b/x").holds(&url("s3://b")));
        assert!(!url("s3://b").holds(&url("s3://c/x")));
    }
}
