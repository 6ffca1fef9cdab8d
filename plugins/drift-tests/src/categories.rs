//! The two samples of a column as counts per category: values as they are where there are few, else bins.

use std::collections::HashMap;

use plinth_sdk::{Block, Kind, Problem, Schema};

use crate::{
    numbers::{Numbers, quantile},
    ruling::Counted,
};

/// Expected count that a category must reach on both sides to stand alone (Cochran 1954).
const EXPECTED_MIN: f64 = 5.0;

/// How often each category occurs on both sides, in an order that depends on the categories alone, so that sums come
/// out the same whatever the order of rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Categories {
    /// Reference and current counts; never both zero.
    pub(crate) counts: Vec<(u64, u64)>,
    pub(crate) counted: Counted,
    /// How many categories the last of `counts` stands for.
    pooled: usize,
}

impl Categories {
    /// Each value is a category.
    ///
    /// # Errors
    /// `bad-block`.
    pub(crate) fn of_values(schema: &Schema, reference: &Block, current: &Block) -> Result<Self, Problem> {
        match schema.fields[0].kind {
            Kind::Utf8 | Kind::Binary => Self::of_texts(schema, reference, current),
            _ => Ok(Self::of_distinct(Numbers::read(schema, reference, current)?)),
        }
    }

    /// Each value is a category, unless there are more than `values_max` on both sides together. Then numbers fall into
    /// `bins` bins with edges at quantiles of the reference, and of texts the rare ones are pooled.
    ///
    /// # Errors
    /// `bad-block`.
    pub(crate) fn of_values_or_bins(
        schema: &Schema,
        reference: &Block,
        current: &Block,
        bins: usize,
        values_max: usize,
    ) -> Result<Self, Problem> {
        if matches!(schema.fields[0].kind, Kind::Utf8 | Kind::Binary) {
            let mut categories = Self::of_texts(schema, reference, current)?;
            if categories.counts.len() > values_max && !categories.counted.one_side_is_empty() {
                categories.pool_the_rare();
            }
            return Ok(categories);
        }
        let numbers = Numbers::read(schema, reference, current)?;
        let mut distinct = 0;
        numbers.walk(|_, _, _| distinct += 1);
        if distinct <= values_max || numbers.counted.one_side_is_empty() {
            return Ok(Self::of_distinct(numbers));
        }
        Ok(Self::of_bins(numbers, bins))
    }

    fn of_texts(schema: &Schema, reference: &Block, current: &Block) -> Result<Self, Problem> {
        let (left, right) = (reference.binaries(schema, 0)?, current.binaries(schema, 0)?);
        let mut counts: HashMap<&[u8], (u64, u64)> = HashMap::new();
        let mut counted = Counted::default();
        let valid = reference.valid(schema, 0)?;
        for (_, value) in left.iter().enumerate().filter(|(row, _)| valid.is_valid(*row)) {
            counts.entry(value).or_default().0 += 1;
            counted.n_reference += 1;
        }
        let valid = current.valid(schema, 0)?;
        for (_, value) in right.iter().enumerate().filter(|(row, _)| valid.is_valid(*row)) {
            counts.entry(value).or_default().1 += 1;
            counted.n_current += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|(value, _)| *value);
        Ok(Self { counts: counts.into_iter().map(|(_, count)| count).collect(), counted, pooled: 1 })
    }

    fn of_distinct(numbers: Numbers) -> Self {
        let mut counts = Vec::new();
        let mut before = (0, 0);
        numbers.walk(|_, i, j| {
            counts.push(((i - before.0) as u64, (j - before.1) as u64));
            before = (i, j);
        });
        Self { counts, counted: numbers.counted, pooled: 1 }
    }

    /// Bins are closed on the right; the first and the last are open towards their infinity. Equal edges become one.
    fn of_bins(numbers: Numbers, bins: usize) -> Self {
        let mut edges: Vec<f64> =
            (1..bins).map(|index| quantile(&numbers.reference, index as f64 / bins as f64)).collect();
        edges.dedup();
        let up_to = |values: &[f64], edge: f64| values.partition_point(|value| *value <= edge);
        let mut counts = Vec::with_capacity(edges.len() + 1);
        let mut before = (0, 0);
        for edge in edges.into_iter().chain([f64::INFINITY]) {
            let (i, j) = (up_to(&numbers.reference, edge), up_to(&numbers.current, edge));
            counts.push(((i - before.0) as u64, (j - before.1) as u64));
            before = (i, j);
        }
        counts.retain(|count| *count != (0, 0));
        Self { counts, counted: numbers.counted, pooled: 1 }
    }

    /// Shares of both sides.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let (n, m) = (self.counted.n_reference as f64, self.counted.n_current as f64);
        self.counts.iter().map(move |&(r, c)| (r as f64 / n, c as f64 / m))
    }
    /// Makes one category of those with an expected count below 5 on either side; where their pool is still that
    /// small, it takes in the rarest of the others. In a long tail every count is chance, which the approximations
    /// of all tests do not see.
    pub(crate) fn pool_the_rare(&mut self) {
        let (n, m) = (self.counted.n_reference as f64, self.counted.n_current as f64);
        let total_min = EXPECTED_MIN * (n + m) / n.min(m);
        let is_rare = |&(r, c): &(u64, u64)| ((r + c) as f64) < total_min;
        let (rare, mut kept): (Vec<_>, Vec<_>) = self.counts.iter().copied().partition(is_rare);
        if rare.is_empty() {
            return;
        }
        let mut pool = rare.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        self.pooled = rare.len();
        if is_rare(&pool)
            && let Some(rarest) = (0..kept.len()).min_by_key(|&index| kept[index].0 + kept[index].1)
        {
            let count = kept.remove(rarest);
            pool = (pool.0 + count.0, pool.1 + count.1);
            self.pooled += 1;
        }
        kept.push(pool);
        self.counts = kept;
        if self.pooled > 1 {
            self.counted.notes.push(format!("{} rare categories were compared as one", self.pooled));
        }
    }

    /// Whether pooling left nothing to compare.
    pub(crate) fn all_are_rare(&self) -> bool {
        self.counts.len() == 1 && self.pooled > 1
    }
}
