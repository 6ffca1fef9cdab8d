//! Rows put together, picked and put in order.

use arrow_array::{
    Array, BooleanArray, UInt32Array,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use plinth_ext::{Batch, Kind, Schema};

use crate::TableError;

/// All rows of `batches`, in order, as one batch of `schema`.
///
/// # Errors
/// [`TableError::Schema`] if a batch has other columns; [`TableError::Arrow`] if a text column exceeds 2 GiB.
pub fn concat(schema: &Schema, batches: &[Batch]) -> Result<Batch, TableError> {
    for batch in batches {
        schema.expect_same(batch.schema())?;
    }
    match batches {
        [] => Ok(Batch::empty(schema.clone())),
        [one] => Ok(one.clone()),
        many => {
            let rows = arrow_select::concat::concat_batches(schema.arrow(), many.iter().map(Batch::arrow))?;
            rewrap(schema, &rows)
        }
    }
}

/// The rows at `indices` (from 0), in that order; a row may be picked more than once.
///
/// # Errors
/// [`TableError::Arrow`] if a text column exceeds 2 GiB.
///
/// # Panics
/// If an index is past the end.
pub fn take(batch: &Batch, indices: &[u32]) -> Result<Batch, TableError> {
    let picked = arrow_select::take::take_record_batch(batch.arrow(), &UInt32Array::from(indices.to_vec()))?;
    rewrap(batch.schema(), &picked)
}

/// The rows for which `keep` is true, in order.
///
/// # Errors
/// [`TableError::Arrow`] if Arrow cannot pick them.
///
/// # Panics
/// If `keep` has another length than the batch.
pub fn filter(batch: &Batch, keep: &BooleanArray) -> Result<Batch, TableError> {
    assert_eq!(keep.len(), batch.num_rows(), "a filter says yes or no to every row");
    rewrap(batch.schema(), &arrow_select::filter::filter_record_batch(batch.arrow(), keep)?)
}

/// The rows in ascending order of a column: equal values keep their order, nulls come last, NaN after every number.
///
/// # Errors
/// [`TableError::Schema`] names a column that does not exist.
pub fn sort_by(batch: &Batch, column: &str) -> Result<Batch, TableError> {
    let index = batch.schema().require(column)?;
    take(batch, &order(batch.column(index), batch.schema().fields()[index].kind))
}

/// The row numbers of a column in the order that [`sort_by`] gives.
pub(crate) fn order(column: &dyn Array, kind: Kind) -> Vec<u32> {
    let rows = u32::try_from(column.len()).unwrap_or(u32::MAX);
    let mut order: Vec<u32> = (0..rows).filter(|&row| column.is_valid(row as usize)).collect();
    macro_rules! sort {
        ($array:expr, $compare:expr) => {{
            let array = $array;
            order.sort_by(|&a, &b| $compare(&array.value(a as usize), &array.value(b as usize)))
        }};
    }
    match kind {
        Kind::Boolean => sort!(column.as_boolean(), Ord::cmp),
        Kind::Int64 => sort!(column.as_primitive::<Int64Type>(), Ord::cmp),
        Kind::TimestampUs => sort!(column.as_primitive::<TimestampMicrosecondType>(), Ord::cmp),
        Kind::Float32 => sort!(column.as_primitive::<Float32Type>(), f32::total_cmp),
        Kind::Float64 => sort!(column.as_primitive::<Float64Type>(), f64::total_cmp),
        Kind::Utf8 => sort!(column.as_string::<i32>(), Ord::cmp),
        Kind::Binary => sort!(column.as_binary::<i32>(), Ord::cmp),
    }
    order.extend((0..rows).filter(|&row| column.is_null(row as usize)));
    order
}

fn rewrap(schema: &Schema, rows: &arrow_array::RecordBatch) -> Result<Batch, TableError> {
    Ok(Batch::new(schema.clone(), rows.columns().to_vec(), rows.num_rows())?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray};
    use plinth_ext::Field;

    use super::*;

    fn table(values: Vec<Option<f64>>, tags: Vec<&str>) -> Batch {
        let schema =
            Schema::new(vec![Field::new("v", Kind::Float64, true), Field::new("tag", Kind::Utf8, false)]).unwrap();
        let rows = values.len();
        let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(values)), Arc::new(StringArray::from(tags))];
        Batch::new(schema, columns, rows).unwrap()
    }

    fn tags(batch: &Batch) -> Vec<&str> {
        batch.column(1).as_string::<i32>().iter().flatten().collect()
    }

    #[test]
    fn sorting_is_stable_and_puts_nan_and_nulls_last() {
        let rows = table(vec![Some(2.0), None, Some(f64::NAN), Some(1.0), Some(2.0)], vec!["a", "b", "c", "d", "e"]);
        assert_eq!(tags(&sort_by(&rows, "v").unwrap()), ["d", "a", "e", "c", "b"]);
        assert_eq!(tags(&sort_by(&rows, "tag").unwrap()), ["a", "b", "c", "d", "e"]);
        assert!(sort_by(&rows, "w").is_err());
    }

    #[test]
    fn rows_are_taken_filtered_and_put_together_in_order() {
        let rows = table(vec![Some(1.0), None, Some(3.0)], vec!["a", "b", "c"]);
        assert_eq!(tags(&take(&rows, &[2, 0, 2]).unwrap()), ["c", "a", "c"]);
        assert_eq!(tags(&filter(&rows, &BooleanArray::from(vec![true, false, true])).unwrap()), ["a", "c"]);
        let both = concat(rows.schema(), &[rows.clone(), rows.slice(1, 1)]).unwrap();
        assert_eq!(tags(&both), ["a", "b", "c", "b"]);
        assert!(concat(rows.schema(), &[rows.project(&[0])]).is_err());
    }
}
