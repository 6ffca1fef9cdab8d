//! Thompson sampling: each deployment gets the part of the requests that is the probability that it is the best one.
//!
//! Drawing from the posteriors for every request and choosing the largest sends each arm exactly that part of them
//! (Thompson, "On the likelihood that one unknown probability exceeds another", Biometrika 25, 1933). Done once for
//! each change of the rewards instead, it costs a request nothing, and every server that knows the same rewards does
//! the same.

use crate::{Rewards, random::Random};

/// Draws by which the probabilities are told.
const DRAWS: usize = 2_000;
/// All of the requests: parts are told in ten-thousandths.
const ALL: u32 = 10_000;
/// Every arm is asked a little, so that one that was unlucky, or has become better, is found out.
const LEAST: u32 = 20;

/// The part of the requests, of 10,000, for each arm, from its rewards between 0 and 1. The same rewards and seed give
/// the same parts.
pub fn thompson(arms: &[Rewards], seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut best = vec![0_u32; arms.len()];
    for _ in 0..DRAWS {
        let draws = arms.iter().map(|arm| {
            let good = arm.sum.clamp(0.0, arm.count as f64);
            random.beta(1.0 + good, 1.0 + arm.count as f64 - good)
        });
        let largest = draws.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((index, _)) = largest {
            best[index] += 1;
        }
    }
    best.into_iter().map(|times| (times * (ALL / DRAWS as u32)).max(LEAST)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_converges_on_the_best_arm_and_still_asks_the_others() {
        for (seed, means) in [(1, [0.10_f64, 0.15, 0.30]), (2, [0.60, 0.40, 0.50]), (3, [0.05, 0.02, 0.01])] {
            let mut random = Random::new(seed);
            let mut arms = [Rewards::default(); 3];
            let mut asked = [0_u64; 3];
            let best = (0..3).max_by(|a, b| means[*a].total_cmp(&means[*b])).unwrap();
            let mut late = 0_u64;
            for round in 0..300 {
                let parts = thompson(&arms, round);
                let all = parts.iter().sum::<u32>();
                // Rewards come a hundred at a time.
                for _ in 0..100 {
                    let mut number = random.below(all.into()) as u32;
                    let arm = parts.iter().position(|part| {
                        let here = number < *part;
                        number = number.wrapping_sub(*part);
                        here
                    });
                    let arm = arm.unwrap();
                    asked[arm] += 1;
                    late += u64::from(round >= 250 && arm == best);
                    arms[arm].count += 1;
                    arms[arm].sum += f64::from(u8::from(random.unit() < means[arm]));
                }
            }
            assert!(late > 4_500, "{late} of the last 5,000 asked the best arm of {means:?}; in all {asked:?}");
            assert!(asked.iter().all(|asked| *asked > 30), "{asked:?}");
        }
    }

    #[test]
    fn without_rewards_everyone_gets_the_same_and_the_same_rewards_mean_the_same_parts() {
        let none = thompson(&[Rewards::default(); 2], 1);
        assert!(none.iter().all(|part| (4_500..=5_500).contains(part)), "{none:?}");
        let arms = [Rewards { count: 100, sum: 20.0 }, Rewards { count: 100, sum: 60.0 }];
        assert_eq!(thompson(&arms, 5), thompson(&arms, 5));
        assert_eq!(thompson(&arms, 5)[0], LEAST);
    }
}
