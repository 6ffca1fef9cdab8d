//! A sample of fixed size from a stream of unknown length.
//!
//! Each row's position is hashed with the seed, and the rows with the smallest hashes are kept: every set of rows is
//! as likely as every other, and the choice does not depend on how the stream was cut into batches.

use plinth_ext::{Batch, Schema};
use twox_hash::XxHash64;

use crate::{TableError, concat, take};

/// Keeps at most `rows_max` rows of a stream, each row equally likely, chosen by a seed.
#[derive(Debug)]
pub struct Reservoir {
    schema: Schema,
    rows_max: usize,
    seed: u64,
    seen: u64,
    /// Hash and position of each kept row, in the order in which `kept` holds them.
    keys: Vec<(u64, u64)>,
    kept: Vec<Batch>,
    /// No row with a key above this one can be in the sample.
    bound: (u64, u64),
}

impl Reservoir {
    /// An empty sample.
    pub fn new(schema: Schema, rows_max: usize, seed: u64) -> Self {
        Self { schema, rows_max, seed, seen: 0, keys: Vec::new(), kept: Vec::new(), bound: (u64::MAX, u64::MAX) }
    }

    /// Takes the next rows of the stream into account. Holds at most about twice the sample's rows.
    ///
    /// # Errors
    /// [`TableError::Schema`] if they have other columns; [`TableError::Arrow`] if a text column exceeds 2 GiB.
    pub fn push(&mut self, batch: &Batch) -> Result<(), TableError> {
        self.schema.expect_same(batch.schema())?;
        let mut picked = Vec::new();
        for row in 0..batch.num_rows() {
            let position = self.seen + row as u64;
            let key = (position_hash(self.seed, position), position);
            if key <= self.bound && self.rows_max > 0 {
                self.keys.push(key);
                picked.push(row as u32);
            }
        }
        self.seen += batch.num_rows() as u64;
        if !picked.is_empty() {
            self.kept.push(take(batch, &picked)?);
        }
        if self.keys.len() > self.rows_max.saturating_mul(2) { self.shrink() } else { Ok(()) }
    }

    /// Rows of the stream so far.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The sample, in stream order.
    ///
    /// # Errors
    /// [`TableError::Arrow`] if a text column exceeds 2 GiB.
    pub fn finish(mut self) -> Result<Batch, TableError> {
        self.shrink()?;
        concat(&self.schema, &self.kept)
    }

    fn shrink(&mut self) -> Result<(), TableError> {
        if self.keys.len() <= self.rows_max {
            return Ok(());
        }
        let mut order: Vec<u32> = (0..self.keys.len() as u32).collect();
        order.select_nth_unstable_by_key(self.rows_max - 1, |&i| self.keys[i as usize]);
        order.truncate(self.rows_max);
        self.bound = order.iter().map(|&i| self.keys[i as usize]).max().unwrap_or(self.bound);
        order.sort_unstable();
        let all = concat(&self.schema, &self.kept)?;
        self.kept = vec![take(&all, &order)?];
        self.keys = order.iter().map(|&i| self.keys[i as usize]).collect();
        Ok(())
    }
}

/// A number that is random to the eye and fixed by seed and position.
pub(crate) fn position_hash(seed: u64, position: u64) -> u64 {
    XxHash64::oneshot(seed, &position.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, cast::AsArray, types::Int64Type};
    use plinth_ext::{Field, Kind};
    use proptest::prelude::*;

    use super::*;

    fn numbers(rows: usize) -> Batch {
        let schema = Schema::new(vec![Field::new("n", Kind::Int64, false)]).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        Batch::new(schema, vec![column], rows).unwrap()
    }

    fn sample(whole: &Batch, piece: usize, rows_max: usize, seed: u64) -> Vec<i64> {
        let mut reservoir = Reservoir::new(whole.schema().clone(), rows_max, seed);
        for offset in (0..whole.num_rows()).step_by(piece) {
            reservoir.push(&whole.slice(offset, piece.min(whole.num_rows() - offset))).unwrap();
            assert!(reservoir.keys.len() <= 2 * rows_max + piece);
        }
        reservoir.finish().unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_sample_depends_on_seed_and_rows_alone(rows in 0_usize..3_000, piece in 1_usize..700, rows_max in 0_usize..400, seed: u64) {
            let whole = numbers(rows);
            let found = sample(&whole, piece, rows_max, seed);
            prop_assert_eq!(found.len(), rows.min(rows_max));
            prop_assert!(found.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(found, sample(&whole, rows.max(1), rows_max, seed));
        }
    }

    #[test]
    fn every_row_is_about_equally_likely() {
        let whole = numbers(200);
        let mut times = vec![0_u32; 200];
        for seed in 0..1_000 {
            sample(&whole, 64, 50, seed).into_iter().for_each(|n| times[n as usize] += 1);
        }
        // Binomial(1000, 1/4): mean 250, standard deviation 13.7; five of them either way.
        assert!(times.iter().all(|&n| (182..=318).contains(&n)), "{times:?}");
    }
}
