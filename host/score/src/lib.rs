//! The one scoring path: raw rows in, fitted transforms, model, predictions out.
//!
//! Deliberately knows nothing of networks, catalogs, files or WebAssembly: serving, evaluation and batch prediction
//! all call this, so that a row gets the same answer wherever it is scored.
//!
//! [`Explainer`] says what each raw column had to do with a prediction.
//!
//! Start at [`Signature`] (the columns a caller sends, and how loosely typed values become them) and [`Scorer`]
//! (checked once when it is made, then called from many threads).
//!
//! Invariants: schemas are compared when a [`Scorer`] is made, never per row; one row comes out for each that goes
//! in, in order; no value is guessed: what cannot be read as its column's kind is an error that names row, column
//! and value.
#![warn(missing_docs)]

mod attributions;
mod column;
mod error;
mod explain;
#[cfg(test)]
mod explain_tests;
mod lookup;
mod scorer;
mod signature;

pub use attributions::{PART, attribution_schema, attribution_table};
pub use column::{Column, Rows};
pub use error::ScoreError;
pub use explain::{Attribution, Explained, Explainer, Method, Scale};
pub use lookup::Lookup;
pub use plinth_explain::{Sampling, Trees};
pub use scorer::{Scored, Scorer};
pub use signature::Signature;
