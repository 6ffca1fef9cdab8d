//! Shapley values of any function of coalitions: all coalitions for few players, else kernel SHAP (Lundberg and Lee
//! 2017) on a sample of them.
//!
//! The sample is drawn as the `shap` package draws it: sizes of coalitions are taken whole from the outside (each
//! player alone, each player left out) as long as the budget lasts, what is left of it is drawn at random by the
//! kernel's weight, and each coalition comes with its complement. The first size is always taken whole, so that the
//! equations have one solution.

use std::collections::HashMap;

use rand::{
    Rng, SeedableRng,
    distributions::{Distribution, WeightedIndex},
};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{Shares, solve};

/// How many coalitions may be asked, and from where chance comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Coalitions asked beside the empty and the full one, and beside each player alone and left out. All coalitions
    /// are asked if they are no more than this.
    pub coalitions: usize,
    /// Equal seeds draw equal samples.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { coalitions: 2_048, seed: 0 }
    }
}

/// Coalitions of players.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coalitions {
    players: usize,
    members: Vec<bool>,
}

impl Coalitions {
    fn none(players: usize) -> Self {
        Self { players, members: Vec::new() }
    }

    /// For each coalition, for each player whether it is in it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[bool]> {
        self.members.chunks_exact(self.players)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.members.len() / self.players
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn push(&mut self, member: impl Fn(usize) -> bool) {
        self.members.extend((0..self.players).map(member));
    }
}

/// Attributions for a function that answers coalitions: for each, `outputs` numbers.
///
/// The function is called once, with the empty coalition first and the full one second. Up to
/// [`Sampling::coalitions`] the answer is exact; base and parts always add up to what the full coalition got.
///
/// # Errors
/// Those of the function.
///
/// # Panics
/// If the function returns another number of values than `outputs` for each coalition.
pub fn shapley<E>(
    players: usize,
    outputs: usize,
    sampling: Sampling,
    value: impl FnOnce(&Coalitions) -> Result<Vec<f64>, E>,
) -> Result<Shares, E> {
    let all = u32::try_from(players).ok().and_then(|players| 1_usize.checked_shl(players));
    match all {
        // With three players or fewer the outermost size is all there is.
        Some(all) if players <= 3 || all - 2 <= sampling.coalitions => exact(players, outputs, all, value),
        _ => sampled(players, outputs, sampling, value),
    }
}

fn exact<E>(
    players: usize,
    outputs: usize,
    all: usize,
    value: impl FnOnce(&Coalitions) -> Result<Vec<f64>, E>,
) -> Result<Shares, E> {
    if players == 0 {
        // A coalition of nobody is both the empty and the full one; it is asked as one of one player without effect.
        let mut one = Coalitions::none(1);
        one.push(|_| false);
        let mut shares = Shares::zero(0, outputs);
        shares.base = value(&one)?;
        return Ok(shares);
    }
    // In the order of the bits, but with the full coalition second.
    let order = || [0, all - 1].into_iter().chain(1..all - 1);
    let mut coalitions = Coalitions::none(players);
    order().for_each(|bits| coalitions.push(|player| bits >> player & 1 == 1));
    let values = value(&coalitions)?;
    assert_eq!(values.len(), all * outputs, "a function of {all} coalitions answers each");
    let place = |bits: usize| match bits {
        0 => 0,
        bits if bits == all - 1 => 1,
        bits => bits + 1,
    };
    let of = |bits: usize| &values[place(bits) * outputs..(place(bits) + 1) * outputs];
    // By how many others are there before: the share of orders, 1 / (players * C(players - 1, size)).
    let weights: Vec<f64> = (0..players).map(|size| 1.0 / (players as f64 * choose(players - 1, size))).collect();
    let mut shares = Shares::zero(players, outputs);
    shares.base = of(0).to_vec();
    for player in 0..players {
        let bit = 1 << player;
        for without in (0..all).filter(|bits| bits & bit == 0) {
            let weight = weights[without.count_ones() as usize];
            let (with, without) = (of(without | bit), of(without));
            let parts = shares.of_mut(player);
            parts
                .iter_mut()
                .zip(with)
                .zip(without)
                .for_each(|((part, with), without)| *part += weight * (with - without));
        }
    }
    Ok(shares)
}

