//! Rows as trainers want them: a matrix of 32-bit features, and a label as class numbers or as values.

use arrow_array::{Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use plinth_core::TableLimits;
use serde::{Deserialize, Serialize};

use crate::{Task, TrainError};

/// A feature matrix, row by row, in the 32 bits that an exported model reads. NaN where a value is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    names: Vec<String>,
    rows: usize,
    values: Vec<f32>,
}

impl Features {
    /// The named columns of batches of one table, which must be numbers.
    ///
    /// # Errors
    /// [`TrainError::UnknownColumn`], [`TrainError::FeatureType`], [`TrainError::BatchMismatch`];
    /// [`TrainError::NotFinite`] names column and row, unless `missing` allows nulls and NaN (never infinities).
    pub fn from_batches(batches: &[RecordBatch], names: &[String], missing: bool) -> Result<Self, TrainError> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let width = names.len();
        let mut values = vec![0.0_f32; rows * width];
        let mut start = 0;
        for (number, batch) in batches.iter().enumerate() {
            let block = &mut values[start * width..(start + batch.num_rows()) * width];
            for (at, name) in names.iter().enumerate() {
                let column = column(batch, number, name)?;
                scatter(column, name, block.iter_mut().skip(at).step_by(width))?;
                let cells = block.iter().skip(at).step_by(width);
                let bad = cells.enumerate().find(|(_, v)| !(v.is_finite() || missing && v.is_nan()));
                if let Some((row, value)) = bad {
                    let value = if column.is_null(row) { "null".into() } else { value.to_string() };
                    return Err(TrainError::NotFinite { column: name.clone(), row: (start + row) as u64, value });
                }
            }
            start += batch.num_rows();
        }
        Ok(Self { names: names.to_vec(), rows, values })
    }

    /// A matrix from its values, row by row.
    ///
    /// # Errors
    /// [`TrainError::BadAnswers`] unless there is one value for each row and name.
    pub fn from_values(names: Vec<String>, rows: usize, values: Vec<f32>) -> Result<Self, TrainError> {
        if values.len() != rows * names.len() {
            let (found, width) = (values.len(), names.len());
            return Err(TrainError::BadAnswers(format!("{found} values are not {rows} rows of {width} features")));
        }
        Ok(Self { names, rows, values })
    }

    /// The features' names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width()..(row + 1) * self.width()]
    }

    /// One column.
    pub(crate) fn column(&self, at: usize) -> impl Iterator<Item = f32> + '_ {
        self.values.iter().skip(at).step_by(self.width().max(1)).copied()
    }

    /// Features that have a single value (missing ones aside) and so tell nothing.
    pub(crate) fn constant(&self) -> Vec<usize> {
        (0..self.width())
            .filter(|&at| {
                let mut known = self.column(at).filter(|v| !v.is_nan());
                let first = known.next();
                known.all(|v| Some(v) == first)
            })
            .collect()
    }

    /// The values as 64-bit numbers, for libraries that compute in them.
    pub(crate) fn to_f64(&self) -> ndarray::Array2<f64> {
        let values = self.values.iter().map(|v| f64::from(*v)).collect();
        ndarray::Array2::from_shape_vec((self.rows, self.width()), values).expect("rows × width values")
    }
}

/// The classes of a label, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Classes {
    /// Integers, in ascending order.
    Int(Vec<i64>),
    /// Texts, in byte order; a boolean label has `false` and `true`.
    Text(Vec<String>),
}

impl Classes {
    /// Number of classes.
    pub fn len(&self) -> usize {
        match self {
            Self::Int(list) => list.len(),
            Self::Text(list) => list.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their names, for people and column names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Int(list) => list.iter().map(ToString::to_string).collect(),
            Self::Text(list) => list.clone(),
        }
    }

    /// Number of the class of that name.
    ///
    /// # Errors
    /// [`TrainError::UnknownClass`].
    pub fn position(&self, name: &str) -> Result<usize, TrainError> {
        let names = self.names();
        names
            .iter()
            .position(|class| class == name)
            .ok_or_else(|| TrainError::UnknownClass { name: name.to_owned(), known: names })
    }
}

/// What is to be learned, one for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// Classes and the number of each row's.
    Class {
        /// The classes.
        classes: Classes,
        /// For each row the position of its class.
        rows: Vec<u32>,
    },
    /// Numbers.
    Value(Vec<f64>),
}

