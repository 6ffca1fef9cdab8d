//! What a deployment answers, as samples that are compared with another's: the population stability index.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use plinth_ext::Batch;

use crate::{
    difference::{labels, numbers},
    random::Random,
};

/// Numbers kept of one output; each that came has the same chance to be among them.
const SAMPLE: usize = 4_096;
/// Labels told apart.
const LABELS: usize = 64;
/// Fewest answers of each that are compared at all.
const FEWEST: u64 = 20;

/// The answers of one deployment for one endpoint, sampled.
#[derive(Debug, Default)]
pub(crate) struct Scores(Mutex<Samples>);

impl Default for Samples {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: BTreeMap::new(), random: Random::new(0) }
    }
}

#[derive(Debug)]
struct Samples {
    now: BTreeMap<String, Output>,
    /// Those up to the last restart, if any came.
    before: BTreeMap<String, Output>,
    random: Random,
}

#[derive(Debug, Clone, Default)]
struct Output {
    seen: u64,
    numbers: Vec<f64>,
    labels: BTreeMap<String, u64>,
}

/// How far the answers of two deployments are apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The output in which they are furthest apart.
    pub output: String,
    /// The population stability index: 0 for the same, 0.2 is commonly called a shift.
    pub psi: f64,
    /// What chance alone hardly ever exceeds (once in a thousand) with so few answers.
    pub chance: f64,
    /// Answers compared: the champion's and the canary's.
    pub answers: [u64; 2],
}

impl Scores {
    /// Takes in what was answered; leaves it out rather than wait for another thread that does so.
    pub(crate) fn observe(&self, answers: &Batch) {
        let Ok(mut samples) = self.0.try_lock() else { return };
        let Samples { now, random, .. } = &mut *samples;
        for (field, column) in answers.schema().fields().iter().zip(answers.columns()) {
            if !now.contains_key(&field.name) {
                now.insert(field.name.clone(), Output::default());
            }
            let Some(output) = now.get_mut(&field.name) else { continue };
            if let Some(labels) = labels(column) {
                for label in labels {
                    let label = label.unwrap_or("null");
                    output.seen += 1;
                    let full = output.labels.len() >= LABELS;
                    match output.labels.get_mut(label) {
                        Some(count) => *count += 1,
                        None => {
                            let label = if full { "other" } else { label };
                            *output.labels.entry(label.to_owned()).or_default() += 1;
                        }
                    }
                }
            } else if let Some(numbers) = numbers(column) {
                for number in numbers {
                    // What is no number is one at the end of the scale: a model that answers none has drifted.
                    output.keep(number.filter(|number| !number.is_nan()).unwrap_or(f64::INFINITY), random);
                }
            }
        }
    }

    /// From now on only what comes counts, once enough of it has come.
    pub(crate) fn restart(&self) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::mem::take(&mut samples.now);
        if now.values().any(|output| output.seen >= FEWEST) {
            samples.before = now;
        }
    }

    /// The sample since the restart, or the one before it where nothing came since.
    fn sample(&self, also_before: bool) -> BTreeMap<String, Output> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = samples.now.values().any(|output| output.seen >= FEWEST);
        if enough || !also_before { samples.now.clone() } else { samples.before.clone() }
    }

    /// How far `canary` is from this; none while there are too few answers of either.
    pub(crate) fn drift(&self, canary: &Self) -> Option<Drift> {
        let (champion, canary) = (self.sample(true), canary.sample(false));
        let mut worst: Option<Drift> = None;
        for (name, one) in &champion {
            let none = Output::default();
            let other = canary.get(name).unwrap_or(&none);
            let answers = [one.seen, other.seen];
            // An output that only the champion has is compared once the canary answers at all.
            if one.seen < FEWEST || canary.values().all(|output| output.seen < FEWEST) {
                continue;
            }
            let (psi, chance) = one.psi(other);
            if worst.as_ref().is_none_or(|worst| psi - chance > worst.psi - worst.chance) {
                worst = Some(Drift { output: name.clone(), psi, chance, answers });
            }
        }
        worst
    }
}

impl Output {
    fn keep(&mut self, number: f64, random: &mut Random) {
        self.seen += 1;
        if self.numbers.len() < SAMPLE {
            return self.numbers.push(number);
        }
        let index = random.below(self.seen);
        if let Some(place) = usize::try_from(index).ok().and_then(|index| self.numbers.get_mut(index)) {
            *place = number;
        }
    }

