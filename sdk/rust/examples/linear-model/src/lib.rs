//! A model, intercept + sum of coefficient * value, with the coefficients as its artifact: the example of its extension
//! point.
//!
//! `Linear::load` binds the artifact to the columns of the rows to come, `predict` goes column by column. Sums are in
//! the order of the artifact, so that the same rows are the same bits on every machine. A row in which a value is null
//! has no prediction.

use plinth_sdk::{Block, BlockBuilder, Field, Kind, Model, Predictor, Problem, Schema, bitmap};
use serde::Deserialize;

/// The model, bound to columns.
pub struct Linear {
    input: Schema,
    output: Schema,
    intercept: f64,
    /// Where a column stands, and what its values are multiplied by.
    terms: Vec<(usize, f64)>,
    link: Link,
}

/// Its options. What the JSON Schema says, the host has checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "prediction")]
    output: String,
    #[serde(default)]
    link: Link,
}

fn prediction() -> String {
    "prediction".into()
}

/// What becomes of the sum.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Link {
    #[default]
    Identity,
    Logistic,
}

/// What is registered with a model version, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    #[serde(default)]
    intercept: f64,
    coefficients: Vec<Term>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Term {
    column: String,
    value: f64,
}

impl Model for Linear {
    const NAME: &'static str = "linear-model";
    const SUMMARY: &'static str = "A linear or logistic model whose coefficients are its artifact";
    const OPTIONS: &'static str = r#"{
        "type": "object",
        "properties": {
            "output": {
                "type": "string",
                "minLength": 1,
                "default": "prediction",
                "description": "Name of the column of predictions"
            },
            "link": {
                "enum": ["identity", "logistic"],
                "default": "identity",
                "description": "What becomes of the sum: itself, or a probability"
            }
        },
        "additionalProperties": false
    }"#;
    type Options = Options;

    fn load(artifact: Vec<u8>, input: Schema, options: Options) -> Result<Self, Problem> {
        let artifact: Artifact = serde_json::from_slice(&artifact).map_err(|error| {
            let message = format!("the artifact is no {{\"intercept\": 0.5, \"coefficients\": [...]}}: {error}");
            Problem::bad_input("bad-artifact", message)
        })?;
        let mut terms = Vec::with_capacity(artifact.coefficients.len());
        let mut nullable = false;
        for Term { column, value } in artifact.coefficients {
            let at = input.require(&column)?;
            let field = &input.fields[at];
            if !field.kind.is_numeric() {
                let message = format!("column `{column}` is {}, which is no number", field.kind);
                return Err(Problem::bad_input("wrong-kind", message).in_column(column));
            }
            nullable |= field.nullable;
            terms.push((at, value));
        }
        let output = Schema::new([Field::new(options.output, Kind::Float64, nullable)]);
        Ok(Self { input, output, intercept: artifact.intercept, terms, link: options.link })
    }
}

impl Predictor for Linear {
    fn output(&self) -> Schema {
        self.output.clone()
    }

    fn predict(&self, rows: Block) -> Result<Block, Problem> {
        let mut sums = vec![self.intercept; rows.rows as usize];
        let mut known = vec![true; sums.len()];
        for &(column, coefficient) in &self.terms {
            let values = rows.numbers(&self.input, column)?;
            for ((sum, known), value) in sums.iter_mut().zip(&mut known).zip(values) {
                match value {
                    Some(value) => *sum += coefficient * value,
                    None => *known = false,
                }
            }
        }
        if let Link::Logistic = self.link {
            sums.iter_mut().for_each(|sum| *sum = 1.0 / (1.0 + exp(-*sum)));
        }
        let valid = known.contains(&false).then(|| bitmap(known.into_iter()));
        let mut predictions = BlockBuilder::new(&self.output, sums.len());
        predictions.f64s(sums, valid.as_deref())?;
        predictions.finish()
    }
}

/// e to the power `x` out of + - * and /, as a power of 2 and a series: `f64::exp` differs in its last bit between
/// platforms.
fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 709.782712893384 {
        return f64::INFINITY;
    }
    if x < -745.1332191019411 {
        return 0.0;
    }
    // x = k * ln 2 + r, with ln 2 in two parts, so that what is left has all its bits.
    let k = (x * std::f64::consts::LOG2_E + 0.5).floor();
    let r = (x - k * 0.693145751953125) - k * 1.4286068203094172e-6;
    let power = (1..=13).rev().fold(1.0, |power, n| 1.0 + power * r / f64::from(n));
    // 2^k in two parts: one alone may be beyond what a number holds where the result is not.
    let half = (k as i32) / 2;
    power * two_to(half) * two_to(k as i32 - half)
}

/// 2 to the power `n`, of which the exponent's bits are all there is.
fn two_to(n: i32) -> f64 {
    f64::from_bits(u64::from((1023 + n).unsigned_abs()) << 52)
}

plinth_sdk::export_models!(Linear);