fn sampled<E>(
    players: usize,
    outputs: usize,
    sampling: Sampling,
    value: impl FnOnce(&Coalitions) -> Result<Vec<f64>, E>,
) -> Result<Shares, E> {
    let mut draw = Draw::new(players);
    draw.fill(sampling);
    let Draw { mut coalitions, weights, .. } = draw;
    let mut asked = Coalitions::none(players);
    asked.push(|_| false);
    asked.push(|_| true);
    asked.members.append(&mut coalitions.members);
    let values = value(&asked)?;
    assert_eq!(values.len(), asked.len() * outputs, "a function of {} coalitions answers each", asked.len());
    let (ends, inner) = values.split_at(2 * outputs);
    let (base, full) = ends.split_at(outputs);
    let totals: Vec<f64> = full.iter().zip(base).map(|(full, base)| full - base).collect();
    let gains: Vec<f64> =
        inner.chunks_exact(outputs).flat_map(|row| row.iter().zip(base).map(|(value, base)| value - base)).collect();
    let parts = solve::parts(&solve::Seen {
        players,
        outputs,
        members: &asked.members[2 * players..],
        weights: &weights,
        values: &gains,
        totals: &totals,
    });
    Ok(Shares { base: base.to_vec(), parts, exact: false })
}

/// Coalitions as they are drawn, each with its weight in the equations.
struct Draw {
    players: usize,
    coalitions: Coalitions,
    weights: Vec<f64>,
}

impl Draw {
    fn new(players: usize) -> Self {
        Self { players, coalitions: Coalitions::none(players), weights: Vec::new() }
    }

    fn fill(&mut self, sampling: Sampling) {
        let players = self.players;
        // Sizes from the outside in; each but a middle one stands for itself and its complements' size.
        let sizes = players / 2;
        let paired = (players - 1) / 2;
        let mut kernel: Vec<f64> = (1..=sizes)
            .map(|size| {
                let weight = (players - 1) as f64 / (size * (players - size)) as f64;
                if size <= paired { 2.0 * weight } else { weight }
            })
            .collect();
        let sum: f64 = kernel.iter().sum();
        kernel.iter_mut().for_each(|weight| *weight /= sum);

        let mut left = (sampling.coalitions + 2 * players) as f64;
        let mut open = 1.0;
        let mut whole = 0;
        for size in 1..=sizes {
            let count = choose(players, size) * if size <= paired { 2.0 } else { 1.0 };
            let weight = kernel[size - 1];
            if size > 1 && left * weight / open < count - 1e-8 {
                break;
            }
            self.whole(size, size <= paired, weight / count);
            whole = size;
            left -= count;
            open -= weight;
        }
        if whole < sizes && left >= 1.0 {
            self.random(whole, &kernel[whole..], paired, left as usize, open, sampling.seed);
        }
    }

    /// All coalitions of a size, each with its complement if that is of another size.
    fn whole(&mut self, size: usize, complements: bool, weight: f64) {
        let mut chosen: Vec<usize> = (0..size).collect();
        loop {
            let mut members = vec![false; self.players];
            chosen.iter().for_each(|player| members[*player] = true);
            self.add(&members, weight);
            if complements {
                self.add_complement(&members, weight);
            }
            // The next choice in order: the last place that can still move does, and those after it follow.
            let Some(place) = (0..size).rev().find(|place| chosen[*place] < self.players - size + place) else { break };
            chosen[place] += 1;
            for after in place + 1..size {
                chosen[after] = chosen[after - 1] + 1;
            }
        }
    }

