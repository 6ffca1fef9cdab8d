//! The Jensen-Shannon distance.

use plinth_sdk::{Block, DriftTest, Kind, Problem, Schema, drift::Outcome};

use crate::{
    categories::Categories,
    psi::binning,
    ruling::{Rule, chi_square_95},
};

/// The square root of the Jensen-Shannon divergence, in base 2: 0 for equal shares, 1 where nothing overlaps.
///
/// Without drift the divergence is about `(1/n + 1/m) / (8 ln 2)` times a chi-square variable, which tells what chance
/// alone can do.
pub struct JensenShannon;

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

impl DriftTest for JensenShannon {
    const NAME: &'static str = "jensen-shannon";
    const SUMMARY: &'static str = "Jensen-Shannon distance, base 2; effect size: the distance itself, 0 to 1";
    const OPTIONS: &'static str = r#"{
  "type": "object",
  "properties": {
    "threshold": {"type": "number", "exclusiveMinimum": 0, "default": 0.1, "description": "drift where the distance is at least this and more than chance explains"},
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
        let degrees = categories.counts.len() - 1;
        let chance = chi_square_95(degrees) * categories.counted.variance_factor() / (8.0 * std::f64::consts::LN_2);
        let distance = divergence(&categories).max(0.0).sqrt();
        Ok(categories.counted.by_distance(distance, chance.sqrt(), &rule))
    }
}

/// The mean of both sides' divergence from their mixture, in bits.
fn divergence(categories: &Categories) -> f64 {
    let against = |share: f64, mixed: f64| if share > 0.0 { share * (share / mixed).log2() } else { 0.0 };
    let term = |(p, q): (f64, f64)| against(p, (p + q) / 2.0) + against(q, (p + q) / 2.0);
    categories.shares().map(term).sum::<f64>() / 2.0
}
