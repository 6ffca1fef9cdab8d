//! What can go wrong with a table.

use plinth_core::{Code, Coded, codes};
use plinth_ext::SchemaError;

/// A table could not be read, written, cut or sorted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not a Parquet file, or are damaged.
    #[error("{what} is not a readable parquet file: {source}")]
    Parquet {
        /// The file, or `table` for bytes in memory.
        what: String,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// Bytes that somebody sent are not a Parquet file that could be read.
    #[error("this is not a readable parquet file: {0}")]
    BadSent(String),
    /// What somebody sent asks for more than is given.
    #[error("the parquet file has {found} {unit}, more than {limit}")]
    TooMuch {
        /// How much it asks for.
        found: u64,
        /// How much there may be.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// Columns do not exist, or are not those agreed on.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A table of no columns cannot be stored.
    #[error("the table has no columns")]
    NoColumns,
    /// A split needs a share strictly between 0 and 1.
    #[error("{fraction} is not a share between 0 and 1")]
    BadFraction {
        /// What was asked for.
        fraction: f64,
    },
    /// A column cannot order rows in time.
    #[error("column `{column}` has kind {kind}, which does not tell a time")]
    NotATime {
        /// The column.
        column: String,
        /// Its kind.
        kind: String,
    },
    /// A row has no time, so it belongs on neither side.
    #[error("column `{column}` is null or NaN in row {row}, so the row cannot be placed in time")]
    NoTime {
        /// The column.
        column: String,
        /// From 0.
        row: usize,
    },
    /// One side of a split would hold no rows.
    #[error("splitting {rows} rows at {fraction} leaves one side empty: {reason}")]
    EmptySide {
        /// Rows in all.
        rows: usize,
        /// Share asked for.
        fraction: f64,
        /// Why.
        reason: &'static str,
    },
    /// Arrow could not do it, such as text of more than 2 GiB in one column of one batch.
    #[error("{source}")]
    Arrow {
        /// Why.
        #[from]
        source: arrow_schema::ArrowError,
    },
}

impl Coded for TableError {
    fn code(&self) -> Code {
        match self {
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => codes::FILE_NOT_FOUND,
                std::io::ErrorKind::StorageFull => codes::DISK_FULL,
                _ => codes::IO,
            },
            Self::Parquet { .. } | Self::BadSent(_) | Self::NoColumns => codes::BAD_TABLE,
            Self::Schema(error) => error.code(),
            Self::BadFraction { .. } => codes::BAD_OPTIONS,
            Self::NotATime { .. } => codes::SCHEMA_MISMATCH,
            Self::NoTime { .. } => codes::BAD_VALUE,
            Self::EmptySide { .. } => codes::EMPTY_INPUT,
            Self::Arrow { .. } | Self::TooMuch { .. } => codes::LIMIT_EXCEEDED,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Schema(error) => error.hint(),
            Self::BadFraction { .. } => Some("write a number such as 0.25".into()),
            Self::NotATime { .. } => {
                Some("name a column of kind timestamp-us, int64, float64, or utf8 in ISO 8601 form".into())
            }
            Self::NoTime { .. } => Some("drop such rows first, or split by seed".into()),
            Self::EmptySide { .. } => Some("give more rows, or another share".into()),
            _ => None,
        }
    }
}
