//! Which values a numeric column holds and how often: medians, quantiles, most frequent values.
//!
//! Exact while a column has at most [`DISTINCT_MAX`] distinct values. Above that, neighbouring values share a bucket:
//! buckets are runs of floats whose leading bits agree, as narrow as fits the bound, so ranks stay exact and a value
//! is off by at most its bucket's width (about one part in 30,000 for values within a few orders of magnitude).
//! Width depends on the set of all values alone, so the result is the same however rows were spread over fits.

/// Distinct values or buckets that are kept for a column: 1 MiB.
pub(crate) const DISTINCT_MAX: usize = 65_536;
/// Values that wait to be sorted in: enough that sorting them in costs little, few enough for many columns.
const PENDING_MAX: usize = 16_384;

/// Values and how often each was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Distinct {
    /// Low bits that values of a bucket may differ in.
    shift: u32,
    /// Bucket and count, ascending by bucket.
    buckets: Vec<(u64, u64)>,
    /// Not yet sorted in.
    pending: Vec<u64>,
}

/// [`Distinct`] as bytes see it.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredDistinct {
    shift: u32,
    buckets: Vec<(u64, u64)>,
}

impl Distinct {
    /// Takes a value that is not NaN.
    pub(crate) fn add(&mut self, value: f64) {
        self.pending.push(to_key(value) >> self.shift);
        if self.pending.len() >= PENDING_MAX {
            self.settle();
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.settle();
        let mut other = other.clone();
        other.settle();
        while self.shift < other.shift {
            self.widen();
        }
        while other.shift < self.shift {
            other.widen();
        }
        self.buckets = add_sorted(&self.buckets, &other.buckets);
        self.narrow_to_bound();
    }

    /// Number of values taken.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.1).sum::<u64>() + self.pending.len() as u64
    }

    /// Whether no two values share a bucket.
    pub(crate) fn is_exact(&mut self) -> bool {
        self.settle();
        self.shift == 0
    }

    /// The `q`-quantile with linear interpolation, as NumPy's default; `None` without values.
    pub(crate) fn quantile(&mut self, q: f64) -> Option<f64> {
        self.settle();
        let n = self.count();
        if n == 0 {
            return None;
        }
        let position = q * (n - 1) as f64;
        let low = position.floor() as u64;
        let share = position - position.floor();
        let below = self.at_rank(low)?;
        if share == 0.0 {
            return Some(below);
        }
        let above = self.at_rank(low + 1)?;
        Some(below + (above - below) * share)
    }

    /// The value seen most often, the least of several; `None` without values.
    pub(crate) fn most_frequent(&mut self) -> Option<f64> {
        self.settle();
        let mut best: Option<(u64, u64)> = None;
        for &(bucket, count) in &self.buckets {
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((bucket, count));
            }
        }
        best.map(|(bucket, _)| self.value_of(bucket))
    }

    pub(crate) fn store(&mut self) -> StoredDistinct {
        self.settle();
        StoredDistinct { shift: self.shift, buckets: self.buckets.clone() }
    }

    pub(crate) fn from_stored(stored: StoredDistinct) -> Option<Self> {
        let ascending = stored.buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let fits = stored.shift < 64
            && stored.buckets.len() <= DISTINCT_MAX
            && stored.buckets.last().is_none_or(|last| last.0 <= u64::MAX >> stored.shift);
        (ascending && fits).then_some(Self { shift: stored.shift, buckets: stored.buckets, pending: Vec::new() })
    }

    fn at_rank(&self, rank: u64) -> Option<f64> {
        let mut seen = 0;
        for &(bucket, count) in &self.buckets {
            seen += count;
            if rank < seen {
                return Some(self.value_of(bucket));
            }
        }
        None
    }

    /// The middle of a bucket, which is the value itself while exact.
    fn value_of(&self, bucket: u64) -> f64 {
        if self.shift == 0 {
            return from_key(bucket);
        }
        from_key((bucket << self.shift) | (1 << (self.shift - 1)))
    }

    fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.pending.sort_unstable();
        let mut run: Vec<(u64, u64)> = Vec::new();
        for &key in &self.pending {
            match run.last_mut() {
                Some(last) if last.0 == key => last.1 += 1,
                _ => run.push((key, 1)),
            }
        }
        self.pending.clear();
        self.buckets = if self.buckets.is_empty() { run } else { add_sorted(&self.buckets, &run) };
        self.narrow_to_bound();
    }

    /// Widens buckets until few enough are left. The width reached is the least that fits all values taken: a part of
    /// the values never needs a wider one than the whole.
    fn narrow_to_bound(&mut self) {
        while self.buckets.len() > DISTINCT_MAX {
            self.widen();
        }
    }

    fn widen(&mut self) {
        self.shift += 1;
        let mut wider: Vec<(u64, u64)> = Vec::with_capacity(self.buckets.len());
        for &(bucket, count) in &self.buckets {
            match wider.last_mut() {
                Some(last) if last.0 == bucket >> 1 => last.1 += count,
                _ => wider.push((bucket >> 1, count)),
            }
        }
        self.buckets = wider;
    }
}