    /// `count` coalitions drawn by the kernel, that share the weight `open`.
    fn random(&mut self, whole: usize, kernel: &[f64], paired: usize, count: usize, open: f64, seed: u64) {
        let first = self.weights.len();
        // Of a size and its complements' only one is drawn, the other one comes with it.
        let by_size =
            (whole + 1..).zip(kernel).map(|(size, weight)| if size <= paired { weight / 2.0 } else { *weight });
        let Ok(sizes) = WeightedIndex::new(by_size) else { return };
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut places: HashMap<Vec<bool>, usize> = HashMap::new();
        let mut players: Vec<usize> = (0..self.players).collect();
        let mut left = count;
        // Drawing what was drawn before costs nothing but raises its weight; the tries are bounded all the same.
        for _ in 0..count * 4 {
            if left == 0 {
                break;
            }
            let size = whole + 1 + sizes.sample(&mut chance);
            for at in 0..size {
                let other = chance.gen_range(at..self.players);
                players.swap(at, other);
            }
            let mut members = vec![false; self.players];
            players[..size].iter().for_each(|player| members[*player] = true);
            let pair = size <= paired;
            if let Some(place) = places.get(&members) {
                self.weights[*place] += 1.0;
                if pair {
                    self.weights[place + 1] += 1.0;
                }
                continue;
            }
            if pair && left < 2 {
                break;
            }
            self.add(&members, 1.0);
            left -= 1;
            let place = self.weights.len() - 1;
            if pair {
                self.add_complement(&members, 1.0);
                left -= 1;
            }
            places.insert(members, place);
        }
        let drawn = &mut self.weights[first..];
        let sum: f64 = drawn.iter().sum();
        drawn.iter_mut().for_each(|weight| *weight *= open / sum);
    }

    fn add(&mut self, members: &[bool], weight: f64) {
        self.coalitions.push(|player| members[player]);
        self.weights.push(weight);
    }

    fn add_complement(&mut self, members: &[bool], weight: f64) {
        self.coalitions.push(|player| !members[player]);
        self.weights.push(weight);
    }
}

