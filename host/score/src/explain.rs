//! What each raw column had to do with a prediction: the whole chain from raw rows to predictions is what is explained.
//!
//! A model of trees is explained exactly, by walks through its trees, where two things were seen to hold: what the
//! trees add up to gives the model's own answers on the reference rows, and each feature follows from one raw column
//! alone. Both are tried, not believed; the second anew for each row, with mixtures of that row and reference rows.
//! Everything else is asked with coalitions of columns (kernel SHAP): what a coalition lacks takes its values from each
//! reference row in turn.

use std::{sync::Arc, time::Instant};

use arrow_array::{Array, ArrayRef, UInt32Array, cast::AsArray, types::Float32Type, types::Float64Type};
use plinth_core::codes;
use plinth_explain::{Coalitions, Players, Sampling, Shares, Trees, shapley};
use plinth_ext::{Batch, ExtError, Kind};

use crate::{ScoreError, Scorer, scorer::cast};

/// Rows that are put together and scored at once.
const ROWS_AT_ONCE: usize = 8_192;
/// How far sums of 64-bit floats may be from what a runtime made of 32-bit ones.
const TOLERANCE: f64 = 1e-4;
/// Mixtures of a row and a reference row by which it is seen whether features follow from one column each.
const MIXTURES: usize = 4;

/// Explains the predictions of one scorer against a reference set. Shared between threads.
#[derive(Debug)]
pub struct Explainer {
    reference: Batch,
    /// Columns of the predictions that are explained.
    scores: Vec<usize>,
    forest: Option<Forest>,
    why_no_forest: Option<&'static str>,
    sampling: Sampling,
}

/// Trees whose sums are known to be the model's.
#[derive(Debug)]
struct Forest {
    trees: Trees,
    link: Link,
    /// For each score that is explained, which of the trees' outputs it is.
    outputs: Vec<usize>,
    /// The reference rows as the model sees them.
    reference: Vec<Vec<f64>>,
    /// For each feature, the raw column from which it was seen to follow.
    columns: Vec<Option<usize>>,
}

/// What the model makes of the trees' sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Same,
    Logistic,
    OneAgainstRest,
    Softmax,
}

/// How attributions were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By walks through the model's trees.
    Trees,
    /// By coalitions of columns.
    Kernel,
}

impl Method {
    /// `trees` or `kernel`
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trees => "trees",
            Self::Kernel => "kernel",
        }
    }
}

/// What base and attributions add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The prediction itself.
    Prediction,
    /// The log-odds from which the model made the probability.
    LogOdds,
    /// The exponents from whose softmax the model made the probability.
    Logits,
}

impl Scale {
    /// `prediction`, `log-odds` or `logits`
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prediction => "prediction",
            Self::LogOdds => "log-odds",
            Self::Logits => "logits",
        }
    }
}

/// One row, explained.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// How.
    pub method: Method,
    /// Whether these are the Shapley values themselves, or an estimate from sampled coalitions.
    pub exact: bool,
    /// What base and attributions add up to.
    pub scale: Scale,
    /// For each score, in the order of [`Explainer::scores`].
    pub scores: Vec<Attribution>,
}

/// One score of one row, explained.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// The mean over the reference rows.
    pub base: f64,
    /// What it is for this row: the base and all parts, added up.
    pub value: f64,
    /// For each column of the signature, its part.
    pub parts: Vec<f64>,
}

