//! Which rows a model learns from and which are held out to judge it.
//!
//! A split is decided from one column (or none) and then applied to batches as they stream by, so a table need not
//! fit in memory.

use std::collections::BTreeMap;

use arrow_array::{
    Array, ArrayRef, BooleanArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use arrow_buffer::BooleanBuffer;
use plinth_ext::{Batch, Field, Kind, Schema};

use crate::{Table, TableError, concat, filter, row_hashes, rows::order, sample::position_hash};

/// For each row of a table, whether it is held out. Both sides hold at least one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    held_out: BooleanBuffer,
}

impl Split {
    /// Holds out the latest rows of `table`: at least `fraction` of them, and every row as late as the earliest of
    /// those, so that equal times stay together.
    ///
    /// # Errors
    /// [`TableError`]: a share outside 0..1, an unknown column, a column that tells no time, a row without one, or
    /// times that leave nothing to learn from.
    pub fn by_time(table: &Table, column: &str, fraction: f64) -> Result<Self, TableError> {
        let times = read_column(table, column)?;
        Self::of_times(&times.schema().fields()[0], times.column(0), fraction)
    }

    /// Holds out `fraction` of the rows of `table`, chosen by `seed`. With `strata`, the share is the same within
    /// each value of that column (null is a value of its own), to the nearest row.
    ///
    /// # Errors
    /// [`TableError`]: a share outside 0..1, an unknown column, or too few rows for two sides.
    pub fn by_seed(table: &Table, fraction: f64, seed: u64, strata: Option<&str>) -> Result<Self, TableError> {
        match strata {
            None => Self::of_rows(usize::try_from(table.rows()).unwrap_or(usize::MAX), fraction, seed),
            Some(column) => Self::of_strata(&row_hashes(&read_column(table, column)?), fraction, seed),
        }
    }

    /// As [`Split::by_time`], from the times themselves.
    ///
    /// # Errors
    /// As for [`Split::by_time`].
    pub fn of_times(field: &Field, times: &ArrayRef, fraction: f64) -> Result<Self, TableError> {
        let (rows, wanted) = (times.len(), held_out_rows(times.len(), fraction)?);
        let no_time = |row| TableError::NoTime { column: field.name.clone(), row };
        if let Some(row) = (0..rows).find(|&row| times.is_null(row)) {
            return Err(no_time(row));
        }
        let order = order(times, field.kind);
        let first = order[rows - wanted] as usize;
        let late: BooleanBuffer = match field.kind {
            Kind::TimestampUs => at_least(times.as_primitive::<TimestampMicrosecondType>().values(), first),
            Kind::Int64 => at_least(times.as_primitive::<Int64Type>().values(), first),
            Kind::Float64 => {
                let values = times.as_primitive::<Float64Type>().values();
                if let Some(row) = values.iter().position(|v| v.is_nan()) {
                    return Err(no_time(row));
                }
                at_least(values, first)
            }
            Kind::Utf8 => {
                let values = times.as_string::<i32>();
                BooleanBuffer::collect_bool(rows, |row| values.value(row) >= values.value(first))
            }
            kind => return Err(TableError::NotATime { column: field.name.clone(), kind: kind.to_string() }),
        };
        if late.count_set_bits() == rows {
            let reason = "the earliest rows are as late as the first of the held-out ones";
            return Err(TableError::EmptySide { rows, fraction, reason });
        }
        Ok(Self { held_out: late })
    }

    /// Holds out `fraction` of `rows` rows, chosen by `seed`.
    ///
    /// # Errors
    /// [`TableError::BadFraction`], [`TableError::EmptySide`].
    pub fn of_rows(rows: usize, fraction: f64, seed: u64) -> Result<Self, TableError> {
        let wanted = held_out_rows(rows, fraction)?;
        Ok(Self::of_chosen(rows, pick((0..rows).collect(), wanted, seed)))
    }

    /// As [`Split::of_rows`], with the same share within the rows of each stratum, named by a number.
    ///
    /// # Errors
    /// [`TableError::BadFraction`], [`TableError::EmptySide`].
    pub fn of_strata(strata: &[u64], fraction: f64, seed: u64) -> Result<Self, TableError> {
        let wanted = held_out_rows(strata.len(), fraction)?;
        let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (row, stratum) in strata.iter().enumerate() {
            groups.entry(*stratum).or_default().push(row);
        }
        // Largest remainders, so that the parts add up to the whole.
        let exact: Vec<f64> = groups.values().map(|rows| rows.len() as f64 * fraction).collect();
        let mut counts: Vec<usize> = exact.iter().map(|&share| share as usize).collect();
        let mut by_remainder: Vec<usize> = (0..exact.len()).collect();
        by_remainder.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
        let missing = wanted.saturating_sub(counts.iter().sum());
        for &group in by_remainder.iter().take(missing) {
            counts[group] += 1;
        }
        let chosen = groups.into_values().zip(counts).flat_map(|(rows, count)| pick(rows, count, seed)).collect();
        Ok(Self::of_chosen(strata.len(), chosen))
    }

    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.held_out.len()
    }

    /// Rows held out.
    pub fn held_out_rows(&self) -> usize {
        self.held_out.count_set_bits()
    }

    /// Cuts a batch whose first row is row `offset` of the table: what to learn from, what is held out.
    ///
    /// # Errors
    /// [`TableError::Arrow`] if a text column exceeds 2 GiB.
    ///
    /// # Panics
    /// If the batch goes past the end of the split.
    pub fn cut(&self, batch: &Batch, offset: usize) -> Result<(Batch, Batch), TableError> {
        let late = self.held_out.slice(offset, batch.num_rows());
        let early = BooleanArray::from(!&late);
        Ok((filter(batch, &early)?, filter(batch, &BooleanArray::from(late))?))
    }

    fn of_chosen(rows: usize, chosen: Vec<usize>) -> Self {
        let mut held_out = vec![false; rows];
        for row in chosen {
            held_out[row] = true;
        }
        Self { held_out: BooleanBuffer::from(held_out) }
    }
}