/// How many choices of `some` among `all` there are; infinite beyond what a float can say.
fn choose(all: usize, some: usize) -> f64 {
    (0..some.min(all - some)).fold(1.0, |product, k| product * (all - k) as f64 / (k + 1) as f64).round()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// A game with interactions of every pair and one triple, in two outputs.
    fn answer(members: &[bool], strengths: &[f64]) -> [f64; 2] {
        let x: Vec<f64> = members.iter().zip(strengths).map(|(m, s)| if *m { *s } else { 0.25 }).collect();
        let pairs: f64 = x.windows(2).map(|pair| pair[0] * pair[1]).sum();
        [x.iter().sum::<f64>() + pairs + x[0] * x[x.len() / 2] * x[x.len() - 1], (pairs * 0.3).tanh()]
    }

    fn play(players: usize, sampling: Sampling, strengths: &[f64]) -> Shares {
        let game = |asked: &Coalitions| -> Result<Vec<f64>, Infallible> {
            Ok(asked.iter().flat_map(|members| answer(members, strengths)).collect())
        };
        shapley(players, 2, sampling, game).unwrap()
    }

    /// By definition: the mean over all orders of what a player adds when it comes.
    fn by_orders(players: usize, strengths: &[f64]) -> Vec<f64> {
        fn go(order: &mut Vec<usize>, left: &mut Vec<usize>, strengths: &[f64], sums: &mut [f64], count: &mut f64) {
            if left.is_empty() {
                let mut members = vec![false; order.len()];
                let mut before = answer(&members, strengths);
                for player in order.iter() {
                    members[*player] = true;
                    let now = answer(&members, strengths);
                    (0..2).for_each(|output| sums[*player * 2 + output] += now[output] - before[output]);
                    before = now;
                }
                *count += 1.0;
            }
            for at in 0..left.len() {
                let player = left.remove(at);
                order.push(player);
                go(order, left, strengths, sums, count);
                order.pop();
                left.insert(at, player);
            }
        }
        let (mut sums, mut count) = (vec![0.0; players * 2], 0.0);
        go(&mut vec![], &mut (0..players).collect(), strengths, &mut sums, &mut count);
        sums.iter().map(|sum| sum / count).collect()
    }

    #[test]
    fn all_coalitions_give_the_mean_over_all_orders() {
        let strengths = [1.0, -2.0, 0.5, 3.0, 0.25, -1.0];
        for players in 1..=6 {
            let shares = play(players, Sampling::default(), &strengths[..players]);
            let expected = by_orders(players, &strengths[..players]);
            assert!(shares.exact);
            for (found, expected) in shares.parts.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12, "{players}: {found} {expected}");
            }
        }
    }

    #[test]
    fn nobody_gets_nothing() {
        let shares = shapley(0, 1, Sampling::default(), |asked| Ok::<_, Infallible>(vec![4.0; asked.len()])).unwrap();
        assert_eq!((shares.base.as_slice(), shares.total()), ([4.0].as_slice(), vec![4.0]));
    }

    #[test]
    fn a_sample_is_near_what_all_coalitions_give_and_adds_up() {
        let strengths: Vec<f64> = (0..14).map(|player| ((player * 7) % 5) as f64 * 0.4 - 0.9).collect();
        let exact = play(14, Sampling { coalitions: 1 << 14, seed: 0 }, &strengths);
        let sampled = play(14, Sampling { coalitions: 2_048, seed: 3 }, &strengths);
        assert!(exact.exact && !sampled.exact);
        let scale = exact.parts.iter().fold(0.0_f64, |most, part| most.max(part.abs()));
        for (sampled, exact) in sampled.parts.iter().zip(&exact.parts) {
            assert!((sampled - exact).abs() < 0.02 * scale, "{sampled} {exact}");
        }
        let [full, other] = answer(&[true; 14], &strengths);
        let total = sampled.total();
        assert!((total[0] - full).abs() < 1e-12 && (total[1] - other).abs() < 1e-12, "{total:?}");
    }

    #[test]
    fn an_additive_game_is_solved_by_any_sample() {
        let game = |asked: &Coalitions| -> Result<Vec<f64>, Infallible> {
            let value = |members: &[bool]| -> f64 { (0..60).filter(|player| members[*player]).map(|p| p as f64).sum() };
            Ok(asked.iter().map(|members| 5.0 + value(members)).collect())
        };
        let shares = shapley(60, 1, Sampling { coalitions: 0, seed: 0 }, game).unwrap();
        (0..60).for_each(|player| assert!((shares.of(player)[0] - player as f64).abs() < 1e-9));
    }

    #[test]
    fn the_budget_is_kept_pairs_are_whole_and_chance_repeats() {
        for (players, coalitions) in [(12, 100), (20, 1_000), (33, 2_048), (200, 300)] {
            let drawn = |seed| {
                let mut draw = Draw::new(players);
                draw.fill(Sampling { coalitions, seed });
                (draw.coalitions, draw.weights)
            };
            let (asked, weights) = drawn(1);
            assert!(asked.len() <= coalitions + 2 * players, "{players}: {}", asked.len());
            assert!(asked.len() + 2 >= coalitions + 2 * players, "{players}: {}", asked.len());
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{players}");
            let set: std::collections::HashSet<&[bool]> = asked.iter().collect();
            assert_eq!(set.len(), asked.len(), "{players}: one twice");
            for members in asked.iter() {
                let complement: Vec<bool> = members.iter().map(|member| !member).collect();
                assert!(set.contains(complement.as_slice()) || players % 2 == 0, "{players}: {members:?}");
            }
            assert_eq!(drawn(1), (asked.clone(), weights));
            assert_ne!(drawn(2).0, asked);
        }
    }

    proptest! {
        #[test]
        fn who_changes_nothing_gets_nothing(strength in -2.0..2.0_f64, others in 2_usize..7) {
            // The last player has the reference's own value.
            let mut strengths = vec![strength; others];
            strengths.push(0.25);
            let shares = play(others + 1, Sampling::default(), &strengths);
            prop_assert!(shares.of(others).iter().all(|part| part.abs() < 1e-12));
        }
    }
}