impl Label {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Class { rows, .. } => rows.len(),
            Self::Value(values) => values.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label of a task, from a column of the batches, checked to be learnable: no null, and for classes more than
    /// one and not nearly as many as rows.
    ///
    /// # Errors
    /// [`TrainError::BadLabel`], [`TrainError::UnknownColumn`], [`TrainError::NotFinite`].
    pub fn to_learn(batches: &[RecordBatch], name: &str, task: Task, limits: &TableLimits) -> Result<Self, TrainError> {
        let label = match task {
            Task::Regression => Self::Value(read_values(batches, name)?),
            _ => read_classes(batches, name, None)?,
        };
        if let Self::Class { classes, rows } = &label {
            let max = limits.classes_max as usize;
            let problem = match classes.len() {
                _ if rows.is_empty() => None,
                1 => Some(format!("has the single value `{}`", classes.names()[0])),
                n if n > max => Some(format!("has {n} classes, more than {max}")),
                n if n * 2 > rows.len() => Some(format!("has {n} classes in {} rows", rows.len())),
                _ => None,
            };
            if let Some(problem) = problem {
                let hint = if classes.len() == 1 {
                    "give rows of at least two classes, or check the filter or split before training"
                } else {
                    "it looks like an identifier or a number: name another label, or use the task regression"
                };
                return Err(TrainError::BadLabel { column: name.to_owned(), problem, hint: hint.into() });
            }
        }
        Ok(label)
    }

    /// The true labels to measure answers against: the classes are those of the model, and a value that is none of
    /// them is an error.
    ///
    /// # Errors
    /// As [`Label::to_learn`].
    pub fn to_measure(batches: &[RecordBatch], name: &str, classes: Option<&Classes>) -> Result<Self, TrainError> {
        match classes {
            Some(classes) => read_classes(batches, name, Some(classes)),
            None => Ok(Self::Value(read_values(batches, name)?)),
        }
    }
}

fn bad_label(name: &str, problem: impl Into<String>, hint: &str) -> TrainError {
    TrainError::BadLabel { column: name.to_owned(), problem: problem.into(), hint: hint.into() }
}

fn read_classes(batches: &[RecordBatch], name: &str, known: Option<&Classes>) -> Result<Label, TrainError> {
    let mut texts: Vec<&str> = Vec::new();
    let mut ints: Vec<i64> = Vec::new();
    let mut start = 0_u64;
    for (number, batch) in batches.iter().enumerate() {
        let column = column(batch, number, name)?;
        if let Some(row) = (0..column.len()).find(|&row| column.is_null(row)) {
            let problem = format!("is null in row {}", start + row as u64);
            return Err(bad_label(name, problem, "drop the rows without a label before training"));
        }
        start += batch.num_rows() as u64;
        let any = column.as_any();
        if let Some(values) = any.downcast_ref::<StringArray>() {
            texts.extend((0..values.len()).map(|row| values.value(row)));
        } else if let Some(values) = any.downcast_ref::<BooleanArray>() {
            texts.extend((0..values.len()).map(|row| if values.value(row) { "true" } else { "false" }));
        } else if let Some(values) = any.downcast_ref::<Int64Array>() {
            ints.extend(values.values());
        } else {
            let problem = format!("is {}: classes are text, integers or booleans", column.data_type());
            return Err(bad_label(name, problem, "cast it, or use the task regression"));
        }
    }
    let (classes, rows) = if ints.is_empty() {
        let sorted = match known {
            Some(classes) => classes.names(),
            None => sorted(texts.iter().map(|text| (*text).to_owned())),
        };
        let rows = texts.iter().map(|text| sorted.binary_search_by(|class| class.as_str().cmp(text)).ok());
        // Integer classes sort as numbers, so their names cannot be searched in halves.
        let rows: Option<Vec<usize>> = match known {
            Some(Classes::Int(_)) => texts.iter().map(|text| sorted.iter().position(|class| class == text)).collect(),
            _ => rows.collect(),
        };
        (known.cloned().unwrap_or(Classes::Text(sorted)), rows)
    } else {
        match known {
            Some(classes @ Classes::Text(names)) => {
                let rows = ints.iter().map(|int| names.iter().position(|class| *class == int.to_string()));
                (classes.clone(), rows.collect())
            }
            _ => {
                let list = match known {
                    Some(Classes::Int(list)) => list.clone(),
                    _ => sorted(ints.iter().copied()),
                };
                let rows = ints.iter().map(|int| list.binary_search(int).ok()).collect();
                (Classes::Int(list), rows)
            }
        }
    };
    let Some(rows) = rows else {
        let names = classes.names();
        let strange = texts.iter().map(|t| (*t).to_owned()).chain(ints.iter().map(ToString::to_string));
        let strange = strange.into_iter().find(|value| !names.contains(value)).unwrap_or_default();
        let problem = format!("has the value `{strange}`, which the model does not know");
        return Err(bad_label(name, problem, "measure on rows with the classes that the model was trained on"));
    };
    Ok(Label::Class { classes, rows: rows.into_iter().map(|class| class as u32).collect() })
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    // A set keeps what is held small when a label of millions of rows has two values.
    values.collect::<std::collections::BTreeSet<T>>().into_iter().collect()
}

