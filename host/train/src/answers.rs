//! What a model says, and whether two models say the same.

use arrow_array::{Array, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};

use crate::{Classes, Task, TrainError};

/// How far the exported model's probabilities may be from the trainer's; values and distances, in proportion to
/// their size where that is above 1.
pub const AGREEMENT_TOLERANCE: f64 = 1e-5;

/// What a model says about some rows, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// Of a classifier.
    Classes {
        /// Number of classes.
        classes: usize,
        /// Row by row, one for each class; they add up to 1.
        probabilities: Vec<f64>,
        /// The position of the class it decides for.
        labels: Vec<u32>,
    },
    /// Of a regression.
    Values(Vec<f64>),
    /// Of a clustering.
    Clusters {
        /// The nearest centre.
        clusters: Vec<u32>,
        /// Number of centres.
        centres: usize,
        /// Row by row, the squared distance to each centre; empty if unknown.
        distances: Vec<f64>,
    },
}

impl Answers {
    /// Answers of a classifier that decides for the most probable class, the first of equals.
    pub fn of_probabilities(classes: usize, probabilities: Vec<f64>) -> Self {
        let labels = probabilities.chunks_exact(classes.max(1)).map(most_probable).collect();
        Self::Classes { classes, probabilities, labels }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes { labels, .. } => labels.len(),
            Self::Values(values) => values.len(),
            Self::Clusters { clusters, .. } => clusters.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the columns that a scored model returns: `label` and one `probability_CLASS` for each class, or
    /// `prediction`, or `cluster`.
    ///
    /// # Errors
    /// [`TrainError::BadAnswers`] names what is missing or of another type.
    pub fn from_columns(task: Task, classes: Option<&Classes>, batches: &[RecordBatch]) -> Result<Self, TrainError> {
        match (task, classes) {
            (Task::Classification, None) => Err(TrainError::BadAnswers("the classes are not known".into())),
            (Task::Classification, Some(classes)) => read_classes(classes, batches),
            (Task::Regression, _) => {
                let mut values = Vec::new();
                for batch in batches {
                    extend_numbers(batch, "prediction", &mut values)?;
                }
                Ok(Self::Values(values))
            }
            (Task::Clustering, _) => {
                let mut clusters = Vec::new();
                for batch in batches {
                    let column = batch.column_by_name("cluster").and_then(|c| c.as_any().downcast_ref::<Int64Array>());
                    let column = column.ok_or_else(|| missing("cluster", batch))?;
                    clusters.extend(column.values().iter().map(|v| u32::try_from(*v).unwrap_or(u32::MAX)));
                }
                Ok(Self::Clusters { clusters, centres: 0, distances: Vec::new() })
            }
        }
    }
}

/// The largest difference between what the trainer says and what the exported model says, if they agree.
///
/// Decisions must be the same too, except where the trainer itself is within the tolerance of another.
///
/// # Errors
/// [`TrainError::ExportDisagrees`] names the first row past [`AGREEMENT_TOLERANCE`]; [`TrainError::BadAnswers`] if
/// they are not answers to the same rows.
pub fn agreement(native: &Answers, exported: &Answers) -> Result<f64, TrainError> {
    if native.len() != exported.len() {
        let (ours, theirs) = (native.len(), exported.len());
        return Err(TrainError::BadAnswers(format!("the trainer has {ours} and the exported model {theirs}")));
    }
    match (native, exported) {
        (
            Answers::Classes { classes, probabilities: ours, labels },
            Answers::Classes { classes: n, probabilities: theirs, labels: decided },
        ) if classes == n => {
            let worst = compare(ours, theirs, *classes, |_| 1.0)?;
            for (row, (ours_label, theirs_label)) in labels.iter().zip(decided).enumerate() {
                let p = &ours[row * classes..(row + 1) * classes];
                let gap = |label: u32| p.get(label as usize).copied().unwrap_or(f64::NEG_INFINITY);
                if ours_label != theirs_label && gap(*ours_label) - gap(*theirs_label) > AGREEMENT_TOLERANCE {
                    return Err(disagree(row, format!("class {ours_label}"), format!("class {theirs_label}")));
                }
            }
            Ok(worst)
        }
        (Answers::Values(ours), Answers::Values(theirs)) => compare(ours, theirs, 1, |value| value.abs().max(1.0)),
        (Answers::Clusters { clusters: ours, centres, distances }, Answers::Clusters { clusters: theirs, .. }) => {
            let mut worst = 0.0_f64;
            for (row, (a, b)) in ours.iter().zip(theirs).enumerate().filter(|(_, (a, b))| a != b) {
                // Between two centres that are equally near, either is right.
                let far =
                    |cluster: u32| distances.get(row * centres + cluster as usize).copied().unwrap_or(f64::INFINITY);
                let gap = (far(*b) - far(*a)).abs() / far(*a).abs().max(1.0);
                if *b as usize >= *centres || gap.is_nan() || gap > AGREEMENT_TOLERANCE {
                    return Err(disagree(row, format!("cluster {a}"), format!("cluster {b}")));
                }
                worst = worst.max(gap);
            }
            Ok(worst)
        }
        _ => Err(TrainError::BadAnswers("they are not answers to the same question".into())),
    }
}

fn compare(ours: &[f64], theirs: &[f64], width: usize, unit: impl Fn(f64) -> f64) -> Result<f64, TrainError> {
    if ours.len() != theirs.len() {
        return Err(TrainError::BadAnswers(format!("{} numbers against {}", ours.len(), theirs.len())));
    }
    let mut worst = 0.0_f64;
    for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let difference = (a - b).abs() / unit(*a);
        // Not-a-number agrees with nothing.
        if difference.is_nan() || difference > AGREEMENT_TOLERANCE {
            return Err(disagree(at / width.max(1), a.to_string(), b.to_string()));
        }
        worst = worst.max(difference);
    }
    Ok(worst)
}

