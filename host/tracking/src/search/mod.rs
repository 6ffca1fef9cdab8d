//! Searches: MLflow's filter grammar, and queries made of it.
//!
//! A filter is read into clauses ([`filter`]), which each kind of search checks against its own entities and turns into
//! SQL conditions. What a user wrote becomes parameters of a query, never part of its text.

mod evaluation;
mod experiments;
pub(crate) mod filter;
mod lexer;
mod logged_models;
mod order;
mod page;
mod pattern;
mod registry;
mod runs;
mod sql;
mod traces;

pub use evaluation::EvaluationSearch;
pub use experiments::ExperimentSearch;
pub use logged_models::{LoggedModelOrder, LoggedModelSearch};
pub use page::Page;
pub use registry::RegistrySearch;
pub(crate) use runs::Columns;
pub use runs::{PageStart, RunSearch};
pub use traces::TraceSearch;

use crate::TrackingError;

/// A filter or an order that cannot be read, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError(pub(crate) String);

impl From<SyntaxError> for TrackingError {
    fn from(error: SyntaxError) -> Self {
        Self::Invalid(error.0)
    }
}
