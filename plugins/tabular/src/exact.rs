//! Sums of floating-point numbers without rounding.
//!
//! A fit may be spread over partitions in any way and must end in the same bits. Rounding makes addition depend on
//! order, so the sums behind a mean and a variance are kept exactly, as one wide fixed-point integer, and rounded
//! once at the end.

/// Bits of one chunk that count; the rest of its `i64` is room for carries.
const CHUNK_BITS: u32 = 32;
/// Additions a chunk can take before its carries must move on: each adds less than 2^32.
const ADDS_MAX: u32 = 1 << 30;
/// Chunks of a sum of values: 2^-1074 up to 2^1024 times 2^64 of them.
pub(crate) const VALUE_CHUNKS: usize = 70;
/// Chunks of a sum of squares: twice the exponents.
pub(crate) const SQUARE_CHUNKS: usize = 138;

/// An exact sum, in units of `2^-unit`, in two's complement spread over `N` chunks, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExactSum<const N: usize> {
    chunks: [i64; N],
    unit: u32,
    adds: u32,
}

impl ExactSum<VALUE_CHUNKS> {
    /// No values yet.
    pub(crate) fn of_values() -> Self {
        Self { chunks: [0; VALUE_CHUNKS], unit: 1074, adds: 0 }
    }

    /// Adds a finite value.
    pub(crate) fn add(&mut self, value: f64) {
        let (mantissa, position) = parts(value);
        self.add_at(mantissa, position, value.is_sign_negative());
    }
}

impl ExactSum<SQUARE_CHUNKS> {
    /// No squares yet.
    pub(crate) fn of_squares() -> Self {
        Self { chunks: [0; SQUARE_CHUNKS], unit: 2148, adds: 0 }
    }

    /// Adds the square of a finite value.
    pub(crate) fn add_square_of(&mut self, value: f64) {
        let (mantissa, position) = parts(value);
        // By halves: WebAssembly has no 128-bit multiplication.
        let (high, low) = (mantissa >> 32, mantissa & 0xffff_ffff);
        let mixed = 2 * high * low;
        let (bottom, carry) = (low * low).overflowing_add(mixed << 32);
        let top = high * high + (mixed >> 32) + u64::from(carry);
        self.add_at(bottom, 2 * position, false);
        self.add_at(top, 2 * position + 64, false);
    }
}

