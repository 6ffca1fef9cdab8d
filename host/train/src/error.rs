//! What can be wrong with what a trainer is given, or with what it made.

use plinth_core::{Code, Coded, codes, did_you_mean};

use crate::{Task, Trainer};

/// A model could not be trained, exported or measured.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// No trainer has that name, or it does not do that task.
    #[error("no trainer for {task} is called `{name}`")]
    UnknownTrainer {
        /// What was asked for.
        name: String,
        /// For which task.
        task: Task,
    },
    /// The trainer has no such option.
    #[error("{trainer} has no option `{name}`")]
    UnknownOption {
        /// The trainer.
        trainer: Trainer,
        /// The option.
        name: String,
        /// The options that it has.
        known: Vec<String>,
    },
    /// An option's value is of the wrong kind or out of range.
    #[error("option `{name}` of {trainer} is {value}, not {expected}")]
    BadOption {
        /// The trainer.
        trainer: Trainer,
        /// The option.
        name: String,
        /// What was given, as JSON.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// The options are not a JSON object.
    #[error("the options of {trainer} are {found}, not an object")]
    OptionsNotObject {
        /// The trainer.
        trainer: Trainer,
        /// What they are.
        found: String,
    },
    /// There is nothing to learn from, or to measure.
    #[error("there are no rows to {0}")]
    NoRows(&'static str),
    /// A limit of the configuration.
    #[error("there are {found} {what}, more than {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// The limit.
        max: u64,
        /// Its name.
        limit: &'static str,
    },
    /// A column that was named is not there.
    #[error("there is no column `{name}`")]
    UnknownColumn {
        /// The column.
        name: String,
        /// The columns that are there.
        known: Vec<String>,
    },
    /// There is no column to learn from.
    #[error("there is no feature column{}", if *label { " beside the label" } else { "" })]
    NoFeatures {
        /// Whether there is a label.
        label: bool,
    },
    /// A feature is no number.
    #[error("feature `{column}` is {found}, not a number")]
    FeatureType {
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// Batches of one table differ.
    #[error("batch {batch} does not have the columns of the first: {found} where `{expected}` is expected")]
    BatchMismatch {
        /// Which batch, from 0.
        batch: usize,
        /// The column of the first batch.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value is not finite, and the trainer does not handle that.
    #[error("row {row}, column `{column}`: {value} where a finite number is needed")]
    NotFinite {
        /// The column.
        column: String,
        /// Row, from 0.
        row: u64,
        /// `null`, `NaN` or an infinity.
        value: String,
    },
    /// The label cannot be learned.
    #[error("label `{column}` {problem}")]
    BadLabel {
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
        /// The fix.
        hint: String,
    },
    /// The trainer gave up.
    #[error("{trainer} could not learn from this data: {problem}")]
    Failed {
        /// The trainer.
        trainer: Trainer,
        /// Why.
        problem: String,
        /// The fix.
        hint: String,
    },
    /// The exported model answers differently.
    #[error("row {row}: the exported model says {exported} and the trainer {native}")]
    ExportDisagrees {
        /// The first row past the tolerance, from 0.
        row: usize,
        /// What the trainer says.
        native: String,
        /// What the exported model says.
        exported: String,
    },
    /// Answers are not what they should be: too few, of another task.
    #[error("the answers cannot be used: {0}")]
    BadAnswers(String),
    /// The class that was named is none of the label's.
    #[error("`{name}` is none of the classes {}", known.join(", "))]
    UnknownClass {
        /// What was named.
        name: String,
        /// The classes.
        known: Vec<String>,
    },
    /// The user stopped it.
    #[error("training was stopped")]
    Cancelled,
}

impl Coded for TrainError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownTrainer { .. } => codes::BAD_TRAINER,
            Self::UnknownOption { .. }
            | Self::BadOption { .. }
            | Self::OptionsNotObject { .. }
            | Self::UnknownClass { .. } => codes::BAD_OPTIONS,
            Self::NoRows(_) => codes::EMPTY_INPUT,
            Self::Limit { .. } => codes::LIMIT_EXCEEDED,
            Self::UnknownColumn { .. } => codes::UNKNOWN_COLUMN,
            Self::NoFeatures { .. } | Self::FeatureType { .. } | Self::BatchMismatch { .. } | Self::BadAnswers(_) => {
                codes::SCHEMA_MISMATCH
            }
            Self::NotFinite { .. } => codes::NOT_FINITE,
            Self::BadLabel { .. } => codes::BAD_LABEL,
            Self::Failed { .. } => codes::TRAINING_FAILED,
            Self::ExportDisagrees { .. } => codes::EXPORT_DISAGREES,
            Self::Cancelled => codes::INTERRUPTED,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownTrainer { name, task } => {
                did_you_mean(name, Trainer::for_task(*task).iter().map(|trainer| trainer.name()))
            }
            Self::UnknownOption { name, known, .. } | Self::UnknownColumn { name, known } => {
                did_you_mean(name, known.iter().map(String::as_str))
            }
            Self::UnknownClass { name, known } => did_you_mean(name, known.iter().map(String::as_str)),
            Self::Limit { limit, .. } => format!("raise {limit} in plinth.toml"),
            Self::NoFeatures { .. } => "keep at least one column in the features stage".into(),
            Self::FeatureType { .. } => "encode it (one-hot, ordinal, date parts) or drop it before training".into(),
            Self::NotFinite { .. } => {
                "impute or drop it before training; gradient-boosting takes nulls as they are".into()
            }
            Self::BadLabel { hint, .. } | Self::Failed { hint, .. } => hint.clone(),
            Self::ExportDisagrees { .. } => {
                "this is a defect of the export: please report it with the trainer and its options".into()
            }
            _ => return None,
        })
    }
}
