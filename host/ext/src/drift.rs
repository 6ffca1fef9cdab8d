//! Drift tests.

use serde::{Deserialize, Serialize};

use crate::{Batch, ExtError, Item, Kind};

/// A drift test on offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestItem {
    /// Name, summary, options.
    pub item: Item,
    /// Column types it can compare.
    pub kinds: Vec<Kind>,
    /// Whether it takes several columns at once.
    pub multivariate: bool,
    /// What its effect size measures, such as `largest gap between the distributions, 0 to 1`; none where it has no
    /// effect size or does not say.
    pub effect: Option<String>,
}

/// What a test concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Alike as far as the test can see.
    NoDrift,
    /// Different by more than the threshold.
    Drift,
    /// Too few rows, or nothing that can be compared.
    Inconclusive,
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftOutcome {
    /// On the test's own scale.
    pub statistic: f64,
    /// For tests that have one.
    pub p_value: Option<f64>,
    /// On a scale that does not grow with n.
    pub effect_size: Option<f64>,
    /// What the statistic, or the p-value where there is one, was compared with.
    pub threshold: f64,
    /// The conclusion.
    pub verdict: Verdict,
    /// Reference rows that counted.
    pub n_reference: u64,
    /// Current rows that counted.
    pub n_current: u64,
    /// Anything a person should know.
    pub note: Option<String>,
}

/// Compares a reference and a current sample.
pub trait DriftTest: Send + Sync {
    /// What it offers.
    fn items(&self) -> &[TestItem];

    /// Compares two samples of one schema. A caller treats an error as inconclusive.
    ///
    /// # Errors
    /// [`ExtError`].
    fn test(&self, item: &str, reference: &Batch, current: &Batch, options: &str) -> Result<DriftOutcome, ExtError>;
}
