//! What a state directory can refuse.

use std::{
    io,
    path::{Path, PathBuf},
};

use plinth_core::{Code, Coded, ContentHash, codes};

use crate::postgres_refusal::Refusal;

/// What a state directory can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process writes.
    #[error("{} is in use by {owner}", dir.display())]
    InUse {
        /// The state directory.
        dir: PathBuf,
        /// Process and command.
        owner: String,
    },
    /// A state directory that was to be looked at is not there.
    #[error("there is no state directory {}", dir.display())]
    NoDirectory {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A newer Plinth wrote the catalog.
    #[error("{} has catalog version {found}, but this plinth knows only up to {known}", path.display())]
    NewerVersion {
        /// The catalog.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The last that this binary knows.
        known: i64,
    },
    /// The folder that holds the blobs is not there: a device that is not mounted, say.
    #[error("the artifacts are not in {}: it is not there, or is not the place that held them", folder.display())]
    BlobsAway {
        /// Where they were.
        folder: PathBuf,
    },
    /// Blobs lie somewhere else than they were to be put.
    #[error("the artifacts are in {}, not in {}", known.display(), wanted.display())]
    BlobsElsewhere {
        /// Where they are.
        known: PathBuf,
        /// Where they were to be.
        wanted: PathBuf,
    },
    /// A bucket's folder that holds another store's blobs.
    #[error("{place} holds the artifacts of another store")]
    BucketTaken {
        /// The folder.
        place: String,
    },
    /// A place for artifacts that cannot be used as it was named.
    #[error("artifacts cannot be kept at `{url}`: {reason}")]
    ArtifactUrl {
        /// As it was named; no password in it.
        url: String,
        /// Why not.
        reason: String,
    },
    /// An object store refused, or does not answer.
    #[error("cannot {action} {place}: {trouble}")]
    Bucket {
        /// The folder of the bucket; no key in it.
        place: String,
        /// What was to be done.
        action: &'static str,
        /// Why it was not.
        trouble: Trouble,
    },
    /// A blob that is not there.
    #[error("there is no blob {hash} in {}", dir.display())]
    BlobNotFound {
        /// Which.
        hash: ContentHash,
        /// The blob folder.
        dir: PathBuf,
    },
    /// A blob whose bytes are not what they were.
    #[error("blob {hash} is corrupt: the bytes of {} have hash {found}", path.display())]
    BlobCorrupt {
        /// What it should be.
        hash: ContentHash,
        /// What it is.
        found: ContentHash,
        /// Where it lies.
        path: PathBuf,
    },
    /// No room.
    #[error("there is no room to {action} {}: {source}", path.display())]
    DiskFull {
        /// What was to be done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// As the system said it.
        source: io::Error,
    },
    /// Anything else the system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// As the system said it.
        source: io::Error,
    },
    /// The catalog refused.
    #[error("the catalog {} failed: {source}", path.display())]
    Catalog {
        /// Its file.
        path: PathBuf,
        /// As SQLite said it.
        source: rusqlite::Error,
    },
    /// A file that should be a database is none.
    #[error("{} is no SQLite database", path.display())]
    NotADatabase {
        /// Which.
        path: PathBuf,
    },
    /// A database that is not ours refused.
    #[error("the database {} failed: {source}", path.display())]
    Foreign {
        /// Its file.
        path: PathBuf,
        /// As SQLite said it.
        source: rusqlite::Error,
    },
    /// The catalog's server refused, or does not answer.
    #[error("the catalog {catalog} failed: {refusal}")]
    Postgres {
        /// The database; no password in it.
        catalog: String,
        /// As the server said it.
        refusal: Refusal,
    },
    /// A catalog that cannot be used as it was named.
    #[error("the catalog {name} cannot be used: {reason}")]
    CatalogUrl {
        /// The database, as far as its URL can be read; no password in it.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Text that PostgreSQL has no form for.
    #[error("text with a NUL character in it cannot be kept in this catalog")]
    Nul,
    /// A row is not of the shape its query promises.
    #[error("a catalog row has {found} in column {column} where {expected} was expected")]
    Row {
        /// From 0.
        column: usize,
        /// Type expected.
        expected: &'static str,
        /// Value found.
        found: String,
    },
    /// The audit log was changed.
    #[error("the audit log is broken at record {seq}: {reason}")]
    Audit {
        /// First record that is wrong.
        seq: i64,
        /// What is wrong.
        reason: String,
    },
    /// A migration that was applied is not the one this binary holds.
    #[error("migration {version} of {} was changed after it was applied", path.display())]
    MigrationChanged {
        /// Its number.
        version: i64,
        /// The catalog.
        path: PathBuf,
    },
}

