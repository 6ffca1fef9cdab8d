//! Loads JSON lines: one object a line, plain or gzip.
//!
//! Keys are columns; objects within objects are flattened, their keys joined by dots. A list, and anything else in a
//! column of text, is kept as its JSON text. A key that is missing from a line is null there.
//!
//! It knows nothing of where bytes come from: the host reads them, range by range.
//!
//! Entry point: [`Jsonl`]. Invariants: rows come in file order; reading all partitions gives the same rows as reading
//! the file in one piece; columns are in the order in which the sample first names them; memory is bounded by the
//! block asked for and the longest line, not by the file.

mod line;
mod plan;
mod reader;
#[cfg(test)]
mod tests;

use plinth_sdk::loader::ReadPlan;
use plinth_sdk::{Problem, Schema};

pub use plan::Options;
pub use reader::JsonlReader;

/// The `jsonl` loader.
pub struct Jsonl;

impl plinth_sdk::Loader for Jsonl {
    const NAME: &'static str = "jsonl";
    const SUMMARY: &'static str = "JSON lines, plain or gzip; nested objects flattened, types inferred or given";
    const OPTIONS: &'static str = include_str!("options.json");
    type Options = Options;
    type Reader = JsonlReader;

    fn plan(source: &str, options: Options) -> Result<ReadPlan, Problem> {
        plan::plan(source, &options)
    }

    fn open(source: &str, options: Options, schema: Schema, token: Vec<u8>) -> Result<JsonlReader, Problem> {
        JsonlReader::open(source, &options, schema, &token)
    }
}

plinth_sdk::export_loaders!(Jsonl);