impl Explainer {
    /// An explainer with at most `rows_max` of the reference rows, which are raw rows of the signature; they are picked
    /// evenly. `trees` are the model's, if it has any that were read; what they add up to is compared with what the
    /// scorer says.
    ///
    /// # Errors
    /// [`ScoreError::Explain`] if there is no reference row or no number to explain; else as [`Scorer::score`].
    pub fn new(
        scorer: &Scorer,
        reference: &Batch,
        rows_max: usize,
        trees: Option<Trees>,
        sampling: Sampling,
    ) -> Result<Self, ScoreError> {
        let rows = reference.num_rows().min(rows_max.max(1));
        if rows == 0 {
            return Err(plinth_explain::ExplainError::NoReference.into());
        }
        let picks: Vec<u32> = (0..rows).map(|row| (row * reference.num_rows() / rows) as u32).collect();
        let reference = mix(reference, &vec![picks; reference.num_columns()], rows)?;
        let predictions = scorer.model_score(&reference)?;
        let numbers: Vec<usize> = (0..predictions.num_columns())
            .filter(|column| matches!(predictions.schema().fields()[*column].kind, Kind::Float32 | Kind::Float64))
            .collect();
        // Of two probabilities the second says all.
        let probability = |column: &usize| predictions.schema().fields()[*column].name.starts_with("probabilit");
        let two = numbers.len() == 2 && numbers.iter().all(probability);
        let scores = if two { numbers[1..].to_vec() } else { numbers.clone() };
        if scores.is_empty() {
            return Err(ScoreError::NothingToExplain);
        }
        let mut explainer = Self { reference, scores, forest: None, why_no_forest: None, sampling };
        if let Some(trees) = trees {
            match Forest::new(scorer, &explainer, trees, &numbers, &predictions)? {
                Ok(forest) => explainer.forest = Some(forest),
                Err(why) => explainer.why_no_forest = Some(why),
            }
        }
        Ok(explainer)
    }

    /// Names of the scores that are explained: columns of the predictions.
    pub fn scores<'a>(&'a self, scorer: &'a Scorer) -> impl Iterator<Item = &'a str> {
        self.scores.iter().map(|column| scorer.model_output().fields()[*column].name.as_str())
    }

    /// How many reference rows there are.
    pub fn reference_rows(&self) -> usize {
        self.reference.num_rows()
    }

    /// Why trees that were read are not used, if they are not.
    pub const fn why_no_trees(&self) -> Option<&str> {
        self.why_no_forest
    }

    /// Attributions for these rows of the signature, one for each, in order. `kernel` asks all with coalitions, also
    /// where trees could be walked: the answer is then of the prediction itself, whatever the trees add up to.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub fn explain(&self, scorer: &Scorer, raw: &Batch, kernel: bool) -> Result<Vec<Explained>, ScoreError> {
        self.explain_until(scorer, raw, kernel, None)
    }

    /// The same, given up after `until`: looked at before each part of the work that scores some thousands of rows.
    ///
    /// # Errors
    /// [`ScoreError::OutOfTime`]; else as [`Explainer::explain`].
    pub fn explain_until(
        &self,
        scorer: &Scorer,
        raw: &Batch,
        kernel: bool,
        until: Option<Instant>,
    ) -> Result<Vec<Explained>, ScoreError> {
        // What was looked up is explained like what was sent.
        let raw = &*scorer.join(raw)?;
        let walked = match &self.forest {
            Some(forest) if !kernel => forest.explain(scorer, self, raw, until)?,
            _ => vec![None; raw.num_rows()],
        };
        walked
            .into_iter()
            .enumerate()
            .map(|(row, walked)| match walked {
                Some(walked) => Ok(walked),
                None => self.by_coalitions(scorer, &raw.slice(row, 1), until),
            })
            .collect()
    }

    fn by_coalitions(&self, scorer: &Scorer, row: &Batch, until: Option<Instant>) -> Result<Explained, ScoreError> {
        let count = self.reference.num_rows();
        // A column whose value all reference rows have too can change nothing.
        let differs = |column: &usize| {
            let (reference, cell) = (self.reference.column(*column), row.column(*column));
            (0..count).any(|other| *reference.slice(other, 1) != **cell)
        };
        let players: Vec<usize> = (0..row.num_columns()).filter(differs).collect();
        let pool = joined(&self.reference, row)?;
        let ask = |coalitions: &Coalitions| {
            let mut means = Vec::with_capacity(coalitions.len() * self.scores.len());
            let all: Vec<&[bool]> = coalitions.iter().collect();
            for some in all.chunks((ROWS_AT_ONCE / count).max(1)) {
                in_time(until)?;
                let mut picks = vec![Vec::with_capacity(some.len() * count); row.num_columns()];
                for member in some {
                    picks.iter_mut().for_each(|picks| picks.extend(0..count as u32));
                    for (column, _) in players.iter().zip(*member).filter(|(_, member)| **member) {
                        let picks: &mut Vec<u32> = &mut picks[*column];
                        let from = picks.len() - count;
                        picks[from..].fill(count as u32);
                    }
                }
                let predictions = scorer.model_score(&mix(&pool, &picks, some.len() * count)?)?;
                let scores: Vec<Vec<f64>> = self.scores.iter().map(|score| wide(predictions.column(*score))).collect();
                for at in 0..some.len() {
                    let mean =
                        |score: &Vec<f64>| score[at * count..(at + 1) * count].iter().sum::<f64>() / count as f64;
                    means.extend(scores.iter().map(mean));
                }
            }
            Ok::<_, ScoreError>(means)
        };
        let shares = shapley(players.len(), self.scores.len(), self.sampling, ask)?;
        let scores = attributions(&shares, 0..self.scores.len(), &players, row.num_columns());
        Ok(Explained { method: Method::Kernel, exact: shares.exact, scale: Scale::Prediction, scores })
    }
}

