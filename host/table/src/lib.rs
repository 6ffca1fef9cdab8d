//! Tables at rest and in hand: Parquet files with reproducible bytes, and the few row operations stages need.
//!
//! Deliberately knows nothing of stages, blobs, plugins or models. Foreign files (CSV, other people's Parquet) come
//! in through loader plugins; this crate reads what it wrote, and what callers of a scoring server send it ([`Sent`]).
//!
//! Start at [`Writer`] and [`Table`] (files), [`Split`] (training and held-out rows), [`row_hashes`] (leak checks)
//! and [`Reservoir`] (samples of a stream).
//!
//! Invariants: the same rows of the same schema give the same file bytes, however they were cut into batches,
//! because stage outputs are named by their hash; every choice of rows depends on the seed and the row's position
//! alone, never on batch boundaries, threads or time; a file is read and written row group by row group.
#![warn(missing_docs)]

mod error;
mod file;
mod hash;
mod rows;
mod sample;
mod sent;
#[cfg(test)]
mod sent_tests;
mod split;
mod thrift;

pub use error::TableError;
pub use file::{BATCH_ROWS, Batches, ROW_GROUP_ROWS, Table, Writer, to_bytes, write_in_pieces};
pub use hash::row_hashes;
pub use rows::{concat, filter, sort_by, take};
pub use sample::Reservoir;
pub use sent::{Bounds, Sent};
pub use split::Split;
