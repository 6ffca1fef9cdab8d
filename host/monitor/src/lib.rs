//! Drift monitoring: compares current data with the reference that was stored with a model version.
//!
//! Deliberately knows nothing of where samples come from (files, captured requests, blobs), of models, of the
//! catalog, and of how a drift test computes: tests are [`plinth_ext::DriftTest`]s, usually sandboxed components.
//!
//! Start at [`check`]: two batches of one schema, a [`Suite`] of tests and a [`Config`] in, a [`Report`] out;
//! [`html`] turns the report into one self-contained page. [`Performance`] is what is added where the truth was told.
//!
//! Invariants: a test that fails or traps is inconclusive, never "no drift"; p-values are corrected for the number
//! of columns before a verdict; a verdict needs an effect of a stated size, so that a million rows do not turn
//! every whiff into an alarm; a report holds summaries only, never rows.
#![warn(missing_docs)]

mod check;
mod config;
mod error;
mod html;
mod performance;
mod report;
mod summary;

pub use check::{Suite, benjamini_hochberg, check};
pub use config::Config;
pub use error::MonitorError;
pub use html::html;
pub use performance::{DropMax, Judged, Measure, Performance};
pub use report::{ColumnReport, Report, TestReport};
pub use summary::{Bar, ColumnClass, ColumnSummary, Histogram};
