//! What a check found.

use plinth_ext::{DriftOutcome, Verdict};
use serde::{Deserialize, Serialize};

use crate::{ColumnClass, ColumnSummary, Performance};

/// What a check found. Holds summaries, never rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the reference is, for a person: `models:/churn/3`.
    pub reference: String,
    /// What the current sample is, for a person: a file or a time window.
    pub current: String,
    /// Rows of the reference sample.
    pub rows_reference: u64,
    /// Rows of the current sample.
    pub rows_current: u64,
    /// The verdict on the data set.
    pub verdict: Verdict,
    /// Number of columns that drifted.
    pub columns_drifted: u32,
    /// Number of columns that got a verdict.
    pub columns_tested: u32,
    /// Every column, drifted ones first, then by effect.
    pub columns: Vec<ColumnReport>,
    /// How good the answers were, where the truth was told. Worse than they may be is a drift of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<Performance>,
}

/// What a check found in one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// How it was looked at.
    pub class: ColumnClass,
    /// The verdict, after correction for the number of columns.
    pub verdict: Verdict,
    /// The deciding test's p-value after correction; none for a test without one.
    pub p_adjusted: Option<f64>,
    /// The tests that ran; the first decided.
    pub tests: Vec<TestReport>,
    /// Both samples at a glance.
    pub summary: ColumnSummary,
    /// Whether the share of nulls rose by more than the configured bound.
    pub nulls_rose: bool,
    /// Data quality: anything else a person should know.
    pub notes: Vec<String>,
}

/// One test on one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// The test's name.
    pub test: String,
    /// What it concluded; none if it failed.
    pub outcome: Option<DriftOutcome>,
    /// Why it failed.
    pub error: Option<String>,
    /// What its effect size measures, where the test says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
}

impl ColumnReport {
    /// Effect of the deciding test, if it has one.
    pub fn effect(&self) -> Option<f64> {
        self.tests.first().and_then(|test| test.outcome.as_ref()).and_then(|outcome| outcome.effect_size)
    }
}
