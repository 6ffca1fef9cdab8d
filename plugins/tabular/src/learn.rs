//! What a step counts while it is being fitted, column by column, and what it makes of the counts.

use std::collections::BTreeMap;

use plinth_sdk::{Kind, Problem};
use serde::{Deserialize, Serialize};

use crate::exact::{Moments, StoredMoments};
use crate::frame::{Column, Values, bit};
use crate::options::{Spec, Strategy};

use crate::sketch::{DISTINCT_MAX, Distinct, StoredDistinct};
use crate::step::{Affine, Categories, Col, FillValue, Learned};

/// Distinct values that `most-frequent` counts in one column, at most.
const FREQUENT_MAX: usize = 100_000;

/// What is counted of one column.
#[derive(Debug, Clone)]
pub(crate) enum Learner {
    Moments(Box<Moments>),
    Distinct(Distinct),
    Texts {
        counts: BTreeMap<String, u64>,
        max: usize,
    },
    /// Integers, and booleans as 0 and 1.
    Ints {
        counts: BTreeMap<i64, u64>,
        max: usize,
    },
}

/// [`Learner`] as bytes see it.
#[derive(Serialize, Deserialize)]
pub(crate) enum StoredLearner {
    Moments(StoredMoments),
    Distinct(StoredDistinct),
    Texts(Vec<(String, u64)>),
    Ints(Vec<(i64, u64)>),
}

impl Learner {
    /// What a step counts of a column.
    ///
    /// # Errors
    /// `unsupported-kind` where the step cannot work on such a column.
    pub(crate) fn new(spec: &Spec, col: &Col) -> Result<Self, Problem> {
        let kind = col.field.kind;
        let counter = |max: usize| match kind {
            Kind::Utf8 => Some(Self::Texts { counts: BTreeMap::new(), max }),
            Kind::Int64 | Kind::Boolean => Some(Self::Ints { counts: BTreeMap::new(), max }),
            _ => None,
        };
        let moments = || numeric(kind).then(|| Self::Moments(Box::new(Moments::new())));
        let distinct = || numeric(kind).then(|| Self::Distinct(Distinct::default()));
        let (learner, wanted) = match spec {
            Spec::Impute { strategy: Strategy::Mean, .. } => {
                (moments(), "numbers; use most-frequent or constant for it")
            }
            Spec::Impute { strategy: Strategy::Median, .. } => {
                (distinct(), "numbers; use most-frequent or constant for it")
            }
            Spec::Impute { .. } => (counter(FREQUENT_MAX).or_else(distinct), "numbers, text or booleans"),
            Spec::StandardScale { .. } | Spec::MinMaxScale { .. } => {
                (moments(), "numbers; name the columns, or use columns: numeric")
            }
            Spec::RobustScale { .. } | Spec::QuantileBin { .. } => {
                (distinct(), "numbers; name the columns, or use columns: numeric")
            }
            Spec::OneHot { categories_max, .. } | Spec::Ordinal { categories_max, .. } => {
                (counter(*categories_max), "text, integers or booleans; bin or cast it first")
            }
            Spec::Select { .. } | Spec::Drop { .. } | Spec::Cast { .. } | Spec::DateParts { .. } => {
                (None, "nothing to be learned")
            }
        };
        learner.ok_or_else(|| unsupported(spec.name(), col, wanted))
    }

