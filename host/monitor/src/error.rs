//! What can go wrong before a single test has run.

use plinth_core::{Code, Coded, codes};
use plinth_ext::{Kind, SchemaError};

/// A check that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The current data lacks a column of the reference, or has it with another type.
    #[error("the current data does not have the reference's columns: {0}")]
    Schema(#[from] SchemaError),
    /// A column has another type than the reference's, and cannot be read as it.
    #[error("column `{name}` is {current} where the reference has {reference}")]
    Type {
        /// The column.
        name: String,
        /// Its type in the reference.
        reference: Kind,
        /// Its type in the current data.
        current: Kind,
    },
    /// There are no rows on one side.
    #[error("the {side} sample has no rows")]
    Empty {
        /// `reference` or `current`.
        side: &'static str,
    },
    /// A test was named that no plugin offers.
    #[error("unknown drift test `{name}`")]
    UnknownTest {
        /// As configured.
        name: String,
        /// A did-you-mean.
        hint: String,
    },
    /// A configured number is out of its range.
    #[error("`{key}` is {value}, which is not within {range}")]
    OutOfRange {
        /// Configuration key.
        key: &'static str,
        /// As configured.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// The report could not be written as HTML.
    #[error("the report could not be rendered: {0}")]
    Render(#[from] minijinja::Error),
}

impl Coded for MonitorError {
    fn code(&self) -> Code {
        match self {
            Self::Schema(error) => error.code(),
            Self::Type { .. } => codes::SCHEMA_MISMATCH,
            Self::Empty { .. } => codes::EMPTY_INPUT,
            Self::UnknownTest { .. } => codes::PLUGIN_ITEM_NOT_FOUND,
            Self::OutOfRange { .. } => codes::BAD_CONFIG,
            Self::Render(_) => codes::INTERNAL,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Schema(error) => error.hint(),
            Self::UnknownTest { hint, .. } => Some(hint.clone()),
            _ => None,
        }
    }
}
