//! A gate, metrics of the candidate within bounds: the example of its extension point.
//!
//! Start at `Threshold::evaluate`. Each rule is one check, in order; what was not measured fails. It reads no rows, and so
//! it asks the host for nothing.

use plinth_sdk::{
    Gate, Problem,
    gate::{Check, Evidence, Outcome},
    number_text,
};

/// The gate.
pub struct Threshold;

/// Its options.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    thresholds: Vec<Rule>,
}

/// What one metric has to be.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    metric: String,
    min: Option<f64>,
    max: Option<f64>,
    slice: Option<String>,
}

impl Gate for Threshold {
    const NAME: &'static str = "threshold";
    const SUMMARY: &'static str = "Metrics of the candidate within bounds";
    const OPTIONS: &'static str = r#"{
        "type": "object",
        "properties": {
            "thresholds": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "metric": {"type": "string"},
                        "min": {"type": "number"},
                        "max": {"type": "number"},
                        "slice": {"type": "string"}
                    },
                    "required": ["metric"],
                    "additionalProperties": false
                }
            }
        },
        "required": ["thresholds"],
        "additionalProperties": false
    }"#;
    type Options = Options;

    fn evaluate(evidence: &Evidence, options: Options) -> Result<Vec<Check>, Problem> {
        if options.thresholds.is_empty() {
            let message = "option `thresholds`: there is no rule in it, so that everything would pass";
            return Err(Problem::bad_input("bad-options", message));
        }
        options.thresholds.iter().map(|rule| rule.check(evidence)).collect()
    }
}

plinth_sdk::export_gates!(Threshold);

impl Rule {
    fn check(&self, evidence: &Evidence) -> Result<Check, Problem> {
        let expected = self.expected()?;
        let name = match &self.slice {
            Some(slice) => format!("{} in {slice}", self.metric),
            None => self.metric.clone(),
        };
        let candidate = &evidence.candidate;
        Ok(match candidate.metric(&self.metric, self.slice.as_deref()) {
            Some(metric) => {
                let outcome = if self.holds(metric.value) { Outcome::Pass } else { Outcome::Fail };
                Check { name, outcome, observed: number_text(metric.value), expected, reason: String::new() }
            }
            None => Check {
                name,
                outcome: Outcome::Fail,
                observed: "not measured".into(),
                expected,
                reason: format!("the metric is not among those of {}", candidate.reference),
            },
        })
    }

    /// NaN holds to nothing.
    fn holds(&self, value: f64) -> bool {
        !value.is_nan() && self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    /// "at least 0.8", "at most 3", "0.8 to 3".
    fn expected(&self) -> Result<String, Problem> {
        match (self.min.map(number_text), self.max.map(number_text)) {
            (Some(min), None) => Ok(format!("at least {min}")),
            (None, Some(max)) => Ok(format!("at most {max}")),
            (Some(min), Some(max)) => Ok(format!("{min} to {max}")),
            (None, None) => {
                let message = format!("the threshold of `{}` has no bound: give min, max or both", self.metric);
                Err(Problem::bad_input("bad-options", message))
            }
        }
    }
}
