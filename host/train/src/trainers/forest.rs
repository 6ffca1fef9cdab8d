//! Random forest: trees on bootstrapped rows, each split chosen among a random few features; leaves are averaged.
//!
//! Why our own: of the crates at hand linfa-trees knows neither regression nor leaf probabilities and rescans every
//! row for every node, smartcore and biosphere keep their trees private, so they cannot be exported. Features are
//! binned once, and a node is split from histograms of its rows, which keeps training fast without optimisation.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::{Fitted, Job, NativeModel};
use crate::{
    Answers, Features, Label, TrainError,
    onnx::Graph,
    trees::{Ensemble, Node, Tree},
};

pub(super) fn fit(job: &Job<'_>) -> Result<Fitted, TrainError> {
    let settings = Settings::of(job);
    let bins = Bins::new(job.features, job.options.count("bins"));
    let target = match job.label {
        Some(Label::Class { classes, rows }) => Target::Classes { of: rows, count: classes.len() },
        Some(Label::Value(values)) => Target::values(values),
        None => return Err(job.failed("there is no label", "use k-means to group rows without one")),
    };
    let total = job.options.count("trees");
    let done = AtomicUsize::new(0);
    let trees = (0..total)
        .into_par_iter()
        .map(|number| {
            job.step(done.load(Ordering::Relaxed), total, "trees")?;
            // A seed of its own makes each tree the same however the trees are spread over threads.
            let seed = job.seed.wrapping_add((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let tree = Grower::new(&bins, &target, settings, seed).grow(total);
            done.fetch_add(1, Ordering::Relaxed);
            Ok(tree)
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    job.step(total, total, "trees")?;

    let ensemble = Ensemble { targets: target.width(), trees };
    let facts = BTreeMap::from([("trees".into(), total as f64), ("nodes".into(), ensemble.nodes() as f64)]);
    let graph = match job.label {
        Some(Label::Class { classes, .. }) => Graph::tree_classes(&ensemble, classes, None),
        _ => Graph::tree_values(&ensemble, target.centre()),
    };
    let classes = matches!(target, Target::Classes { .. });
    Ok(Fitted { native: Box::new(Forest { ensemble, classes, centre: target.centre() }), graph, facts })
}

struct Forest {
    ensemble: Ensemble,
    classes: bool,
    centre: f64,
}

impl NativeModel for Forest {
    fn answers(&self, features: &Features) -> Answers {
        let width = self.ensemble.targets;
        let mut sums = vec![self.centre; features.rows() * width];
        sums.par_chunks_mut(width).enumerate().for_each(|(row, sums)| self.ensemble.add_to(features.row(row), sums));
        if self.classes { Answers::of_probabilities(width, sums) } else { Answers::Values(sums) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    max_depth: usize,
    min_rows_leaf: usize,
    features_tried: usize,
    bootstrap: bool,
}

impl Settings {
    fn of(job: &Job<'_>) -> Self {
        let all = job.features.width();
        let classes = matches!(job.label, Some(Label::Class { .. }));
        let tried = match (job.options.choice("max-features"), classes) {
            ("sqrt", _) | ("auto", true) => (all as f64).sqrt() as usize,
            ("log2", _) => (all as f64).log2() as usize,
            ("third", _) => all / 3,
            _ => all,
        };
        Self {
            max_depth: job.options.count("max-depth"),
            min_rows_leaf: job.options.count("min-rows-leaf"),
            features_tried: tried.max(1),
            bootstrap: job.options.flag("bootstrap"),
        }
    }
}

/// Features cut at thresholds: a value's bin is the number of thresholds that are not above it.
struct Bins {
    rows: usize,
    /// Of each feature, ascending; at most 254.
    thresholds: Vec<Vec<f32>>,
    /// Feature by feature, one bin for each row.
    of: Vec<u8>,
}

impl Bins {
    fn new(features: &Features, most: usize) -> Self {
        let columns: Vec<(Vec<f32>, Vec<u8>)> = (0..features.width())
            .into_par_iter()
            .map(|at| {
                let column: Vec<f32> = features.column(at).collect();
                let thresholds = cut(&column, most);
                let bins = column.iter().map(|v| thresholds.partition_point(|t| t <= v) as u8).collect();
                (thresholds, bins)
            })
            .collect();
        let mut thresholds = Vec::with_capacity(columns.len());
        let mut of = Vec::with_capacity(columns.len() * features.rows());
        for (cuts, bins) in columns {
            thresholds.push(cuts);
            of.extend(bins);
        }
        Self { rows: features.rows(), thresholds, of }
    }

    fn feature(&self, feature: usize) -> &[u8] {
        &self.of[feature * self.rows..(feature + 1) * self.rows]
    }
}

/// Thresholds between values: all of them if they are few, else such that each bin holds about as many rows.
fn cut(column: &[f32], most: usize) -> Vec<f32> {
    let mut sorted = column.to_vec();
    sorted.sort_by(f32::total_cmp);
    let between = |a: f32, b: f32| {
        // Half of each, because their difference may overflow; above `a` whatever the rounding.
        let middle = a * 0.5 + b * 0.5;
        if middle > a { middle } else { b }
    };
    let steps: Vec<f32> = sorted.windows(2).filter(|w| w[0] < w[1]).map(|w| between(w[0], w[1])).collect();
    let most = most.min(255);
    if steps.len() < most {
        return steps;
    }
    let mut cuts: Vec<f32> = (1..most)
        .filter_map(|bin| {
            let at = bin * sorted.len() / most;
            // The step at or after the rank, so that many equal values share a bin.
            let next = sorted[at..].windows(2).find(|w| w[0] < w[1])?;
            Some(between(next[0], next[1]))
        })
        .collect();
    cuts.dedup();
    cuts
}

enum Target<'a> {
    Classes {
        of: &'a [u32],
        count: usize,
    },
    /// Values less their mean, so that sums of 32-bit leaves stay small and exact.
    Values {
        centred: Vec<f64>,
        centre: f64,
    },
}

impl Target<'_> {
    fn values(values: &[f64]) -> Self {
        let centre = values.iter().sum::<f64>() / values.len().max(1) as f64;
        Self::Values { centred: values.iter().map(|v| v - centre).collect(), centre }
    }

    fn width(&self) -> usize {
        match self {
            Self::Classes { count, .. } => *count,
            Self::Values { .. } => 1,
        }
    }

    fn centre(&self) -> f64 {
        match self {
            Self::Classes { .. } => 0.0,
            Self::Values { centre, .. } => *centre,
        }
    }
}

struct Split {
    feature: usize,
    /// Rows of this bin and below go left.
    bin: usize,
}

/// Grows one tree.
struct Grower<'a> {
    bins: &'a Bins,
    target: &'a Target<'a>,
    settings: Settings,
    random: Xoshiro256PlusPlus,
    rows: Vec<u32>,
    /// Features in the order in which the next split tries them.
    order: Vec<u32>,
    /// Class counts of each bin.
    counts: Vec<u32>,
    /// Rows and sum of each bin.
    sums: Vec<(u32, f64)>,
    left_counts: Vec<u32>,
    tree: Tree,
}

impl<'a> Grower<'a> {
    fn new(bins: &'a Bins, target: &'a Target<'a>, settings: Settings, seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let count = bins.rows as u32;
        let mut rows: Vec<u32> = if settings.bootstrap {
            (0..count).map(|_| random.gen_range(0..count)).collect()
        } else {
            (0..count).collect()
        };
        // In memory order the histograms read forward.
        rows.sort_unstable();
        Self {
            bins,
            target,
            settings,
            random,
            rows,
            order: (0..bins.thresholds.len() as u32).collect(),
            counts: vec![0; 256 * target.width()],
            sums: vec![(0, 0.0); 256],
            left_counts: vec![0; target.width()],
            tree: Tree::default(),
        }
    }

    fn grow(mut self, trees: usize) -> Tree {
        self.tree.nodes.push(Node::Leaf(0));
        let mut open = vec![(0_usize, 0..self.rows.len(), 0_usize)];
        while let Some((node, range, depth)) = open.pop() {
            let split = if depth < self.settings.max_depth { self.best_split(range.clone()) } else { None };
            let Some(split) = split else {
                self.tree.nodes[node] = Node::Leaf((self.tree.leaves.len() / self.target.width()) as u32);
                self.push_leaf(range, trees);
                continue;
            };
            let middle = self.partition(range.clone(), &split);
            let left = self.tree.nodes.len();
            self.tree.nodes.extend([Node::Leaf(0), Node::Leaf(0)]);
            self.tree.nodes[node] = Node::Split {
                feature: split.feature as u32,
                threshold: self.bins.thresholds[split.feature][split.bin],
                left: left as u32,
                right: left as u32 + 1,
                missing_left: false,
            };
            open.push((left + 1, middle..range.end, depth + 1));
            open.push((left, range.start..middle, depth + 1));
        }
        self.tree
    }

    /// The mean of the rows' targets, divided by the number of trees: leaves add up to the average.
    fn push_leaf(&mut self, range: std::ops::Range<usize>, trees: usize) {
        let rows = &self.rows[range];
        let share = 1.0 / (rows.len().max(1) as f64 * trees as f64);
        match self.target {
            Target::Classes { of, count } => {
                let at = self.tree.leaves.len();
                self.tree.leaves.resize(at + count, 0.0);
                let mut counts = vec![0_u32; *count];
                rows.iter().for_each(|row| counts[of[*row as usize] as usize] += 1);
                for (leaf, count) in self.tree.leaves[at..].iter_mut().zip(counts) {
                    *leaf = f64::from(count) * share;
                }
            }
            Target::Values { centred, .. } => {
                let sum: f64 = rows.iter().map(|row| centred[*row as usize]).sum();
                self.tree.leaves.push(sum * share);
            }
        }
    }

    fn best_split(&mut self, range: std::ops::Range<usize>) -> Option<Split> {
        let rows = self.rows.len().min(range.len());
        if rows < 2 * self.settings.min_rows_leaf || rows < 2 || self.is_pure(range.clone()) {
            return None;
        }
        let mut best: Option<(f64, Split)> = None;
        let mut tried = 0;
        for at in 0..self.order.len() {
            if tried == self.settings.features_tried {
                break;
            }
            let pick = self.random.gen_range(at..self.order.len());
            self.order.swap(at, pick);
            let feature = self.order[at] as usize;
            if self.bins.thresholds[feature].is_empty() {
                continue;
            }
            let found = match self.target {
                Target::Classes { of, count } => self.split_classes(range.clone(), feature, of, *count),
                Target::Values { centred, .. } => self.split_values(range.clone(), feature, centred),
            };
            // A feature that is constant here is no try: with many of them, none might be left.
            let Some((score, bin)) = found else { continue };
            tried += 1;
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, Split { feature, bin }));
            }
        }
        best.map(|(_, split)| split)
    }

    fn is_pure(&self, range: std::ops::Range<usize>) -> bool {
        let rows = &self.rows[range];
        match self.target {
            Target::Classes { of, .. } => rows.iter().all(|row| of[*row as usize] == of[rows[0] as usize]),
            Target::Values { centred, .. } => {
                rows.iter().all(|row| centred[*row as usize].total_cmp(&centred[rows[0] as usize]).is_eq())
            }
        }
    }

    /// The bin after which to cut for the least Gini impurity: the largest sum of squared counts over rows.
    fn split_classes(
        &mut self,
        range: std::ops::Range<usize>,
        feature: usize,
        of: &[u32],
        classes: usize,
    ) -> Option<(f64, usize)> {
        let bins = self.bins.feature(feature);
        let used = self.bins.thresholds[feature].len() + 1;
        let counts = &mut self.counts[..used * classes];
        counts.fill(0);
        let rows = &self.rows[range];
        for row in rows {
            let row = *row as usize;
            counts[bins[row] as usize * classes + of[row] as usize] += 1;
        }
        let left = &mut self.left_counts;
        left.fill(0);
        let mut totals = vec![0_u32; classes];
        counts.chunks_exact(classes).for_each(|bin| totals.iter_mut().zip(bin).for_each(|(t, c)| *t += c));
        let all = rows.len() as u32;
        let least = self.settings.min_rows_leaf as u32;
        let mut on_left = 0;
        let mut best = None;
        for (bin, bin_counts) in counts.chunks_exact(classes).enumerate().take(used - 1) {
            let here: u32 = bin_counts.iter().sum();
            if here == 0 {
                continue;
            }
            on_left += here;
            left.iter_mut().zip(bin_counts).for_each(|(l, c)| *l += c);
            let on_right = all - on_left;
            if on_left < least || on_right < least || on_right == 0 {
                continue;
            }
            let (mut l, mut r) = (0.0, 0.0);
            for (left, total) in left.iter().zip(&totals) {
                l += f64::from(*left) * f64::from(*left);
                r += f64::from(total - left) * f64::from(total - left);
            }
            let score = l / f64::from(on_left) + r / f64::from(on_right);
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, bin));
            }
        }
        best
    }

    /// The bin after which to cut for the least squared error.
    fn split_values(&mut self, range: std::ops::Range<usize>, feature: usize, of: &[f64]) -> Option<(f64, usize)> {
        let bins = self.bins.feature(feature);
        let used = self.bins.thresholds[feature].len() + 1;
        let sums = &mut self.sums[..used];
        sums.fill((0, 0.0));
        let rows = &self.rows[range];
        let mut total = 0.0;
        for row in rows {
            let row = *row as usize;
            let bin = &mut sums[bins[row] as usize];
            bin.0 += 1;
            bin.1 += of[row];
            total += of[row];
        }
        let all = rows.len() as u32;
        let least = self.settings.min_rows_leaf as u32;
        let (mut on_left, mut left) = (0, 0.0);
        let mut best = None;
        for (bin, (count, sum)) in sums.iter().enumerate().take(used - 1) {
            if *count == 0 {
                continue;
            }
            on_left += count;
            left += sum;
            let on_right = all - on_left;
            if on_left < least || on_right < least || on_right == 0 {
                continue;
            }
            let right = total - left;
            let score = left * left / f64::from(on_left) + right * right / f64::from(on_right);
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, bin));
            }
        }
        best
    }

    /// Moves the rows that go left to the front; returns where the others begin. Order within a side is kept, so
    /// that histograms go on reading memory forward.
    fn partition(&mut self, range: std::ops::Range<usize>, split: &Split) -> usize {
        let bins = self.bins.feature(split.feature);
        let rows = &mut self.rows[range.clone()];
        let (left, right): (Vec<u32>, Vec<u32>) =
            rows.iter().partition(|row| usize::from(bins[**row as usize]) <= split.bin);
        rows[..left.len()].copy_from_slice(&left);
        rows[left.len()..].copy_from_slice(&right);
        range.start + left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_all_told_apart_and_many_fill_bins_evenly() {
        assert_eq!(cut(&[3.0, 1.0, 2.0, 1.0], 255), [1.5, 2.5]);
        assert!(cut(&[7.0, 7.0], 255).is_empty());
        let column: Vec<f32> = (0..1000).map(|v| v as f32).collect();
        let cuts = cut(&column, 10);
        assert_eq!(cuts.len(), 9);
        assert!(cuts.windows(2).all(|w| (w[1] - w[0] - 100.0).abs() < 2.0), "{cuts:?}");
        // Half of the rows have one value: it gets one bin, the others are still spread.
        let mut column = vec![0.0; 500];
        column.extend((0..500).map(|v| v as f32 + 1.0));
        let cuts = cut(&column, 10);
        assert!(cuts.len() >= 5 && cuts.is_sorted(), "{cuts:?}");
    }

    #[test]
    fn neighbours_that_leave_no_room_are_still_told_apart() {
        let (a, b) = (1.0_f32, 1.0_f32.next_up());
        let cuts = cut(&[a, b], 255);
        assert!(a < cuts[0] && b >= cuts[0]);
        let cuts = cut(&[f32::MIN, f32::MAX], 255);
        assert!(cuts[0].is_finite());
    }
}