    /// Takes the rows of a column.
    ///
    /// # Errors
    /// `infinite-value`, `too-many-categories`.
    pub(crate) fn observe(&mut self, column: &Column, rows: usize, name: &str) -> Result<(), Problem> {
        match self {
            Self::Moments(moments) => each_number(column, rows, name, |value| moments.add(value)),
            Self::Distinct(distinct) => each_number(column, rows, name, |value| distinct.add(value)),
            Self::Texts { counts, max } => {
                for row in (0..rows).filter(|&row| column.is_valid(row)) {
                    let text = std::str::from_utf8(column.bytes_at(row)).map_err(|e| {
                        Problem::bad_input("bad-block", format!("column {name}: {e}"))
                            .in_column(name)
                            .at_row(row as u64)
                    })?;
                    if let Some(count) = counts.get_mut(text) {
                        *count += 1;
                    } else {
                        counts.insert(text.to_owned(), 1);
                        check_count(counts.len(), *max, name)?;
                    }
                }
                Ok(())
            }
            Self::Ints { counts, max } => {
                let mut count = |value: i64| {
                    *counts.entry(value).or_insert(0) += 1;
                    check_count(counts.len(), *max, name)
                };
                match &column.values {
                    Values::I64(values) => {
                        (0..rows).filter(|&row| column.is_valid(row)).try_for_each(|row| count(values[row]))
                    }
                    Values::Bits(bits) => (0..rows)
                        .filter(|&row| column.is_valid(row))
                        .try_for_each(|row| count(i64::from(bit(bits, row)))),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Takes in what another learner of the same column counted.
    ///
    /// # Errors
    /// `bad-partial`, `too-many-categories`.
    pub(crate) fn merge(&mut self, other: StoredLearner, name: &str) -> Result<(), Problem> {
        let bad = || Problem::bad_input("bad-partial", format!("what was learned of column {name} cannot be read"));
        match (self, other) {
            (Self::Moments(mine), StoredLearner::Moments(theirs)) => {
                mine.merge(&Moments::from_stored(&theirs).ok_or_else(bad)?);
            }
            (Self::Distinct(mine), StoredLearner::Distinct(theirs)) => {
                mine.merge(&Distinct::from_stored(theirs).ok_or_else(bad)?);
            }
            (Self::Texts { counts, max }, StoredLearner::Texts(theirs)) => {
                for (value, count) in theirs {
                    *counts.entry(value).or_insert(0) += count;
                }
                check_count(counts.len(), *max, name)?;
            }
            (Self::Ints { counts, max }, StoredLearner::Ints(theirs)) => {
                for (value, count) in theirs {
                    *counts.entry(value).or_insert(0) += count;
                }
                check_count(counts.len(), *max, name)?;
            }
            _ => return Err(bad()),
        }
        Ok(())
    }

    pub(crate) fn store(&mut self) -> StoredLearner {
        match self {
            Self::Moments(moments) => StoredLearner::Moments(moments.store()),
            Self::Distinct(distinct) => StoredLearner::Distinct(distinct.store()),
            Self::Texts { counts, .. } => StoredLearner::Texts(counts.clone().into_iter().collect()),
            Self::Ints { counts, .. } => StoredLearner::Ints(counts.clone().into_iter().collect()),
        }
    }
}

/// Makes a fitted step of what was counted, one learner a column.
///
/// # Errors
/// `no-values` where a column held nothing to learn from, `not-finite` where a statistic has no finite value.
pub(crate) fn finish(spec: &Spec, cols: &[Col], learners: &mut [Learner]) -> Result<Learned, Problem> {
    let mut fills = Vec::new();
    let mut affines = Vec::new();
    let mut encoded = Vec::new();
    let mut bins = Vec::new();
    for (col, learner) in cols.iter().zip(learners) {
        let name = col.field.name.clone();
        let none = || {
            let message =
                format!("{}: column {name} holds no value to learn from; drop it or impute a constant", spec.name());
            Problem::bad_input("no-values", message).in_column(&name)
        };
        match (spec, learner) {
            (Spec::Impute { strategy, .. }, learner) => {
                if let (Strategy::MostFrequent, Learner::Distinct(distinct)) = (strategy, &mut *learner)
                    && !distinct.is_exact()
                {
                    return Err(too_many(DISTINCT_MAX, &name));
                }
                let value = fill_of(spec, col, learner).ok_or_else(none)?;
                if let FillValue::Float(value) = value {
                    check_finite(value, &name)?;
                }
                fills.push((name, value));
            }
            (Spec::OneHot { .. } | Spec::Ordinal { .. }, learner) => {
                let categories = categories_of(col, learner).filter(|c| c.len() > 0).ok_or_else(none)?;
                encoded.push((name, categories));
            }
            (Spec::QuantileBin { bins: n, .. }, Learner::Distinct(distinct)) => {
                let mut edges = Vec::with_capacity(n - 1);
                for edge in 1..*n {
                    let value = distinct.quantile(edge as f64 / *n as f64).ok_or_else(none)?;
                    if edges.last() != Some(&value) {
                        edges.push(value);
                    }
                }
                bins.push((name, edges));
            }
            (_, learner) => {
                let (subtract, multiply, add, clip) = affine_of(spec, learner).ok_or_else(none)?;
                for value in [subtract, multiply, add] {
                    check_finite(value, &name)?;
                }
                affines.push(Affine { column: name, subtract, multiply, add, clip });
            }
        }
    }
    Ok(match spec {
        Spec::Impute { .. } => Learned::Fill(fills),
        Spec::OneHot { unknown, drop_first, .. } => {
            Learned::OneHot { columns: encoded, unknown: *unknown, drop_first: *drop_first }
        }
        Spec::Ordinal { unknown, .. } => Learned::Ordinal { columns: encoded, unknown: *unknown },
        Spec::QuantileBin { .. } => Learned::Bins(bins),
        _ => Learned::Affine(affines),
    })
}

fn fill_of(spec: &Spec, col: &Col, learner: &mut Learner) -> Option<FillValue> {
    Some(match learner {
        Learner::Moments(moments) => FillValue::Float((moments.n > 0).then(|| moments.mean())?),
        Learner::Distinct(distinct) => {
            let median = matches!(spec, Spec::Impute { strategy: Strategy::Median, .. });
            FillValue::Float(if median { distinct.quantile(0.5)? } else { distinct.most_frequent()? })
        }
        Learner::Texts { counts, .. } => FillValue::Text(most_frequent(counts)?.clone()),
        Learner::Ints { counts, .. } => {
            let value = *most_frequent(counts)?;
            if col.field.kind == Kind::Boolean { FillValue::Flag(value == 1) } else { FillValue::Int(value) }
        }
    })
}

/// The key with the highest count, the least of several.
fn most_frequent<K: Ord>(counts: &BTreeMap<K, u64>) -> Option<&K> {
    counts.iter().rev().max_by_key(|(_, count)| **count).map(|(key, _)| key)
}

fn categories_of(col: &Col, learner: &Learner) -> Option<Categories> {
    match learner {
        Learner::Texts { counts, .. } => Some(Categories::Texts(counts.keys().cloned().collect())),
        Learner::Ints { counts, .. } if col.field.kind == Kind::Boolean => {
            Some(Categories::Flags(counts.keys().map(|&value| value == 1).collect()))
        }
        Learner::Ints { counts, .. } => Some(Categories::Ints(counts.keys().copied().collect())),
        _ => None,
    }
}

/// Subtract, multiply, add, clip.
type AffineParts = (f64, f64, f64, Option<(f64, f64)>);

fn affine_of(spec: &Spec, learner: &mut Learner) -> Option<AffineParts> {
    match (spec, learner) {
        (Spec::StandardScale { center, scale, .. }, Learner::Moments(moments)) if moments.n > 0 => {
            let deviation = moments.variance().sqrt();
            let multiply = if *scale && deviation != 0.0 { 1.0 / deviation } else { 1.0 };
            Some((if *center { moments.mean() } else { 0.0 }, multiply, 0.0, None))
        }
        (Spec::MinMaxScale { low, high, clip, .. }, Learner::Moments(moments)) if moments.n > 0 => {
            let range = moments.max - moments.min;
            let multiply = (high - low) / if range == 0.0 { 1.0 } else { range };
            Some((moments.min, multiply, *low, clip.then_some((*low, *high))))
        }
        (Spec::RobustScale { low, high, .. }, Learner::Distinct(distinct)) => {
            let median = distinct.quantile(0.5)?;
            let range = distinct.quantile(*high)? - distinct.quantile(*low)?;
            Some((median, if range == 0.0 { 1.0 } else { 1.0 / range }, 0.0, None))
        }
        _ => None,
    }
}

/// Calls back with every value that is neither null nor NaN.
fn each_number(column: &Column, rows: usize, name: &str, mut take: impl FnMut(f64)) -> Result<(), Problem> {
    let mut checked = |row: usize, value: f64| {
        if value.is_finite() {
            take(value);
        } else if value.is_infinite() {
            let message =
                format!("column {name} is {value}: a scale cannot be learned from it; clean or drop such rows");
            return Err(Problem::bad_input("infinite-value", message).in_column(name).at_row(row as u64));
        }
        Ok(())
    };
    let valid = |row: &usize| column.is_valid(*row);
    match &column.values {
        Values::F64(values) => (0..rows).filter(valid).try_for_each(|row| checked(row, values[row])),
        Values::F32(values) => (0..rows).filter(valid).try_for_each(|row| checked(row, f64::from(values[row]))),
        Values::I64(values) => (0..rows).filter(valid).try_for_each(|row| checked(row, values[row] as f64)),
        Values::Bits(_) | Values::Bytes(..) => Ok(()),
    }
}

/// Whether columns of a kind hold numbers.
pub(crate) fn numeric(kind: Kind) -> bool {
    matches!(kind, Kind::Int64 | Kind::Float32 | Kind::Float64)
}

/// A column that a step cannot work on.
pub(crate) fn unsupported(step: &str, col: &Col, wanted: &str) -> Problem {
    let Col { field, .. } = col;
    let message = format!("{step}: column {} is {}, and the step needs {wanted}", field.name, field.kind);
    Problem::bad_input("unsupported-kind", message).in_column(&field.name)
}

fn check_count(n: usize, max: usize, name: &str) -> Result<(), Problem> {
    if n <= max { Ok(()) } else { Err(too_many(max, name)) }
}

fn too_many(max: usize, name: &str) -> Problem {
    let message = format!(
        "column {name} holds more than {max} distinct values; drop or bin it, or let an encoder take more with max-categories"
    );
    Problem::bad_input("too-many-categories", message).in_column(name)
}

fn check_finite(value: f64, name: &str) -> Result<(), Problem> {
    if value.is_finite() {
        return Ok(());
    }
    let message = format!("column {name}: its values are too large for their scale to be a number");
    Err(Problem::bad_input("not-finite", message).in_column(name))
}
