//! Loosely typed values become columns of the signature, one value at a time and without a tree in between.
//!
//! The rules are the same whatever the values were written in. Integers may stand for floats, and floats without a
//! fraction for integers; NaN stands for null; infinities, text for numbers and numbers for text are errors.

use std::sync::Arc;

use arrow_array::{
    ArrayRef,
    builder::{
        BinaryBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int64Builder, StringBuilder,
        TimestampMicrosecondBuilder,
    },
};
use plinth_ext::{Batch, Field, Kind, Schema};

use crate::ScoreError;

/// Rows of a schema in the making.
#[derive(Debug)]
pub struct Rows {
    schema: Schema,
    capacity: usize,
    /// Made when they are first asked for: who sends a matrix needs none of them.
    columns: Vec<Column>,
}

impl Rows {
    /// No rows yet, with room for `capacity`.
    pub fn new(schema: &Schema, capacity: usize) -> Self {
        Self { schema: schema.clone(), capacity, columns: Vec::new() }
    }

    /// The columns that they are to have.
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The columns, in the schema's order.
    pub fn columns(&mut self) -> &mut [Column] {
        if self.columns.is_empty() {
            let column = |index| Column::new(&self.schema, index, self.capacity);
            self.columns = (0..self.schema.len()).map(column).collect();
        }
        &mut self.columns
    }

    /// The rows, all columns of which must be equally long.
    ///
    /// # Errors
    /// [`ScoreError::MissingValue`] names the first row that lacks a value.
    pub fn finish(mut self) -> Result<Batch, ScoreError> {
        self.columns();
        let rows = self.columns.iter().map(Column::len).max().unwrap_or(0);
        if let Some(short) = self.columns.iter().find(|column| column.len() < rows) {
            let hint = format!("other columns have {rows} values");
            return Err(ScoreError::MissingValue { row: short.len(), column: short.name().to_owned(), hint });
        }
        let columns = self.columns.into_iter().map(Column::finish).collect();
        Ok(Batch::new(self.schema, columns, rows)?)
    }
}

/// One column in the making. Each method adds one value, or says why it cannot be one of this column.
#[derive(Debug)]
pub struct Column {
    /// Shared rather than copied: a name for each column of each request would cost more than its value.
    schema: Schema,
    index: usize,
    len: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    TimestampUs(TimestampMicrosecondBuilder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
}

impl Column {
    fn new(schema: &Schema, index: usize, capacity: usize) -> Self {
        let values = match schema.fields()[index].kind {
            Kind::Boolean => Values::Boolean(BooleanBuilder::with_capacity(capacity)),
            Kind::Int64 => Values::Int64(Int64Builder::with_capacity(capacity)),
            Kind::TimestampUs => Values::TimestampUs(
                TimestampMicrosecondBuilder::with_capacity(capacity).with_data_type(Kind::TimestampUs.to_arrow()),
            ),
            Kind::Float32 => Values::Float32(Float32Builder::with_capacity(capacity)),
            Kind::Float64 => Values::Float64(Float64Builder::with_capacity(capacity)),
            Kind::Utf8 => Values::Utf8(StringBuilder::with_capacity(capacity, capacity.saturating_mul(8))),
            Kind::Binary => Values::Binary(BinaryBuilder::with_capacity(capacity, capacity.saturating_mul(8))),
        };
        Self { schema: schema.clone(), index, len: 0, values }
    }

    fn field(&self) -> &Field {
        &self.schema.fields()[self.index]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.field().name
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.field().kind
    }

    /// Whether it may hold nulls.
    pub fn nullable(&self) -> bool {
        self.field().nullable
    }

    /// Values so far.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a null.
    ///
    /// # Errors
    /// [`ScoreError::Null`] if none may be.
    pub fn null(&mut self) -> Result<(), ScoreError> {
        if !self.nullable() {
            return Err(ScoreError::Null { row: self.len, column: self.name().to_owned() });
        }
        match &mut self.values {
            Values::Boolean(to) => to.append_null(),
            Values::Int64(to) => to.append_null(),
            Values::TimestampUs(to) => to.append_null(),
            Values::Float32(to) => to.append_null(),
            Values::Float64(to) => to.append_null(),
            Values::Utf8(to) => to.append_null(),
            Values::Binary(to) => to.append_null(),
        }
        self.len += 1;
        Ok(())
    }

    /// Adds true or false.
    ///
    /// # Errors
    /// [`ScoreError::BadValue`] unless the column is boolean.
    pub fn boolean(&mut self, value: bool) -> Result<(), ScoreError> {
        match &mut self.values {
            Values::Boolean(to) => to.append_value(value),
            _ => return Err(self.bad(value)),
        }
        self.len += 1;
        Ok(())
    }

