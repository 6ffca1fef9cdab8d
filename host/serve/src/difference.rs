//! In what one model's answers differ from another's to the same rows.

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use plinth_ext::Batch;

/// In what one output differs, added up over rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutputDifference {
    /// The output's name.
    pub name: String,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that are not the same.
    pub differing: u64,
    /// Rows of which both are numbers.
    pub numbers: u64,
    /// Sum of the absolute differences of those.
    pub sum: f64,
    /// The largest of them.
    pub max: f64,
}

impl OutputDifference {
    /// The share of rows that are not the same.
    pub fn share(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.differing as f64 / self.rows as f64 }
    }

    /// Takes in two numbers, and says whether they are different ones.
    fn number(&mut self, given: Option<f64>, there: Option<f64>, tolerance: f64) -> bool {
        let (Some(given), Some(there)) = (given, there) else { return given.is_some() || there.is_some() };
        // Two that are no number, or the same infinity, are the same.
        if given == there || given.is_nan() && there.is_nan() {
            self.numbers += 1;
            return false;
        }
        let apart = (given - there).abs();
        if apart.is_finite() {
            self.numbers += 1;
            self.sum += apart;
            self.max = self.max.max(apart);
        }
        apart.is_nan() || apart > tolerance
    }

    /// The mean absolute difference; none of an output that is no number.
    pub fn mean(&self) -> Option<f64> {
        (self.numbers > 0).then(|| self.sum / self.numbers as f64)
    }
}

/// Adds the differences between two answers to the same rows to those there are, and says for each row whether any
/// output of it is not the same. Numbers that are no further apart than `tolerance` are.
pub fn compare(given: &Batch, other: &Batch, tolerance: f64, differences: &mut Vec<OutputDifference>) -> Vec<bool> {
    let mut unlike = vec![false; given.num_rows()];
    for (field, column) in given.schema().fields().iter().zip(given.columns()) {
        let index = differences.iter().position(|difference| difference.name == field.name);
        let index = index.unwrap_or_else(|| {
            differences.push(OutputDifference { name: field.name.clone(), ..OutputDifference::default() });
            differences.len() - 1
        });
        let difference = &mut differences[index];
        difference.rows += column.len() as u64;
        let there = other.schema().index_of(&field.name).map(|index| other.column(index));
        let Some(there) = there.filter(|there| there.len() == column.len()) else {
            difference.differing += column.len() as u64;
            unlike.fill(true);
            continue;
        };
        let apart: Vec<bool> = match (numbers(column), numbers(there)) {
            (Some(given), Some(there)) => {
                given.into_iter().zip(there).map(|(given, there)| difference.number(given, there, tolerance)).collect()
            }
            _ => different(column, there),
        };
        difference.differing += apart.iter().filter(|apart| **apart).count() as u64;
        unlike.iter_mut().zip(apart).for_each(|(unlike, apart)| *unlike |= apart);
    }
    unlike
}

/// A column as numbers; none if it holds none.
pub(crate) fn numbers(column: &ArrayRef) -> Option<Vec<Option<f64>>> {
    let any = column.as_any();
    if let Some(column) = any.downcast_ref::<Float64Array>() {
        return Some(column.iter().collect());
    }
    if let Some(column) = any.downcast_ref::<Float32Array>() {
        return Some(column.iter().map(|value| value.map(f64::from)).collect());
    }
    if let Some(column) = any.downcast_ref::<TimestampMicrosecondArray>() {
        return Some(column.iter().map(|value| value.map(|value| value as f64)).collect());
    }
    any.downcast_ref::<Int64Array>().map(|column| column.iter().map(|value| value.map(|value| value as f64)).collect())
}

/// A column as labels; none if it holds none.
pub(crate) fn labels(column: &ArrayRef) -> Option<Vec<Option<&str>>> {
    let any = column.as_any();
    if let Some(column) = any.downcast_ref::<StringArray>() {
        return Some(column.iter().collect());
    }
    let name = |value| if value { "true" } else { "false" };
    any.downcast_ref::<BooleanArray>().map(|column| column.iter().map(|value| value.map(name)).collect())
}

fn different(one: &ArrayRef, other: &ArrayRef) -> Vec<bool> {
    if let (Some(one), Some(other)) = (labels(one), labels(other)) {
        return one.iter().zip(&other).map(|(one, other)| one != other).collect();
    }
    if one.data_type() != other.data_type() {
        return vec![true; one.len()];
    }
    (0..one.len()).map(|row| one.slice(row, 1).to_data() != other.slice(row, 1).to_data()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_ext::{Field, Kind, Schema};

    use super::*;

    fn answers(labels: &[&str], numbers: &[Option<f64>]) -> Batch {
        let schema = vec![Field::new("label", Kind::Utf8, false), Field::new("score", Kind::Float64, true)];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(labels.to_vec())), Arc::new(Float64Array::from(numbers.to_vec()))];
        Batch::new(Schema::new(schema).unwrap(), columns, labels.len()).unwrap()
    }

    #[test]
    fn labels_that_differ_are_counted_and_numbers_measured() {
        let mut found = Vec::new();
        let nan = Some(f64::NAN);
        let given = answers(&["a", "b", "a", "a", "c"], &[Some(0.5), Some(1.0), None, nan, Some(2.0)]);
        let other = answers(&["a", "a", "a", "b", "c"], &[Some(0.75), Some(1.0), Some(3.0), nan, Some(f64::INFINITY)]);
        let unlike = compare(&given, &other, 0.0, &mut found);
        assert_eq!(unlike, [true, true, true, true, true]);
        assert_eq!((found[0].rows, found[0].differing, found[0].mean()), (5, 2, None));
        assert_eq!((found[1].rows, found[1].differing, found[1].numbers), (5, 3, 3));
        assert_eq!((found[1].sum, found[1].max), (0.25, 0.25));
        assert_eq!(compare(&given, &given, 0.0, &mut found), [false; 5]);
        assert_eq!((found[0].share(), found[1].share()), (0.2, 0.3));
        let near = answers(&["a", "b", "a", "a", "c"], &[Some(0.5), Some(1.001), None, nan, Some(2.1)]);
        assert_eq!(compare(&given, &near, 0.01, &mut Vec::new()), [false, false, false, false, true]);
        // One that does not answer the same at all.
        compare(&given, &given.project(&[1]), 0.0, &mut found);
        assert_eq!((found[0].differing, found[1].differing), (7, 3));
    }
}
