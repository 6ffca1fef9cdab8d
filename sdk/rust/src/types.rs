//! What every extension point shares: the records of `plinth:types`, as plain Rust types.
//!
//! In a component these are the very types that the generated bindings move across the boundary, so nothing is
//! converted or copied; natively they are ordinary structs.

use std::fmt;

/// Logical type of a column. Its physical place in a [`Block`] is in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Kind {
    /// `[bits]` one bit a row, least significant bit first, as in Arrow.
    Boolean,
    /// `[s64s]`
    Int64,
    /// `[s64s]` microseconds since 1970-01-01T00:00:00Z.
    TimestampUs,
    /// `[f32s]`
    Float32,
    /// `[f64s]`
    Float64,
    /// `[offsets, bytes]` UTF-8 text.
    Utf8,
    /// `[offsets, bytes]` any bytes.
    Binary,
}

impl Kind {
    /// Every kind, in the order of the WIT enum.
    pub const ALL: [Self; 7] =
        [Self::Boolean, Self::Int64, Self::TimestampUs, Self::Float32, Self::Float64, Self::Utf8, Self::Binary];

    /// Its kebab-case name, as the WIT has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int64 => "int64",
            Self::TimestampUs => "timestamp-us",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
        }
    }

    /// Whether it is a number: boolean, integer or float.
    pub const fn is_numeric(self) -> bool {
        matches!(self, Self::Boolean | Self::Int64 | Self::Float32 | Self::Float64)
    }

    /// What the generated bindings call to read a kind that the host sent.
    ///
    /// # Safety
    /// None is needed: any byte is taken, and one that is no kind panics. The bindings call it as an unsafe function.
    #[doc(hidden)]
    #[cfg(target_arch = "wasm32")]
    #[expect(unsafe_code, reason = "the bindings call it in an unsafe block")]
    pub unsafe fn _lift(value: u8) -> Self {
        Self::ALL[usize::from(value)]
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One column of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Unique within its schema, not empty.
    pub name: String,
    /// Logical type.
    pub kind: Kind,
    /// Whether the column may hold nulls; only nullable columns have a validity bitmap.
    pub nullable: bool,
}

impl Field {
    /// A column.
    pub fn new(name: impl Into<String>, kind: Kind, nullable: bool) -> Self {
        Self { name: name.into(), kind, nullable }
    }
}

/// The columns of a table. Order matters: it says where each column lies in a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The columns, first to last.
    pub fields: Vec<Field>,
}

impl Schema {
    /// The columns, first to last.
    pub fn new(fields: impl Into<Vec<Field>>) -> Self {
        Self { fields: fields.into() }
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Where a column stands, if there is one of that name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// Where a column stands.
    ///
    /// # Errors
    /// `unknown-column`, with the nearest name there is.
    pub fn require(&self, name: &str) -> Result<usize, Problem> {
        self.index_of(name).ok_or_else(|| {
            let near = crate::options::nearest(name, self.fields.iter().map(|field| field.name.as_str()));
            Problem::bad_input("unknown-column", format!("unknown column `{name}`{near}")).in_column(name)
        })
    }
}

/// Rows of a schema that both sides agreed on beforehand; a block carries no names.
///
/// Columns of one physical type lie one after another, column-major, `rows` values each, in schema order.
/// A null's value slot is present and holds zero (an empty string for text). Read it through the views
/// ([`Block::f64s`] and its like), make one with [`crate::BlockBuilder`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    /// Number of rows.
    pub rows: u32,
    /// Values of the float64 columns.
    pub f64s: Vec<f64>,
    /// Values of the float32 columns.
    pub f32s: Vec<f32>,
    /// Values of the int64 and timestamp-us columns.
    pub s64s: Vec<i64>,
    /// `ceil(rows / 8)` bytes for each boolean column.
    pub bits: Vec<u8>,
    /// `rows + 1` offsets for each utf8 or binary column, absolute into `bytes`, never decreasing.
    pub offsets: Vec<u32>,
    /// The text and binary values, end to end.
    pub bytes: Vec<u8>,
    /// `ceil(rows / 8)` bytes for each nullable column (1 = present), in schema order; empty where the block
    /// holds no null at all.
    pub validity: Vec<u8>,
}

/// Why a call could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable, kebab-case, documented by the plugin.
    pub code: String,
    /// For a person: names the offending value.
    pub message: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// Row within the block or the source that caused it, from 0.
    pub row: Option<u64>,
    /// Column that caused it.
    pub column: Option<String>,
}

impl Problem {
    /// A problem with what was given: the same call fails again.
    pub fn bad_input(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, row: None, column: None }
    }

    /// A problem that may pass: the same call may succeed later.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::bad_input(code, message) }
    }

    /// In this row, from 0.
    #[must_use]
    pub fn at_row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// In this column.
    #[must_use]
    pub fn in_column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(column) = &self.column {
            write!(f, " (column `{column}`)")?;
        }
        if let Some(row) = self.row {
            write!(f, " (row {row})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// One named thing that a component offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Kebab-case, unique within the extension point of this component.
    pub name: String,
    /// One line for a list.
    pub summary: String,
    /// JSON Schema of its options; the host checks options against it before any call.
    pub options_schema: String,
}

impl Item {
    /// A named thing.
    pub fn new(name: impl Into<String>, summary: impl Into<String>, options_schema: impl Into<String>) -> Self {
        Self { name: name.into(), summary: summary.into(), options_schema: options_schema.into() }
    }
}