    /// Adds an integer: a time in microseconds, a number, or 0 or 1 for false or true.
    ///
    /// # Errors
    /// [`ScoreError::BadValue`].
    pub fn integer(&mut self, value: i64) -> Result<(), ScoreError> {
        match (&mut self.values, value) {
            (Values::Int64(to), _) => to.append_value(value),
            (Values::TimestampUs(to), _) => to.append_value(value),
            (Values::Float64(to), _) => to.append_value(value as f64),
            (Values::Float32(to), _) => to.append_value(value as f32),
            (Values::Boolean(to), 0 | 1) => to.append_value(value == 1),
            _ => return Err(self.bad(value)),
        }
        self.len += 1;
        Ok(())
    }

    /// Adds a float. NaN is a null, as in pandas.
    ///
    /// # Errors
    /// [`ScoreError::BadValue`] if it is infinite, or has a fraction where an integer is wanted.
    pub fn float(&mut self, value: f64) -> Result<(), ScoreError> {
        if value.is_nan() {
            return self.null();
        }
        match &mut self.values {
            _ if value.is_infinite() => return Err(self.bad(value)),
            Values::Float64(to) => to.append_value(value),
            // A finite number beyond the range of 32 bits would silently become infinite.
            Values::Float32(to) if (value as f32).is_finite() => to.append_value(value as f32),
            // 2^63 is the first float past the range.
            Values::Int64(_) | Values::TimestampUs(_) | Values::Boolean(_)
                if value.fract() == 0.0 && value.abs() < 9_223_372_036_854_775_808.0 =>
            {
                return self.integer(value as i64).map_err(|_| self.bad(value));
            }
            _ => return Err(self.bad(value)),
        }
        self.len += 1;
        Ok(())
    }

    /// Adds a text that was written as text: text, bytes, or a time in ISO 8601 form.
    ///
    /// # Errors
    /// [`ScoreError::BadValue`].
    pub fn text(&mut self, value: &str) -> Result<(), ScoreError> {
        match &mut self.values {
            Values::Utf8(to) => to.append_value(value),
            Values::Binary(to) => to.append_value(value),
            Values::TimestampUs(to) => match parse_time(value) {
                Some(micros) => to.append_value(micros),
                None => return Err(self.bad(format_args!("{value:?}"))),
            },
            _ => return Err(self.bad(format_args!("{value:?}"))),
        }
        self.len += 1;
        Ok(())
    }

    /// Adds bytes: as they are, or as the text that they are.
    ///
    /// # Errors
    /// [`ScoreError::BadValue`] if they are no text where one is wanted, or the column takes neither.
    pub fn bytes(&mut self, value: &[u8]) -> Result<(), ScoreError> {
        if let Values::Binary(to) = &mut self.values {
            to.append_value(value);
            self.len += 1;
            return Ok(());
        }
        match std::str::from_utf8(value) {
            Ok(text) => self.text(text),
            Err(_) => Err(self.bad("bytes that are no text in UTF-8")),
        }
    }

    /// Adds a value written without quotes around it, as in a CSV file: read as the column's kind. What the CSV loader
    /// takes for null unless it is told otherwise is null here too, so that a row scores the same from either.
    ///
    /// # Errors
    /// [`ScoreError::BadValue`], [`ScoreError::Null`].
    pub fn parse(&mut self, written: &str) -> Result<(), ScoreError> {
        if matches!(written, "" | "NA" | "N/A" | "null" | "NULL" | "NaN" | "nan") {
            return self.null();
        }
        let kind = self.kind();
        if matches!(kind, Kind::Utf8 | Kind::Binary) {
            return self.text(written);
        }
        let trimmed = written.trim();
        if let Ok(value) = trimmed.parse::<i64>() {
            return self.integer(value);
        }
        match kind {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => self.boolean(true),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => self.boolean(false),
            Kind::TimestampUs => self.text(trimmed),
            _ => match trimmed.parse::<f64>() {
                Ok(value) => self.float(value),
                Err(_) => Err(self.bad(format_args!("{written:?}"))),
            },
        }
    }

    /// The error for a value that is no value of this column at all, such as a list.
    pub fn bad(&self, value: impl std::fmt::Display) -> ScoreError {
        let mut value = value.to_string();
        if let Some((end, _)) = value.char_indices().nth(80) {
            value.truncate(end);
            value.push('…');
        }
        ScoreError::BadValue { row: self.len, column: self.name().to_owned(), value, kind: self.kind() }
    }

    fn finish(self) -> ArrayRef {
        match self.values {
            Values::Boolean(mut from) => Arc::new(from.finish()),
            Values::Int64(mut from) => Arc::new(from.finish()),
            Values::TimestampUs(mut from) => Arc::new(from.finish()),
            Values::Float32(mut from) => Arc::new(from.finish()),
            Values::Float64(mut from) => Arc::new(from.finish()),
            Values::Utf8(mut from) => Arc::new(from.finish()),
            Values::Binary(mut from) => Arc::new(from.finish()),
        }
    }
}

/// Microseconds since 1970 of an ISO 8601 date or time; without an offset it is UTC.
fn parse_time(text: &str) -> Option<i64> {
    use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
    if let Ok(time) = text.parse::<DateTime<FixedOffset>>() {
        return Some(time.timestamp_micros());
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
            return Some(time.and_utc().timestamp_micros());
        }
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, cast::AsArray, types::*};
    use plinth_core::{Coded, codes};
    use proptest::prelude::*;

