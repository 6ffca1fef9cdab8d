//! Built-in trainers, their export to ONNX, and evaluation metrics.
//!
//! Deliberately knows nothing of files, catalogs, plugins or of how ONNX models are run: it takes rows and returns a
//! model's bytes. Only this crate names `linfa`, `forust` and the ONNX protobuf.
//!
//! Start at [`train()`] (rows to a [`Trained`] model), [`agreement`] (does the exported model answer as the trainer
//! does?) and [`evaluate`] (how good are the answers?).
//!
//! Invariants: features are rounded to 32 bits *before* training, because that is what the exported model reads, and
//! every threshold is exported so that each comparison of 32-bit values takes the same branch; the same rows, options
//! and seed give the same bytes; an option is checked before any row is read.
#![warn(missing_docs)]

mod answers;
mod data;
mod error;
mod metrics;
mod onnx;
mod options;
mod train;
mod trainers;
mod trees;

pub use answers::{AGREEMENT_TOLERANCE, Answers, agreement};
pub use data::{Classes, Features, Label};
pub use error::TrainError;
pub use metrics::{
    BinaryScores, Confusion, Curve, Evaluation, EvaluationSpec, MulticlassScores, average_precision, binary, brier,
    confusion, evaluate, log_loss, mae, multiclass, precision_recall_curve, r2, rmse, roc_auc, roc_curve,
};
pub use options::{OptionKind, OptionSpec, Options, Task, Trainer};
pub use train::{Progress, TrainReport, TrainSpec, Trained, Watch, train};
pub use trainers::NativeModel;