fn disagree(row: usize, native: String, exported: String) -> TrainError {
    TrainError::ExportDisagrees { row, native, exported }
}

fn most_probable(row: &[f64]) -> u32 {
    let best = row.iter().enumerate().fold(0, |best, (at, p)| if *p > row[best] { at } else { best });
    best as u32
}

fn read_classes(classes: &Classes, batches: &[RecordBatch]) -> Result<Answers, TrainError> {
    let names = classes.names();
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let mut probabilities = vec![0.0; rows * names.len()];
    let mut labels = Vec::with_capacity(rows);
    let mut start = 0;
    for batch in batches {
        for (at, name) in names.iter().enumerate() {
            let mut column = Vec::with_capacity(batch.num_rows());
            extend_numbers(batch, &format!("probability_{name}"), &mut column)?;
            for (row, p) in column.into_iter().enumerate() {
                probabilities[(start + row) * names.len() + at] = p;
            }
        }
        let column = batch.column_by_name("label").ok_or_else(|| missing("label", batch))?;
        let texts: Vec<String> = if let Some(column) = column.as_any().downcast_ref::<StringArray>() {
            column.iter().map(|text| text.unwrap_or_default().to_owned()).collect()
        } else if let Some(column) = column.as_any().downcast_ref::<Int64Array>() {
            column.values().iter().map(ToString::to_string).collect()
        } else {
            return Err(missing("label", batch));
        };
        for text in texts {
            labels.push(classes.position(&text)? as u32);
        }
        start += batch.num_rows();
    }
    Ok(Answers::Classes { classes: names.len(), probabilities, labels })
}

