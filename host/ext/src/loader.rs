//! Data loaders.

use crate::{Batch, ExtError, Item, Schema};

/// A part of a source that can be read on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Opaque; given back to [`Loader::open`].
    pub token: Vec<u8>,
    /// Number of rows, if known.
    pub rows_hint: Option<u64>,
    /// Number of bytes of the source, if known.
    pub bytes_hint: Option<u64>,
}

/// What a source holds and how to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadPlan {
    /// The columns that every partition yields.
    pub schema: Schema,
    /// In source order.
    pub partitions: Vec<Partition>,
}

/// Turns sources into rows.
pub trait Loader: Send + Sync {
    /// What it offers.
    fn items(&self) -> &[Item];

    /// Looks at a source.
    ///
    /// # Errors
    /// [`ExtError`]: the source is missing, empty or not in the format.
    fn plan(&self, item: &str, source: &str, options: &str) -> Result<ReadPlan, ExtError>;

    /// Opens one partition of a plan. Readers of different partitions may run at the same time.
    ///
    /// # Errors
    /// [`ExtError`].
    fn open(
        &self,
        item: &str,
        source: &str,
        options: &str,
        schema: &Schema,
        token: &[u8],
    ) -> Result<Box<dyn Reader>, ExtError>;
}

/// One partition being read.
pub trait Reader: Send {
    /// At most `rows_max` rows; none at the end.
    ///
    /// # Errors
    /// [`ExtError`]: names the line or row, the column and the value.
    fn next(&mut self, rows_max: u32) -> Result<Option<Batch>, ExtError>;
}
