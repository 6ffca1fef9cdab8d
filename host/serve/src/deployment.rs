//! One model version, ready to answer, and where it comes from.

use std::sync::Arc;

use plinth_core::{Code, Coded, ContentHash, codes};
use plinth_score::Scorer;

use crate::{Batching, ServeError, Stats};

/// A model version that can answer.
#[derive(Debug)]
pub struct Deployment {
    model: Arc<str>,
    version: Arc<str>,
    scorer: Scorer,
    hashes: Vec<(String, ContentHash)>,
    batching: Batching,
    stats: Stats,
}

impl Deployment {
    /// A version of a registered model. `hashes` names every part by content, such as `model`, `transform`, `state`,
    /// in the order in which people want to read them.
    pub fn new(model: &str, version: u64, scorer: Scorer, hashes: Vec<(String, ContentHash)>) -> Self {
        let (model, version) = (model.into(), version.to_string().into());
        Self { model, version, scorer, hashes, batching: Batching::default(), stats: Stats::default() }
    }

    /// The same with other batches.
    #[must_use]
    pub(crate) const fn batched(mut self, batching: Batching) -> Self {
        self.batching = batching;
        self
    }

    /// How many requests are scored at once.
    pub const fn batching(&self) -> Batching {
        self.batching
    }

    /// What it did since it was loaded.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The registered model's name.
    pub const fn model(&self) -> &Arc<str> {
        &self.model
    }

    /// The version's number, as text because that is how every protocol writes it.
    pub const fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What turns rows into predictions.
    pub const fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// The content hash of every part.
    pub fn hashes(&self) -> &[(String, ContentHash)] {
        &self.hashes
    }

    /// Scores the signature's trial row, so that the first caller does not pay for first times.
    ///
    /// # Errors
    /// [`ServeError::Outside`] if the recorded example cannot be scored. Without an example the row is made up, so
    /// parts that dislike its values (an unknown category, say) are not at fault.
    pub(crate) fn warm_up(&self) -> Result<(), ServeError> {
        let row = self.scorer.signature().trial_row().map_err(|error| ServeError::outside(&error))?;
        match self.scorer.score(&row) {
            Err(error) if self.scorer.signature().example().is_some() || !is_about_values(error.code()) => {
                Err(ServeError::outside(&error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether another row might have been scored.
fn is_about_values(code: Code) -> bool {
    [codes::PLUGIN_PROBLEM, codes::BAD_VALUE, codes::NOT_FINITE, codes::BAD_TABLE].contains(&code)
}
