//! What stages tell each other besides tables: small JSON documents, stored as blobs.
//!
//! Everything large is named by its content hash, so a document pins every byte that it stands on.

use std::collections::BTreeMap;

use plinth_core::ContentHash;
use plinth_ext::{Check, Metric};
use plinth_score::Signature;
use plinth_train::{Classes, Task};
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
    /// What it does.
    pub(crate) task: Task,
    /// Such as `gradient-boosting`.
    pub(crate) trainer: String,
    /// All options of the trainer, defaults included.
    pub(crate) options: Map<String, Value>,
    /// The seed of everything random.
    pub(crate) seed: u64,
    /// The classes in the order of the model's probabilities; none unless it classifies.
    pub(crate) classes: Option<Classes>,
    /// The ONNX model.
    pub(crate) onnx: ContentHash,
    /// What turns raw rows into its features.
    pub(crate) transform: TransformDocument,
    /// What makes the answer of what the model says, if that is not the answer itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<TransformDocument>,
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

/// What a gate saw and said: made by `gate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GateDocument {
    /// The [`EvaluationDocument`] that was judged.
    pub(crate) evaluation: ContentHash,
    /// The model version in place, such as `models:/churn/3`; none the first time.
    pub(crate) baseline: Option<String>,
    /// Held-out rows that the baseline was not trained on: both were compared on these.
    pub(crate) comparable_rows: Option<u64>,
    /// Every check.
    pub(crate) checks: Vec<Check>,
}

/// How the files of a model version work together: the `spec` in the registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionDocument {
    /// Raised when a reader of the last form could not read this one.
    pub(crate) format: u32,
    /// The model and what comes before it.
    pub(crate) model: ModelDocument,
    /// The [`ModelDocument`] as a blob.
    pub(crate) model_document: ContentHash,
    /// The [`EvaluationDocument`].
    pub(crate) evaluation: ContentHash,
    /// The [`GateDocument`].
    pub(crate) evidence: ContentHash,
    /// The version that was in place when the gate judged.
    pub(crate) judged_against: Option<String>,
    /// Measurements on all held-out rows.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// The class that precision, recall and F1 are about.
    pub(crate) positive: Option<String>,
    /// How it was made, for retraining.
    pub(crate) pipeline: PipelineDocument,
}

/// How the files of a model version that is a component work together: its `spec` in the registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComponentVersionDocument {
    /// Raised when a reader of the last form could not read this one.
    pub(crate) format: u32,
    /// The model.
    pub(crate) component: ComponentDocument,
    /// What comes before it, if anything does.
    pub(crate) transform: Option<TransformDocument>,
    /// What a caller sends.
    pub(crate) signature: Signature,
    /// How files of rows are read.
    pub(crate) load: LoadDocument,
}

/// What a model version is that is an ONNX file: its `spec` in the registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnnxVersionDocument {
    /// Raised when a reader of the last form could not read this one.
    pub(crate) format: u32,
    /// The model.
    pub(crate) onnx: ContentHash,
    /// The columns that a caller sends; none where the model is asked with tensors.
    pub(crate) signature: Option<Signature>,
    /// How files of rows are read.
    pub(crate) load: LoadDocument,
}

/// A model that is a component.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComponentDocument {
    /// Name of the plugin, for people and for what `plinth.toml` grants it.
    pub(crate) plugin: String,
    /// Its version, for people.
    pub(crate) version: String,
    /// Which of its kinds of model.
    pub(crate) item: String,
    /// As they were given.
    pub(crate) options: Map<String, Value>,
    /// The component: what serving runs.
    pub(crate) hash: ContentHash,
    /// What it is loaded from; nothing where the component is all there is.
    pub(crate) artifact: Option<ContentHash>,
}

/// The pipeline that made a model version.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipelineDocument {
    /// Its file, absolute.
    pub(crate) file: String,
    /// Its parameters after overrides.
    pub(crate) params: Map<String, Value>,
    /// Keys of stages that the command line set.
    pub(crate) settings: Vec<String>,
    /// How it reads its source.
    pub(crate) load: LoadDocument,
}

/// How a pipeline reads its source: other files of the same kind are read the same way.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadDocument {
    /// Name of the loader plugin; empty if the pipeline has no load stage.
    pub(crate) plugin: String,
    /// As the pipeline file gave them.
    pub(crate) options: Map<String, Value>,
}
