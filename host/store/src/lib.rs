//! One durable state directory: content-addressed blobs, in a folder or in a bucket, and an SQL catalog, on SQLite in the
//! directory or on PostgreSQL.
//!
//! Deliberately knows nothing of experiments, models or stages: it keeps bytes and rows. The schema of the catalog
//! lives here, in `migrations/`, because rows outlive the crates that write them; what the rows mean does not.
//!
//! Start at [`Store::open`], then [`Store::blobs`] and [`Store::catalog`]. [`doctor`] tells what is wrong with a
//! directory.
//!
//! Invariants: a blob's name is the blake3 of its bytes, checked whenever it is read; a blob is on the device before
//! its hash is returned; a write to the catalog is on the device before it returns; nothing of a process that was
//! killed is left but temporary files and a lock that the system gave back.
#![warn(missing_docs)]

mod audit;
mod blob;
mod bucket;
mod bucket_url;
mod cache;
mod catalog;
mod doctor;
mod error;
mod foreign;
mod gc;
mod location;
mod lock;
mod migrate;
mod outbox;
mod outside;
mod postgres;
mod postgres_link;
mod postgres_refusal;
mod postgres_sql;
mod postgres_tx;
mod reader;
mod remote;
mod run_changes;
mod sqlite;

use std::path::{Path, PathBuf};

use plinth_core::ArtifactLimits;

pub use audit::{AuditEntry, append_audit, verify_audit};
pub use blob::{BlobHasher, BlobWriter, Blobs, UnhashedBlob};
pub use bucket::Environment;
pub use bucket_url::{BucketUrl, Location};
pub use catalog::{Catalog, Cell, Cells, Dialect, Row, Tx, Value, Visit};
pub use doctor::{Finding, doctor, doctor_set, doctor_with};
pub use error::{StoreError, Trouble};
pub use foreign::Foreign;
pub use gc::{Collected, collect};
pub use outbox::emit;
pub use outside::{Spot, SpotObject};
pub use postgres_refusal::Refusal;
pub use reader::BlobReader;

/// What is safe to show of a catalog's URL: its server and database, never user and password.
pub fn catalog_name(url: &str) -> String {
    url.parse().map_or_else(|_| "postgres://…".to_owned(), |config| postgres_sql::name(&config))
}

/// How a process opens a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The one process that runs pipelines and retrains; `command` tells a second one who is first.
    Writer {
        /// Such as `plinth run`.
        command: String,
    },
    /// Servers and commands that look things up. They may write small rows; the catalog lines the writes up.
    Shared,
}

/// What opening a state directory needs to know beside where it is.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// A PostgreSQL database that keeps the catalog, `postgres://USER@HOST/DATABASE`; none for SQLite in the directory.
    pub catalog: Option<String>,
    /// Bounds of what is kept in buckets.
    pub artifacts: ArtifactLimits,
    /// Where the keys of buckets are looked up.
    pub environment: Environment,
    /// Folders of buckets whose objects may be read for clients, beside the store's own.
    pub allowed: Vec<BucketUrl>,
}

/// An open state directory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    blobs: Blobs,
    catalog: Catalog,
    outside: outside::Outside,
    _lock: Option<lock::WriterLock>,
}

impl Store {
    /// Opens a state directory, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] names the writer; [`StoreError::NewerVersion`]; anything the system refuses.
    pub fn open(dir: &Path, access: Access) -> Result<Self, StoreError> {
        Self::open_with(dir, None, access)
    }

    /// Opens a state directory whose catalog is kept in a PostgreSQL database, `postgres://USER@HOST/DATABASE`, or in
    /// the directory itself if none is named. The first to come makes the tables.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::CatalogUrl`]; [`StoreError::Postgres`] if the server does not answer or
    /// refuses.
    pub fn open_with(dir: &Path, catalog: Option<&str>, access: Access) -> Result<Self, StoreError> {
        Self::open_set(dir, &Setup { catalog: catalog.map(str::to_owned), ..Setup::default() }, access)
    }

    /// Opens a state directory. Nothing is asked of a bucket before it is needed, or [`Blobs::reach`] is called.
    ///
    /// # Errors
    /// As [`Store::open_with`]; [`StoreError::BlobsAway`]; [`StoreError::Bucket`] for settings that cannot be right.
    pub fn open_set(dir: &Path, setup: &Setup, access: Access) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
        let lock = match access {
            Access::Writer { command } => Some(lock::WriterLock::take(dir, &command)?),
            Access::Shared => None,
        };
        let (root, far) = location::root(dir, setup)?;
        let blobs = Blobs::open(&root, far)?;
        if lock.is_some() {
            blobs.strays(true)?;
            if blobs.far().is_none() {
                gc::recover(blobs.root(), |hash| blobs.path(hash))?;
            }
        }
        let catalog = match &setup.catalog {
            Some(url) => Catalog::connect(url)?,
            None => Catalog::open(&dir.join("catalog.db"))?,
        };
        let outside = outside::Outside::new(
            setup.allowed.clone(),
            location::bucket(dir)?,
            setup.environment.clone(),
            setup.artifacts.clone(),
        );
        Ok(Self { dir: dir.to_owned(), blobs, catalog, outside, _lock: lock })
    }

    /// Lets the blobs of a state directory lie in another folder, or in a bucket, from now on. The directory may not hold
    /// any yet; a folder that was moved may be named again.
    ///
    /// # Errors
    /// [`StoreError::BlobsElsewhere`] if they lie somewhere else; [`StoreError::BucketTaken`]; [`StoreError::Bucket`];
    /// [`StoreError::Io`].
    pub fn put_blobs_in(dir: &Path, place: &Location, setup: &Setup) -> Result<(), StoreError> {
        location::set(dir, place, setup)
    }

    /// The bucket that the blobs of a state directory are noted to lie in.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn bucket_of(dir: &Path) -> Result<Option<BucketUrl>, StoreError> {
        location::bucket(dir)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// A place in a bucket that a client named, if the operator allowed to look there: below the store's own folder, but
    /// not at its blobs, or below another that was allowed.
    ///
    /// # Errors
    /// [`StoreError::Bucket`] for settings that cannot be right.
    pub fn spot(&self, uri: &str) -> Result<Option<Spot>, StoreError> {
        self.outside.spot(uri)
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}
