//! How good decisions and probabilities are. Undefined ratios are 0, as in scikit-learn; the caller knows when.

use serde::{Deserialize, Serialize};

/// What was true (rows) against what was said (columns).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// `counts[truth][said]`.
    pub counts: Vec<Vec<u64>>,
}

/// Points of a curve, for a plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// `roc` (false against true positive rate) or `precision-recall` (recall against precision).
    pub name: String,
    /// Horizontal.
    pub x: Vec<f64>,
    /// Vertical.
    pub y: Vec<f64>,
}

/// Scores of one class against the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryScores {
    /// Of those said to be positive, the share that is.
    pub precision: f64,
    /// Of the positive, the share that was said to be.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Rows that are positive.
    pub support: u64,
}

/// Scores averaged over classes, of those that occur in truth or answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MulticlassScores {
    /// Share of right answers.
    pub accuracy: f64,
    /// Each class counts the same.
    pub macro_average: BinaryScores,
    /// Each class counts by its rows.
    pub weighted: BinaryScores,
}

/// Counts `counts[truth][said]`.
pub fn confusion(truth: &[u32], said: &[u32], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (truth, said) in truth.iter().zip(said) {
        counts[*truth as usize][*said as usize] += 1;
    }
    counts
}

/// Precision, recall and F1 of one class.
pub fn binary(counts: &[Vec<u64>], positive: usize) -> BinaryScores {
    let hits = counts[positive][positive];
    let said: u64 = counts.iter().map(|row| row[positive]).sum();
    let support: u64 = counts[positive].iter().sum();
    let f1 = ratio(2.0 * hits as f64, (said + support) as f64);
    BinaryScores { precision: ratio(hits as f64, said as f64), recall: ratio(hits as f64, support as f64), f1, support }
}

/// Accuracy, and the averages of precision, recall and F1.
pub fn multiclass(counts: &[Vec<u64>]) -> MulticlassScores {
    let rows: u64 = counts.iter().flatten().sum();
    let right: u64 = (0..counts.len()).map(|class| counts[class][class]).sum();
    let occurs =
        |class: &usize| counts[*class].iter().sum::<u64>() + counts.iter().map(|row| row[*class]).sum::<u64>() > 0;
    let scores: Vec<BinaryScores> = (0..counts.len()).filter(occurs).map(|class| binary(counts, class)).collect();
    let average = |weight: &dyn Fn(&BinaryScores) -> f64| {
        let total: f64 = scores.iter().map(weight).sum();
        let mean = |of: fn(&BinaryScores) -> f64| ratio(scores.iter().map(|s| of(s) * weight(s)).sum(), total);
        BinaryScores { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1), support: rows }
    };
    MulticlassScores {
        accuracy: ratio(right as f64, rows as f64),
        macro_average: average(&|_| 1.0),
        weighted: average(&|scores| scores.support as f64),
    }
}

/// Area under the ROC curve; equal scores count half. None unless both classes occur.
pub fn roc_auc(truth: &[bool], scores: &[f64]) -> Option<f64> {
    let steps = steps_down(truth, scores);
    let (positives, negatives) = steps.last().copied().filter(|(p, n)| *p > 0 && *n > 0)?;
    // Trapezoids under the steps, which gives ties their half.
    let mut area = 0.0;
    let mut before = (0, 0);
    for step in steps {
        area += (step.1 - before.1) as f64 * (step.0 + before.0) as f64 / 2.0;
        before = step;
    }
    Some(area / (positives as f64 * negatives as f64))
}

/// Area under the precision-recall curve as average precision: no interpolation. None unless a positive occurs.
pub fn average_precision(truth: &[bool], scores: &[f64]) -> Option<f64> {
    let steps = steps_down(truth, scores);
    let positives = steps.last().map(|(p, _)| *p).filter(|p| *p > 0)?;
    let mut sum = 0.0;
    let mut before = 0;
    for (hits, misses) in steps {
        sum += (hits - before) as f64 * hits as f64 / (hits + misses) as f64;
        before = hits;
    }
    Some(sum / positives as f64)
}

/// False against true positive rate, at each distinct score from the highest down. None unless both classes occur.
pub fn roc_curve(truth: &[bool], scores: &[f64]) -> Option<Curve> {
    let steps = steps_down(truth, scores);
    let (positives, negatives) = steps.last().copied().filter(|(p, n)| *p > 0 && *n > 0)?;
    let (mut x, mut y) = (vec![0.0], vec![0.0]);
    for (hits, misses) in steps {
        x.push(misses as f64 / negatives as f64);
        y.push(hits as f64 / positives as f64);
    }
    Some(Curve { name: "roc".into(), x, y })
}

/// Recall against precision, at each distinct score from the highest down. None unless a positive occurs.
pub fn precision_recall_curve(truth: &[bool], scores: &[f64]) -> Option<Curve> {
    let steps = steps_down(truth, scores);
    let positives = steps.last().map(|(p, _)| *p).filter(|p| *p > 0)?;
    let (mut x, mut y) = (vec![0.0], vec![1.0]);
    for (hits, misses) in steps {
        x.push(hits as f64 / positives as f64);
        y.push(hits as f64 / (hits + misses) as f64);
    }
    Some(Curve { name: "precision-recall".into(), x, y })
}

/// Mean negative logarithm of the true class's probability; probabilities are kept off 0 and 1 by 2⁻⁵².
pub fn log_loss(truth: &[u32], probabilities: &[f64], classes: usize) -> f64 {
    let of_row = |(row, class): (usize, &u32)| {
        -probabilities[row * classes + *class as usize].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
    };
    ratio(truth.iter().enumerate().map(of_row).sum(), truth.len() as f64)
}

/// Mean squared distance of the probabilities from the truth: of the positive class if there are two, else the sum over
/// all classes.
pub fn brier(truth: &[u32], probabilities: &[f64], classes: usize) -> f64 {
    let of_row = |(row, class): (usize, &u32)| {
        let of_class =
            |at: usize| (probabilities[row * classes + at] - f64::from(u8::from(at == *class as usize))).powi(2);
        if classes == 2 { of_class(1) } else { (0..classes).map(of_class).sum() }
    };
    ratio(truth.iter().enumerate().map(of_row).sum(), truth.len() as f64)
}

/// Positives and negatives among the rows scored at least as high, after each distinct score from the highest down.
fn steps_down(truth: &[bool], scores: &[f64]) -> Vec<(u64, u64)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut steps = Vec::new();
    let (mut positives, mut negatives) = (0, 0);
    for (at, row) in order.iter().enumerate() {
        if truth[*row] {
            positives += 1;
        } else {
            negatives += 1;
        }
        let next = order.get(at + 1).map(|next| scores[*next]);
        // Zero has two signs, and they are one score.
        if next != Some(scores[*row]) {
            steps.push((positives, negatives));
        }
    }
    steps
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}
