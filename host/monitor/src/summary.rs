//! Both samples of a column at a glance: counts and a histogram with common bars.

use std::collections::HashMap;

use arrow_array::{Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};
use plinth_ext::Kind;
use serde::{Deserialize, Serialize};

/// Most bars of a histogram.
const BARS_MAX: usize = 24;
/// Most categories that get a bar of their own; the rest share one.
const CATEGORIES_MAX: usize = 14;
/// Distinct values up to which an integer column is looked at as categories.
const INTEGER_CATEGORIES_MAX: usize = 10;
/// Longest category label, in characters.
const LABEL_CHARS_MAX: usize = 24;

/// How a column is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnClass {
    /// By its distribution function.
    Numeric,
    /// By the frequencies of its values.
    Categorical,
    /// Not at all: an identifier, a time, bytes or free text.
    Skipped,
}

/// Both samples of a column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ColumnSummary {
    /// Nulls (and NaNs) among the reference rows.
    pub nulls_reference: u64,
    /// Nulls (and NaNs) among the current rows.
    pub nulls_current: u64,
    /// Mean of the reference, for numeric columns.
    pub mean_reference: Option<f64>,
    /// Mean of the current sample, for numeric columns.
    pub mean_current: Option<f64>,
    /// Distinct values over both sides, counted up to 10,000.
    pub distinct: u64,
    /// Values of the current sample that the reference does not have, for categorical columns.
    pub unseen: Vec<String>,
    /// Shares by bar.
    pub histogram: Histogram,
}

/// Shares of both samples over common bars.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// First to last.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// A category, or a range of numbers.
    pub label: String,
    /// Share of the reference's rows, 0 to 1.
    pub reference: f64,
    /// Share of the current rows, 0 to 1.
    pub current: f64,
}

/// Values of a column, ready to be counted.
enum Values {
    Numbers(Vec<f64>),
    Labels(Vec<String>),
}

/// Classifies a column and summarises both samples of it.
pub(crate) fn summarise(kind: Kind, reference: &ArrayRef, current: &ArrayRef) -> (ColumnClass, ColumnSummary) {
    match kind {
        Kind::TimestampUs | Kind::Binary => {
            let summary = ColumnSummary {
                nulls_reference: reference.null_count() as u64,
                nulls_current: current.null_count() as u64,
                ..Default::default()
            };
            (ColumnClass::Skipped, summary)
        }
        Kind::Int64 if integers_are_categories(reference, current) => (
            ColumnClass::Categorical,
            categorical(&labels_of_integers(reference), &labels_of_integers(current), reference, current),
        ),
        _ => match (values(reference), values(current)) {
            (Values::Numbers(r), Values::Numbers(c)) => (ColumnClass::Numeric, numeric(&r, &c, reference, current)),
            (Values::Labels(r), Values::Labels(c)) => {
                let summary = categorical(&r, &c, reference, current);
                let identifier = summary.distinct > 100 && summary.distinct * 2 > (r.len() + c.len()) as u64;
                (if identifier { ColumnClass::Skipped } else { ColumnClass::Categorical }, summary)
            }
            _ => (ColumnClass::Skipped, ColumnSummary::default()),
        },
    }
}

/// The finite numbers, or the texts, of a column.
fn values(array: &ArrayRef) -> Values {
    let any = array.as_any();
    if let Some(a) = any.downcast_ref::<Float64Array>() {
        Values::Numbers(a.iter().flatten().filter(|v| v.is_finite()).collect())
    } else if let Some(a) = any.downcast_ref::<Float32Array>() {
        Values::Numbers(a.iter().flatten().map(f64::from).filter(|v| v.is_finite()).collect())
    } else if let Some(a) = any.downcast_ref::<Int64Array>() {
        Values::Numbers(a.iter().flatten().map(|v| v as f64).collect())
    } else if let Some(a) = any.downcast_ref::<BooleanArray>() {
        Values::Labels(a.iter().flatten().map(|v| v.to_string()).collect())
    } else if let Some(a) = any.downcast_ref::<StringArray>() {
        Values::Labels(a.iter().flatten().map(str::to_owned).collect())
    } else {
        Values::Labels(Vec::new())
    }
}

fn integers_are_categories(reference: &ArrayRef, current: &ArrayRef) -> bool {
    let mut seen = std::collections::HashSet::new();
    for array in [reference, current] {
        let Some(array) = array.as_any().downcast_ref::<Int64Array>() else { return false };
        for value in array.iter().flatten() {
            if seen.insert(value) && seen.len() > INTEGER_CATEGORIES_MAX {
                return false;
            }
        }
    }
    true
}

fn labels_of_integers(array: &ArrayRef) -> Vec<String> {
    let array = array.as_any().downcast_ref::<Int64Array>();
    array.map(|a| a.iter().flatten().map(|v| v.to_string()).collect()).unwrap_or_default()
}

