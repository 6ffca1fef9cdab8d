//! What can go wrong in an extension, whoever implements it.

use plinth_core::{Code, Coded, Place, codes};

use crate::SchemaError;

/// A problem that an extension reported in an orderly way: `problem` in `wit/types`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The extension's own stable code.
    pub code: String,
    /// For a person.
    pub message: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// Row that caused it, from 0.
    pub row: Option<u64>,
    /// Column that caused it.
    pub column: Option<String>,
}

/// An extension did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExtError {
    /// It reported a problem.
    #[error("{who}: {} ({})", problem.message, problem.code)]
    Problem {
        /// Which extension, such as `load-csv`.
        who: String,
        /// What it said.
        problem: Problem,
    },
    /// It misbehaved, or it could not be run.
    #[error("{who}: {message}")]
    Fault {
        /// Which extension.
        who: String,
        /// What kind of fault.
        code: Code,
        /// For a person.
        message: String,
        /// The fix, if one is known.
        hint: Option<String>,
    },
    /// The rows are not what it was told to expect.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl ExtError {
    /// A fault without a hint.
    pub fn fault(who: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        Self::Fault { who: who.into(), code, message: message.into(), hint: None }
    }

    /// The same fault with a hint.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Fault { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
}

impl Coded for ExtError {
    fn code(&self) -> Code {
        match self {
            // Plugins tell the common troubles of data by well-known codes, so that scripts need not know which
            // plugin met them.
            Self::Problem { problem, .. } => match problem.code.as_str() {
                "empty-file" | "empty-input" => codes::EMPTY_INPUT,
                "bad-value" => codes::BAD_VALUE,
                "infinite-value" => codes::NOT_FINITE,
                "unknown-column" => codes::UNKNOWN_COLUMN,
                "ragged-row" | "duplicate-column" | "invalid-utf8" | "unterminated-quote" | "bad-table" => {
                    codes::BAD_TABLE
                }
                "bad-options" => codes::BAD_OPTIONS,
                "file-not-found" => codes::FILE_NOT_FOUND,
                "file-unreadable" => codes::FILE_UNREADABLE,
                _ => codes::PLUGIN_PROBLEM,
            },
            Self::Fault { code, .. } => *code,
            Self::Schema(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Problem { .. } => None,
            Self::Fault { hint, .. } => hint.clone(),
            Self::Schema(error) => error.hint(),
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Problem { problem, .. } => problem.retryable,
            _ => self.code().retryable(),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Problem { problem, .. } => Place { row: problem.row, column: problem.column.clone() },
            _ => Place::default(),
        }
    }
}
