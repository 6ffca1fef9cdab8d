//! Loads Parquet files: by ranges, so that only the columns that are asked for are read, with row groups as
//! partitions.
//!
//! It knows nothing of where bytes come from, nor of nested data; a type that has no counterpart is
//! refused by name before anything is read.
//!
//! Entry point: [`Parquet`]. Invariants: rows come in file order; nothing is rounded silently except decimals, which
//! become float64; memory is bounded by the pages of one row group that are being decoded and the block asked for.

mod convert;
mod file;
mod plan;
mod reader;
#[cfg(test)]
mod tests;

use plinth_sdk::loader::ReadPlan;
use plinth_sdk::{Problem, Schema};

pub use plan::Options;
pub use reader::ParquetReader;

/// The `parquet` loader.
pub struct Parquet;

impl plinth_sdk::Loader for Parquet {
    const NAME: &'static str = "parquet";
    const SUMMARY: &'static str = "Parquet files, by columns and row groups; snappy, gzip, lz4 and zstd";
    const OPTIONS: &'static str = include_str!("options.json");
    type Options = Options;
    type Reader = ParquetReader;

    fn plan(source: &str, options: Options) -> Result<ReadPlan, Problem> {
        plan::plan(source, &options)
    }

    fn open(source: &str, options: Options, schema: Schema, token: Vec<u8>) -> Result<ParquetReader, Problem> {
        ParquetReader::open(source, &options, schema, &token)
    }
}

plinth_sdk::export_loaders!(Parquet);
