//! Tests that may be looked at all the time: what they say stays true however often one looks, and whenever one stops.
//!
//! The likelihood of what was seen, mixed over all means by a Beta distribution, over its likelihood at one mean is a
//! martingale if that mean is the true one, so it exceeds `1/alpha` at any time with a probability of at most `alpha`
//! (Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of Mathematical Statistics
//! 41, 1970). The same holds for rewards anywhere between 0 and 1, whose likelihood ratios are at most those of coins
//! in expectation (Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
//! sequences", Annals of Statistics 49, 2021), and whoever chooses who is asked next may look at what came before, so
//! it holds under a bandit as well. Two arms are compared by the product of both martingales, at the pair of means
//! with the wanted difference that speaks least against it (Turner, Grünwald, "Exact anytime-valid confidence intervals
//! for contingency tables and beyond", Statistics and Probability Letters 198, 2023).

/// Rewards between 0 and 1 of one arm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rewards {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// What rewards say of two arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The mean of the second, less that of the first.
    pub difference: f64,
    /// Where the true difference lies; wrong with a probability of at most `alpha` over all looks together.
    pub interval: [f64; 2],
    /// The smallest `alpha` at which the means are said to differ.
    pub p_value: f64,
}

impl Rewards {
    /// Their mean; one half while there are none.
    pub fn mean(self) -> f64 {
        if self.count == 0 { 0.5 } else { self.sum / self.count as f64 }
    }

    /// The logarithm of the evidence against any mean.
    fn log_evidence(self) -> impl Fn(f64) -> f64 {
        let (good, bad) = (self.sum, (self.count as f64 - self.sum).max(0.0));
        let mixed = ln_beta(good + 0.5, bad + 0.5) - ln_beta(0.5, 0.5);
        let term = |count: f64, part: f64| if count == 0.0 { 0.0 } else { count * part.ln() };
        move |mean| mixed - term(good, mean) - term(bad, 1.0 - mean)
    }

    /// The evidence that the true mean is above `mean`: at least `1/alpha` with a probability of at most `alpha`
    /// if it is not, over all looks together.
    pub fn evidence_above(self, mean: f64) -> f64 {
        // Means below speak even less for what was seen.
        if self.mean() <= mean || self.count == 0 { 0.0 } else { self.log_evidence()(mean).exp() }
    }
}

/// Compares `other` with `one`.
pub fn compare(one: Rewards, other: Rewards, alpha: f64) -> Comparison {
    let least = |difference: f64| least_evidence(one, other, difference);
    let limit = (1.0 / alpha).ln();
    let found = other.mean() - one.mean();
    // The evidence grows with the distance from what was found: where it passes the limit, the interval ends.
    let end = |far: f64| {
        let (mut inside, mut outside) = (found, far);
        if least(far) < limit {
            return far;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(inside, outside);
            if least(middle) < limit { inside = middle } else { outside = middle }
        }
        outside
    };
    Comparison { difference: found, interval: [end(-1.0), end(1.0)], p_value: (-least(0.0)).exp().min(1.0) }
}