fn in_time(until: Option<Instant>) -> Result<(), ScoreError> {
    if until.is_some_and(|until| Instant::now() > until) { Err(ScoreError::OutOfTime) } else { Ok(()) }
}

/// For each output asked for, its base, its total and the part of each column; who is no player gets nothing.
fn attributions(
    shares: &Shares,
    outputs: impl IntoIterator<Item = usize>,
    columns: &[usize],
    width: usize,
) -> Vec<Attribution> {
    let total = shares.total();
    let of = |output: usize| {
        let mut parts = vec![0.0; width];
        columns.iter().enumerate().for_each(|(player, column)| parts[*column] = shares.of(player)[output]);
        Attribution { base: shares.base[output], value: total[output], parts }
    };
    outputs.into_iter().map(of).collect()
}

impl Forest {
    /// The trees, if what they add up to gives the scorer's answers; else why not.
    fn new(
        scorer: &Scorer,
        explainer: &Explainer,
        trees: Trees,
        numbers: &[usize],
        predictions: &Batch,
    ) -> Result<Result<Self, &'static str>, ScoreError> {
        let raw = &explainer.reference;
        let reference = matrix(&scorer.features(raw)?);
        let sums = reference.iter().map(|row| trees.sums(row)).collect::<Result<Vec<_>, _>>();
        let Ok(sums) = sums else { return Ok(Err("the trees ask for features that the model does not take")) };
        let answers: Vec<Vec<f64>> = numbers.iter().map(|column| wide(predictions.column(*column))).collect();
        let Some((link, outputs)) = link(&sums, &answers) else {
            return Ok(Err("what the trees add up to is not what the model answers"));
        };
        // For each score that is explained, its place among the numbers.
        let place = |score: &usize| numbers.iter().position(|column| column == score).unwrap_or_default();
        let outputs = explainer.scores.iter().map(|score| outputs[place(score)]).collect();
        let Some(columns) = columns_of_features(scorer, raw, &reference)? else {
            return Ok(Err("a feature of the model follows from several columns"));
        };
        Ok(Ok(Self { trees, link, outputs, reference, columns }))
    }

    const fn scale(&self) -> Scale {
        match self.link {
            Link::Same => Scale::Prediction,
            Link::Logistic | Link::OneAgainstRest => Scale::LogOdds,
            Link::Softmax => Scale::Logits,
        }
    }

    /// Each row, or nothing where features were seen to follow from several columns.
    fn explain(
        &self,
        scorer: &Scorer,
        explainer: &Explainer,
        raw: &Batch,
        until: Option<Instant>,
    ) -> Result<Vec<Option<Explained>>, ScoreError> {
        let (width, count) = (raw.num_columns(), self.reference.len());
        // For each row: it, one mixture for each column, and some of about half of its columns.
        let each = 1 + width + MIXTURES;
        let mut explained = Vec::with_capacity(raw.num_rows());
        let rows_at_once = (ROWS_AT_ONCE / each).max(1);
        for first in (0..raw.num_rows()).step_by(rows_at_once) {
            in_time(until)?;
            let rows = raw.slice(first, rows_at_once.min(raw.num_rows() - first));
            let pool = joined(&explainer.reference, &rows)?;
            let mut picks = vec![Vec::with_capacity(rows.num_rows() * each); width];
            for row in 0..rows.num_rows() {
                let (own, other) = ((count + row) as u32, ((first + row) % count) as u32);
                for (column, picks) in picks.iter_mut().enumerate() {
                    picks.extend((0..each).map(|mixture| if takes(mixture, column, width) { own } else { other }));
                }
            }
            let features = matrix(&scorer.features(&mix(&pool, &picks, rows.num_rows() * each)?)?);
            for (row, features) in features.chunks_exact(each).enumerate() {
                let other = &self.reference[(first + row) % count];
                let players = self.players(features, other, width);
                explained.push(players.map(|players| self.walk(&features[0], &players, width)).transpose()?);
            }
        }
        Ok(explained)
    }

    /// From which column each feature follows, if that explains every mixture of a row and a reference row.
    fn players(&self, features: &[Vec<f64>], other: &[f64], width: usize) -> Option<Players> {
        let own = &features[0];
        let mut columns = self.columns.clone();
        for column in 0..width {
            for feature in changed(&features[1 + column], other) {
                match columns[feature] {
                    Some(known) if known != column => return None,
                    _ => columns[feature] = Some(column),
                }
            }
        }
        let as_told = |mixture: usize| {
            features[mixture].iter().enumerate().all(|(feature, found)| {
                let own_side = columns[feature].is_some_and(|column| takes(mixture, column, width));
                same(*found, if own_side { own[feature] } else { other[feature] })
            })
        };
        // A feature that no column changes is the same on both sides, so no walk ever asks whose it is.
        let players = || Players::groups(columns.iter().map(|column| column.unwrap_or(0)).collect(), width);
        (0..features.len()).all(as_told).then(players)
    }

    fn walk(&self, features: &[f64], players: &Players, width: usize) -> Result<Explained, ScoreError> {
        let shares = self.trees.against(features, &self.reference, players)?;
        let columns: Vec<usize> = (0..width).collect();
        let scores = attributions(&shares, self.outputs.iter().copied(), &columns, width);
        Ok(Explained { method: Method::Trees, exact: true, scale: self.scale(), scores })
    }
}