    use super::*;

    fn column(kind: Kind, nullable: bool) -> Column {
        Column::new(&Schema::new(vec![Field::new("c", kind, nullable)]).unwrap(), 0, 0)
    }

    fn one(kind: Kind, add: impl FnOnce(&mut Column) -> Result<(), ScoreError>) -> Result<ArrayRef, ScoreError> {
        let mut column = column(kind, true);
        add(&mut column)?;
        assert_eq!(column.len(), 1);
        Ok(column.finish())
    }

    fn number(array: &ArrayRef) -> f64 {
        array.as_primitive::<Float64Type>().value(0)
    }

    #[test]
    fn integers_and_floats_stand_for_each_other_where_nothing_is_lost() {
        assert_eq!(number(&one(Kind::Float64, |c| c.integer(3)).unwrap()), 3.0);
        assert_eq!(one(Kind::Int64, |c| c.float(3.0)).unwrap().as_primitive::<Int64Type>().value(0), 3);
        assert!(one(Kind::Boolean, |c| c.integer(1)).unwrap().as_boolean().value(0));
        for error in [
            one(Kind::Int64, |c| c.float(3.5)),
            one(Kind::Int64, |c| c.float(9_223_372_036_854_775_808.0)),
            one(Kind::Boolean, |c| c.integer(2)),
            one(Kind::Boolean, |c| c.float(0.5)),
            one(Kind::Float64, |c| c.float(f64::INFINITY)),
            one(Kind::Float32, |c| c.float(1e300)),
            one(Kind::Float64, |c| c.text("3")),
            one(Kind::Utf8, |c| c.integer(3)),
            one(Kind::Float64, |c| c.boolean(true)),
        ] {
            assert_eq!(error.unwrap_err().code(), codes::BAD_VALUE);
        }
    }

    #[test]
    fn nan_and_an_empty_cell_are_null_and_null_must_be_allowed() {
        type Add = fn(&mut Column) -> Result<(), ScoreError>;
        let ways: [Add; 4] = [|c| c.float(f64::NAN), |c| c.parse(""), |c| c.parse("nan"), Column::null];
        for add in ways {
            assert!(one(Kind::Float64, add).unwrap().is_null(0));
            let mut strict = column(Kind::Float64, false);
            let error = add(&mut strict).unwrap_err();
            assert_eq!(error.to_string(), "row 0, column `c`: null is not allowed");
            assert!(strict.is_empty());
        }
    }

    #[test]
    fn an_error_names_row_column_and_value_and_cuts_a_long_one() {
        let mut ages = column(Kind::Int64, false);
        ages.integer(1).unwrap();
        assert_eq!(ages.text("old").unwrap_err().to_string(), "row 1, column `c`: \"old\" is not int64");
        let long = ages.text(&"é".repeat(500)).unwrap_err().to_string();
        assert!(long.chars().count() < 120 && long.contains('…'), "{long}");
    }

    #[test]
    fn times_are_read_in_the_forms_that_tables_and_pandas_write() {
        for (text, micros) in [
            ("2024-03-28 08:22:20+00:00", 1_711_614_140_000_000),
            ("2024-03-28T08:22:20Z", 1_711_614_140_000_000),
            ("2024-03-28T08:22:20.5", 1_711_614_140_500_000),
            ("2024-03-28 10:22:20+02:00", 1_711_614_140_000_000),
            ("2024-03-28", 1_711_584_000_000_000),
        ] {
            let read = one(Kind::TimestampUs, |c| c.text(text)).unwrap();
            assert_eq!(read.as_primitive::<TimestampMicrosecondType>().value(0), micros, "{text}");
        }
        let error = one(Kind::TimestampUs, |c| c.text("yesterday")).unwrap_err();
        assert!(error.hint().unwrap().contains("2024-03-28T08:22:20Z"));
    }

    #[test]
    fn a_short_column_is_named() {
        let schema = Schema::new(vec![Field::new("a", Kind::Int64, true), Field::new("b", Kind::Utf8, true)]).unwrap();
        let mut rows = Rows::new(&schema, 2);
        rows.columns()[0].integer(1).unwrap();
        assert_eq!(rows.finish().unwrap_err().to_string(), "row 0 has no value for column `b`");
    }

    proptest! {
        #[test]
        fn a_written_number_is_the_number(value in prop::num::f64::NORMAL | prop::num::f64::ZERO) {
            prop_assert_eq!(number(&one(Kind::Float64, |c| c.parse(&format!("{value:?}"))).unwrap()), value);
        }

        #[test]
        fn no_text_is_too_strange_to_be_refused_or_taken(text in ".*") {
            for kind in Kind::ALL {
                let mut parsed = column(kind, true);
                prop_assert_eq!(parsed.parse(&text).is_ok(), parsed.len() == 1);
                let mut taken = column(kind, true);
                prop_assert_eq!(taken.text(&text).is_ok(), taken.len() == 1);
            }
        }
    }
}