fn read_values(batches: &[RecordBatch], name: &str) -> Result<Vec<f64>, TrainError> {
    let mut values: Vec<f64> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (number, batch) in batches.iter().enumerate() {
        let column = column(batch, number, name)?;
        let start = values.len();
        if let Some(row) = (0..column.len()).find(|&row| column.is_null(row)) {
            let problem = format!("is null in row {}", start + row);
            return Err(bad_label(name, problem, "drop the rows without a label before training"));
        }
        let any = column.as_any();
        if let Some(list) = any.downcast_ref::<Float64Array>() {
            values.extend(list.values());
        } else if let Some(list) = any.downcast_ref::<Float32Array>() {
            values.extend(list.values().iter().map(|v| f64::from(*v)));
        } else if let Some(list) = any.downcast_ref::<Int64Array>() {
            values.extend(list.values().iter().map(|v| *v as f64));
        } else if let Some(list) = any.downcast_ref::<BooleanArray>() {
            values.extend((0..list.len()).map(|row| f64::from(u8::from(list.value(row)))));
        } else {
            let problem = format!("is {}: regression needs numbers", column.data_type());
            return Err(bad_label(name, problem, "use the task classification, or cast it"));
        }
        if let Some(row) = values[start..].iter().position(|v| !v.is_finite()) {
            let (row, value) = (start + row, values[start + row].to_string());
            return Err(TrainError::NotFinite { column: name.to_owned(), row: row as u64, value });
        }
    }
    Ok(values)
}

/// The column of that name; the batches after the first must agree with it.
fn column<'a>(batch: &'a RecordBatch, number: usize, name: &str) -> Result<&'a ArrayRef, TrainError> {
    batch.column_by_name(name).ok_or_else(|| {
        let known: Vec<String> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        if number == 0 {
            TrainError::UnknownColumn { name: name.to_owned(), known }
        } else {
            TrainError::BatchMismatch { batch: number, expected: name.to_owned(), found: known.join(", ") }
        }
    })
}

