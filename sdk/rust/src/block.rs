//! Typed views of a block's columns.
//!
//! Only here and in the builder is it known where a block keeps a column. The host checks blocks before it sends
//! them, so a list that is too short is a fault of the caller: it ends in `bad-block`, never in a panic.

use std::ops::Range;

use crate::{Block, Kind, Problem, Schema};

impl Block {
    /// The values of a float64 column; slots of nulls hold zero.
    ///
    /// # Errors
    /// `wrong-kind` where the column holds something else, `bad-block` where the block is too short for the schema.
    pub fn f64s(&self, schema: &Schema, column: usize) -> Result<&[f64], Problem> {
        self.f64s.get(self.span(schema, column, Kind::Float64)?).ok_or_else(|| short(schema, column))
    }

    /// The values of a float64 column, to be changed in place. Leave zero where a row is null.
    ///
    /// # Errors
    /// As [`Block::f64s`].
    pub fn f64s_mut(&mut self, schema: &Schema, column: usize) -> Result<&mut [f64], Problem> {
        let span = self.span(schema, column, Kind::Float64)?;
        self.f64s.get_mut(span).ok_or_else(|| short(schema, column))
    }

    /// The values of a float32 column.
    ///
    /// # Errors
    /// As [`Block::f64s`].
    pub fn f32s(&self, schema: &Schema, column: usize) -> Result<&[f32], Problem> {
        self.f32s.get(self.span(schema, column, Kind::Float32)?).ok_or_else(|| short(schema, column))
    }

    /// The values of a float32 column, to be changed in place. Leave zero where a row is null.
    ///
    /// # Errors
    /// As [`Block::f64s`].
    pub fn f32s_mut(&mut self, schema: &Schema, column: usize) -> Result<&mut [f32], Problem> {
        let span = self.span(schema, column, Kind::Float32)?;
        self.f32s.get_mut(span).ok_or_else(|| short(schema, column))
    }

    /// The values of an int64 or timestamp-us column.
    ///
    /// # Errors
    /// As [`Block::f64s`].
    pub fn s64s(&self, schema: &Schema, column: usize) -> Result<&[i64], Problem> {
        self.s64s.get(self.span(schema, column, Kind::Int64)?).ok_or_else(|| short(schema, column))
    }

    /// The values of an int64 or timestamp-us column, to be changed in place. Leave zero where a row is null.
    ///
    /// # Errors
    /// As [`Block::f64s`].
    pub fn s64s_mut(&mut self, schema: &Schema, column: usize) -> Result<&mut [i64], Problem> {
        let span = self.span(schema, column, Kind::Int64)?;
        self.s64s.get_mut(span).ok_or_else(|| short(schema, column))
    }

