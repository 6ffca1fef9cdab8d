//! How good a model's answers are: in all, and for each value of chosen columns.

mod classes;
mod slices;
mod values;

use arrow_array::RecordBatch;
use plinth_core::TableLimits;
use plinth_ext::Metric;
use serde::{Deserialize, Serialize};

pub use classes::{
    BinaryScores, Confusion, Curve, MulticlassScores, average_precision, binary, brier, confusion, log_loss,
    multiclass, precision_recall_curve, roc_auc, roc_curve,
};
pub use values::{mae, r2, rmse};

use crate::{Answers, Classes, Label, Task, TrainError};

/// How answers are to be measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvaluationSpec {
    /// The class that precision, recall, F1 and the curves are about. With two classes the last by default (`yes`,
    /// `true`, 1); with more, none.
    pub positive: Option<String>,
    /// Columns, each value of which is measured apart.
    pub slices: Vec<String>,
    /// Smaller slices are left out: their numbers would be noise.
    pub min_slice_rows: u64,
    /// Whether to keep the points of the curves.
    pub curves: bool,
    /// Bounds the values of a slice column.
    pub limits: TableLimits,
}

/// How good the answers are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What was answered.
    pub task: Task,
    /// Rows measured.
    pub rows: u64,
    /// The class that precision, recall and F1 are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// One for each name and slice. One that is undefined there (such as `roc_auc` where a single class occurs) is left
    /// out.
    pub metrics: Vec<Metric>,
    /// Of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    /// Of the whole, if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
}

impl Evaluation {
    /// The metric of that name over all rows.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|metric| metric.slice.is_none() && metric.name == name).map(|metric| metric.value)
    }
}

/// Measures answers against the truth.
///
/// Two classes give `accuracy precision recall f1 roc_auc pr_auc log_loss brier`. More give `accuracy`, the three
/// ratios as `_macro` and `_weighted`, and the others averaged one against the rest. Numbers give `rmse mae r2`.
/// `rows` are the rows that were scored, for the slice columns.
///
/// # Errors
/// [`TrainError::NoRows`]; [`TrainError::BadAnswers`] if truth, answers and rows do not belong together;
/// [`TrainError::UnknownClass`]; [`TrainError::UnknownColumn`] and [`TrainError::Limit`] for slices.
pub fn evaluate(
    spec: &EvaluationSpec,
    truth: &Label,
    answers: &Answers,
    rows: &[RecordBatch],
) -> Result<Evaluation, TrainError> {
    if truth.is_empty() {
        return Err(TrainError::NoRows("measure"));
    }
    if truth.len() != answers.len() {
        return Err(TrainError::BadAnswers(format!("{} labels and {} answers", truth.len(), answers.len())));
    }
    let slices = slices::find(&spec.slices, rows, truth.len(), spec.min_slice_rows, &spec.limits)?;
    let all: Vec<usize> = (0..truth.len()).collect();
    let groups = || std::iter::once((None, &all)).chain(slices.iter().map(|(name, rows)| (Some(name), rows)));
    let mut metrics = Vec::new();
    let mut push = |slice: Option<&String>, n: usize, measured: Vec<(String, Option<f64>)>| {
        metrics.extend(measured.into_iter().filter_map(|(name, value)| {
            let value = value.filter(|value| value.is_finite())?;
            Some(Metric { name, value, slice: slice.cloned(), n: Some(n as u64) })
        }));
    };
    match (truth, answers) {
        (Label::Class { classes, rows: truth }, Answers::Classes { classes: width, probabilities, labels })
            if classes.len() == *width =>
        {
            let positive = match &spec.positive {
                Some(name) => Some(classes.position(name)?),
                None => (classes.len() == 2).then_some(1),
            };
            let given = ClassAnswers { classes, positive, truth, said: labels, probabilities };
            for (slice, rows) in groups() {
                push(slice, rows.len(), given.select(rows).measure());
            }
            let names = classes.names();
            let counts = confusion(truth, labels, classes.len());
            let curves = positive.filter(|_| spec.curves).map(|positive| given.curves(positive)).unwrap_or_default();
            Ok(Evaluation {
                task: Task::Classification,
                rows: truth.len() as u64,
                positive: positive.map(|class| names[class].clone()),
                metrics,
                confusion: Some(Confusion { classes: names, counts }),
                curves,
            })
        }
        (Label::Value(truth), Answers::Values(said)) => {
            for (slice, rows) in groups() {
                let truth: Vec<f64> = rows.iter().map(|row| truth[*row]).collect();
                let said: Vec<f64> = rows.iter().map(|row| said[*row]).collect();
                let measured =
                    [("rmse", Some(rmse(&truth, &said))), ("mae", Some(mae(&truth, &said))), ("r2", r2(&truth, &said))];
                push(slice, rows.len(), measured.map(|(name, value)| (name.to_owned(), value)).into());
            }
            let rows = truth.len() as u64;
            Ok(Evaluation { task: Task::Regression, rows, positive: None, metrics, confusion: None, curves: vec![] })
        }
        _ => Err(TrainError::BadAnswers("they are not answers to this label".into())),
    }
}