/// Writes a numeric column into cells, null as NaN.
fn scatter<'a>(column: &ArrayRef, name: &str, cells: impl Iterator<Item = &'a mut f32>) -> Result<(), TrainError> {
    let any = column.as_any();
    let null = |row: usize| column.is_null(row);
    let write = |value: &dyn Fn(usize) -> f32| {
        cells.enumerate().for_each(|(row, cell)| *cell = if null(row) { f32::NAN } else { value(row) });
    };
    if let Some(values) = any.downcast_ref::<Float64Array>() {
        write(&|row| values.value(row) as f32);
    } else if let Some(values) = any.downcast_ref::<Float32Array>() {
        write(&|row| values.value(row));
    } else if let Some(values) = any.downcast_ref::<Int64Array>() {
        write(&|row| values.value(row) as f32);
    } else if let Some(values) = any.downcast_ref::<BooleanArray>() {
        write(&|row| f32::from(u8::from(values.value(row))));
    } else {
        return Err(TrainError::FeatureType { column: name.to_owned(), found: type_name(column.data_type()) });
    }
    Ok(())
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "text".into(),
        DataType::Timestamp(..) => "a timestamp".into(),
        DataType::Binary => "bytes".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{Coded, codes};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    fn floats(values: Vec<Option<f64>>) -> ArrayRef {
        Arc::new(Float64Array::from(values))
    }

    fn texts(values: Vec<Option<&str>>) -> ArrayRef {
        Arc::new(StringArray::from(values))
    }

    fn learn(column: ArrayRef, task: Task) -> Result<Label, TrainError> {
        Label::to_learn(&[batch(vec![("y", column)])], "y", task, &TableLimits::default())
    }

    #[test]
    fn columns_of_several_batches_become_one_matrix_of_32_bits() {
        let one = batch(vec![("a", floats(vec![Some(0.1), Some(2.0)])), ("b", Arc::new(Int64Array::from(vec![1, 2])))]);
        let two = batch(vec![("b", Arc::new(Int64Array::from(vec![3]))), ("a", floats(vec![Some(-1.0)]))]);
        let features = Features::from_batches(&[one, two], &["b".into(), "a".into()], false).unwrap();
        assert_eq!(features.values(), [1.0, 0.1, 2.0, 2.0, 3.0, -1.0]);
        assert_eq!((features.rows(), features.width(), features.row(2)), (3, 2, &[3.0, -1.0][..]));
    }

    #[test]
    fn a_value_that_is_not_finite_is_named_across_batches_unless_it_may_be_missing() {
        let good = batch(vec![("a", floats(vec![Some(0.0), Some(1.0)]))]);
        for (bad, said) in
            [(None, "null"), (Some(f64::NAN), "NaN"), (Some(f64::NEG_INFINITY), "-inf"), (Some(1e39), "inf")]
        {
            let batches = [good.clone(), batch(vec![("a", floats(vec![Some(1.0), bad]))])];
            let error = Features::from_batches(&batches, &["a".into()], false).unwrap_err();
            assert_eq!(error.to_string(), format!("row 3, column `a`: {said} where a finite number is needed"));
            assert_eq!(error.code(), codes::NOT_FINITE);
            let allowed = Features::from_batches(&batches, &["a".into()], true);
            assert_eq!(allowed.is_ok(), !said.contains("inf"));
        }
    }

    #[test]
    fn text_is_no_feature_and_a_missing_column_is_named() {
        let rows = [batch(vec![("state", texts(vec![Some("KS")]))])];
        let error = Features::from_batches(&rows, &["state".into()], false).unwrap_err();
        assert_eq!(error.to_string(), "feature `state` is text, not a number");
        let error = Features::from_batches(&rows, &["stat".into()], false).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `state`?");
        assert_eq!(error.code(), codes::UNKNOWN_COLUMN);
    }

    #[test]
    fn classes_are_sorted_by_their_own_order() {
        let label = learn(texts(vec![Some("yes"), Some("no"), Some("yes"), Some("no")]), Task::Classification).unwrap();
        let Label::Class { classes, rows } = label else { panic!("{label:?}") };
        assert_eq!((classes, rows), (Classes::Text(vec!["no".into(), "yes".into()]), vec![1, 0, 1, 0]));
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![10, 9, 10, 9, -1, -1]));
        let Label::Class { classes, rows } = learn(ints, Task::Classification).unwrap() else { panic!() };
        assert_eq!((classes, rows), (Classes::Int(vec![-1, 9, 10]), vec![2, 1, 2, 1, 0, 0]));
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true, false]));
        let Label::Class { classes, .. } = learn(flags, Task::Classification).unwrap() else { panic!() };
        assert_eq!(classes.names(), ["false", "true"]);
    }

    #[test]
    fn a_label_that_cannot_be_learned_is_told_with_the_reason() {
        let ids: Vec<String> = (0..20).map(|i| format!("id{i}")).collect();
        let cases: [(ArrayRef, Task, &str); 6] = [
            (texts(vec![Some("no"), Some("no")]), Task::Classification, "label `y` has the single value `no`"),
            (texts(vec![Some("no"), None, Some("yes")]), Task::Classification, "label `y` is null in row 1"),
            (
                floats(vec![Some(1.0)]),
                Task::Classification,
                "label `y` is Float64: classes are text, integers or booleans",
            ),
            (Arc::new(StringArray::from(ids)), Task::Classification, "label `y` has 20 classes in 20 rows"),
            (texts(vec![Some("1")]), Task::Regression, "label `y` is Utf8: regression needs numbers"),
            (floats(vec![Some(1.0), None]), Task::Regression, "label `y` is null in row 1"),
        ];
        for (column, task, message) in cases {
            let error = learn(column, task).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.code(), codes::BAD_LABEL);
            assert!(error.hint().is_some());
        }
        let error = learn(floats(vec![Some(1.0), Some(f64::NAN)]), Task::Regression).unwrap_err();
        assert_eq!(error.code(), codes::NOT_FINITE);
    }

    #[test]
    fn true_labels_are_read_with_the_model_s_classes() {
        let model = Classes::Int(vec![2, 10]);
        let rows = [batch(vec![("y", texts(vec![Some("10"), Some("2")]))])];
        let Label::Class { rows, .. } = Label::to_measure(&rows, "y", Some(&model)).unwrap() else { panic!() };
        assert_eq!(rows, [1, 0]);
        let rows = [batch(vec![("y", Arc::new(Int64Array::from(vec![2, 3])))])];
        let error = Label::to_measure(&rows, "y", Some(&model)).unwrap_err();
        assert_eq!(error.to_string(), "label `y` has the value `3`, which the model does not know");
    }

    #[test]
    fn constant_features_are_found_and_missing_values_do_not_hide_them() {
        let features =
            Features::from_values(vec!["a".into(), "b".into(), "c".into()], 2, vec![1.0, 2.0, f32::NAN, 1.0, 3.0, 4.0]);
        assert_eq!(features.unwrap().constant(), [0, 2]);
    }
}
