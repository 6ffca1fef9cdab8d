//! Expectations of the values of one column.

use std::collections::BTreeSet;

use plinth_sdk::{Block, Field, Kind, Problem, Schema};
use serde_json::Value;

use super::Watch;
use crate::{
    rule::{Bounds, Finding},
    words::{list, number, percent, rows},
};

/// Different offending values that are remembered to be shown.
const EXAMPLES_MAX: usize = 5;

/// `null-share`: NaN counts as null.
pub(super) struct Nulls {
    column: usize,
    name: String,
    max: f64,
    nulls: u64,
    first: Option<u64>,
}

impl Nulls {
    pub(super) fn new(column: usize, field: &Field, max: f64) -> Self {
        Self { column, name: field.name.clone(), max, nulls: 0, first: None }
    }
}

impl Watch for Nulls {
    fn see(&mut self, schema: &Schema, block: &Block, first_row: u64) -> Result<(), Problem> {
        for (row, missing) in missing(schema, block, self.column)?.into_iter().enumerate() {
            if missing {
                self.nulls += 1;
                self.first.get_or_insert(first_row + row as u64);
            }
        }
        Ok(())
    }

    fn conclude(self: Box<Self>, all: u64) -> Finding {
        let limit = number(100.0 * self.max);
        let observed = match all {
            0 => "no rows".into(),
            _ => format!("{} ({} of {})", percent(self.nulls, all), self.nulls, rows(all)),
        };
        let (name, expected) = if self.max == 0.0 {
            (format!("{} has no nulls", self.name), "no nulls".into())
        } else {
            (format!("{} nulls <= {limit} %", self.name), format!("at most {limit} %"))
        };
        let holds = self.nulls as f64 <= self.max * all as f64;
        let reason = match self.first {
            Some(row) if !holds => format!("the first is in row {row}"),
            _ => String::new(),
        };
        Finding { name, holds, observed, expected, reason }
    }
}

/// What is wrong with a value.
pub(super) enum Fault {
    /// A number outside these bounds.
    OutOfRange(Bounds),
    /// A text whose number of characters is.
    Length(Bounds),
    /// A text that is none of these.
    NotOfTexts(BTreeSet<String>),
    /// A number that is none of these.
    NotOfNumbers(Vec<f64>),
}

impl Fault {
    /// Not one of these values, which must be what the column holds.
    ///
    /// # Errors
    /// `bad-options` names the value of another type.
    pub(super) fn in_set(field: &Field, values: &[Value]) -> Result<Self, Problem> {
        let bad = |value: &Value| {
            let message = format!("`in-set`: {value} is no value of `{}`, which is {}", field.name, field.kind);
            Problem::bad_input("bad-options", message).in_column(&field.name)
        };
        match field.kind {
            Kind::Utf8 => {
                let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| bad(value));
                values.iter().map(text).collect::<Result<_, _>>().map(Self::NotOfTexts)
            }
            Kind::Binary => Err(Problem::bad_input("bad-options", "`in-set` is not for bytes").in_column(&field.name)),
            kind => {
                let number = |value: &Value| match (kind, value) {
                    (Kind::Boolean, Value::Bool(value)) => Ok(f64::from(u8::from(*value))),
                    (Kind::Boolean, _) => Err(bad(value)),
                    _ => value.as_f64().ok_or_else(|| bad(value)),
                };
                values.iter().map(number).collect::<Result<_, _>>().map(Self::NotOfNumbers)
            }
        }
    }
}

/// `range`, `length` and `in-set`: rows whose value is at fault. Nulls are not; `null-share` is for them.
pub(super) struct Violations {
    column: usize,
    field: Field,
    fault: Fault,
    allowed: f64,
    present: u64,
    faults: u64,
    first: Option<u64>,
    examples: BTreeSet<String>,
    least: f64,
    most: f64,
}

impl Violations {
    pub(super) fn new(column: usize, field: &Field, fault: Fault, allowed: f64) -> Self {
        Self {
            column,
            field: field.clone(),
            fault,
            allowed,
            present: 0,
            faults: 0,
            first: None,
            examples: BTreeSet::new(),
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
        }
    }

    fn at_fault(&mut self, row: u64, shown: impl FnOnce() -> String) {
        self.faults += 1;
        self.first.get_or_insert(row);
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.insert(shown());
        }
    }
}

impl Watch for Violations {
    fn see(&mut self, schema: &Schema, block: &Block, first_row: u64) -> Result<(), Problem> {
        let missing = missing(schema, block, self.column)?;
        let present = |row: &usize| !missing[*row];
        if self.field.kind == Kind::Utf8 {
            let texts = block.texts(schema, self.column)?;
            for row in (0..missing.len()).filter(present) {
                self.present += 1;
                let text = texts.get(row);
                let good = match &self.fault {
                    Fault::Length(bounds) => {
                        let length = text.chars().count() as f64;
                        self.least = self.least.min(length);
                        self.most = self.most.max(length);
                        bounds.hold(length)
                    }
                    Fault::NotOfTexts(set) => set.contains(text),
                    Fault::OutOfRange(_) | Fault::NotOfNumbers(_) => true,
                };
                if !good {
                    self.at_fault(first_row + row as u64, || cut(text));
                }
            }
            return Ok(());
        }
        let boolean = self.field.kind == Kind::Boolean;
        for (row, value) in block.numbers(schema, self.column)?.enumerate() {
            let Some(value) = value.filter(|_| present(&row)) else { continue };
            self.present += 1;
            self.least = self.least.min(value);
            self.most = self.most.max(value);
            let good = match &self.fault {
                Fault::OutOfRange(bounds) => bounds.hold(value),
                Fault::NotOfNumbers(set) => set.contains(&value),
                Fault::Length(_) | Fault::NotOfTexts(_) => true,
            };
            if !good {
                let shown = || if boolean { (value != 0.0).to_string() } else { number(value) };
                self.at_fault(first_row + row as u64, shown);
            }
        }
        Ok(())
    }

