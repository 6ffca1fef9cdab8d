//! A transform, (value - mean) / deviation with the mean and the deviation of the training rows: the example of its
//! extension point.
//!
//! `Learning` fits, and partial fits merge; `Scaler` applies the state that came of it. Nulls and NaN teach nothing, nulls
//! stay null. Sums are in row order, so that the same rows are the same bits in every language and on every machine.

use plinth_sdk::{Block, Fitted, Fitting, Kind, Problem, Schema, Step, Transform};

/// Standard scaling.
pub struct StandardScale;

/// Its options. What the JSON Schema says, the host has checked.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    columns: Option<Vec<String>>,
}

impl Transform for StandardScale {
    const NAME: &'static str = "standard-scale";
    const SUMMARY: &'static str = "Centres numbers on their mean and scales them by their standard deviation";
    const OPTIONS: &'static str = r#"{
        "type": "object",
        "properties": {
            "columns": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Float64 columns to scale; without it all of them are"
            }
        },
        "additionalProperties": false
    }"#;
    type Options = Options;
    type Fitting = Learning;
    type Fitted = Scaler;

    fn start(input: Schema, options: Options) -> Result<Learning, Problem> {
        let columns = match options.columns {
            Some(names) => chosen(&input, &names)?,
            None => (0..input.len()).filter(|&column| input.fields[column].kind == Kind::Float64).collect(),
        };
        let moments = vec![Moments::default(); columns.len()];
        Ok(Learning { input, columns, moments })
    }

    fn load(state: Vec<u8>, input: Schema) -> Result<Scaler, Problem> {
        if !state.len().is_multiple_of(SCALING_LEN) {
            return Err(Problem::bad_input("bad-state", format!("{} bytes are no state", state.len())));
        }
        let scalings: Vec<Scaling> = state.chunks_exact(SCALING_LEN).map(Scaling::from_bytes).collect();
        let fits = |scaling: &Scaling| {
            input.fields.get(scaling.column as usize).is_some_and(|field| field.kind == Kind::Float64)
        };
        if !scalings.iter().all(fits) {
            return Err(Problem::bad_input("bad-state", "the state was fitted on other columns"));
        }
        Ok(Scaler { input, scalings })
    }
}

plinth_sdk::export_transforms!(StandardScale);

/// The columns that the options name, in their order.
fn chosen(input: &Schema, names: &[String]) -> Result<Vec<usize>, Problem> {
    if let Some((_, name)) = names.iter().enumerate().find(|&(at, name)| names[..at].contains(name)) {
        return Err(Problem::bad_input("bad-options", format!("option `columns`: `{name}` is in it twice")));
    }
    let column_of = |name: &String| {
        let column = input.require(name)?;
        match input.fields[column].kind {
            Kind::Float64 => Ok(column),
            kind => {
                let message = format!("column `{name}` is {kind}, not float64: cast it first");
                Err(Problem::bad_input("wrong-kind", message).in_column(name))
            }
        }
    };
    names.iter().map(column_of).collect()
}

/// What was learned of one column: how many values, their mean, the sum of their squared differences from it.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
}

/// Bytes of [`Moments`] in a partial.
const MOMENTS_LEN: usize = 24;

impl Moments {
    fn add(&mut self, value: f64) {
        let apart = value - self.mean;
        self.n += 1.0;
        self.mean += apart / self.n;
        self.m2 += apart * (value - self.mean);
    }

    fn merge(&mut self, other: Self) {
        if other.n == 0.0 {
            return;
        }
        let n = self.n + other.n;
        let apart = other.mean - self.mean;
        self.m2 += other.m2 + apart * apart * (self.n * other.n / n);
        self.mean += apart * (other.n / n);
        self.n = n;
    }

    /// Never 0, which nothing can be divided by.
    fn deviation(self) -> f64 {
        let deviation = if self.n > 0.0 { (self.m2 / self.n).sqrt() } else { 0.0 };
        if deviation == 0.0 { 1.0 } else { deviation }
    }

    fn to_bytes(self) -> impl Iterator<Item = u8> {
        [self.n, self.mean, self.m2].into_iter().flat_map(f64::to_le_bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self { n: f64_at(bytes, 0), mean: f64_at(bytes, 8), m2: f64_at(bytes, 16) }
    }
}

/// A fit in progress.
pub struct Learning {
    input: Schema,
    columns: Vec<usize>,
    moments: Vec<Moments>,
}

impl Fitting for Learning {
    fn update(&mut self, rows: Block) -> Result<(), Problem> {
        for (&column, moments) in self.columns.iter().zip(&mut self.moments) {
            let valid = rows.valid(&self.input, column)?;
            for (row, &value) in rows.f64s(&self.input, column)?.iter().enumerate() {
                if valid.is_valid(row) && !value.is_nan() {
                    moments.add(value);
                }
            }
        }
        Ok(())
    }

    fn partial(&mut self) -> Result<Vec<u8>, Problem> {
        Ok(self.moments.iter().flat_map(|moments| moments.to_bytes()).collect())
    }

    fn merge(&mut self, partial: Vec<u8>) -> Result<(), Problem> {
        if partial.len() != self.moments.len() * MOMENTS_LEN {
            let message = format!("{} bytes are no partial of {} columns", partial.len(), self.moments.len());
            return Err(Problem::bad_input("bad-partial", message));
        }
        for (moments, bytes) in self.moments.iter_mut().zip(partial.chunks_exact(MOMENTS_LEN)) {
            moments.merge(Moments::from_bytes(bytes));
        }
        Ok(())
    }

    fn end_pass(&mut self) -> Result<Step, Problem> {
        let scalings = self.columns.iter().zip(&self.moments).map(|(&column, moments)| Scaling {
            column: column as u32,
            mean: moments.mean,
            deviation: moments.deviation(),
        });
        Ok(Step::Done(scalings.flat_map(Scaling::to_bytes).collect()))
    }
}

/// What is kept of one column: how to scale it.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    column: u32,
    mean: f64,
    deviation: f64,
}

/// Bytes of a [`Scaling`] in the state.
const SCALING_LEN: usize = 20;

impl Scaling {
    fn to_bytes(self) -> impl Iterator<Item = u8> {
        self.column.to_le_bytes().into_iter().chain([self.mean, self.deviation].into_iter().flat_map(f64::to_le_bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let [a, b, c, d, ..] = *bytes else { unreachable!("a scaling is cut into {SCALING_LEN} bytes") };
        Self { column: u32::from_le_bytes([a, b, c, d]), mean: f64_at(bytes, 4), deviation: f64_at(bytes, 12) }
    }
}

/// The fitted transform.
pub struct Scaler {
    input: Schema,
    scalings: Vec<Scaling>,
}

impl Fitted for Scaler {
    fn output(&self) -> Schema {
        self.input.clone()
    }

    fn apply(&self, mut rows: Block) -> Result<Block, Problem> {
        for scaling in &self.scalings {
            let column = scaling.column as usize;
            let Scaling { mean, deviation, .. } = *scaling;
            plinth_sdk::map::each(rows.f64s_mut(&self.input, column)?, |value| (value - mean) / deviation);
            rows.zero_null_f64s(&self.input, column)?;
        }
        Ok(rows)
    }
}

/// A little-endian number within bytes that are long enough.
fn f64_at(bytes: &[u8], at: usize) -> f64 {
    let mut copy = [0; 8];
    copy.copy_from_slice(&bytes[at..at + 8]);
    f64::from_le_bytes(copy)
}
