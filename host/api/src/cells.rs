//! JSON values go straight into columns.
//!
//! serde unwinds with texts only, so the first thing that is wrong is kept in a [`Fault`] beside the parser, with its
//! row, column and value, and told instead.

use std::{collections::HashMap, fmt};

use plinth_ext::{DType, Kind, Schema};
use plinth_score::{Column, Rows, ScoreError, Signature};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{error::ApiError, oip::datatype_of};

/// The first thing that was wrong.
#[derive(Debug, Default)]
pub(crate) struct Fault(Option<ApiError>);

impl Fault {
    /// Keeps `error` and gives serde something to unwind with.
    pub(crate) fn set<E: Error>(&mut self, error: impl Into<ApiError>) -> E {
        self.0.get_or_insert_with(|| error.into());
        E::custom("told elsewhere")
    }

    pub(crate) fn check<T, E: Error>(&mut self, outcome: Result<T, impl Into<ApiError>>) -> Result<T, E> {
        outcome.map_err(|error| self.set(error))
    }

    /// What to tell the caller about a body that serde refused.
    pub(crate) fn told(self, error: &serde_json::Error) -> ApiError {
        self.0.unwrap_or_else(|| {
            let message = error.to_string();
            let hint = if error.is_eof() {
                "; the body ends too early"
            } else if message.starts_with("expected value") {
                "; a missing number is written null, not NaN"
            } else {
                ""
            };
            ApiError::bad(format!("the body is not the JSON that was expected: {message}{hint}"))
        })
    }
}

/// Finds columns by name: quickly when names come in the same order again and again, and never slowly.
#[derive(Debug)]
pub(crate) struct Names<'s> {
    schema: &'s Schema,
    /// Only for wide tables, where looking at every name would let a hostile body cost a lot.
    index: Option<HashMap<&'s str, usize>>,
}

impl<'s> Names<'s> {
    pub(crate) fn of(schema: &'s Schema) -> Self {
        let names = || schema.fields().iter().enumerate().map(|(index, field)| (field.name.as_str(), index));
        Self { schema, index: (schema.len() > 64).then(|| names().collect()) }
    }

    /// The column of that name; `guess` is looked at first.
    pub(crate) fn find(&self, name: &str, guess: usize) -> Option<usize> {
        if self.schema.fields().get(guess).is_some_and(|field| field.name == name) {
            return Some(guess);
        }
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.schema.index_of(name),
        }
    }
}

/// Rows being read, and what is needed to read them.
pub(crate) struct Reading<'s> {
    pub(crate) signature: &'s Signature,
    pub(crate) names: Names<'s>,
    pub(crate) rows: Rows,
    pub(crate) rows_max: usize,
    pub(crate) fault: Fault,
}

impl<'s> Reading<'s> {
    pub(crate) fn new(signature: &'s Signature, rows_max: usize) -> Self {
        let rows = Rows::new(signature.columns(), 0);
        Self { signature, names: Names::of(signature.columns()), rows, rows_max, fault: Fault::default() }
    }

    fn enter_row<E: Error>(&mut self, row: usize) -> Result<(), E> {
        if row < self.rows_max { Ok(()) } else { Err(self.fault.set(too_many_rows(self.rows_max))) }
    }
}

/// The error for more rows than may be sent at once.
pub(crate) fn too_many_rows(rows_max: usize) -> ApiError {
    let hint = "send fewer at a time, or raise limits.serve.request-rows-max";
    ApiError::too_large(format!("the request has more than {rows_max} rows; {hint}"))
}

/// One value into one column.
pub(crate) struct Cell<'a> {
    pub(crate) column: &'a mut Column,
    pub(crate) fault: &'a mut Fault,
    /// Whether a list stands for its elements, so that `[[1], [2]]` and `[1, 2]` are the same column.
    pub(crate) flatten: bool,
    /// Values that the column may have in the end.
    pub(crate) rows_max: usize,
    /// Of what type of number the caller says that the values are, if he does.
    pub(crate) declared: Option<DType>,
}

