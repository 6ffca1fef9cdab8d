//! Models that score.

use crate::{Batch, ExtError, Schema};

/// A loaded model.
pub trait Model: Send + Sync {
    /// The features it takes, all numeric, in order.
    fn input(&self) -> &Schema;

    /// The columns it returns, such as `label` and one `probability_CLASS` for each class, or `prediction`.
    fn output(&self) -> &Schema;

    /// Scores rows: one out for each in, in order. May be called from many threads at once.
    ///
    /// # Errors
    /// [`ExtError`].
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError>;
}
