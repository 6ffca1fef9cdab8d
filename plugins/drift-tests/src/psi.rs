//! The population stability index.

use plinth_sdk::{Block, DriftTest, Kind, Problem, Schema, drift::Outcome};

use crate::{
    categories::Categories,
    ruling::{Rule, chi_square_95},
};

/// `Σ (c - r) ln(c / r)` over the shares of categories or of quantile bins of the reference.
///
/// Where a side lacks a category, half a row is added to every count of both sides, so that the index stays finite.
/// Without drift it is about `(1/n + 1/m)` times a chi-square variable, which tells what chance alone can do.
pub struct Psi;

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

impl DriftTest for Psi {
    const NAME: &'static str = "psi";
    const SUMMARY: &'static str =
        "Population stability index; effect size: the index itself (0.1 moderate, 0.25 large)";
    const OPTIONS: &'static str = r#"{
  "type": "object",
  "properties": {
    "threshold": {"type": "number", "exclusiveMinimum": 0, "default": 0.1, "description": "drift where the index is at least this and more than chance explains"},
    "rows-min": {"type": "integer", "minimum": 1, "default": 30, "description": "inconclusive where a side has fewer usable rows"},
    "bins": {"type": "integer", "minimum": 2, "maximum": 1000, "default": 10, "description": "quantile bins of the reference, for numbers"},
    "values-max": {"type": "integer", "minimum": 0, "maximum": 100000, "default": 20, "description": "so many distinct values are compared one by one; above, numbers are binned and rare texts pooled"}
  },
  "additionalProperties": false
}"#;
    const KINDS: &'static [Kind] = &Kind::ALL;
    type Options = Options;

    fn test(schema: &Schema, reference: &Block, current: &Block, options: Options) -> Result<Outcome, Problem> {
        let rule = Rule::new(options.threshold, false, 0.0, options.rows_min)?;
        let (bins, values_max) = binning(options.bins, options.values_max)?;
        let categories = Categories::of_values_or_bins(schema, reference, current, bins, values_max)?;
        if categories.counted.one_side_is_empty() {
            return Ok(categories.counted.inconclusive("one side has no values at all", &rule));
        }
        if categories.all_are_rare() {
            return Ok(categories.counted.inconclusive("no category is frequent enough to be compared", &rule));
        }
        let index = index(&categories);
        let chance = chi_square_95(categories.counts.len() - 1) * categories.counted.variance_factor();
        Ok(categories.counted.by_distance(index, chance, &rule))
    }
}

/// Checks the options of binning.
///
/// # Errors
/// `bad-options`.
pub(crate) fn binning(bins: u32, values_max: u32) -> Result<(usize, usize), Problem> {
    if !(2..=1000).contains(&bins) {
        return Err(Problem::bad_input("bad-options", format!("`bins` is {bins}; it must be 2 to 1000")));
    }
    if values_max > 100_000 {
        let message = format!("`values-max` is {values_max}; it must be at most 100000");
        return Err(Problem::bad_input("bad-options", message));
    }
    Ok((bins as usize, values_max as usize))
}

fn index(categories: &Categories) -> f64 {
    let lacking = categories.counts.iter().any(|&(r, c)| r == 0 || c == 0);
    let extra = if lacking { 0.5 } else { 0.0 };
    let added = extra * categories.counts.len() as f64;
    let n = categories.counted.n_reference as f64 + added;
    let m = categories.counted.n_current as f64 + added;
    let term = |&(r, c): &(u64, u64)| {
        let (r, c) = ((r as f64 + extra) / n, (c as f64 + extra) / m);
        (c - r) * (c / r).ln()
    };
    categories.counts.iter().map(term).sum()
}