/// Bars of equal width between the pooled 0.5 % and 99.5 % quantiles; the outermost take what lies beyond.
fn numeric(reference: &[f64], current: &[f64], r: &ArrayRef, c: &ArrayRef) -> ColumnSummary {
    let mut pooled: Vec<f64> = reference.iter().chain(current).copied().collect();
    pooled.sort_unstable_by(f64::total_cmp);
    let mut distinct = 0_u64;
    let mut last = None;
    for value in &pooled {
        if last != Some(*value) {
            distinct += 1;
            last = Some(*value);
        }
    }
    let mut summary = ColumnSummary {
        nulls_reference: (r.len() - reference.len()) as u64,
        nulls_current: (c.len() - current.len()) as u64,
        mean_reference: mean(reference),
        mean_current: mean(current),
        distinct: distinct.min(10_000),
        ..Default::default()
    };
    if pooled.is_empty() {
        return summary;
    }
    let low = pooled[pooled.len() / 200];
    let high = pooled[pooled.len() - 1 - pooled.len() / 200];
    let bars = if high > low { BARS_MAX.min(distinct as usize) } else { 1 };
    let width = (high - low) / bars as f64;
    let place = |value: f64| {
        if width > 0.0 { (((value - low) / width).floor().max(0.0) as usize).min(bars - 1) } else { 0 }
    };
    let shares = |sample: &[f64]| {
        let mut counts = vec![0_u64; bars];
        sample.iter().for_each(|value| counts[place(*value)] += 1);
        counts.into_iter().map(|count| count as f64 / sample.len().max(1) as f64).collect::<Vec<_>>()
    };
    summary.histogram.bars = shares(reference)
        .into_iter()
        .zip(shares(current))
        .enumerate()
        .map(|(i, (reference, current))| {
            let from = low + width * i as f64;
            let label = if width > 0.0 { format!("{} to {}", short(from), short(from + width)) } else { short(low) };
            Bar { label, reference, current }
        })
        .collect();
    summary
}

/// A bar for each of the most frequent values, and one for all others.
fn categorical(reference: &[String], current: &[String], r: &ArrayRef, c: &ArrayRef) -> ColumnSummary {
    let mut counts: HashMap<&str, [u64; 2]> = HashMap::new();
    for (side, sample) in [reference, current].into_iter().enumerate() {
        for value in sample {
            counts.entry(value).or_default()[side] += 1;
        }
    }
    let mut order: Vec<(&str, [u64; 2])> = counts.into_iter().collect();
    order.sort_unstable_by(|a, b| (b.1[0] + b.1[1]).cmp(&(a.1[0] + a.1[1])).then(a.0.cmp(b.0)));
    let share = |count: u64, of: usize| count as f64 / of.max(1) as f64;
    let bar = |label: String, counts: [u64; 2]| Bar {
        label,
        reference: share(counts[0], reference.len()),
        current: share(counts[1], current.len()),
    };
    let mut bars: Vec<Bar> =
        order.iter().take(CATEGORIES_MAX).map(|(value, counts)| bar(cut(value), *counts)).collect();
    if order.len() > CATEGORIES_MAX {
        let rest = order[CATEGORIES_MAX..].iter().fold([0, 0], |sum, (_, n)| [sum[0] + n[0], sum[1] + n[1]]);
        bars.push(bar(format!("{} others", order.len() - CATEGORIES_MAX), rest));
    }
    ColumnSummary {
        nulls_reference: (r.len() - reference.len()) as u64,
        nulls_current: (c.len() - current.len()) as u64,
        mean_reference: None,
        mean_current: None,
        distinct: order.len().min(10_000) as u64,
        unseen: order.iter().filter(|(_, n)| n[0] == 0).take(8).map(|(value, _)| cut(value)).collect(),
        histogram: Histogram { bars },
    }
}

fn mean(sample: &[f64]) -> Option<f64> {
    (!sample.is_empty()).then(|| sample.iter().sum::<f64>() / sample.len() as f64)
}

fn cut(text: &str) -> String {
    let mut label: String = text.chars().take(LABEL_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > LABEL_CHARS_MAX {
        label.push('…');
    }
    label
}

/// A number in at most about five significant digits.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if (-3.0..6.0).contains(&magnitude) {
        let decimals = (3.0 - magnitude).clamp(0.0, 6.0) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn floats(values: Vec<f64>) -> ArrayRef {
        Arc::new(Float64Array::from(values))
    }

    #[test]
    fn shares_of_each_side_add_up_to_one() {
        let reference = floats((0..1000).map(f64::from).collect());
        let current = floats((500..1500).map(f64::from).collect());
        let (class, summary) = summarise(Kind::Float64, &reference, &current);
        assert_eq!(class, ColumnClass::Numeric);
        for side in [|b: &Bar| b.reference, |b: &Bar| b.current] {
            let sum: f64 = summary.histogram.bars.iter().map(side).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn nan_and_null_count_as_missing_and_constants_get_one_bar() {
        let reference: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::NAN)]));
        let (_, summary) = summarise(Kind::Float64, &reference, &floats(vec![1.0, 1.0]));
        assert_eq!((summary.nulls_reference, summary.nulls_current), (2, 0));
        assert_eq!(summary.histogram.bars.len(), 1);
    }

    #[test]
    fn few_integers_are_categories_and_unseen_ones_are_named() {
        let reference: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 1]));
        let current: ArrayRef = Arc::new(Int64Array::from(vec![1, 3, 3]));
        let (class, summary) = summarise(Kind::Int64, &reference, &current);
        assert_eq!(class, ColumnClass::Categorical);
        assert_eq!(summary.unseen, ["3"]);
    }

    #[test]
    fn a_column_of_identifiers_is_skipped() {
        let ids = |from: usize| -> ArrayRef {
            Arc::new(StringArray::from((from..from + 200).map(|i| format!("id{i}")).collect::<Vec<_>>()))
        };
        assert_eq!(summarise(Kind::Utf8, &ids(0), &ids(200)).0, ColumnClass::Skipped);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            ["0", "1.5", "1234", "0.0012", "1.20e9"].map(str::to_owned),
            [0.0, 1.5, 1234.4, 0.0012, 1.2e9].map(short)
        );
    }
}
