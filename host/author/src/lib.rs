//! What authors of plugins need beside an SDK: new projects, components made of modules, cases (files of what goes in
//! and what is to come out) and the suite that every plugin of an extension point has to pass.
//!
//! Deliberately runs no WebAssembly: cases and suite see the traits of `plinth-ext`, so that a component and Rust code
//! are held to the same. It starts no tools, writes no files and reads no configuration.
//!
//! Start at [`Case`] and [`suite`], or at [`project`] and [`componentize`].
//!
//! Invariants: outcomes are compared bit for bit, so that a negative zero, or another NaN, is another outcome; a trap
//! or a breach of the contract is never what a case may expect.
#![warn(missing_docs)]

mod case;
mod component;
mod files;
mod manifest;
pub mod project;
pub mod suite;
pub mod table;

pub use case::{Body, Case, CaseError, Source};
pub use component::{ComponentError, componentize};
pub use manifest::{KINDS, Manifest, ManifestError};