impl<const N: usize> ExactSum<N> {
    /// Adds another sum of the same kind.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.normalise();
        let mut other = other.clone();
        other.normalise();
        for (mine, theirs) in self.chunks.iter_mut().zip(other.chunks) {
            *mine += theirs;
        }
        self.normalise();
    }

    /// The sum as an unevaluated pair: the nearest `f64`, and the nearest `f64` to what that one leaves over.
    pub(crate) fn to_pair(&self) -> (f64, f64) {
        let mut rest = self.clone();
        let high = rest.round();
        if !high.is_finite() || high == 0.0 {
            return (high, 0.0);
        }
        let (mantissa, position) = parts(high);
        // `high` is a multiple of the unit: positions of `parts` count from 2^-1074, ours from 2^-unit.
        rest.add_at(mantissa, position + (self.unit - 1074), !high.is_sign_negative());
        (high, rest.round())
    }

    /// Chunks in canonical form up to the last one that differs from the sign, for storage.
    pub(crate) fn to_chunks(&self) -> Vec<i64> {
        let mut sum = self.clone();
        sum.normalise();
        let used = sum.chunks.iter().rposition(|&chunk| chunk != 0).map_or(0, |last| last + 1);
        sum.chunks[..used].to_vec()
    }

    /// Takes back what [`to_chunks`](Self::to_chunks) gave; `None` where it cannot have come from there.
    pub(crate) fn set_chunks(mut self, chunks: &[i64]) -> Option<Self> {
        let limit = 1_i64 << CHUNK_BITS;
        for (index, &chunk) in chunks.iter().enumerate() {
            let canonical = (0..limit).contains(&chunk) || (index == N - 1 && chunk.abs() < limit);
            if !canonical {
                return None;
            }
            *self.chunks.get_mut(index)? = chunk;
        }
        Some(self)
    }

    fn add_at(&mut self, mantissa: u64, position: u32, negative: bool) {
        if self.adds >= ADDS_MAX {
            self.normalise();
        }
        self.adds += 1;
        let first = (position / CHUNK_BITS) as usize;
        let shift = position % CHUNK_BITS;
        let low = mantissa << shift;
        // What the shift pushed out at the top; shifting by 64 at once is not allowed.
        let high = (mantissa >> 1) >> (63 - shift);
        let mask = (1_u64 << CHUNK_BITS) - 1;
        let sign = if negative { -1 } else { 1 };
        if let Some([a, b, c]) = self.chunks.get_mut(first..first + 3).and_then(<[i64]>::first_chunk_mut::<3>) {
            *a += sign * (low & mask) as i64;
            *b += sign * (low >> CHUNK_BITS) as i64;
            *c += sign * high as i64;
        }
    }

    /// Moves carries up, so that every chunk but the last, which holds the sign, lies in `0..2^32`.
    fn normalise(&mut self) {
        for index in 0..N - 1 {
            let carry = self.chunks[index] >> CHUNK_BITS;
            self.chunks[index] &= (1 << CHUNK_BITS) - 1;
            self.chunks[index + 1] += carry;
        }
        self.adds = 0;
    }

    /// The nearest `f64`, ties to even.
    fn round(&self) -> f64 {
        let mut sum = self.clone();
        sum.normalise();
        let negative = sum.chunks[N - 1] < 0;
        if negative {
            sum.chunks.iter_mut().for_each(|chunk| *chunk = -*chunk);
            sum.normalise();
        }
        let Some(top) = sum.chunks.iter().rposition(|&chunk| chunk != 0) else { return 0.0 };
        let top = top.max(2);
        let mut window =
            sum.chunks[top - 2..=top].iter().rev().fold(0_u128, |all, &chunk| (all << CHUNK_BITS) | chunk as u128);
        // Anything below the window only matters as "more than exactly half".
        if sum.chunks[..top - 2].iter().any(|&chunk| chunk != 0) {
            window |= 1;
        }
        let exponent = (top as i32 - 2) * CHUNK_BITS as i32 - self.unit as i32;
        let magnitude = scale_by_power_of_two(window as f64, exponent);
        if negative { -magnitude } else { magnitude }
    }
}

/// Mantissa and position of its lowest bit, counted from 2^-1074.
fn parts(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as u32;
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) }
}

fn scale_by_power_of_two(mut value: f64, mut exponent: i32) -> f64 {
    let power = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    while exponent > 1000 {
        value *= power(1000);
        exponent -= 1000;
    }
    while exponent < -1000 {
        value *= power(-1000);
        exponent += 1000;
    }
    value * power(exponent)
}

/// Count, mean and spread of a column, the same bits however its rows were spread and ordered.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) n: u64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    sum: ExactSum<VALUE_CHUNKS>,
    squares: ExactSum<SQUARE_CHUNKS>,
}

/// [`Moments`] as bytes see them.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredMoments {
    n: u64,
    min: f64,
    max: f64,
    sum: Vec<i64>,
    squares: Vec<i64>,
}

impl Moments {
    pub(crate) fn new() -> Self {
        Self {
            n: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: ExactSum::of_values(),
            squares: ExactSum::of_squares(),
        }
    }

