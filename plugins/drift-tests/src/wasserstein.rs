//! The Wasserstein distance, free of scale.

use plinth_sdk::{Block, DriftTest, Kind, Problem, Schema, drift::Outcome};

use crate::{
    numbers::{Numbers, quantile},
    ruling::Rule,
};

/// How far values would have to be moved on average to make one sample of the other, in standard deviations (or
/// interquartile ranges) of the reference.
pub struct Wasserstein;

/// How to scale and to decide.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    threshold: f64,
    rows_min: u64,
    scale: Scale,
}

/// What the distance is measured in.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scale {
    /// Standard deviation of the reference.
    Std,
    /// Its interquartile range, which outliers do not move.
    Iqr,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: 0.1, rows_min: 30, scale: Scale::Std }
    }
}

impl DriftTest for Wasserstein {
    const NAME: &'static str = "wasserstein";
    const SUMMARY: &'static str = "Wasserstein distance";
    const EFFECT: Option<&'static str> = Some("the distance itself, in standard deviations of the reference");
    const OPTIONS: &'static str = r#"{
  "type": "object",
  "properties": {
    "threshold": {"type": "number", "exclusiveMinimum": 0, "default": 0.1, "description": "drift where the distance is at least this and more than chance explains"},
    "rows-min": {"type": "integer", "minimum": 1, "default": 30, "description": "inconclusive where a side has fewer usable rows"},
    "scale": {"enum": ["std", "iqr"], "default": "std", "description": "what the distance is measured in: standard deviations or interquartile ranges of the reference"}
  },
  "additionalProperties": false
}"#;
    const KINDS: &'static [Kind] = &[Kind::Int64, Kind::TimestampUs, Kind::Float32, Kind::Float64];
    type Options = Options;

    fn test(schema: &Schema, reference: &Block, current: &Block, options: Options) -> Result<Outcome, Problem> {
        let rule = Rule::new(options.threshold, false, 0.0, options.rows_min)?;
        let mut numbers = Numbers::read(schema, reference, current)?;
        if numbers.counted.one_side_is_empty() {
            return Ok(numbers.counted.inconclusive("one side has no values at all", &rule));
        }
        let Moved { distance, chance } = moved(&numbers);
        if distance == 0.0 {
            return Ok(numbers.counted.by_distance(0.0, 0.0, &rule));
        }
        let scale = scale(&mut numbers, options.scale);
        Ok(numbers.counted.by_distance(distance / scale, chance / scale, &rule))
    }
}

/// In the column's own unit.
struct Moved {
    distance: f64,
    chance: f64,
}

/// The area between both distributions, and what chance alone makes of it: without drift the gap at a value is about
/// normal with variance `F (1 - F) (1/n + 1/m)`, so the area has a mean of `√(2/π)` times the area under the gap's
/// deviation; twice that mean is about the 95 % point.
fn moved(numbers: &Numbers) -> Moved {
    let (n, m) = (numbers.reference.len() as f64, numbers.current.len() as f64);
    let (mut distance, mut deviation) = (0.0, 0.0);
    let mut before: Option<(f64, f64, f64)> = None;
    numbers.walk(|value, i, j| {
        if let Some((last, gap, spread)) = before {
            distance += gap * (value - last);
            deviation += spread * (value - last);
        }
        let pooled = (i + j) as f64 / (n + m);
        before = Some((value, (i as f64 / n - j as f64 / m).abs(), (pooled * (1.0 - pooled)).sqrt()));
    });
    let mean = (2.0 / std::f64::consts::PI * numbers.counted.variance_factor()).sqrt() * deviation;
    Moved { distance, chance: 2.0 * mean }
}

/// What a distance is divided by; never zero where the samples differ.
fn scale(numbers: &mut Numbers, scale: Scale) -> f64 {
    let iqr = |values: &[f64]| quantile(values, 0.75) - quantile(values, 0.25);
    let spread = match scale {
        Scale::Std => std(numbers.reference.iter()),
        Scale::Iqr => iqr(&numbers.reference),
    };
    // A spread that is rounding noise beside the values is none.
    let largest = numbers.reference.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    if spread > 1e-12 * largest {
        return spread;
    }
    let what = match scale {
        Scale::Std => "the reference is constant",
        Scale::Iqr => "half of the reference is one value",
    };
    numbers.counted.notes.push(format!("{what}; the distance is in standard deviations of both samples together"));
    std(numbers.reference.iter().chain(&numbers.current))
}

/// Of the population, in two passes.
fn std<'a>(values: impl Iterator<Item = &'a f64> + Clone) -> f64 {
    let (sum, count) = values.clone().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    let mean = sum / count;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}