/// The logarithm of the least evidence against any pair of means with this difference. It is convex in the means.
fn least_evidence(one: Rewards, other: Rewards, difference: f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let (first, second) = (one.log_evidence(), other.log_evidence());
    let at = |mean: f64| first(mean) + second((mean + difference).clamp(0.0, 1.0));
    let (mut low, mut high) = ((-difference).max(0.0), (1.0 - difference).min(1.0));
    for _ in 0..45 {
        let (left, right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        // At the ends it may be infinite on both sides.
        if at(left) <= at(right) { high = right } else { low = left }
    }
    at(f64::midpoint(low, high)).min(at(low)).min(at(high))
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Lanczos' approximation, right to about fifteen digits.
fn ln_gamma(x: f64) -> f64 {
    const PARTS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let sum: f64 = PARTS.iter().enumerate().skip(1).map(|(i, part)| part / (x + i as f64)).sum();
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + (PARTS[0] + sum).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Whether two arms are ever said to differ, with a look after each pair.
    fn told(random: &mut Random, means: [f64; 2], pairs: u32, reward: impl Fn(f64, f64) -> f64) -> Option<u32> {
        let mut arms = [Rewards::default(); 2];
        for pair in 1..=pairs {
            for (arm, mean) in arms.iter_mut().zip(means) {
                arm.count += 1;
                arm.sum += reward(mean, random.unit());
            }
            // At the difference of nothing the interval and the p-value are one test; this is the cheaper.
            if least_evidence(arms[0], arms[1], 0.0) >= 20_f64.ln() {
                return Some(pair);
            }
        }
        None
    }

    #[test]
    fn looking_all_the_time_tells_a_difference_that_is_not_there_less_often_than_alpha() {
        let mut random = Random::new(7);
        for (mean, coin) in [(0.5, true), (0.1, true), (0.02, true), (0.4, false)] {
            let reward = |mean: f64, unit: f64| {
                // Not a coin: between nothing and twice the mean.
                if coin { f64::from(u8::from(unit < mean)) } else { 2.0 * mean * unit }
            };
            let wrong = (0..400).filter(|_| told(&mut random, [mean, mean], 600, reward).is_some()).count();
            // 20 of 400 would be alpha; three more standard deviations are 33.
            assert!(wrong <= 20, "{wrong} of 400 at {mean}");
        }
    }

    #[test]
    fn a_difference_that_is_there_is_told() {
        let mut random = Random::new(8);
        let coin = |mean: f64, unit: f64| f64::from(u8::from(unit < mean));
        let mut after: Vec<u32> =
            (0..50).map(|_| told(&mut random, [0.5, 0.65], 4_000, coin).expect("it is there")).collect();
        after.sort_unstable();
        assert!(after[25] < 600, "half of them told it after {} pairs", after[25]);
    }

    #[test]
    fn the_interval_has_the_true_difference_and_shrinks() {
        let arms = |n: u64, means: [f64; 2]| means.map(|mean| Rewards { count: n, sum: mean * n as f64 });
        let [one, other] = arms(200, [0.4, 0.5]);
        let few = compare(one, other, 0.05);
        let [one, other] = arms(20_000, [0.4, 0.5]);
        let many = compare(one, other, 0.05);
        assert!(few.interval[0] < 0.0 && few.interval[1] > 0.2 && few.p_value > 0.05, "{few:?}");
        assert!(many.interval[0] > 0.07 && many.interval[1] < 0.13 && many.p_value < 1e-9, "{many:?}");
        assert_eq!(compare(Rewards::default(), Rewards::default(), 0.05).interval, [-1.0, 1.0]);
        // Nothing but failures, nothing but successes.
        let sure = compare(Rewards { count: 50, sum: 0.0 }, Rewards { count: 50, sum: 50.0 }, 0.05);
        assert!(sure.interval[0] > 0.6 && sure.interval[1] == 1.0, "{sure:?}");
    }

    #[test]
    fn evidence_against_a_rate() {
        let failures = |sum: u32, count| Rewards { count, sum: f64::from(sum) };
        assert!(failures(8, 8).evidence_above(0.01) > 1e9);
        assert!(failures(1, 1).evidence_above(0.01) < 100.0);
        assert!(failures(12, 1_000).evidence_above(0.01) < 1.0);
        assert_eq!(failures(0, 1_000).evidence_above(0.01), 0.0);
        // Reference values: ln B(1.5, 2.5) and ln Gamma(0.25).
        assert!((ln_beta(1.5, 2.5) - 0.196_349_540_849_362_07_f64.ln()).abs() < 1e-12);
        assert!((ln_gamma(0.25) - 1.288_022_524_698_077_4).abs() < 1e-12);
    }
}
