//! How good a model's answers were, where it was told later what was true, and whether that is worse than it was.

use std::{fmt, str::FromStr};

use plinth_ext::Verdict;
use serde::{Deserialize, Serialize};

/// How good answers were of which the truth is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// Rows that were measured.
    pub rows: u64,
    /// Rows whose truth could not be used: it is no class of the model's, or no number.
    pub unread: u64,
    /// What was measured.
    pub metrics: Vec<Measure>,
    /// Whether it is worse than it may be; none where nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Its name, such as `accuracy`.
    pub name: String,
    /// What it is on these rows.
    pub current: f64,
    /// What it was when the model was evaluated, if that is on record.
    pub recorded: Option<f64>,
}

/// Whether a metric is worse than it may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The metric.
    pub metric: String,
    /// By how much it is worse than it was; negative if it is better.
    pub drop: f64,
    /// By how much it may be.
    pub drop_max: f64,
    /// [`Verdict::Drift`] if it is worse than it may be, [`Verdict::Inconclusive`] if there are too few rows to say.
    pub verdict: Verdict,
}

/// How much worse a metric may be than it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DropMax {
    /// In the metric's own unit.
    By(f64),
    /// As a part of what it was.
    Part(f64),
}

impl FromStr for DropMax {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, part) = text.trim().strip_suffix('%').map_or((text.trim(), false), |number| (number.trim(), true));
        match number.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) if part => Ok(Self::Part(number / 100.0)),
            Some(number) => Ok(Self::By(number)),
            None => Err("write a number of 0 or more, such as 0.05, or a part of what it was, such as 5%".into()),
        }
    }
}

impl fmt::Display for DropMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(number) => write!(f, "{number}"),
            Self::Part(part) => write!(f, "{}%", part * 100.0),
        }
    }
}

/// Whether a metric is the better the smaller it is.
fn is_error(metric: &str) -> bool {
    ["rmse", "mae", "log_loss", "brier"].contains(&metric)
}

impl Measure {
    /// By how much it is worse than it was; negative if it is better.
    pub fn drop(&self) -> Option<f64> {
        let rise = self.current - self.recorded?;
        Some(if is_error(&self.name) { rise } else { -rise })
    }
}

impl Performance {
    /// Decides by one metric, on at least `rows_min` rows. False if it was not measured, or is not on record.
    pub fn judge(&mut self, metric: &str, most: DropMax, rows_min: u64) -> bool {
        let Some(measure) = self.metrics.iter().find(|measure| measure.name == metric) else { return false };
        let (Some(drop), Some(recorded)) = (measure.drop().filter(|drop| drop.is_finite()), measure.recorded) else {
            return false;
        };
        let drop_max = match most {
            DropMax::By(number) => number,
            DropMax::Part(part) => part * recorded.abs(),
        };
        let verdict = match drop > drop_max {
            _ if self.rows < rows_min => Verdict::Inconclusive,
            true => Verdict::Drift,
            false => Verdict::NoDrift,
        };
        self.judged = Some(Judged { metric: metric.to_owned(), drop, drop_max, verdict });
        true
    }

    /// Whether it is worse than it may be.
    pub fn is_worse(&self) -> bool {
        self.judged.as_ref().is_some_and(|judged| judged.verdict == Verdict::Drift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rows: u64) -> Performance {
        let of = |name: &str, current, recorded| Measure { name: name.into(), current, recorded };
        let metrics = vec![of("accuracy", 0.80, Some(0.90)), of("rmse", 12.0, Some(10.0)), of("r2", 0.5, None)];
        Performance { rows, unread: 0, metrics, judged: None }
    }

    #[test]
    fn a_metric_may_fall_or_an_error_rise_only_so_far() {
        for (metric, most, wanted) in [
            ("accuracy", "0.05", Verdict::Drift),
            ("accuracy", "0.11", Verdict::NoDrift),
            ("accuracy", "10%", Verdict::Drift),
            ("accuracy", "12 %", Verdict::NoDrift),
            ("rmse", "1.5", Verdict::Drift),
            ("rmse", "25%", Verdict::NoDrift),
        ] {
            let mut performance = measured(100);
            assert!(performance.judge(metric, most.parse().unwrap(), 50));
            assert_eq!(performance.judged.as_ref().unwrap().verdict, wanted, "{metric} {most}");
            assert_eq!(performance.is_worse(), wanted == Verdict::Drift);
        }
        let mut few = measured(49);
        assert!(few.judge("accuracy", DropMax::By(0.0), 50));
        assert_eq!(few.judged.unwrap().verdict, Verdict::Inconclusive);
        assert!(!measured(100).judge("r2", DropMax::By(0.1), 50), "nothing is known of what it was");
        assert!(!measured(100).judge("f1", DropMax::By(0.1), 50));
        for text in ["", "-1", "nan", "inf", "x%"] {
            assert!(text.parse::<DropMax>().is_err(), "{text}");
        }
    }
}