fn at_least<T: PartialOrd + Copy>(values: &[T], first: usize) -> BooleanBuffer {
    BooleanBuffer::collect_bool(values.len(), |row| values[row] >= values[first])
}

fn pick(mut rows: Vec<usize>, count: usize, seed: u64) -> Vec<usize> {
    rows.sort_unstable_by_key(|&row| (position_hash(seed, row as u64), row));
    rows.truncate(count);
    rows
}

fn held_out_rows(rows: usize, fraction: f64) -> Result<usize, TableError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(TableError::BadFraction { fraction });
    }
    if rows < 2 {
        return Err(TableError::EmptySide { rows, fraction, reason: "two sides need two rows" });
    }
    Ok(((rows as f64 * fraction).round() as usize).clamp(1, rows - 1))
}

fn read_column(table: &Table, column: &str) -> Result<Batch, TableError> {
    let batches = table.columns(&[column])?;
    let schema: Schema = batches.schema().clone();
    concat(&schema, &batches.collect::<Result<Vec<_>, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};
    use plinth_core::{Coded, codes};
    use proptest::prelude::*;

    use super::*;
    use crate::to_bytes;

    fn times(values: &[i64]) -> Result<Split, TableError> {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        Split::of_times(&Field::new("at", Kind::Int64, false), &column, 0.25)
    }

    fn held_out(split: &Split) -> Vec<usize> {
        split.held_out.set_indices().collect()
    }

    #[test]
    fn the_latest_rows_are_held_out_and_ties_stay_together() {
        assert_eq!(held_out(&times(&[5, 8, 1, 7, 2, 3, 4, 6]).unwrap()), [1, 3]);
        assert_eq!(held_out(&times(&[1, 7, 2, 7, 7, 3, 4, 5]).unwrap()), [1, 3, 4]);
        assert_eq!(times(&[7, 7, 7, 7]).unwrap_err().code(), codes::EMPTY_INPUT);
        assert_eq!(times(&[7]).unwrap_err().code(), codes::EMPTY_INPUT);
    }

    #[test]
    fn rows_without_a_time_and_columns_that_tell_none_are_named() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let error = Split::of_times(&Field::new("at", Kind::Int64, true), &column, 0.5).unwrap_err();
        assert_eq!(error.to_string(), "column `at` is null or NaN in row 1, so the row cannot be placed in time");
        let column: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
        let error = Split::of_times(&Field::new("b", Kind::Boolean, true), &column, 0.5).unwrap_err();
        assert_eq!(error.code(), codes::SCHEMA_MISMATCH);
        for fraction in [0.0, 1.0, -0.1, f64::NAN] {
            assert_eq!(Split::of_rows(10, fraction, 1).unwrap_err().code(), codes::BAD_OPTIONS);
        }
    }

    #[test]
    fn a_split_of_a_table_cuts_its_batches() {
        let schema =
            Schema::new(vec![Field::new("at", Kind::Utf8, false), Field::new("n", Kind::Int64, false)]).unwrap();
        let days = ["2024-01-03", "2024-01-01", "2024-01-04", "2024-01-02"];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(days.to_vec())), Arc::new(Int64Array::from(vec![3, 1, 4, 2]))];
        let rows = Batch::new(schema.clone(), columns, 4).unwrap();
        let table = Table::from_bytes(to_bytes(&schema, [&rows]).unwrap()).unwrap();
        let split = Split::by_time(&table, "at", 0.5).unwrap();
        let (early, late) = split.cut(&rows.slice(1, 3), 1).unwrap();
        assert_eq!(early.column(1).as_primitive::<Int64Type>().values(), &[1, 2]);
        assert_eq!(late.column(1).as_primitive::<Int64Type>().values(), &[4]);
        assert_eq!(Split::by_seed(&table, 0.5, 7, Some("at")).unwrap().held_out_rows(), 2);
        assert_eq!(Split::by_seed(&table, 0.5, 7, None).unwrap(), Split::of_rows(4, 0.5, 7).unwrap());
        assert_eq!(Split::by_time(&table, "att", 0.5).unwrap_err().code(), codes::UNKNOWN_COLUMN);
    }

    proptest! {
        #[test]
        fn a_seeded_split_holds_out_the_share_overall_and_in_each_stratum(
            strata in prop::collection::vec(0_u64..4, 2..400), fraction in 0.05_f64..0.95, seed: u64,
        ) {
            let split = Split::of_strata(&strata, fraction, seed).unwrap();
            let wanted = ((strata.len() as f64 * fraction).round() as usize).clamp(1, strata.len() - 1);
            prop_assert_eq!(split.held_out_rows(), wanted);
            prop_assert_eq!(Split::of_rows(strata.len(), fraction, seed).unwrap().held_out_rows(), wanted);
            for stratum in 0..4 {
                let rows = strata.iter().filter(|s| **s == stratum).count() as f64;
                let held = held_out(&split).iter().filter(|row| strata[**row] == stratum).count() as f64;
                prop_assert!((held - rows * fraction).abs() <= 1.0, "{held} of {rows} at {fraction}");
            }
            prop_assert_eq!(&split, &Split::of_strata(&strata, fraction, seed).unwrap());
        }
    }
}
