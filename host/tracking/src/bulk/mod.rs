//! Whole stores, in bulk: what another store has is taken over as it is, with its identifiers and times; what this one
//! has is walked from end to end. Both speak of the same records, so that a store that was handed on and taken back is
//! the same store.
//!
//! Taking over is idempotent: what is there stays as it is, what is missing is added.

mod admit;
mod walk;

pub use walk::Extent;

use plinth_core::{ContentHash, Micros};

use crate::{
    EvaluationDataset, EvaluationRecord, Experiment, Lifecycle, LoggedModel, Metric, RegisteredModel, Run, Span,
    TraceInfo, VersionRecord,
};

/// One thing of a store.
#[derive(Debug, Clone)]
pub enum Record {
    /// An experiment.
    Experiment(Experiment),
    /// A run with everything but its metrics, and when it was deleted.
    Run(Box<Run>, Option<Micros>),
    /// Some points of metrics of a run.
    Points(String, Vec<Metric>),
    /// A logged model.
    LoggedModel(Box<LoggedModel>, Lifecycle),
    /// A registered model; its aliases come by themselves, after its versions.
    Model(RegisteredModel),
    /// A version, and where its files are.
    Version(Box<VersionRecord>, String),
    /// An alias.
    Alias {
        /// The registered model.
        model: String,
        /// Such as `champion`.
        alias: String,
        /// The version that it names.
        version: u64,
    },
    /// A trace.
    Trace(Box<WholeTrace>),
    /// An evaluation data set, and the experiments that it is used in.
    EvaluationDataset(EvaluationDataset, Vec<String>),
    /// A record of an evaluation data set.
    EvaluationRecord(Box<EvaluationRecord>),
    /// A file below the artifact root, whose bytes are stored.
    File {
        /// Such as `1/0123…/artifacts/model.onnx`.
        path: String,
        /// Its bytes.
        blob: ContentHash,
        /// Its size.
        bytes: u64,
        /// When it was last written.
        updated: Micros,
    },
}

/// A trace with all that belongs to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WholeTrace {
    /// Its head.
    pub info: TraceInfo,
    /// Its spans.
    pub spans: Vec<Span>,
    /// Runs that it is linked to.
    pub runs: Vec<String>,
    /// Versions of prompts that it is linked to, `NAME/VERSION`.
    pub prompts: Vec<String>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It was not there, and is now.
    Added,
    /// It was there, but not all that belongs to it: that was added.
    Grown,
    /// It was there.
    Known,
    /// It cannot be taken over.
    Refused(String),
}