fn add_sorted(left: &[(u64, u64)], right: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sum = Vec::with_capacity(left.len().max(right.len()));
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        match left[i].0.cmp(&right[j].0) {
            std::cmp::Ordering::Less => {
                sum.push(left[i]);
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                sum.push(right[j]);
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                sum.push((left[i].0, left[i].1 + right[j].1));
                i += 1;
                j += 1;
            }
        }
    }
    sum.extend_from_slice(&left[i..]);
    sum.extend_from_slice(&right[j..]);
    sum
}

/// Bits that order as the numbers do.
fn to_key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn from_key(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Distinct {
        let mut distinct = Distinct::default();
        values.iter().for_each(|&value| distinct.add(value));
        distinct
    }

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        let mut distinct = of(&[4.0, 1.0, 3.0, -2.0]);
        assert_eq!(distinct.quantile(0.5), Some(2.0));
        assert_eq!(distinct.quantile(0.25), Some(0.25));
        assert_eq!(distinct.quantile(1.0), Some(4.0));
        assert_eq!(Distinct::default().quantile(0.5), None);
    }

    #[test]
    fn the_most_frequent_of_a_tie_is_the_least() {
        assert_eq!(of(&[3.0, 1.0, 3.0, 1.0, 9.0]).most_frequent(), Some(1.0));
    }

    #[test]
    fn zeros_of_both_signs_are_one_value() {
        assert_eq!(of(&[0.0, -0.0]).store().buckets.len(), 1);
    }

    #[test]
    fn many_distinct_values_stay_bounded_close_and_independent_of_their_spread() {
        let values: Vec<f64> = (0..200_000).map(|i| f64::from(i) * 0.37 - 11_000.0).collect();
        let mut whole = of(&values);
        let (mut odd, mut even) = (Distinct::default(), Distinct::default());
        for (index, &value) in values.iter().enumerate().rev() {
            if index % 2 == 0 { even.add(value) } else { odd.add(value) }
        }
        even.merge(&odd);
        assert!(!whole.is_exact());
        assert_eq!(whole.count(), 200_000);
        assert!(whole.store().buckets.len() <= DISTINCT_MAX);
        assert_eq!(whole.store().buckets, even.store().buckets);
        let median = whole.quantile(0.5).unwrap();
        let exact = (f64::from(99_999) * 0.37 - 11_000.0 + f64::from(100_000) * 0.37 - 11_000.0) / 2.0;
        assert!(((median - exact) / exact).abs() < 1e-4, "{median} {exact}");
    }

    proptest! {
        #[test]
        fn keys_order_as_numbers_do(a in -1e6_f64..1e6, b in -1e6_f64..1e6) {
            prop_assert_eq!(a.partial_cmp(&b), Some(to_key(a).cmp(&to_key(b))));
            prop_assert_eq!(from_key(to_key(a)), a + 0.0);
        }
    }
}