impl Cell<'_> {
    /// Refuses a value that is not of the declared type.
    fn check<E: Error>(&mut self, fits: impl FnOnce(DType) -> bool, value: impl fmt::Display) -> Result<(), E> {
        match self.declared.filter(|declared| !fits(*declared)) {
            None => Ok(()),
            Some(declared) => {
                let (name, element, wanted) = (self.column.name(), self.column.len(), datatype_of(declared));
                let message = format!("input `{name}`: element {element}: {value} is not {wanted}");
                Err(self.fault.set(ApiError::bad(message)))
            }
        }
    }

    fn note<E: Error>(self, outcome: Result<(), ScoreError>) -> Result<(), E> {
        outcome.map_err(|error| self.fault.set(error))
    }
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of column `{}`", self.column.name())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        let outcome = self.column.boolean(value);
        self.note(outcome)
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.check(|declared| holds_whole(declared, value.into()), value)?;
        let outcome = self.column.integer(value);
        self.note(outcome)
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        if let Ok(value) = i64::try_from(value) {
            return self.visit_i64(value);
        }
        self.check(|declared| holds_whole(declared, value.into()), value)?;
        let outcome = self.column.float(value as f64);
        self.note(outcome)
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.check(|declared| holds(declared, value), value)?;
        let outcome = self.column.float(value);
        self.note(outcome)
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        if self.column.kind() == Kind::TimestampUs {
            self.check(|_| false, format_args!("{:?}", value.chars().take(50).collect::<String>()))?;
        }
        let outcome = self.column.text(value);
        self.note(outcome)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        let outcome = self.column.null();
        self.note(outcome)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        if !self.flatten {
            let outcome = Err(self.column.bad("a list"));
            return self.note(outcome);
        }
        loop {
            let full = self.column.len() >= self.rows_max;
            let Self { rows_max, declared, .. } = self;
            let cell = Cell { column: self.column, fault: self.fault, flatten: true, rows_max, declared };
            if full {
                return match values.next_element::<IgnoredAny>()? {
                    Some(_) => Err(self.fault.set(too_many_rows(self.rows_max))),
                    None => Ok(()),
                };
            }
            if values.next_element_seed(cell)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        let outcome = Err(self.column.bad("an object"));
        self.note(outcome)
    }
}

/// Whether a type has a whole number.
fn holds_whole(declared: DType, value: i128) -> bool {
    let within = |low: i128, high: i128| (low..=high).contains(&value);
    match declared {
        DType::I8 => within(i8::MIN.into(), i8::MAX.into()),
        DType::I16 => within(i16::MIN.into(), i16::MAX.into()),
        DType::I32 => within(i32::MIN.into(), i32::MAX.into()),
        DType::I64 => within(i64::MIN.into(), i64::MAX.into()),
        DType::U8 => within(0, u8::MAX.into()),
        DType::U16 => within(0, u16::MAX.into()),
        DType::U32 => within(0, u32::MAX.into()),
        DType::U64 => within(0, u64::MAX.into()),
        _ => true,
    }
}

/// Whether a type has a number; a whole one may be written with a point.
fn holds(declared: DType, value: f64) -> bool {
    match declared {
        DType::F32 => (value as f32).is_finite(),
        DType::F16 | DType::BF16 | DType::F64 | DType::Bool | DType::Text => true,
        whole => value.fract() == 0.0 && value.abs() < 2_f64.powi(64) && holds_whole(whole, value as i128),
    }
}

/// A list of rows, each an object, a list in a given order, or a bare value where there is but one column.
pub(crate) struct RowList<'a, 's> {
    pub(crate) reading: &'a mut Reading<'s>,
    /// For rows that are lists: the column of each value, if it is one of ours.
    pub(crate) order: &'a [Option<usize>],
    pub(crate) accept: Accept,
}

/// What a row may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    Objects,
    Lists,
    Both,
}

impl<'de> DeserializeSeed<'de> for RowList<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowList<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        let mut row = 0;
        loop {
            if row == self.reading.rows_max {
                return match rows.next_element::<IgnoredAny>()? {
                    Some(_) => self.reading.enter_row(row),
                    None => Ok(()),
                };
            }
            let one = Row { reading: self.reading, order: self.order, accept: self.accept, row };
            if rows.next_element_seed(one)?.is_none() {
                return Ok(());
            }
            row += 1;
        }
    }
}

