//! What stages tell each other besides tables: small JSON documents, stored as blobs.
//!
//! Everything large is named by its content hash, so a document pins every byte that it stands on.

use plinth_core::ContentHash;
use plinth_ext::Metric;
use plinth_score::Signature;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A fitted transform: made by `features`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransformDocument {
    /// Name of the plugin, for people.
    pub(crate) plugin: String,
    /// Its version, for people.
    pub(crate) version: String,
    /// Which of its transforms.
    pub(crate) item: String,
    /// As the pipeline file gave them.
    pub(crate) options: Map<String, Value>,
    /// The component: what serving runs.
    pub(crate) component: ContentHash,
    /// The fitted state.
    pub(crate) state: ContentHash,
    /// What a caller sends.
    pub(crate) signature: Signature,
    /// The column to predict, if there is one.
    pub(crate) label: Option<String>,
    /// The raw rows that it was fitted on.
    pub(crate) fitted_on: ContentHash,
}

/// A trained model: made by `train`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelDocument {
    /// `classification`, `regression` or `clustering`.
    pub(crate) task: String,
    /// Such as `gradient-boosting`.
    pub(crate) trainer: String,
    /// As the pipeline file gave them.
    pub(crate) options: Map<String, Value>,
    /// The seed of everything random.
    pub(crate) seed: u64,
    /// Class names in the order of the model's probabilities; empty unless it classifies.
    pub(crate) classes: Vec<String>,
    /// The ONNX model.
    pub(crate) onnx: ContentHash,
    /// What turns raw rows into its features.
    pub(crate) transform: TransformDocument,
    /// Largest difference between ONNX Runtime's answers and the trainer's.
    pub(crate) disagreement: f64,
    /// Rows it learned from.
    pub(crate) rows: u64,
}

/// How good a model is on held-out rows: made by `evaluate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluationDocument {
    /// The [`ModelDocument`].
    pub(crate) model: ContentHash,
    /// The raw held-out rows.
    pub(crate) data: ContentHash,
    /// The class that precision, recall and F1 are about.
    pub(crate) positive: Option<String>,
    /// Columns whose values are measured apart.
    pub(crate) slices: Vec<String>,
    /// For the whole and for each slice.
    pub(crate) metrics: Vec<Metric>,
    /// The label and what the model said, row by row.
    pub(crate) predictions: ContentHash,
    /// Held-out rows.
    pub(crate) rows: u64,
}