fn extend_numbers(batch: &RecordBatch, name: &str, into: &mut Vec<f64>) -> Result<(), TrainError> {
    let column = batch.column_by_name(name).ok_or_else(|| missing(name, batch))?;
    if let Some(column) = column.as_any().downcast_ref::<Float32Array>() {
        into.extend(column.values().iter().map(|v| f64::from(*v)));
    } else if let Some(column) = column.as_any().downcast_ref::<Float64Array>() {
        into.extend(column.values());
    } else {
        return Err(missing(name, batch));
    }
    Ok(())
}

fn missing(name: &str, batch: &RecordBatch) -> TrainError {
    let found: Vec<String> =
        batch.schema_ref().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    TrainError::BadAnswers(format!("no column `{name}` of the right type among {}", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::ArrayRef;
    use plinth_core::{Coded, codes};

    use super::*;

    #[test]
    fn close_answers_agree_and_the_largest_difference_is_told() {
        let native = Answers::of_probabilities(2, vec![0.3, 0.7, 0.5, 0.5]);
        let exported = Answers::of_probabilities(2, vec![0.300_004, 0.699_996, 0.499_999, 0.500_001]);
        let worst = agreement(&native, &exported).unwrap();
        assert!((worst - 4e-6).abs() < 1e-12, "{worst}");
        // Values may be off in proportion to their size.
        assert!(agreement(&Answers::Values(vec![1e6]), &Answers::Values(vec![1e6 + 5.0])).is_ok());
        assert!(agreement(&Answers::Values(vec![0.0]), &Answers::Values(vec![2e-5])).is_err());
    }

    #[test]
    fn a_difference_names_its_row_and_both_answers() {
        let native = Answers::of_probabilities(2, vec![0.3, 0.7, 0.2, 0.8]);
        let exported = Answers::of_probabilities(2, vec![0.3, 0.7, 0.25, 0.75]);
        let error = agreement(&native, &exported).unwrap_err();
        assert_eq!(error.to_string(), "row 1: the exported model says 0.25 and the trainer 0.2");
        assert_eq!(error.code(), codes::EXPORT_DISAGREES);
        let Answers::Classes { classes, probabilities, .. } = native.clone() else { unreachable!() };
        let flipped = Answers::Classes { classes, probabilities, labels: vec![1, 0] };
        assert_eq!(
            agreement(&native, &flipped).unwrap_err().to_string(),
            "row 1: the exported model says class 0 and the trainer class 1"
        );
        assert!(agreement(&Answers::Values(vec![f64::NAN]), &Answers::Values(vec![f64::NAN])).is_err());
        assert!(agreement(&Answers::Values(vec![1.0]), &Answers::Values(vec![])).is_err());
    }

    #[test]
    fn a_cluster_may_differ_only_between_equally_near_centres() {
        let native = |distances| Answers::Clusters { clusters: vec![0], centres: 2, distances };
        let exported = Answers::Clusters { clusters: vec![1], centres: 0, distances: vec![] };
        assert!(agreement(&native(vec![4.0, 4.00001]), &exported).is_ok());
        let error = agreement(&native(vec![4.0, 4.1]), &exported).unwrap_err();
        assert_eq!(error.to_string(), "row 0: the exported model says cluster 1 and the trainer cluster 0");
    }

    #[test]
    fn answers_are_read_from_a_scored_table() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("label", Arc::new(StringArray::from(vec!["yes", "no"]))),
            ("probability_no", Arc::new(Float32Array::from(vec![0.25, 0.75]))),
            ("probability_yes", Arc::new(Float32Array::from(vec![0.75, 0.25]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let classes = Classes::Text(vec!["no".into(), "yes".into()]);
        let answers =
            Answers::from_columns(Task::Classification, Some(&classes), std::slice::from_ref(&batch)).unwrap();
        assert_eq!(answers, Answers::of_probabilities(2, vec![0.25, 0.75, 0.75, 0.25]));
        let error = Answers::from_columns(Task::Regression, None, &[batch]).unwrap_err();
        assert!(error.to_string().contains("no column `prediction`"), "{error}");
    }
}