/// Whether a mixture takes a column from the row rather than from the reference row: the first takes all, then comes
/// one for each column alone, then some of about half of them.
fn takes(mixture: usize, column: usize, width: usize) -> bool {
    match mixture {
        0 => true,
        alone if alone <= width => column == alone - 1,
        some => {
            // Multiplied bits, so that any two columns are on one side in some and apart in others.
            let bits = (column as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (some - width + 20);
            bits & 1 == 1
        }
    }
}

/// From which raw column each feature follows, as far as the reference rows show it; nothing if one follows from several.
fn columns_of_features(
    scorer: &Scorer,
    raw: &Batch,
    reference: &[Vec<f64>],
) -> Result<Option<Vec<Option<usize>>>, ScoreError> {
    let count = raw.num_rows() as u32;
    let mut found = vec![None; reference[0].len()];
    for column in 0..raw.num_columns() {
        // Each row with this column of the next one.
        let own: Vec<u32> = (0..count).collect();
        let mut picks = vec![own; raw.num_columns()];
        picks[column].rotate_left(1);
        let features = matrix(&scorer.features(&mix(raw, &picks, raw.num_rows())?)?);
        for feature in features.iter().zip(reference).flat_map(|(features, before)| changed(features, before)) {
            match found[feature] {
                Some(known) if known != column => return Ok(None),
                _ => found[feature] = Some(column),
            }
        }
    }
    Ok(Some(found))
}

/// What the model makes of sums, and which output of the trees each of its answers is.
fn link(sums: &[Vec<f64>], answers: &[Vec<f64>]) -> Option<(Link, Vec<usize>)> {
    let outputs: Vec<usize> = match (sums[0].len(), answers.len()) {
        (trees, numbers) if trees == numbers => (0..numbers).collect(),
        // One sum decides between two classes.
        (1, 2) => vec![0, 0],
        _ => return None,
    };
    let one_of_two = sums[0].len() == 1 && answers.len() == 2;
    let fits = |link: &Link| {
        sums.iter().enumerate().all(|(row, sums)| {
            let expected = link.of(sums);
            // Of two classes, the second's; the first's is what is left.
            let mut compared = answers.iter().enumerate().skip(usize::from(one_of_two));
            compared.all(|(number, answers)| {
                (expected[outputs[number]] - answers[row]).abs() <= TOLERANCE * answers[row].abs().max(1.0)
            })
        })
    };
    let links = [Link::Same, Link::Logistic, Link::OneAgainstRest, Link::Softmax];
    links.into_iter().find(fits).map(|link| (link, outputs))
}

impl Link {
    fn of(self, sums: &[f64]) -> Vec<f64> {
        let logistic = |sum: &f64| 1.0 / (1.0 + (-sum).exp());
        let shares = |parts: Vec<f64>| {
            let all: f64 = parts.iter().sum();
            parts.into_iter().map(|part| part / all).collect()
        };
        match self {
            Self::Same => sums.to_vec(),
            Self::Logistic => sums.iter().map(logistic).collect(),
            Self::OneAgainstRest => shares(sums.iter().map(logistic).collect()),
            Self::Softmax => {
                let most = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                shares(sums.iter().map(|sum| (sum - most).exp()).collect())
            }
        }
    }
}

fn changed(features: &[f64], before: &[f64]) -> Vec<usize> {
    (0..features.len()).filter(|feature| !same(features[*feature], before[*feature])).collect()
}

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Features as the model's input tensor has them, row by row.
fn matrix(features: &Batch) -> Vec<Vec<f64>> {
    let mut rows = vec![Vec::with_capacity(features.num_columns()); features.num_rows()];
    for column in features.columns() {
        let narrow = cast(column, Kind::Float32);
        let values = narrow.as_primitive::<Float32Type>();
        for (row, cells) in rows.iter_mut().enumerate() {
            cells.push(if values.is_null(row) { f64::NAN } else { f64::from(values.value(row)) });
        }
    }
    rows
}

fn wide(column: &ArrayRef) -> Vec<f64> {
    cast(column, Kind::Float64).as_primitive::<Float64Type>().values().to_vec()
}

/// The rows of both.
fn joined(first: &Batch, second: &Batch) -> Result<Batch, ScoreError> {
    let columns = first
        .columns()
        .iter()
        .zip(second.columns())
        .map(|(a, b)| arrow_select::concat::concat(&[a.as_ref(), b.as_ref()]));
    let columns = columns.collect::<Result<_, _>>().map_err(|error| too_large(&error))?;
    Ok(Batch::new(first.schema().clone(), columns, first.num_rows() + second.num_rows())?)
}

/// New rows: for each column, from which row of the pool each value comes.
fn mix(pool: &Batch, picks: &[Vec<u32>], rows: usize) -> Result<Batch, ScoreError> {
    let columns = pool.columns().iter().zip(picks).map(|(column, picks)| {
        let picks = UInt32Array::from(picks.clone());
        arrow_select::take::take(column, &picks, None)
    });
    let columns: Vec<Arc<dyn Array>> = columns.collect::<Result<_, _>>().map_err(|error| too_large(&error))?;
    Ok(Batch::new(pool.schema().clone(), columns, rows)?)
}

fn too_large(error: &dyn std::fmt::Display) -> ScoreError {
    ExtError::fault("the explanation", codes::LIMIT_EXCEEDED, format!("rows cannot be mixed: {error}")).into()
}
