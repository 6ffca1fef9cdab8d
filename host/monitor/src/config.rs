//! How a check decides.

use serde::{Deserialize, Serialize};

use crate::MonitorError;

/// How a check decides. Every field has a default; unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Tests for numeric columns; the first decides, the others are shown beside it.
    pub numeric_tests: Vec<String>,
    /// Tests for categorical columns (text, booleans, integers of few values); the first decides.
    pub categorical_tests: Vec<String>,
    /// Share of false alarms among alarms that is accepted: the level of the Benjamini-Hochberg procedure
    /// (Benjamini and Hochberg 1995) over all columns.
    pub false_discovery_rate: f64,
    /// Least effect that counts, on the deciding test's scale: the largest gap between the distributions for `ks`,
    /// Cramér's V for `chi-square`. Tests that have no p-value decide by their own threshold alone.
    pub effect_min: f64,
    /// Number of drifted columns from which the data set as a whole has drifted.
    pub columns_min: u32,
    /// Rise of a column's share of nulls that counts as a data quality alert, in the range 0 to 1.
    pub null_share_rise_max: f64,
    /// Rows under which a side is too small for any verdict.
    pub rows_min: u64,
    /// Columns to leave out.
    pub exclude: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            numeric_tests: vec!["ks".into(), "psi".into(), "wasserstein".into()],
            categorical_tests: vec!["chi-square".into(), "psi".into(), "jensen-shannon".into()],
            false_discovery_rate: 0.05,
            effect_min: 0.1,
            columns_min: 1,
            null_share_rise_max: 0.05,
            rows_min: 50,
            exclude: Vec::new(),
        }
    }
}

impl Config {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`MonitorError::OutOfRange`] names the key, the value and the range.
    pub fn checked(self) -> Result<Self, MonitorError> {
        let open = |key, value: f64| {
            if value > 0.0 && value < 1.0 {
                Ok(())
            } else {
                Err(MonitorError::OutOfRange { key, value, range: "0 to 1, both excluded" })
            }
        };
        open("false-discovery-rate", self.false_discovery_rate)?;
        for (key, value) in [("effect-min", self.effect_min), ("null-share-rise-max", self.null_share_rise_max)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(MonitorError::OutOfRange { key, value, range: "0 to 1" });
            }
        }
        if self.columns_min == 0 {
            return Err(MonitorError::OutOfRange { key: "columns-min", value: 0.0, range: "1 and more" });
        }
        Ok(self)
    }
}
