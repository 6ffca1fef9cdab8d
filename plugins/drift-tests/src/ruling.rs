//! From a statistic to an outcome: what all tests decide alike.

use plinth_sdk::{
    Problem,
    drift::{Outcome, Verdict},
};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Rows that counted on each side, and what there is to say about the others.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Counted {
    pub(crate) n_reference: u64,
    pub(crate) n_current: u64,
    pub(crate) notes: Vec<String>,
}

impl Counted {
    /// `1/n + 1/m`, the variance factor of a difference of two samples.
    pub(crate) fn variance_factor(&self) -> f64 {
        1.0 / self.n_reference as f64 + 1.0 / self.n_current as f64
    }

    /// Whether one side has no row at all; then nothing can be computed.
    pub(crate) fn one_side_is_empty(&self) -> bool {
        self.n_reference == 0 || self.n_current == 0
    }

    /// The outcome of a test that has a p-value: drift where it is at most `alpha` and the effect large enough.
    pub(crate) fn by_p_value(self, statistic: f64, p_value: f64, effect: f64, rule: &Rule) -> Outcome {
        let drift = p_value <= rule.threshold && effect >= rule.effect_min;
        let verdict = if drift { Verdict::Drift } else { Verdict::NoDrift };
        self.outcome(statistic, Some(p_value), Some(effect), verdict, rule)
    }

    /// The outcome of a distance: drift where it reaches the threshold and is more than chance explains.
    ///
    /// `chance` is what chance alone stays below in about 95 of 100 pairs of samples of this size. A distance over
    /// the threshold that chance may explain is inconclusive: the samples are too small for that threshold.
    pub(crate) fn by_distance(mut self, distance: f64, chance: f64, rule: &Rule) -> Outcome {
        let verdict = if distance < rule.threshold.max(rule.effect_min) {
            Verdict::NoDrift
        } else if distance > chance {
            Verdict::Drift
        } else {
            self.notes.push(format!(
                "{distance:.3} is over the threshold, but with samples this small chance alone reaches {chance:.3}"
            ));
            Verdict::Inconclusive
        };
        self.outcome(distance, None, Some(distance), verdict, rule)
    }

    /// Nothing could be compared.
    pub(crate) fn inconclusive(mut self, why: impl Into<String>, rule: &Rule) -> Outcome {
        self.notes.push(why.into());
        self.outcome(0.0, None, None, Verdict::Inconclusive, rule)
    }

    fn outcome(
        mut self,
        statistic: f64,
        p_value: Option<f64>,
        effect_size: Option<f64>,
        mut verdict: Verdict,
        rule: &Rule,
    ) -> Outcome {
        for (side, rows) in [("reference", self.n_reference), ("current sample", self.n_current)] {
            if rows < rule.rows_min {
                verdict = Verdict::Inconclusive;
                self.notes.push(format!("the {side} has {rows} usable rows; a verdict needs {}", rule.rows_min));
            }
        }
        Outcome {
            statistic,
            p_value,
            effect_size,
            threshold: rule.threshold,
            verdict,
            n_reference: self.n_reference,
            n_current: self.n_current,
            note: (!self.notes.is_empty()).then(|| self.notes.join("; ")),
        }
    }
}

/// What decides, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rule {
    pub(crate) threshold: f64,
    pub(crate) effect_min: f64,
    pub(crate) rows_min: u64,
}

impl Rule {
    /// Checks the options that all tests share. A level of significance lies between 0 and 1, a distance is more
    /// than 0.
    ///
    /// # Errors
    /// `bad-options`.
    pub(crate) fn new(threshold: f64, is_level: bool, effect_min: f64, rows_min: u64) -> Result<Self, Problem> {
        let bad = |message: String| Err(Problem::bad_input("bad-options", message));
        if threshold.is_nan() || threshold <= 0.0 || (is_level && threshold >= 1.0) {
            let range = if is_level { "between 0 and 1" } else { "more than 0" };
            return bad(format!("`threshold` is {threshold}; it must be {range}"));
        }
        if effect_min.is_nan() || effect_min < 0.0 {
            return bad(format!("`effect-min` is {effect_min}; it must be 0 or more"));
        }
        if rows_min == 0 {
            return bad("`rows-min` is 0; it must be 1 or more".into());
        }
        Ok(Self { threshold, effect_min, rows_min })
    }
}

/// Probability that a chi-square variable of so many degrees of freedom is at least `x`.
pub(crate) fn chi_square_tail(x: f64, degrees: usize) -> f64 {
    ChiSquared::new(degrees as f64).map_or(1.0, |chi| chi.sf(x))
}

/// What such a variable stays below in 95 of 100 cases.
pub(crate) fn chi_square_95(degrees: usize) -> f64 {
    ChiSquared::new(degrees as f64).map_or(0.0, |chi| chi.inverse_cdf(0.95))
}
