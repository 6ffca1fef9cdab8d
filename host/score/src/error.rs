//! What can be wrong with rows to score, or with the parts that score them.

use plinth_core::{Code, Coded, codes};
use plinth_explain::ExplainError;
use plinth_ext::{ExtError, Kind, SchemaError};

/// Rows cannot be scored, or a scorer cannot be put together.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The rows lack a column of the signature.
    #[error("column `{column}` is missing")]
    MissingColumn {
        /// The column.
        column: String,
        /// What was sent instead, perhaps.
        hint: String,
    },
    /// One row lacks a value that others have.
    #[error("row {row} has no value for column `{column}`")]
    MissingValue {
        /// From 0.
        row: usize,
        /// The column.
        column: String,
        /// What to do.
        hint: String,
    },
    /// A column is given twice.
    #[error("row {row} gives column `{column}` twice")]
    Twice {
        /// From 0.
        row: usize,
        /// The column.
        column: String,
    },
    /// A value cannot be read as its column's kind.
    #[error("row {row}, column `{column}`: {value} is not {kind}")]
    BadValue {
        /// From 0.
        row: usize,
        /// The column.
        column: String,
        /// As it was sent; cut when long.
        value: String,
        /// What was expected.
        kind: Kind,
    },
    /// A null where none may be.
    #[error("row {row}, column `{column}`: null is not allowed")]
    Null {
        /// From 0.
        row: usize,
        /// The column.
        column: String,
    },
    /// A part of the scorer wants a column that nothing before it gives.
    #[error("{taker} takes column `{column}`, which {giver} does not give")]
    NotFed {
        /// Who wants it, such as `the model` or `transform 2`.
        taker: String,
        /// Who should give it, such as `the signature`.
        giver: String,
        /// The column.
        column: String,
        /// A did-you-mean.
        hint: String,
    },
    /// A part of the scorer wants a column of another kind.
    #[error("{taker} takes column `{column}` as {wanted}, but {giver} gives {given}")]
    FedOtherKind {
        /// Who wants it.
        taker: String,
        /// Who gives it.
        giver: String,
        /// The column.
        column: String,
        /// The kind wanted.
        wanted: Kind,
        /// The kind given.
        given: Kind,
    },
    /// A transform or the model returned another number of rows, or other columns, than it said.
    #[error("{who} returned {found} for {sent} rows")]
    BadAnswer {
        /// Which part.
        who: String,
        /// Rows it was given.
        sent: usize,
        /// What came back.
        found: String,
    },
    /// A table cannot be looked up in.
    #[error("{0}")]
    BadLookup(String),
    /// Nothing is known of an entity.
    #[error("row {row}: nothing is known of {entity} {value}")]
    NotKnown {
        /// From 0.
        row: usize,
        /// The entity's column.
        entity: String,
        /// Its id.
        value: String,
    },
    /// The model returns no number that could be explained.
    #[error("the model returns no numbers that could be explained, only labels")]
    NothingToExplain,
    /// An explanation takes longer than there is time.
    #[error("the explanation was not ready in its time")]
    OutOfTime,
    /// A prediction cannot be explained.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// A transform or the model failed.
    #[error(transparent)]
    Part(#[from] ExtError),
    /// The rows do not obey a schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl Coded for ScoreError {
    fn code(&self) -> Code {
        match self {
            Self::MissingColumn { .. } => codes::UNKNOWN_COLUMN,
            Self::MissingValue { .. } | Self::BadValue { .. } | Self::Null { .. } | Self::NotKnown { .. } => {
                codes::BAD_VALUE
            }
            Self::Twice { .. } | Self::BadLookup(_) => codes::BAD_TABLE,
            Self::NotFed { .. } | Self::FedOtherKind { .. } => codes::SCHEMA_MISMATCH,
            Self::BadAnswer { .. } => codes::INTERNAL,
            Self::NothingToExplain => codes::BAD_MODEL,
            Self::OutOfTime => codes::OVERLOADED,
            Self::Explain(error) => error.code(),
            Self::Part(error) => error.code(),
            Self::Schema(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingColumn { hint, .. } | Self::MissingValue { hint, .. } | Self::NotFed { hint, .. } => {
                Some(hint.clone())
            }
            Self::BadValue { kind: Kind::TimestampUs, .. } => {
                Some("write it as 2024-03-28T08:22:20Z, or as microseconds since 1970".into())
            }
            Self::BadValue { kind: Kind::Utf8, .. } => Some("write it in quotes".into()),
            Self::BadValue { kind: Kind::Boolean, .. } => Some("write true or false".into()),
            Self::Null { .. } => {
                Some("the model was trained without missing values in this column, or looks others up by it".into())
            }
            Self::NotKnown { .. } => {
                Some("the model was trained without missing values in the columns that are looked up".into())
            }
            Self::OutOfTime => Some("explain fewer rows at once".into()),
            Self::Explain(error) => error.hint(),
            Self::Part(error) => error.hint(),
            Self::Schema(error) => error.hint(),
            _ => None,
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Part(error) => error.retryable(),
            _ => self.code().retryable(),
        }
    }
}