/// Truth and answers of a classifier, of all rows or of a slice.
struct ClassAnswers<'a> {
    classes: &'a Classes,
    positive: Option<usize>,
    truth: &'a [u32],
    said: &'a [u32],
    probabilities: &'a [f64],
}

/// Those of a slice.
struct Selected<'a> {
    of: &'a ClassAnswers<'a>,
    truth: Vec<u32>,
    said: Vec<u32>,
    probabilities: Vec<f64>,
}

impl ClassAnswers<'_> {
    fn select(&self, rows: &[usize]) -> Selected<'_> {
        let width = self.classes.len();
        Selected {
            of: self,
            truth: rows.iter().map(|row| self.truth[*row]).collect(),
            said: rows.iter().map(|row| self.said[*row]).collect(),
            probabilities: rows
                .iter()
                .flat_map(|row| &self.probabilities[row * width..(row + 1) * width])
                .copied()
                .collect(),
        }
    }

    fn curves(&self, positive: usize) -> Vec<Curve> {
        let all: Vec<usize> = (0..self.truth.len()).collect();
        let (truth, scores) = self.select(&all).against_rest(positive);
        [roc_curve(&truth, &scores), precision_recall_curve(&truth, &scores)].into_iter().flatten().collect()
    }
}

impl Selected<'_> {
    fn measure(&self) -> Vec<(String, Option<f64>)> {
        let width = self.of.classes.len();
        let counts = confusion(&self.truth, &self.said, width);
        let averages = multiclass(&counts);
        let mut measured = vec![("accuracy".to_owned(), Some(averages.accuracy))];
        let mut push = |name: &str, value: Option<f64>| measured.push((name.to_owned(), value));
        if let Some(positive) = self.of.positive {
            let scores = binary(&counts, positive);
            // Without a positive row there is nothing to find.
            let some = |value| (scores.support > 0).then_some(value);
            push("precision", some(scores.precision));
            push("recall", some(scores.recall));
            push("f1", some(scores.f1));
        }
        if width > 2 {
            for (kind, scores) in [("macro", averages.macro_average), ("weighted", averages.weighted)] {
                push(&format!("precision_{kind}"), Some(scores.precision));
                push(&format!("recall_{kind}"), Some(scores.recall));
                push(&format!("f1_{kind}"), Some(scores.f1));
            }
        }
        let about: Vec<usize> = match (width, self.of.positive) {
            (2, Some(positive)) => vec![positive],
            _ => (0..width).collect(),
        };
        let over = |area: fn(&[bool], &[f64]) -> Option<f64>| {
            let areas: Option<Vec<f64>> = about
                .iter()
                .map(|class| {
                    let (truth, scores) = self.against_rest(*class);
                    area(&truth, &scores)
                })
                .collect();
            areas.map(|areas| areas.iter().sum::<f64>() / areas.len() as f64)
        };
        push("roc_auc", over(roc_auc));
        push("pr_auc", over(average_precision));
        push("log_loss", Some(log_loss(&self.truth, &self.probabilities, width)));
        push("brier", Some(brier(&self.truth, &self.probabilities, width)));
        measured
    }

    fn against_rest(&self, class: usize) -> (Vec<bool>, Vec<f64>) {
        let width = self.of.classes.len();
        let truth = self.truth.iter().map(|truth| *truth as usize == class).collect();
        let scores = self.probabilities.iter().skip(class).step_by(width).copied().collect();
        (truth, scores)
    }
}

#[cfg(test)]
mod tests;