    fn psi(&self, other: &Self) -> (f64, f64) {
        if self.numbers.is_empty() {
            let names: std::collections::BTreeSet<&String> = self.labels.keys().chain(other.labels.keys()).collect();
            let count = |of: &Self, name: &String| of.labels.get(name).copied().unwrap_or_default();
            return psi(&names.iter().map(|name| [count(self, name), count(other, name)]).collect::<Vec<_>>());
        }
        let mut sorted = self.numbers.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |tenth: usize| sorted[(tenth * (sorted.len() - 1)) / 10];
        let mut edges: Vec<f64> = (1..=10).map(at).collect();
        edges.dedup();
        // What lies below or above everything that the champion says has bins of its own.
        let mut bins = vec![[0_u64; 2]; edges.len() + 2];
        for (side, numbers) in [&self.numbers, &other.numbers].into_iter().enumerate() {
            for number in numbers {
                let bin = if *number < sorted[0] { 0 } else { 1 + edges.partition_point(|edge| edge < number) };
                bins[bin][side] += 1;
            }
        }
        psi(&bins)
    }
}

/// The index over counts of two sides, and what chance would hardly exceed.
fn psi(bins: &[[u64; 2]]) -> (f64, f64) {
    let bins: Vec<&[u64; 2]> = bins.iter().filter(|bin| bin[0] + bin[1] > 0).collect();
    let all = |side: usize| bins.iter().map(|bin| bin[side]).sum::<u64>() as f64;
    let (n, m) = (all(0), all(1));
    if n == 0.0 || m == 0.0 {
        return (f64::INFINITY, 0.0);
    }
    // Half an answer more in each bin, so that an empty one does not make it infinite.
    let share = |count: u64, of: f64| (count as f64 + 0.5) / (of + 0.5 * bins.len() as f64);
    let sum = bins.iter().map(|bin| {
        let (p, q) = (share(bin[0], n), share(bin[1], m));
        (q - p) * (q / p).ln()
    });
    // Where both are drawn alike, the index times nm/(n+m) is about chi-squared.
    let free = bins.len() as f64 - 1.0;
    let chance = (free + 3.09 * (2.0 * free).sqrt() + 4.0) * (1.0 / n + 1.0 / m);
    (sum.sum(), chance)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray};
    use plinth_ext::{Field, Kind, Schema};

    use super::*;

    fn scores(numbers: impl Iterator<Item = f64>) -> Scores {
        let scores = Scores::default();
        let numbers: Vec<f64> = numbers.collect();
        let schema = Schema::new(vec![Field::new("score", Kind::Float64, false)]).unwrap();
        let column: ArrayRef = Arc::new(Float64Array::from(numbers.clone()));
        scores.observe(&Batch::new(schema, vec![column], numbers.len()).unwrap());
        scores
    }

    /// Evenly spread over 0 to 1, in an order that looks random.
    fn even(count: u32) -> impl Iterator<Item = f64> {
        (0..count).map(|i| f64::from(i.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX))
    }

    #[test]
    fn the_same_is_near_and_a_shift_is_far() {
        let champion = scores(even(3_000));
        let same = champion.drift(&scores(even(20_000))).unwrap();
        assert!(same.psi < 0.02 && same.psi < same.chance, "{same:?}");
        let shifted = champion.drift(&scores(even(1_000).map(|x| (x + 0.3).min(1.0)))).unwrap();
        assert!(shifted.psi > 0.2 && shifted.psi > shifted.chance, "{shifted:?}");
        // A handful that happens to lie high is no evidence.
        let few = champion.drift(&scores((0..20).map(|i| 0.4 + f64::from(i) / 40.0))).unwrap();
        assert!(few.chance > 1.0, "{few:?}");
        assert!(champion.drift(&scores(even(5))).is_none());
    }

    #[test]
    fn constants_and_what_is_no_number_are_seen() {
        let champion = scores(std::iter::repeat_n(0.5, 500));
        assert!(champion.drift(&scores(std::iter::repeat_n(0.5, 500))).unwrap().psi < 1e-9);
        for other in [0.4, 0.6, f64::NAN] {
            let drift = champion.drift(&scores(std::iter::repeat_n(other, 500))).unwrap();
            assert!(drift.psi > 1.0 && drift.psi > drift.chance, "{other}: {drift:?}");
        }
    }

    #[test]
    fn labels_are_compared_by_their_shares_and_a_restart_forgets() {
        let scores = |yes: usize, no: usize| {
            let scores = Scores::default();
            let labels: Vec<&str> = [vec!["yes"; yes], vec!["no"; no]].concat();
            let schema = Schema::new(vec![Field::new("label", Kind::Utf8, false)]).unwrap();
            let column: ArrayRef = Arc::new(StringArray::from(labels));
            scores.observe(&Batch::new(schema, vec![column], yes + no).unwrap());
            scores
        };
        let champion = scores(500, 500);
        assert!(champion.drift(&scores(480, 520)).unwrap().psi < 0.01);
        let far = scores(900, 100);
        assert!(champion.drift(&far).unwrap().psi > 0.5);
        far.restart();
        assert!(champion.drift(&far).is_none(), "a canary is judged by this step");
        champion.restart();
        assert!(champion.drift(&scores(900, 100)).unwrap().psi > 0.5, "a champion also by the step before");
    }
}
