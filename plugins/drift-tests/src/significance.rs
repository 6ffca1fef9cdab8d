//! The options of tests that decide by a p-value.

use plinth_sdk::Problem;

use crate::ruling::Rule;

/// How to decide.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    threshold: f64,
    effect_min: f64,
    rows_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: 0.05, effect_min: 0.0, rows_min: 30 }
    }
}

/// Their JSON Schema.
pub(crate) const OPTIONS: &str = r#"{
  "type": "object",
  "properties": {
    "threshold": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.05, "description": "drift where the p-value is at most this"},
    "effect-min": {"type": "number", "minimum": 0, "default": 0, "description": "and the effect size at least this"},
    "rows-min": {"type": "integer", "minimum": 1, "default": 30, "description": "inconclusive where a side has fewer usable rows"}
  },
  "additionalProperties": false
}"#;

impl Options {
    /// The rule that they make.
    ///
    /// # Errors
    /// `bad-options`.
    pub(crate) fn rule(&self) -> Result<Rule, Problem> {
        Rule::new(self.threshold, true, self.effect_min, self.rows_min)
    }
}