    /// Takes a finite value.
    pub(crate) fn add(&mut self, value: f64) {
        self.n += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum.add(value);
        self.squares.add_square_of(value);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    /// The mean; NaN without values.
    pub(crate) fn mean(&self) -> f64 {
        let (high, low) = divide(self.sum.to_pair(), self.n as f64);
        high + low
    }

    /// The population variance, as scikit-learn takes it; zero exactly where all values are equal, infinite where it
    /// has no finite `f64`.
    pub(crate) fn variance(&self) -> f64 {
        if self.n == 0 || self.min == self.max {
            return 0.0;
        }
        let n = self.n as f64;
        let mean = divide(self.sum.to_pair(), n);
        let square = divide(self.squares.to_pair(), n);
        let (product, error) = two_product(mean.0, mean.0);
        let error = error + 2.0 * mean.0 * mean.1;
        let variance = (square.0 - product) + (square.1 - error);
        if variance.is_nan() { f64::INFINITY } else { variance.max(0.0) }
    }

    pub(crate) fn store(&self) -> StoredMoments {
        StoredMoments {
            n: self.n,
            min: self.min,
            max: self.max,
            sum: self.sum.to_chunks(),
            squares: self.squares.to_chunks(),
        }
    }

    pub(crate) fn from_stored(stored: &StoredMoments) -> Option<Self> {
        Some(Self {
            n: stored.n,
            min: stored.min,
            max: stored.max,
            sum: ExactSum::of_values().set_chunks(&stored.sum)?,
            squares: ExactSum::of_squares().set_chunks(&stored.squares)?,
        })
    }
}

fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

/// A pair divided by a number, as a pair.
fn divide((high, low): (f64, f64), by: f64) -> (f64, f64) {
    let quotient = high / by;
    let (product, error) = two_product(quotient, by);
    let rest = (high - product - error + low) / by;
    (quotient, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cancelling_values_leave_the_small_one() {
        let mut sum = ExactSum::of_values();
        for value in [1e300, 1.0, -1e300, 1e-300, -1.0] {
            sum.add(value);
        }
        assert_eq!(sum.to_pair(), (1e-300, 0.0));
    }

    #[test]
    fn subnormals_and_negatives_round_as_they_are() {
        for value in [5e-324, -5e-324, 2.5e-310, -1.0, f64::MAX, f64::MIN_POSITIVE, -0.1] {
            let mut sum = ExactSum::of_values();
            sum.add(value);
            assert_eq!(sum.to_pair(), (value, 0.0));
        }
    }

    #[test]
    fn a_large_offset_does_not_spoil_the_variance() {
        let mut moments = Moments::new();
        for value in [1e9, 1e9 + 1.0, 1e9 + 2.0] {
            moments.add(value);
        }
        assert_eq!(moments.mean(), 1e9 + 1.0);
        assert!((moments.variance() - 2.0 / 3.0).abs() < 1e-15, "{}", moments.variance());
    }

    #[test]
    fn equal_values_have_no_variance() {
        let mut moments = Moments::new();
        (0..1000).for_each(|_| moments.add(0.1));
        assert_eq!((moments.mean(), moments.variance()), (0.1, 0.0));
    }

    proptest! {
        #[test]
        fn the_spread_over_partitions_does_not_show(
            values in prop::collection::vec(-1e12_f64..1e12, 1..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut whole = Moments::new();
            values.iter().for_each(|&value| whole.add(value));
            let (first, second) = values.split_at(cut.index(values.len()));
            let (mut left, mut right) = (Moments::new(), Moments::new());
            first.iter().rev().for_each(|&value| left.add(value));
            second.iter().rev().for_each(|&value| right.add(value));
            right.merge(&left);
            let right = Moments::from_stored(&right.store()).unwrap();
            prop_assert_eq!(whole.mean().to_bits(), right.mean().to_bits());
            prop_assert_eq!(whole.variance().to_bits(), right.variance().to_bits());
        }

        #[test]
        fn the_sum_is_the_nearest_float(values in prop::collection::vec(-1000_i64..1000, 0..100)) {
            let mut sum = ExactSum::of_values();
            values.iter().for_each(|&value| sum.add(value as f64 / 8.0));
            prop_assert_eq!(sum.to_pair().0, values.iter().sum::<i64>() as f64 / 8.0);
        }
    }
}
