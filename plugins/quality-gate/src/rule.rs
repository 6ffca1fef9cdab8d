//! What all rules share: bounds, severity, and how a judgement becomes a check.

use plinth_sdk::{
    Problem,
    gate::{Check, Outcome},
};

use crate::words::{number, number_beside};

/// What a rule that is not met does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// Stops the candidate.
    #[default]
    Fail,
    /// Stops nothing.
    Warn,
}

/// A range of numbers; every bound is optional, one at least must be there.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Deserialize)]
pub(crate) struct Bounds {
    /// More than this.
    pub(crate) above: Option<f64>,
    /// At least this.
    pub(crate) min: Option<f64>,
    /// Less than this.
    pub(crate) below: Option<f64>,
    /// At most this.
    pub(crate) max: Option<f64>,
}

impl Bounds {
    /// # Errors
    /// `bad-options` where there is no bound, or none can be met.
    pub(crate) fn check(self, what: &str) -> Result<Self, Problem> {
        let bad = |why: &str| Err(Problem::bad_input("bad-options", format!("{what}: {why}")));
        if self.all().is_empty() {
            return bad("it needs `min`, `max`, `above` or `below`");
        }
        let low = self.above.into_iter().chain(self.min).fold(f64::NEG_INFINITY, f64::max);
        let high = self.below.into_iter().chain(self.max).fold(f64::INFINITY, f64::min);
        let open = self.above == Some(low) || self.below == Some(high);
        if low > high || (low == high && open) {
            return bad(&format!("no number is {}", self.words()));
        }
        Ok(self)
    }

    /// Whether a number lies within; NaN never does.
    pub(crate) fn hold(&self, value: f64) -> bool {
        self.all().iter().all(|(sign, bound)| match *sign {
            ">" => value > *bound,
            ">=" => value >= *bound,
            "<" => value < *bound,
            _ => value <= *bound,
        })
    }

    /// Such as `> 0.8`, or `>= 0 and < 10`.
    pub(crate) fn signs(&self) -> String {
        let all = self.all();
        all.iter().map(|(sign, bound)| format!("{sign} {}", number(*bound))).collect::<Vec<_>>().join(" and ")
    }

    /// Such as "more than 0.8", or "at least 0 and less than 10".
    pub(crate) fn words(&self) -> String {
        let word = |sign: &str| match sign {
            ">" => "more than",
            ">=" => "at least",
            "<" => "less than",
            _ => "at most",
        };
        let all = self.all();
        all.iter().map(|(sign, bound)| format!("{} {}", word(sign), number(*bound))).collect::<Vec<_>>().join(" and ")
    }

    /// A number in words beside these bounds.
    pub(crate) fn show(&self, value: f64) -> String {
        self.all().into_iter().fold(number(value), |shown, (_, bound)| {
            let exact = number_beside(value, bound);
            if exact.len() > shown.len() { exact } else { shown }
        })
    }

    /// How far outside a number is; none where it is inside or NaN.
    pub(crate) fn short_by(&self, value: f64) -> Option<f64> {
        let low = self.above.into_iter().chain(self.min).map(|bound| bound - value);
        let high = self.below.into_iter().chain(self.max).map(|bound| value - bound);
        low.chain(high).filter(|gap| *gap >= 0.0).reduce(f64::max).filter(|_| !self.hold(value))
    }

    fn all(&self) -> Vec<(&'static str, f64)> {
        [(">", self.above), (">=", self.min), ("<", self.below), ("<=", self.max)]
            .into_iter()
            .filter_map(|(sign, bound)| bound.map(|bound| (sign, bound)))
            .collect()
    }
}

/// A judgement before it has a severity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) holds: bool,
    pub(crate) observed: String,
    pub(crate) expected: String,
    /// What to say where the rule's author gave no reason.
    pub(crate) reason: String,
}

impl Finding {
    /// The check. The author's reason comes before ours where the rule is not met; a rule that is met needs neither,
    /// unless ours says why it passed.
    pub(crate) fn check(self, severity: Severity, author: Option<&str>) -> Check {
        let outcome = match (self.holds, severity) {
            (true, _) => Outcome::Pass,
            (false, Severity::Fail) => Outcome::Fail,
            (false, Severity::Warn) => Outcome::Warn,
        };
        let reason = match author {
            Some(author) if !self.holds && self.reason.is_empty() => author.to_owned(),
            Some(author) if !self.holds => format!("{author} ({})", self.reason),
            _ => self.reason,
        };
        Check { name: self.name, outcome, observed: self.observed, expected: self.expected, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_open_or_closed_as_written() {
        let above = Bounds { above: Some(0.8), ..Bounds::default() };
        let min = Bounds { min: Some(0.8), ..Bounds::default() };
        assert!(!above.hold(0.8) && min.hold(0.8) && above.hold(0.800_001));
        assert!(!above.hold(f64::NAN) && !min.hold(f64::NAN));
        assert_eq!((above.signs().as_str(), min.words().as_str()), ("> 0.8", "at least 0.8"));
        assert_eq!(above.show(0.799_999_999), "0.799999999");
    }

    #[test]
    fn bounds_that_nothing_can_meet_are_refused() {
        let check = |above, min, below, max| Bounds { above, min, below, max }.check("it");
        assert_eq!(check(None, None, None, None).unwrap_err().message, "it: it needs `min`, `max`, `above` or `below`");
        assert_eq!(
            check(None, Some(2.0), None, Some(1.0)).unwrap_err().message,
            "it: no number is at least 2 and at most 1"
        );
        assert!(check(Some(1.0), None, None, Some(1.0)).is_err());
        assert!(check(None, Some(1.0), None, Some(1.0)).is_ok());
    }
}