/// One row.
struct Row<'a, 's> {
    reading: &'a mut Reading<'s>,
    order: &'a [Option<usize>],
    accept: Accept,
    row: usize,
}

impl Row<'_, '_> {
    /// A row that is neither an object nor a list.
    fn bare<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.accept != Accept::Both || self.reading.rows.columns().len() != 1 {
            let what = match self.accept {
                Accept::Objects => "an object",
                Accept::Lists => "a list",
                Accept::Both => "an object or a list",
            };
            return Err(self.reading.fault.set(ApiError::bad(format!("row {} is not {what}", self.row))));
        }
        let Reading { rows, fault, .. } = self.reading;
        let column = &mut rows.columns()[0];
        Cell { column, fault, flatten: false, rows_max: usize::MAX, declared: None }.deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let Self { reading, row, accept, .. } = self;
        if accept == Accept::Lists {
            return Err(reading.fault.set(ApiError::bad(format!("row {row} is an object, not a list"))));
        }
        let (mut guess, mut found) = (0, 0);
        let mut unknown = Vec::new();
        while let Some(column) = values.next_key_seed(Key { names: &reading.names, guess, unknown: &mut unknown })? {
            let Some(index) = column else {
                values.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &mut reading.rows.columns()[index];
            if column.len() > row {
                let column = column.name().to_owned();
                return Err(reading.fault.set(ScoreError::Twice { row, column }));
            }
            let fault = &mut reading.fault;
            values.next_value_seed(Cell { column, fault, flatten: false, rows_max: usize::MAX, declared: None })?;
            guess = index + 1;
            found += 1;
        }
        if found == reading.rows.columns().len() {
            return Ok(());
        }
        let error = missing_value(reading, row, &unknown);
        Err(reading.fault.set(error))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let Self { reading, order, row, accept } = self;
        if accept == Accept::Objects {
            return Err(reading.fault.set(ApiError::bad(format!("row {row} is a list, not an object"))));
        }
        for (position, column) in order.iter().enumerate() {
            let present = match column {
                None => values.next_element::<IgnoredAny>()?.is_some(),
                Some(index) => {
                    let column = &mut reading.rows.columns()[*index];
                    let fault = &mut reading.fault;
                    let cell = Cell { column, fault, flatten: false, rows_max: usize::MAX, declared: None };
                    values.next_element_seed(cell)?.is_some()
                }
            };
            if !present {
                let message = format!("row {row} has {position} values for {} columns", order.len());
                return Err(reading.fault.set(ApiError::bad(message)));
            }
        }
        if values.next_element::<IgnoredAny>()?.is_some() {
            let message = format!("row {row} has more than {} values, one for each column", order.len());
            return Err(reading.fault.set(ApiError::bad(message)));
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.bare(serde::de::value::BoolDeserializer::new(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.bare(serde::de::value::I64Deserializer::new(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.bare(serde::de::value::U64Deserializer::new(value))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.bare(serde::de::value::F64Deserializer::new(value))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.bare(serde::de::value::StrDeserializer::new(value))
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.bare(serde::de::value::UnitDeserializer::new())
    }
}

/// The name of a column: where it stands, or nothing for a name that is not ours.
pub(crate) struct Key<'a, 's> {
    pub(crate) names: &'a Names<'s>,
    pub(crate) guess: usize,
    pub(crate) unknown: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a column")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let found = self.names.find(name, self.guess);
        // A few are enough to find the slip; a hostile body does not get to fill the memory.
        if found.is_none() && self.unknown.len() < 64 {
            self.unknown.push(name.to_owned());
        }
        Ok(found)
    }
}

/// The error for a row that lacks a column: of the whole table if it is the first, else of this row.
fn missing_value(reading: &mut Reading<'_>, row: usize, unknown: &[String]) -> ScoreError {
    let short = reading.rows.columns().iter().find(|column| column.len() <= row);
    let (column, nullable) = short.map(|c| (c.name().to_owned(), c.nullable())).unwrap_or_default();
    match reading.signature.missing(&column, unknown.iter().map(String::as_str)) {
        ScoreError::MissingColumn { column, hint } if row > 0 => {
            let hint = if nullable { "a missing value is written null".to_owned() } else { hint };
            ScoreError::MissingValue { row, column, hint }
        }
        error => error,
    }
}
