//! What authors of plugins need beside an SDK: cases (files of what goes in and what is to come out) and the suite that
//! every plugin of an extension point has to pass.
//!
//! Deliberately knows nothing of WebAssembly: it sees the traits of `plinth-ext`, so that a component and Rust code
//! are held to the same. It starts no tools and reads no configuration.
//!
//! Start at [`Case`] and [`suite`].
//!
//! Invariants: outcomes are compared bit for bit, so that a negative zero, or another NaN, is another outcome; a trap
//! or a breach of the contract is never what a case may expect.
#![warn(missing_docs)]

mod case;
pub mod suite;
pub mod table;

pub use case::{Body, Case, CaseError, Source};
