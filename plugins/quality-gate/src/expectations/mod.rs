//! The gate `expectations`: are the rows of a table what they should be?
//!
//! Options are a list, each entry one expectation: `{"range": {"column": "age", "min": 0}}`, with `severity` and
//! `reason` beside it where they are wanted. The table is read once, block by block; every expectation sees each
//! block and keeps what it needs to conclude.

mod columns;
mod kinds;
mod rows;
mod values;

use plinth_sdk::{Block, Gate, Problem, Schema, gate::Check, gate::Evidence, tables};
use serde_json::{Map, Value};

use crate::rule::{Finding, Severity};
use kinds::Expectation;

/// Rows asked of the host at a time.
const ROWS_PER_BLOCK: u32 = 65_536;

/// Are the rows of a table what they should be?
pub struct Expectations;

/// The table and what is expected of it. One expectation at least must be there.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "data")]
    table: String,
    expect: Vec<Rule>,
}

fn data() -> String {
    "data".into()
}

/// One entry of the list.
#[derive(Debug, serde::Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct Rule {
    expectation: Expectation,
    severity: Severity,
    reason: Option<String>,
}

impl TryFrom<Map<String, Value>> for Rule {
    type Error = serde_json::Error;

    fn try_from(mut entry: Map<String, Value>) -> Result<Self, Self::Error> {
        let mut take = |key: &str| entry.remove(key);
        let severity = take("severity").map(serde_json::from_value).transpose()?.unwrap_or_default();
        let reason = take("reason").map(serde_json::from_value).transpose()?;
        if entry.len() != 1 {
            let keys: Vec<&String> = entry.keys().collect();
            let message = format!("an entry holds one expectation, not {}: {keys:?}", keys.len());
            return Err(serde::de::Error::custom(message));
        }
        let name = entry.keys().next().cloned().unwrap_or_default();
        let expectation = serde_json::from_value(Value::Object(entry))
            .map_err(|error| serde::de::Error::custom(format!("`{name}`: {error}")))?;
        Ok(Self { expectation, severity, reason })
    }
}

/// An expectation at work.
trait Watch {
    /// Sees the next rows.
    ///
    /// # Errors
    /// `bad-block`.
    fn see(&mut self, schema: &Schema, block: &Block, first_row: u64) -> Result<(), Problem>;

    /// Concludes after `rows` rows in all.
    fn conclude(self: Box<Self>, rows: u64) -> Finding;
}

impl Gate for Expectations {
    const NAME: &'static str = "expectations";
    const SUMMARY: &'static str =
        "Rows of a table: columns, nulls, ranges, sets of values, uniqueness, order, averages";
    const OPTIONS: &'static str = include_str!("options.json");
    type Options = Options;

    fn evaluate(_evidence: &Evidence, options: Options) -> Result<Vec<Check>, Problem> {
        if options.expect.is_empty() {
            let message = "`expect` is empty: nothing would be checked, and everything would pass";
            return Err(Problem::bad_input("bad-options", message));
        }
        let table = tables::open(&options.table)?;
        let schema = table.schema();
        let mut watches = Vec::new();
        for rule in &options.expect {
            for watch in rule.expectation.watch(&schema)? {
                watches.push((watch, rule));
            }
        }
        let mut rows = 0_u64;
        while let Some(block) = table.next(ROWS_PER_BLOCK)? {
            for (watch, _) in &mut watches {
                watch.see(&schema, &block, rows)?;
            }
            rows += u64::from(block.rows);
        }
        let conclude =
            |(watch, rule): (Box<dyn Watch>, &Rule)| watch.conclude(rows).check(rule.severity, rule.reason.as_deref());
        Ok(watches.into_iter().map(conclude).collect())
    }
}
