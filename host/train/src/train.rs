//! From rows to a trained and exported model.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use arrow_array::RecordBatch;
use plinth_core::TableLimits;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Classes, Features, Label, NativeModel, Options, Task, TrainError, Trainer,
    onnx::Notes,
    trainers::{self, Job},
};

/// What to train.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSpec {
    /// What is to be learned.
    pub task: Task,
    /// Checked options, which know their trainer.
    pub options: Options,
    /// Everything random follows from it.
    pub seed: u64,
    /// Bounds on rows, columns and classes.
    pub limits: TableLimits,
}

impl TrainSpec {
    /// Checks a trainer's name and its options, as a user wrote them.
    ///
    /// # Errors
    /// [`TrainError::UnknownTrainer`] if there is none of that name for the task, and those of [`Options::check`].
    pub fn check(task: Task, trainer: &str, options: &Value, seed: u64) -> Result<Self, TrainError> {
        let trainer = Trainer::from_name(trainer, task)?;
        Ok(Self { task, options: Options::check(trainer, options)?, seed, limits: TableLimits::default() })
    }

    /// Who learns.
    pub const fn trainer(&self) -> Trainer {
        self.options.trainer()
    }
}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Units that are done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// Plural: `trees`, `fits`, `runs`.
    pub unit: &'static str,
}

/// Who watches a training, and how it is stopped.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Called from any thread, and not always in order.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Set it, and the training ends with [`TrainError::Cancelled`] at its next step.
    pub cancel: &'a AtomicBool,
}

impl Watch<'_> {
    /// Nobody watches.
    pub const fn nobody() -> Watch<'static> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Watch { progress: &|_| (), cancel: &NEVER }
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("cancelled", &self.cancelled()).finish_non_exhaustive()
    }
}

/// What came of a training, for the run's record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainReport {
    /// Rows it learned from.
    pub rows: u64,
    /// Features it learned from.
    pub features: u64,
    /// Features that have a single value: kept, but they tell nothing.
    pub constant_features: Vec<String>,
    /// All options with their values, defaults included.
    pub options: BTreeMap<&'static str, Value>,
    /// What the trainer tells of its model, such as `trees`.
    pub facts: BTreeMap<String, f64>,
}

/// A trained model.
pub struct Trained {
    /// The exported model.
    pub onnx: Vec<u8>,
    /// The same model in the trainer's own code: what [`crate::agreement`] compares with.
    pub native: Box<dyn NativeModel>,
    /// What it learned.
    pub task: Task,
    /// Who learned it.
    pub trainer: Trainer,
    /// The classes in the order of the probabilities; none unless it classifies.
    pub classes: Option<Classes>,
    /// The features, in order.
    pub features: Vec<String>,
    /// Whether it takes NaN for a missing value.
    pub missing_allowed: bool,
    /// For the run's record.
    pub report: TrainReport,
}

impl fmt::Debug for Trained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trained")
            .field("task", &self.task)
            .field("trainer", &self.trainer)
            .field("onnx_bytes", &self.onnx.len())
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl Trained {
    /// Rows as this model wants them.
    ///
    /// # Errors
    /// As [`Features::from_batches`].
    pub fn features_of(&self, batches: &[RecordBatch]) -> Result<Features, TrainError> {
        Features::from_batches(batches, &self.features, self.missing_allowed)
    }
}

/// Trains on batches of one table: the column `label` is learned from all others. Blocking; uses every core for forests
/// and boosting.
///
/// # Errors
/// [`TrainError::NoRows`], [`TrainError::Limit`], [`TrainError::UnknownColumn`] for the label,
/// [`TrainError::BadLabel`], [`TrainError::FeatureType`] and [`TrainError::NotFinite`] for features,
/// [`TrainError::Failed`] if nothing can be learned, [`TrainError::Cancelled`].
pub fn train(
    spec: &TrainSpec,
    batches: &[RecordBatch],
    label: Option<&str>,
    watch: &Watch<'_>,
) -> Result<Trained, TrainError> {
    let trainer = spec.trainer();
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    if rows == 0 {
        return Err(TrainError::NoRows("learn from"));
    }
    let first = batches[0].schema_ref();
    within("rows", rows, spec.limits.rows_in_memory_max, "limits.table.rows-in-memory-max")?;
    within("columns", first.fields().len() as u64, spec.limits.columns_max.into(), "limits.table.columns-max")?;

    let learned = match (spec.task, label) {
        (Task::Clustering, _) => None,
        (_, Some(name)) => Some(Label::to_learn(batches, name, spec.task, &spec.limits)?),
        (task, None) => {
            let (column, problem) = ("label".to_owned(), format!("is not named, and {task} needs one"));
            return Err(TrainError::BadLabel { column, problem, hint: "name the column to learn".into() });
        }
    };
    let names: Vec<String> =
        first.fields().iter().map(|field| field.name().clone()).filter(|name| Some(name.as_str()) != label).collect();
    if names.is_empty() {
        return Err(TrainError::NoFeatures { label: label.is_some() });
    }
    let missing_allowed = trainer.handles_missing();
    let features = Features::from_batches(batches, &names, missing_allowed)?;
    let constant: Vec<String> = features.constant().into_iter().map(|at| names[at].clone()).collect();
    if constant.len() == names.len() && spec.task != Task::Clustering {
        let problem = format!("all {} features have a single value each", names.len());
        let hint = "check the features stage: it may have scaled or imputed everything away".into();
        return Err(TrainError::Failed { trainer, problem, hint });
    }

    let job = Job { features: &features, label: learned.as_ref(), options: &spec.options, seed: spec.seed, watch };
    let fitted = trainers::fit(&job)?;
    let classes = match learned {
        Some(Label::Class { classes, .. }) => Some(classes),
        _ => None,
    };
    let notes = Notes { task: spec.task, trainer, features: &names, classes: classes.as_ref(), missing_allowed };
    let onnx = fitted.graph.into_model(&notes);
    let report = TrainReport {
        rows,
        features: names.len() as u64,
        constant_features: constant,
        options: spec.options.values().clone(),
        facts: fitted.facts,
    };
    Ok(Trained {
        onnx,
        native: fitted.native,
        task: spec.task,
        trainer,
        classes,
        features: names,
        missing_allowed,
        report,
    })
}

fn within(what: &'static str, found: u64, max: u64, limit: &'static str) -> Result<(), TrainError> {
    if found > max { Err(TrainError::Limit { what, found, max, limit }) } else { Ok(()) }
}