/// What an object store can answer in place of what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such bucket.
    NoBucket,
    /// There is no such object.
    NotFound(String),
    /// The keys are not known, or may not do this.
    Denied(String),
    /// The server does not answer, or not as one.
    Unavailable {
        /// The server that was asked.
        endpoint: String,
        /// What it said, or why it said nothing.
        said: String,
    },
    /// What the environment says cannot be right.
    Settings(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBucket => f.write_str("there is no such bucket"),
            Self::NotFound(said) => write!(f, "there is no such object ({said})"),
            Self::Denied(said) => write!(f, "access is denied ({said})"),
            Self::Unavailable { endpoint, said } => write!(f, "{endpoint} does not do it ({said})"),
            Self::Settings(reason) => f.write_str(reason),
        }
    }
}

impl StoreError {
    /// A refusal by SQLite, about a catalog.
    pub(crate) fn catalog(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Catalog { path: path.to_owned(), source }
    }

    /// A write to a blob that the system refused.
    pub fn writing(path: &Path, source: io::Error) -> Self {
        Self::io("write", path, source)
    }

    /// A refusal by the system, told apart by whether room was the reason.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

impl Coded for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::InUse { .. } => codes::STATE_IN_USE,
            Self::NoDirectory { .. } => codes::FILE_NOT_FOUND,
            Self::NewerVersion { .. } => codes::STATE_VERSION,
            Self::BlobsAway { .. } => codes::ARTIFACTS_AWAY,
            Self::BlobsElsewhere { .. } | Self::BucketTaken { .. } => codes::ALREADY_EXISTS,
            Self::ArtifactUrl { .. } | Self::Bucket { trouble: Trouble::Settings(_), .. } => codes::BAD_CONFIG,
            Self::Bucket { trouble: Trouble::Denied(_), .. } => codes::ARTIFACT_STORE_DENIED,
            Self::Bucket { trouble: Trouble::NotFound(_), .. } => codes::BLOB_NOT_FOUND,
            Self::Bucket { .. } => codes::ARTIFACT_STORE_UNAVAILABLE,
            Self::BlobNotFound { .. } => codes::BLOB_NOT_FOUND,
            Self::BlobCorrupt { .. } | Self::Audit { .. } => codes::BLOB_CORRUPT,
            Self::DiskFull { .. } => codes::DISK_FULL,
            Self::Io { .. } => codes::IO,
            Self::Catalog { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => codes::DISK_FULL,
                Some(rusqlite::ErrorCode::SystemIoFailure) if refused_write(source) => codes::DISK_FULL,
                Some(rusqlite::ErrorCode::SystemIoFailure) => codes::IO,
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => codes::STATE_IN_USE,
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => codes::BLOB_CORRUPT,
                _ => codes::CATALOG,
            },
            Self::NotADatabase { .. } => codes::NOT_A_STORE,
            Self::Foreign { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => codes::DISK_FULL,
                Some(rusqlite::ErrorCode::SystemIoFailure) => codes::IO,
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => codes::SOURCE_IN_USE,
                Some(rusqlite::ErrorCode::DatabaseCorrupt) => codes::SOURCE_CORRUPT,
                Some(rusqlite::ErrorCode::CannotOpen) => codes::FILE_UNREADABLE,
                _ => codes::NOT_A_STORE,
            },
            Self::Postgres { refusal, .. } => refusal.code(),
            Self::CatalogUrl { .. } => codes::BAD_CONFIG,
            Self::Nul => codes::BAD_VALUE,
            Self::Row { .. } | Self::MigrationChanged { .. } => codes::CATALOG,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoDirectory { .. } => Some("check --state-dir; the first `plinth run` makes the directory".into()),
            Self::InUse { .. } => Some("wait until it has finished, or use another --state-dir".into()),
            Self::NewerVersion { .. } => Some("use the newer plinth, or another --state-dir".into()),
            Self::Postgres { refusal, .. } => refusal.hint(),
            Self::CatalogUrl { .. } => Some("write postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=disable".into()),
            Self::ArtifactUrl { .. } => Some("write s3://BUCKET/PREFIX or file:///FOLDER".into()),
            Self::Bucket { trouble: Trouble::NoBucket, .. } => Some(
                "make the bucket first, or name another; AWS_ENDPOINT_URL and AWS_REGION say which server is asked".into(),
            ),
            Self::Bucket { trouble: Trouble::Denied(_), .. } => Some(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN for passing ones, to keys that may \
                 list, read, write and delete there"
                    .into(),
            ),
            Self::Bucket { trouble: Trouble::Unavailable { .. }, .. } => Some(
                "check the network, AWS_ENDPOINT_URL (a server other than Amazon's; http:// only if it is written so) and \
                 AWS_REGION"
                    .into(),
            ),
            Self::Bucket { trouble: Trouble::Settings(_), .. } => {
                Some("check the variables whose names begin with AWS_".into())
            }
            Self::BlobCorrupt { .. } | Self::BlobNotFound { .. } => {
                Some("run `plinth doctor --repair`: results that can be made again are then forgotten, and the next run makes them".into())
            }
            Self::DiskFull { path, .. } => Some(free_some_room(path)),
            Self::Catalog { path, .. } if self.code() == codes::DISK_FULL => Some(free_some_room(path)),
            Self::Catalog { .. } if self.code() == codes::STATE_IN_USE => Some("try again in a moment".into()),
            Self::Catalog { .. } if self.code() == codes::BLOB_CORRUPT => {
                Some("restore the catalog from a backup; `plinth doctor` shows what is wrong with it".into())
            }
            Self::Foreign { .. } if self.code() == codes::SOURCE_IN_USE => {
                Some("stop what writes to it, or try again in a moment".into())
            }
            Self::Foreign { .. } if self.code() == codes::SOURCE_CORRUPT => {
                Some("repair it, such as with SQLite's .recover; what was taken over so far is kept".into())
            }
            Self::BlobsAway { .. } => {
                Some("mount it; or, if it was moved, name it once with `plinth up --artifacts-dir` or --artifact-store".into())
            }
            Self::BucketTaken { .. } => Some("name another folder of the bucket; servers that share it share a catalog".into()),
            Self::BlobsElsewhere { known, .. } => Some(format!(
                "use {}, or another --data-dir: artifacts are put somewhere else only before the first is stored",
                known.display()
            )),
            Self::Audit { .. } => Some("restore the catalog from a backup; `plinth doctor` shows what else is wrong".into()),
            _ => None,
        }
    }
}

fn free_some_room(path: &Path) -> String {
    let device = path.parent().unwrap_or(path).display();
    format!("free some room on the device of {device}; what was stored before is safe")
}

/// SQLite reports a quota or a limit on file sizes as an IO error; on a healthy device a refused write is one of them.
fn refused_write(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_FSYNC, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE};
    let writes = [SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_SHMSIZE];
    error.sqlite_error().is_some_and(|error| writes.contains(&error.extended_code))
}