    /// The values of a boolean column.
    ///
    /// # Errors
    /// As [`Block::f64s`].
    pub fn bools(&self, schema: &Schema, column: usize) -> Result<Bits<'_>, Problem> {
        let bits = self.bits.get(self.span(schema, column, Kind::Boolean)?).ok_or_else(|| short(schema, column))?;
        Ok(Bits { bits, rows: self.rows as usize })
    }

    /// The values of a utf8 column. Its UTF-8 is checked here, once.
    ///
    /// # Errors
    /// As [`Block::f64s`]; `bad-block` also where offsets or UTF-8 are wrong.
    pub fn texts(&self, schema: &Schema, column: usize) -> Result<Texts<'_>, Problem> {
        let column_bytes = self.bytes_of(schema, column, Kind::Utf8)?;
        let bad = || Problem::bad_input("bad-block", "text is not UTF-8").in_column(&schema.fields[column].name);
        let text = std::str::from_utf8(column_bytes.bytes).map_err(|_| bad())?;
        if !column_bytes.offsets.iter().all(|&offset| text.is_char_boundary((offset - column_bytes.first) as usize)) {
            return Err(bad());
        }
        Ok(Texts { offsets: column_bytes.offsets, first: column_bytes.first, text })
    }

    /// The values of a utf8 or binary column as bytes.
    ///
    /// # Errors
    /// As [`Block::f64s`]; `bad-block` also where offsets are wrong.
    pub fn binaries(&self, schema: &Schema, column: usize) -> Result<Binaries<'_>, Problem> {
        self.bytes_of(schema, column, Kind::Binary)
    }

    /// Which rows of a column hold a value.
    ///
    /// # Errors
    /// `bad-block` where the block is too short for the schema.
    pub fn valid(&self, schema: &Schema, column: usize) -> Result<Validity<'_>, Problem> {
        validity(&self.validity, self.rows as usize, schema, column)
    }

    /// The values of a numeric column of any type as floats, none for nulls. Booleans are 0 and 1, timestamps
    /// microseconds.
    ///
    /// # Errors
    /// `wrong-kind` for text and bytes; else as [`Block::f64s`].
    pub fn numbers(&self, schema: &Schema, column: usize) -> Result<impl Iterator<Item = Option<f64>> + '_, Problem> {
        enum Values<'a> {
            F64(&'a [f64]),
            F32(&'a [f32]),
            S64(&'a [i64]),
            Bits(Bits<'a>),
        }
        let values = match schema.fields[column].kind {
            Kind::Float64 => Values::F64(self.f64s(schema, column)?),
            Kind::Float32 => Values::F32(self.f32s(schema, column)?),
            Kind::Int64 | Kind::TimestampUs => Values::S64(self.s64s(schema, column)?),
            Kind::Boolean => Values::Bits(self.bools(schema, column)?),
            Kind::Utf8 | Kind::Binary => return Err(wrong(schema, column, "a number")),
        };
        let valid = self.valid(schema, column)?;
        Ok((0..self.rows as usize).map(move |row| {
            valid.is_valid(row).then(|| match &values {
                Values::F64(values) => values[row],
                Values::F32(values) => f64::from(values[row]),
                Values::S64(values) => values[row] as f64,
                Values::Bits(bits) => f64::from(u8::from(bits.get(row))),
            })
        }))
    }

    /// Writes zero into the float64 slots of a column's nulls, which is where they must be left.
    ///
    /// # Errors
    /// As [`Block::f64s`].
    pub fn zero_null_f64s(&mut self, schema: &Schema, column: usize) -> Result<(), Problem> {
        if self.validity.is_empty() && schema.fields[column].kind == Kind::Float64 {
            return Ok(());
        }
        let span = self.span(schema, column, Kind::Float64)?;
        let Some(bits) = validity(&self.validity, self.rows as usize, schema, column)?.bits else { return Ok(()) };
        let values = self.f64s.get_mut(span).ok_or_else(|| short(schema, column))?;
        for (row, value) in values.iter_mut().enumerate() {
            if bits[row / 8] >> (row % 8) & 1 == 0 {
                *value = 0.0;
            }
        }
        Ok(())
    }

    /// Where a column lies in the list of its physical type.
    fn span(&self, schema: &Schema, column: usize, kind: Kind) -> Result<Range<usize>, Problem> {
        let sharing = sharing(kind);
        let shares = |kind: Kind| sharing >> kind as u32 & 1;
        if shares(schema.fields[column].kind) == 0 {
            return Err(wrong(schema, column, kind.name()));
        }
        let before = schema.fields[..column].iter().map(|field| shares(field.kind)).sum::<u32>() as usize;
        let rows = self.rows as usize;
        let width = match kind {
            Kind::Boolean => rows.div_ceil(8),
            Kind::Utf8 | Kind::Binary => rows + 1,
            _ => rows,
        };
        Ok(before * width..(before + 1) * width)
    }

    fn bytes_of(&self, schema: &Schema, column: usize, kind: Kind) -> Result<Binaries<'_>, Problem> {
        if kind == Kind::Utf8 && schema.fields[column].kind != Kind::Utf8 {
            return Err(wrong(schema, column, kind.name()));
        }
        let offsets = self.offsets.get(self.span(schema, column, kind)?).ok_or_else(|| short(schema, column))?;
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        if !offsets.is_sorted() {
            return Err(short(schema, column));
        }
        let bytes = self.bytes.get(first as usize..last as usize).ok_or_else(|| short(schema, column))?;
        Ok(Binaries { offsets, first, bytes })
    }
}

