//! Quality gates.

use serde::{Deserialize, Serialize};

use crate::{Batch, ExtError, Item, Schema};

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Such as `accuracy`.
    pub name: String,
    /// NaN where it is undefined.
    pub value: f64,
    /// The slice it was measured on, such as `state=KS`; none for the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Number of rows behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// Something measured: a model version on a data set, or a data set alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// Its name for a person, such as `models:/churn/3`.
    pub reference: String,
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// Anything else known about it.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
}

/// What there is to judge by.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The one that wants to go on.
    pub candidate: Subject,
    /// The one in place, measured on the same rows; none the first time.
    pub baseline: Option<Subject>,
}

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// As it should be.
    Pass,
    /// Worth a look; stops nothing.
    Warn,
    /// Stops the candidate.
    Fail,
}

/// One check and what it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked, such as `f1 > 0.8`.
    pub name: String,
    /// Its result.
    pub outcome: CheckOutcome,
    /// What was seen.
    pub observed: String,
    /// What was wanted.
    pub expected: String,
    /// Why it matters or what to do; may be empty.
    pub reason: String,
}

/// Tables that the host lends to a gate for one call.
pub trait Tables: Send + Sync {
    /// The names that can be opened.
    fn names(&self) -> Vec<String>;

    /// The schema and the rows of a table, from its start; none if there is no such table.
    ///
    /// # Errors
    /// [`ExtError`]: the table cannot be read.
    fn open(&self, name: &str) -> Result<Option<LentTable>, ExtError>;
}

/// A lent table: its schema and its rows.
pub type LentTable = (Schema, Box<dyn Iterator<Item = Result<Batch, ExtError>> + Send>);

/// No table at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTables;

impl Tables for NoTables {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn open(&self, _name: &str) -> Result<Option<LentTable>, ExtError> {
        Ok(None)
    }
}

/// Judges.
pub trait Gate: Send + Sync {
    /// What it offers.
    fn items(&self) -> &[Item];

    /// Judges by the evidence. A caller treats an error as a failed check: gates fail closed.
    ///
    /// # Errors
    /// [`ExtError`].
    fn evaluate(
        &self,
        item: &str,
        evidence: &Evidence,
        options: &str,
        tables: std::sync::Arc<dyn Tables>,
    ) -> Result<Vec<Check>, ExtError>;
}
