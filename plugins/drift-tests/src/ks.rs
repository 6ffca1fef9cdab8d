//! The two-sample Kolmogorov-Smirnov test, two-sided.

use plinth_sdk::{Block, DriftTest, Kind, Problem, Schema, drift::Outcome};

use crate::{
    numbers::Numbers,
    significance::{self, Options},
};

/// Products of sample sizes up to which the p-value is exact.
const EXACT_MAX: u64 = 4_000_000;

/// The largest gap between two empirical distributions, and how likely such a gap is without drift.
///
/// The p-value is exact (Hodges 1957) up to samples of about 2,000 rows, and Stephens' approximation of the limit
/// distribution (1970) above. With ties it is conservative.
pub struct Ks;

impl DriftTest for Ks {
    const NAME: &'static str = "ks";
    const SUMMARY: &'static str = "Kolmogorov-Smirnov, two samples, two-sided";
    const EFFECT: Option<&'static str> = Some("the largest gap between the distributions, 0 to 1");
    const OPTIONS: &'static str = significance::OPTIONS;
    const KINDS: &'static [Kind] = &[Kind::Int64, Kind::TimestampUs, Kind::Float32, Kind::Float64];
    type Options = Options;

    fn test(schema: &Schema, reference: &Block, current: &Block, options: Options) -> Result<Outcome, Problem> {
        let rule = options.rule()?;
        let numbers = Numbers::read(schema, reference, current)?;
        if numbers.counted.one_side_is_empty() {
            return Ok(numbers.counted.inconclusive("one side has no values at all", &rule));
        }
        let (n, m) = (numbers.counted.n_reference, numbers.counted.n_current);
        // In units of 1 / (n m), so that no rounding decides which paths stay inside.
        let mut gap = 0_u64;
        numbers.walk(|_, i, j| gap = gap.max((i as u64 * m).abs_diff(j as u64 * n)));
        let statistic = gap as f64 / (n as f64 * m as f64);
        let p_value = if n * m <= EXACT_MAX { exact(gap, n, m) } else { asymptotic(statistic, n, m) };
        Ok(numbers.counted.by_p_value(statistic, p_value, statistic, &rule))
    }
}

/// Probability that a gap is at least this, over all orders of the two samples.
///
/// An order is a path from (0, 0) to (n, m). The share of paths to a point that left the band on their way is the
/// mean of its two predecessors' shares, weighted by how many paths come from each; all terms are positive, so small
/// probabilities keep their precision. Only points within the band are visited; outside, the share is 1.
fn exact(gap: u64, n: u64, m: u64) -> f64 {
    if gap == 0 {
        return 1.0;
    }
    let mut row = vec![1.0; m as usize + 1];
    let last_inside = |i: u64| ((i * m + gap - 1) / n).min(m) as usize;
    row[..=last_inside(0)].fill(0.0);
    for i in 1..=n {
        let first = if i * m < gap { 0 } else { (i * m - gap) / n + 1 } as usize;
        if first > 0 {
            row[first - 1] = 1.0;
        }
        for j in first.max(1)..=last_inside(i) {
            row[j] = (i as f64 * row[j] + j as f64 * row[j - 1]) / (i + j as u64) as f64;
        }
    }
    row[m as usize].min(1.0)
}

/// The limit distribution of the gap, with Stephens' correction for finite samples.
fn asymptotic(statistic: f64, n: u64, m: u64) -> f64 {
    let root = (n as f64 * (m as f64 / (n + m) as f64)).sqrt();
    kolmogorov_tail((root + 0.12 + 0.11 / root) * statistic)
}

/// `2 Σ (-1)^(k-1) exp(-2 k² x²)`, and for small `x` the same by its other series, which converges there.
fn kolmogorov_tail(x: f64) -> f64 {
    if x < 1e-3 {
        return 1.0;
    }
    let terms = 1..=20;
    let tail = if x < 1.18 {
        let odd = terms.map(|k| f64::from(2 * k - 1));
        let squares = -std::f64::consts::PI.powi(2) / (8.0 * x * x);
        let sum: f64 = odd.map(|k| (k * k * squares).exp()).sum();
        1.0 - (2.0 * std::f64::consts::PI).sqrt() / x * sum
    } else {
        let term = |k: i32| (-2.0 * f64::from(k * k) * x * x).exp() * if k % 2 == 1 { 2.0 } else { -2.0 };
        terms.map(term).sum()
    };
    tail.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_series_of_the_limit_agree_where_they_meet() {
        assert!((kolmogorov_tail(1.18 - 1e-12) - kolmogorov_tail(1.18)).abs() < 1e-9);
        assert_eq!(kolmogorov_tail(0.0), 1.0);
    }

    #[test]
    fn exact_and_limit_agree_where_one_takes_over_from_the_other() {
        let (n, m) = (2000, 1990);
        for (statistic, tolerance) in [(0.02, 0.01), (0.04, 0.02), (0.06, 0.02), (0.1, 0.05)] {
            let gap = (statistic * (n * m) as f64) as u64;
            let (exact, limit) = (exact(gap, n, m), asymptotic(statistic, n, m));
            assert!((exact - limit).abs() < tolerance * exact, "{statistic}: {exact} and {limit}");
        }
    }

    #[test]
    fn tiny_probabilities_are_not_lost_to_rounding() {
        // Two samples that do not overlap: 2 of the (2n over n) orders are as extreme.
        let orders: f64 = (1..=50).map(|k| f64::from(50 + k) / f64::from(k)).product();
        let p = exact(2500, 50, 50);
        assert!((p / (2.0 / orders) - 1.0).abs() < 1e-9, "{p}");
    }
}
