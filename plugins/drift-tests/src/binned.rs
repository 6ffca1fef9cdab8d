//! What tests of shares have in common: their options, and when they cannot decide.

use plinth_sdk::{Block, Problem, Schema, drift::Outcome};

use crate::{categories::Categories, ruling::Rule};

/// How to bin and to decide.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    threshold: f64,
    rows_min: u64,
    bins: u32,
    values_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: 0.1, rows_min: 30, bins: 10, values_max: 20 }
    }
}

/// Their JSON Schema.
pub(crate) const OPTIONS: &str = r#"{
  "type": "object",
  "properties": {
    "threshold": {"type": "number", "exclusiveMinimum": 0, "default": 0.1, "description": "drift where the statistic is at least this and more than chance explains"},
    "rows-min": {"type": "integer", "minimum": 1, "default": 30, "description": "inconclusive where a side has fewer usable rows"},
    "bins": {"type": "integer", "minimum": 2, "maximum": 1000, "default": 10, "description": "quantile bins of the reference, for numbers"},
    "values-max": {"type": "integer", "minimum": 0, "maximum": 100000, "default": 20, "description": "so many distinct values are compared one by one; above, numbers are binned and rare texts pooled"}
  },
  "additionalProperties": false
}"#;

/// Decides by a distance between shares: `measure` gives it, and what chance alone makes of it.
///
/// # Errors
/// `bad-options`.
pub(crate) fn compare(
    schema: &Schema,
    reference: &Block,
    current: &Block,
    options: &Options,
    measure: impl FnOnce(&Categories) -> (f64, f64),
) -> Result<Outcome, Problem> {
    let rule = Rule::new(options.threshold, false, 0.0, options.rows_min)?;
    let (bins, values_max) = binning(options.bins, options.values_max)?;
    let categories = Categories::of_values_or_bins(schema, reference, current, bins, values_max)?;
    if categories.counted.one_side_is_empty() {
        return Ok(categories.counted.inconclusive("one side has no values at all", &rule));
    }
    if categories.all_are_rare() {
        return Ok(categories.counted.inconclusive("no category is frequent enough to be compared", &rule));
    }
    let (distance, chance) = measure(&categories);
    Ok(categories.counted.by_distance(distance, chance, &rule))
}

fn binning(bins: u32, values_max: u32) -> Result<(usize, usize), Problem> {
    if !(2..=1000).contains(&bins) {
        return Err(Problem::bad_input("bad-options", format!("`bins` is {bins}; it must be 2 to 1000")));
    }
    if values_max > 100_000 {
        let message = format!("`values-max` is {values_max}; it must be at most 100000");
        return Err(Problem::bad_input("bad-options", message));
    }
    Ok((bins as usize, values_max as usize))
}
