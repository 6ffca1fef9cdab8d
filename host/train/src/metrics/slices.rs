//! Rows grouped by the values of a column.

use std::collections::BTreeMap;

use arrow_array::{
    Array, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray,
    types::TimestampMicrosecondType,
};
use plinth_core::TableLimits;

use crate::TrainError;

/// `COLUMN=VALUE` and the rows that have it, for each value of each column that has at least `least` rows; in the order
/// of the columns, then of the values as text. A null is `COLUMN=null`.
pub(super) fn find(
    columns: &[String],
    batches: &[RecordBatch],
    rows: usize,
    least: u64,
    limits: &TableLimits,
) -> Result<Vec<(String, Vec<usize>)>, TrainError> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if found != rows {
        return Err(TrainError::BadAnswers(format!("{rows} labels and {found} rows to slice")));
    }
    let mut slices = Vec::new();
    for name in columns {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut start = 0;
        for batch in batches {
            let column = batch.column_by_name(name).ok_or_else(|| TrainError::UnknownColumn {
                name: name.clone(),
                known: batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect(),
            })?;
            let text = text_of(column.as_ref());
            for row in 0..column.len() {
                let value = if column.is_null(row) { "null".into() } else { text(row) };
                groups.entry(value).or_default().push(start + row);
            }
            let max = u64::from(limits.classes_max);
            if groups.len() as u64 > max {
                let what = "values of one slice column";
                return Err(TrainError::Limit {
                    what,
                    found: groups.len() as u64,
                    max,
                    limit: "limits.table.classes-max",
                });
            }
            start += batch.num_rows();
        }
        let kept = groups.into_iter().filter(|(_, rows)| rows.len() as u64 >= least);
        slices.extend(kept.map(|(value, rows)| (format!("{name}={value}"), rows)));
    }
    Ok(slices)
}

fn text_of(column: &dyn Array) -> Box<dyn Fn(usize) -> String + '_> {
    let any = column.as_any();
    if let Some(values) = any.downcast_ref::<StringArray>() {
        Box::new(|row| values.value(row).to_owned())
    } else if let Some(values) = any.downcast_ref::<Int64Array>() {
        Box::new(|row| values.value(row).to_string())
    } else if let Some(values) = any.downcast_ref::<BooleanArray>() {
        Box::new(|row| values.value(row).to_string())
    } else if let Some(values) = any.downcast_ref::<Float64Array>() {
        Box::new(|row| values.value(row).to_string())
    } else if let Some(values) = any.downcast_ref::<Float32Array>() {
        Box::new(|row| values.value(row).to_string())
    } else if let Some(values) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        Box::new(|row| values.value(row).to_string())
    } else {
        Box::new(|_| "other".into())
    }
}
