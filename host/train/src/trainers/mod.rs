//! The trainers, behind one face.

mod boosting;
mod forest;
mod kmeans;
mod linear;

use std::collections::BTreeMap;

pub(crate) use self::linear::Linear;
use crate::{Answers, Features, Label, Options, TrainError, Trainer, Watch, onnx::Graph, train::Progress};

/// A model in the trainer's own representation, computing with the trainer's own code: what the export is checked
/// against.
pub trait NativeModel: Send + Sync {
    /// What it says about rows that have the features it was trained on, in order.
    fn answers(&self, features: &Features) -> Answers;
}

/// What a trainer made.
pub(crate) struct Fitted {
    pub(crate) native: Box<dyn NativeModel>,
    /// From `features` to the outputs that the task has.
    pub(crate) graph: Graph,
    /// Numbers worth keeping with the run, such as `trees`.
    pub(crate) facts: BTreeMap<String, f64>,
}

/// What a trainer works on.
pub(crate) struct Job<'a> {
    pub(crate) features: &'a Features,
    /// None for clustering.
    pub(crate) label: Option<&'a Label>,
    pub(crate) options: &'a Options,
    pub(crate) seed: u64,
    pub(crate) watch: &'a Watch<'a>,
}

impl Job<'_> {
    pub(crate) fn trainer(&self) -> Trainer {
        self.options.trainer()
    }

    pub(crate) fn failed(&self, problem: impl Into<String>, hint: &str) -> TrainError {
        TrainError::Failed { trainer: self.trainer(), problem: problem.into(), hint: hint.into() }
    }

    /// Tells how far the work is.
    ///
    /// # Errors
    /// [`TrainError::Cancelled`] if the user wants it stopped.
    pub(crate) fn step(&self, done: usize, total: usize, unit: &'static str) -> Result<(), TrainError> {
        (self.watch.progress)(Progress { done: done as u64, total: total as u64, unit });
        if self.watch.cancelled() { Err(TrainError::Cancelled) } else { Ok(()) }
    }
}

pub(crate) fn fit(job: &Job<'_>) -> Result<Fitted, TrainError> {
    match job.trainer() {
        Trainer::LogisticRegression => linear::logistic(job),
        Trainer::ElasticNet => linear::elastic_net(job),
        Trainer::RandomForest => forest::fit(job),
        Trainer::GradientBoosting => boosting::fit(job),
        Trainer::KMeans => kmeans::fit(job),
    }
}
