//! SQL over files and tables, with transforms as functions: what `plinth sql` runs on.
//!
//! The only crate that names DataFusion. It knows no plugin and no catalog: what a name means that is not SQL's own, a
//! function or a file, is answered by a [`Names`] that the caller gives.
//!
//! Start at [`Session`]. A statement is parsed ([`parse`]), its files become tables and its calls of transforms become
//! functions of the engine (`rewrite`), and [`Rows`] gives what it leads to batch by batch. `function` is where whole
//! batches go through a [`plinth_ext::Fitted`], `fit` is where one comes from, and [`Writer`] is where rows go.
//!
//! Invariants: a function sees whole batches, never a row; a session works with one partition unless told otherwise, so
//! that equal statements on equal files give equal rows in equal order; memory comes from one bounded pool; a statement
//! reads files that it or the command line names, and nothing from a network.
#![warn(missing_docs)]

mod cast;
mod error;
mod field;
mod files;
mod fit;
mod function;
mod growing;
mod parse;
mod rewrite;
mod session;
mod write;

#[cfg(test)]
mod tests;

pub use error::SqlError;
pub use function::{Function, Unfitted};
pub use parse::{Statement, parse};
pub use session::{Loaded, Names, Outcome, Rows, Session, Source};
pub use write::{Format, Writer, cells, columns};

/// The stack of threads that statements run on: planning walks down a statement, which is as deep as the limits let it
/// be. Pages that nothing touches cost nothing.
pub const STACK_BYTES: usize = 256 << 20;
