//! Loads CSV: delimited text with or without a header, plain or gzip.
//!
//! Types are inferred from a sample or given. A large plain file is split at record boundaries, and line breaks within
//! quotes are no boundaries. What is wrong in a file is told with its line, column and value.
//!
//! It knows nothing of where bytes come from: the host reads them, range by range.
//!
//! Entry point: [`Csv`]. Invariants: rows come in file order; reading all partitions gives the same rows as reading
//! the file in one piece; memory is bounded by the block asked for and the longest record, not by the file.

mod dialect;
mod plan;
mod reader;
mod record;
#[cfg(test)]
mod tests;

use plinth_sdk::loader::ReadPlan;
use plinth_sdk::{Problem, Schema};

pub use dialect::Options;
pub use reader::CsvReader;

/// The `csv` loader.
pub struct Csv;

impl plinth_sdk::Loader for Csv {
    const NAME: &'static str = "csv";
    const SUMMARY: &'static str = "CSV and other delimited text, plain or gzip; types inferred or given";
    const OPTIONS: &'static str = include_str!("options.json");
    type Options = Options;
    type Reader = CsvReader;

    fn plan(source: &str, options: Options) -> Result<ReadPlan, Problem> {
        plan::plan(source, &options)
    }

    fn open(source: &str, options: Options, schema: Schema, token: Vec<u8>) -> Result<CsvReader, Problem> {
        CsvReader::open(source, &options, schema, &token)
    }
}

plinth_sdk::export_loaders!(Csv);