    fn conclude(self: Box<Self>, _rows: u64) -> Finding {
        let column = &self.field.name;
        let (name, mut expected) = match &self.fault {
            Fault::OutOfRange(bounds) => (format!("{column} {}", bounds.signs()), bounds.words()),
            Fault::Length(bounds) => {
                (format!("{column} length {}", bounds.signs()), format!("{} characters", bounds.words()))
            }
            Fault::NotOfTexts(set) => {
                let all: Vec<&String> = set.iter().collect();
                (format!("{column} in set"), format!("one of {}", list(&all)))
            }
            Fault::NotOfNumbers(set) => {
                let boolean = self.field.kind == Kind::Boolean;
                let show = |value: &f64| if boolean { (*value != 0.0).to_string() } else { number(*value) };
                let all: Vec<String> = set.iter().map(show).collect();
                (format!("{column} in set"), format!("one of {}", list(&all)))
            }
        };
        if self.allowed > 0.0 {
            expected = format!("{expected}, but for {} % of rows", number(100.0 * self.allowed));
        }
        let holds = self.faults as f64 <= self.allowed * self.present as f64;
        let span = match (&self.fault, self.least <= self.most) {
            (Fault::OutOfRange(_), true) => format!("{} to {}", number(self.least), number(self.most)),
            (Fault::Length(_), true) => format!("{} to {} characters", number(self.least), number(self.most)),
            _ => format!("all of {}", rows(self.present)),
        };
        let observed = match (self.present, self.faults) {
            (0, _) => "no values".into(),
            (_, 0) => span,
            (present, faults) => {
                let share = format!("{faults} of {} ({})", rows(present), percent(faults, present));
                let examples: Vec<&String> = self.examples.iter().collect();
                format!("{share} with other values, such as {}", list(&examples))
            }
        };
        let reason = match self.first {
            Some(row) if !holds => format!("the first is in row {row}"),
            _ => String::new(),
        };
        Finding { name, holds, observed, expected, reason }
    }
}

/// What an aggregate computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Statistic {
    Mean,
    Sum,
    /// Linear between neighbours.
    Quantile(f64),
}

impl Statistic {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Quantile(_) => "quantile",
        }
    }
}

/// `mean`, `sum`, `median` and `quantile`, over values that are there.
pub(super) struct Aggregate {
    column: usize,
    name: String,
    statistic: Statistic,
    bounds: Bounds,
    sum: f64,
    lost: f64,
    count: u64,
    values: Vec<f64>,
}

impl Aggregate {
    pub(super) fn new(column: usize, field: &Field, statistic: Statistic, bounds: Bounds) -> Self {
        let name = match statistic {
            Statistic::Quantile(0.5) => format!("median of {}", field.name),
            Statistic::Quantile(q) => format!("{} % quantile of {}", number(100.0 * q), field.name),
            _ => format!("{} of {}", statistic.name(), field.name),
        };
        Self { column, name, statistic, bounds, sum: 0.0, lost: 0.0, count: 0, values: Vec::new() }
    }
}

impl Watch for Aggregate {
    fn see(&mut self, schema: &Schema, block: &Block, _first_row: u64) -> Result<(), Problem> {
        for value in block.numbers(schema, self.column)?.flatten().filter(|value| !value.is_nan()) {
            self.count += 1;
            if let Statistic::Quantile(_) = self.statistic {
                self.values.push(value);
                continue;
            }
            // Neumaier's sum: what rounding loses is kept beside it.
            let sum = self.sum + value;
            self.lost +=
                if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
            self.sum = sum;
        }
        Ok(())
    }

    fn conclude(mut self: Box<Self>, _rows: u64) -> Finding {
        let value = match self.statistic {
            _ if self.count == 0 => f64::NAN,
            Statistic::Sum => self.sum + self.lost,
            Statistic::Mean => (self.sum + self.lost) / self.count as f64,
            Statistic::Quantile(q) => {
                self.values.sort_unstable_by(f64::total_cmp);
                let position = q * (self.values.len() - 1) as f64;
                let (below, above) = (self.values[position.floor() as usize], self.values[position.ceil() as usize]);
                below + (above - below) * position.fract()
            }
        };
        Finding {
            name: format!("{} {}", self.name, self.bounds.signs()),
            holds: self.bounds.hold(value),
            observed: if self.count == 0 { "no values".into() } else { self.bounds.show(value) },
            expected: self.bounds.words(),
            reason: self.bounds.short_by(value).map_or_else(String::new, |gap| format!("off by {}", number(gap))),
        }
    }
}

/// Which rows hold nothing: null, or NaN.
pub(super) fn missing(schema: &Schema, block: &Block, column: usize) -> Result<Vec<bool>, Problem> {
    let valid = block.valid(schema, column)?;
    let mut missing: Vec<bool> = (0..block.rows as usize).map(|row| !valid.is_valid(row)).collect();
    match schema.fields[column].kind {
        Kind::Float64 => {
            let values = block.f64s(schema, column)?;
            missing.iter_mut().zip(values).for_each(|(missing, value)| *missing |= value.is_nan());
        }
        Kind::Float32 => {
            let values = block.f32s(schema, column)?;
            missing.iter_mut().zip(values).for_each(|(missing, value)| *missing |= value.is_nan());
        }
        _ => {}
    }
    Ok(missing)
}

/// A text short enough to be shown.
fn cut(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
