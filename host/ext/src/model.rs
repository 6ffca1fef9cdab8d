//! Models that score.

use std::sync::Arc;

use crate::{Batch, ExtError, Item, Schema};

/// A loaded model.
pub trait Model: Send + Sync {
    /// The features it takes, in order; all numeric, unless the model is a component that wants others.
    fn input(&self) -> &Schema;

    /// The columns it returns, such as `label` and one `probability_CLASS` for each class, or `prediction`.
    fn output(&self) -> &Schema;

    /// Scores rows: one out for each in, in order. May be called from many threads at once.
    ///
    /// # Errors
    /// [`ExtError`].
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError>;
}

/// Kinds of model that are code: each is loaded with an artifact that only it can read.
pub trait Models: Send + Sync {
    /// What it offers.
    fn items(&self) -> &[Item];

    /// A model ready to predict rows of this schema. `artifact` is empty where the code is all there is.
    ///
    /// # Errors
    /// [`ExtError`]: options, artifact or schema do not suit.
    fn load(&self, item: &str, artifact: &[u8], input: &Schema, options: &str) -> Result<Arc<dyn Model>, ExtError>;
}

/// Keys of an ONNX model's metadata: what the trainer knows of a model and its graph cannot say.
pub mod metadata {
    /// `classification`, `regression` or `clustering`.
    pub const TASK: &str = "plinth.task";
    /// Name of the trainer, such as `random-forest`.
    pub const TRAINER: &str = "plinth.trainer";
    /// JSON list of the feature columns' names, in the order of the model's input.
    pub const FEATURES: &str = "plinth.features";
    /// JSON list of the classes (text or integers), in the order of the probabilities.
    pub const CLASSES: &str = "plinth.classes";
    /// `allowed` if NaN stands for a missing value, `refused` if every feature must be finite.
    pub const MISSING: &str = "plinth.missing";
}
