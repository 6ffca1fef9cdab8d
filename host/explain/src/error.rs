//! Why a model's trees cannot be read.

use plinth_core::{Code, Coded, codes};

/// The model has no trees that could be explained as such. Its predictions can still be, by [`crate::shapley`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The bytes are no ONNX model.
    #[error("the model does not read as ONNX: {0}")]
    NotOnnx(String),
    /// It is one, of something else than trees alone.
    #[error("the model is not one ensemble of trees over its input: {0}")]
    NotTrees(String),
    /// Its trees contradict themselves.
    #[error("the model's trees are not sound: {0}")]
    Unsound(String),
    /// There are no covers, and the question needs them.
    #[error("the model does not say how many training rows went where (`nodes_hitrates`)")]
    NoCovers,
    /// A row is too short, or players are given for another number of features.
    #[error("the trees ask for feature {feature}, and there are {given}")]
    TooFewFeatures {
        /// The feature, from 0.
        feature: usize,
        /// How many there are.
        given: usize,
    },
    /// A reference set without a row.
    #[error("the reference set holds no rows")]
    NoReference,
}

impl Coded for ExplainError {
    fn code(&self) -> Code {
        match self {
            Self::NoReference => codes::EMPTY_INPUT,
            Self::TooFewFeatures { .. } => codes::SCHEMA_MISMATCH,
            _ => codes::BAD_MODEL,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotTrees(_) => Some("kernel SHAP explains any model".into()),
            Self::NoCovers | Self::NoReference => Some("give a reference set of a few dozen rows".into()),
            _ => None,
        }
    }
}
