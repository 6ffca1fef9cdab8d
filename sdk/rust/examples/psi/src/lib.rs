//! A drift test, the population stability index over quantile bins of the reference: the example of its extension point.
//!
//! Start at `Psi::test`. Sums are in row order and the logarithm is our own, so that the same rows are the same bits in
//! every language and on every machine.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2};

use plinth_sdk::{
    Block, DriftTest, Kind, Problem, Schema,
    drift::{Outcome, Verdict},
    options::integer,
};

/// The population stability index.
pub struct Psi;

/// Its options.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    #[serde(deserialize_with = "integer")]
    bins: usize,
    threshold: f64,
    #[serde(deserialize_with = "integer")]
    rows_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { bins: 10, threshold: 0.1, rows_min: 30 }
    }
}

impl Options {
    /// What the JSON Schema says and the types do not.
    fn check(&self) -> Result<(), Problem> {
        let wrong = |message: String| Err(Problem::bad_input("bad-options", message));
        if !(2..=1000).contains(&self.bins) {
            return wrong(format!("option `bins`: it is {}; it must be 2 to 1000", self.bins));
        }
        if self.threshold <= 0.0 {
            return wrong("option `threshold`: it must be more than 0".into());
        }
        if self.rows_min < 1 {
            return wrong("option `rows-min`: it must be at least 1".into());
        }
        Ok(())
    }
}

impl DriftTest for Psi {
    const NAME: &'static str = "psi";
    const SUMMARY: &'static str = "Population stability index over quantile bins of the reference";
    const EFFECT: Option<&'static str> = Some("the index itself");
    const OPTIONS: &'static str = r#"{
        "type": "object",
        "properties": {
            "bins": {"type": "integer", "minimum": 2, "maximum": 1000, "default": 10},
            "threshold": {"type": "number", "exclusiveMinimum": 0, "default": 0.1},
            "rows-min": {"type": "integer", "minimum": 1, "default": 30}
        },
        "additionalProperties": false
    }"#;
    const KINDS: &'static [Kind] = &[Kind::Boolean, Kind::Int64, Kind::Float32, Kind::Float64];
    type Options = Options;

    fn test(schema: &Schema, reference: &Block, current: &Block, options: Options) -> Result<Outcome, Problem> {
        options.check()?;
        let mut reference = usable(schema, reference)?;
        let current = usable(schema, current)?;
        let mut outcome = Outcome {
            statistic: 0.0,
            p_value: None,
            effect_size: None,
            threshold: options.threshold,
            verdict: Verdict::Inconclusive,
            n_reference: reference.len() as u64,
            n_current: current.len() as u64,
            note: None,
        };
        for (side, values) in [("reference", &reference), ("current sample", &current)] {
            if (values.len() as u64) < options.rows_min {
                let (rows, needed) = (values.len(), options.rows_min);
                outcome.note = Some(format!("the {side} has {rows} usable rows; a verdict needs {needed}"));
                return Ok(outcome);
            }
        }
        let edges = quantiles(&mut reference, options.bins);
        outcome.statistic = index(&reference, &current, &edges);
        outcome.effect_size = Some(outcome.statistic);
        outcome.verdict = if outcome.statistic >= options.threshold { Verdict::Drift } else { Verdict::NoDrift };
        Ok(outcome)
    }
}

plinth_sdk::export_drift_tests!(Psi);

/// The values that count: not null, not NaN.
fn usable(schema: &Schema, rows: &Block) -> Result<Vec<f64>, Problem> {
    Ok(rows.numbers(schema, 0)?.flatten().filter(|value| !value.is_nan()).collect())
}

/// The bounds between bins, each once. Sorts the sample.
fn quantiles(sample: &mut [f64], bins: usize) -> Vec<f64> {
    sample.sort_unstable_by(f64::total_cmp);
    // In 64 bits: on a 32-bit machine the product may be too large.
    let at = |i: usize| (i as u64 * sample.len() as u64 / bins as u64) as usize;
    let mut edges: Vec<f64> = (1..bins).map(|i| sample[at(i)]).collect();
    edges.dedup();
    edges
}

/// How many values are in each bin. A value's bin is the number of edges that are not above it.
fn histogram(values: &[f64], edges: &[f64]) -> Vec<f64> {
    let mut counts = vec![0.0; edges.len() + 1];
    values.iter().for_each(|value| counts[edges.partition_point(|edge| edge <= value)] += 1.0);
    counts
}

fn index(reference: &[f64], current: &[f64], edges: &[f64]) -> f64 {
    let (r, c) = (histogram(reference, edges), histogram(current, edges));
    // Half a row more in every bin keeps the index finite where one side has none.
    let extra = if r.iter().chain(&c).any(|&count| count == 0.0) { 0.5 } else { 0.0 };
    let bins = r.len() as f64;
    let (n, m) = (reference.len() as f64 + extra * bins, current.len() as f64 + extra * bins);
    let mut sum = 0.0;
    for (r, c) in r.into_iter().zip(c) {
        let (p, q) = ((r + extra) / n, (c + extra) / m);
        sum += (q - p) * ln(q / p);
    }
    sum
}

/// The natural logarithm of a positive, normal number, out of + - * and / only: so it is the same to the last bit in
/// every language.
fn ln(x: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff << 52;
    // x = f * 2^exponent with f in [0.5, 1).
    let mut exponent = f64::from((x.to_bits() >> 52) as u32) - 1022.0;
    let mut f = f64::from_bits(x.to_bits() & !EXPONENT | 1022 << 52);
    if f < FRAC_1_SQRT_2 {
        f *= 2.0;
        exponent -= 1.0;
    }
    let s = (f - 1.0) / (f + 1.0);
    let z = s * s;
    let mut t = 1.0 / 23.0;
    for k in (1..=21).rev().step_by(2) {
        t = t * z + 1.0 / f64::from(k);
    }
    2.0 * s * t + exponent * LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_right_to_the_last_bits() {
        for x in [1e-9, 0.3, 0.5, FRAC_1_SQRT_2, 1.0, 1.5, 2.0, 3.0, 1234.5, 1e300] {
            let error = (ln(x) - x.ln()).abs();
            assert!(error <= x.ln().abs() * 4e-16, "{x}: {} and {}", ln(x), x.ln());
        }
    }
}