/// The values of a boolean column.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    bits: &'a [u8],
    rows: usize,
}

impl Bits<'_> {
    /// The value of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn get(&self, row: usize) -> bool {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        self.bits[row / 8] >> (row % 8) & 1 == 1
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.rows).map(|row| self.get(row))
    }
}

/// Which rows of a column hold a value.
#[derive(Debug, Clone, Copy)]
pub struct Validity<'a> {
    bits: Option<&'a [u8]>,
    rows: usize,
}

impl<'a> Validity<'a> {
    /// Whether a row holds a value.
    pub fn is_valid(&self, row: usize) -> bool {
        self.bits.is_none_or(|bits| bits[row / 8] >> (row % 8) & 1 == 1)
    }

    /// Number of nulls.
    pub fn nulls(&self) -> usize {
        (0..self.rows).filter(|&row| !self.is_valid(row)).count()
    }

    /// The bitmap, least significant bit first; none where the block holds no null at all.
    pub fn bitmap(&self) -> Option<&'a [u8]> {
        self.bits
    }
}

/// The values of a utf8 column; an empty text for nulls.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    offsets: &'a [u32],
    first: u32,
    text: &'a str,
}

impl<'a> Texts<'a> {
    /// The value of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn get(&self, row: usize) -> &'a str {
        &self.text[(self.offsets[row] - self.first) as usize..(self.offsets[row + 1] - self.first) as usize]
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + '_ {
        (0..self.offsets.len() - 1).map(|row| self.get(row))
    }
}

/// The values of a utf8 or binary column as bytes; empty for nulls.
#[derive(Debug, Clone, Copy)]
pub struct Binaries<'a> {
    offsets: &'a [u32],
    first: u32,
    bytes: &'a [u8],
}

impl<'a> Binaries<'a> {
    /// The value of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn get(&self, row: usize) -> &'a [u8] {
        &self.bytes[(self.offsets[row] - self.first) as usize..(self.offsets[row + 1] - self.first) as usize]
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        (0..self.offsets.len() - 1).map(|row| self.get(row))
    }
}

fn validity<'a>(all: &'a [u8], rows: usize, schema: &Schema, column: usize) -> Result<Validity<'a>, Problem> {
    if all.is_empty() || !schema.fields[column].nullable {
        return Ok(Validity { bits: None, rows });
    }
    let bitmap = rows.div_ceil(8);
    let at = schema.fields[..column].iter().filter(|field| field.nullable).count() * bitmap;
    let bits = all.get(at..at + bitmap).ok_or_else(|| short(schema, column))?;
    Ok(Validity { bits: Some(bits), rows })
}

/// The kinds that share a physical list with `kind`, a bit for each.
const fn sharing(kind: Kind) -> u32 {
    match kind {
        Kind::Int64 | Kind::TimestampUs => 1 << Kind::Int64 as u32 | 1 << Kind::TimestampUs as u32,
        Kind::Utf8 | Kind::Binary => 1 << Kind::Utf8 as u32 | 1 << Kind::Binary as u32,
        Kind::Boolean | Kind::Float32 | Kind::Float64 => 1 << kind as u32,
    }
}

fn wrong(schema: &Schema, column: usize, wanted: &str) -> Problem {
    let field = &schema.fields[column];
    Problem::bad_input("wrong-kind", format!("column `{}` is {}, not {wanted}", field.name, field.kind))
        .in_column(&field.name)
}

fn short(schema: &Schema, column: usize) -> Problem {
    let name = &schema.fields[column].name;
    Problem::bad_input("bad-block", format!("the block does not fit its schema at column `{name}`")).in_column(name)
}
