//! What a table's columns are, and how two tables are told apart.

use std::{fmt, sync::Arc};

use arrow_schema::{DataType, TimeUnit};
use plinth_core::{Code, Coded, ContentHash, codes};
use serde::{Deserialize, Serialize};

/// Logical type of a column: `kind` in `wit/types`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// True or false.
    Boolean,
    /// 64-bit signed integer.
    Int64,
    /// Microseconds since 1970-01-01T00:00:00Z. In Arrow: `Timestamp(Microsecond, "UTC")`.
    TimestampUs,
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
    /// Text.
    Utf8,
    /// Bytes.
    Binary,
}

impl Kind {
    /// Every kind, in the order of the WIT enum.
    pub const ALL: [Self; 7] =
        [Self::Boolean, Self::Int64, Self::TimestampUs, Self::Float32, Self::Float64, Self::Utf8, Self::Binary];

    /// Its kebab-case name.
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

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is a number that a model can take as it is (boolean, integer or float).
    pub const fn is_numeric(self) -> bool {
        matches!(self, Self::Boolean | Self::Int64 | Self::Float32 | Self::Float64)
    }

    /// The one Arrow type that stands for it.
    pub fn to_arrow(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::TimestampUs => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Utf8 => DataType::Utf8,
            Self::Binary => DataType::Binary,
        }
    }

    /// The kind that an Arrow type stands for, if it is one of the seven.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_arrow() == *data_type)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Unique within its schema, not empty.
    pub name: String,
    /// Logical type.
    pub kind: Kind,
    /// Whether it may hold nulls.
    pub nullable: bool,
}

impl Field {
    /// A column.
    pub fn new(name: impl Into<String>, kind: Kind, nullable: bool) -> Self {
        Self { name: name.into(), kind, nullable }
    }
}

/// The columns of a table, in order. Cheap to clone.
#[derive(Clone, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Field>", into = "Vec<Field>")]
pub struct Schema {
    fields: Arc<[Field]>,
    arrow: arrow_schema::SchemaRef,
}

impl Schema {
    /// Checks that names are unique and not empty.
    ///
    /// # Errors
    /// [`SchemaError::EmptyName`], [`SchemaError::DuplicateName`].
    pub fn new(fields: Vec<Field>) -> Result<Self, SchemaError> {
        let mut seen = std::collections::HashSet::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            if field.name.is_empty() {
                return Err(SchemaError::EmptyName { index });
            }
            if !seen.insert(field.name.as_str()) {
                return Err(SchemaError::DuplicateName { name: field.name.clone() });
            }
        }
        drop(seen);
        let arrow = arrow_schema::Schema::new(
            fields.iter().map(|f| arrow_schema::Field::new(&f.name, f.kind.to_arrow(), f.nullable)).collect::<Vec<_>>(),
        );
        Ok(Self { fields: fields.into(), arrow: Arc::new(arrow) })
    }

    /// The schema of an Arrow table that has only our types.
    ///
    /// # Errors
    /// [`SchemaError::UnsupportedType`] names the first column of another type.
    pub fn from_arrow(schema: &arrow_schema::Schema) -> Result<Self, SchemaError> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| match Kind::from_arrow(field.data_type()) {
                Some(kind) => Ok(Field::new(field.name(), kind, field.is_nullable())),
                None => Err(SchemaError::UnsupportedType {
                    name: field.name().clone(),
                    data_type: field.data_type().to_string(),
                }),
            })
            .collect::<Result<_, _>>()?;
        Self::new(fields)
    }

    /// The columns.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The same columns as Arrow spells them; no metadata.
    pub fn arrow(&self) -> &arrow_schema::SchemaRef {
        &self.arrow
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Where a column stands.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// A column by name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.index_of(name).map(|index| &self.fields[index])
    }

    /// Where a column stands, or an error with a did-you-mean.
    ///
    /// # Errors
    /// [`SchemaError::UnknownColumn`].
    pub fn require(&self, name: &str) -> Result<usize, SchemaError> {
        self.index_of(name).ok_or_else(|| SchemaError::UnknownColumn {
            name: name.to_owned(),
            hint: plinth_core::did_you_mean(name, self.fields.iter().map(|f| f.name.as_str())),
        })
    }

    /// The columns at `indices`, in that order.
    ///
    /// # Panics
    /// If an index is out of range, or named twice.
    pub fn project(&self, indices: &[usize]) -> Self {
        Self::new(indices.iter().map(|&i| self.fields[i].clone()).collect()).expect("columns of a schema stay unique")
    }

    /// The blake3 of the canonical form: names, types and nullability in order.
    pub fn fingerprint(&self) -> ContentHash {
        let mut text = String::new();
        for field in self.fields.iter() {
            text.push_str(&format!("{}\u{1f}{}\u{1f}{}\u{1e}", field.name, field.kind, field.nullable));
        }
        ContentHash::of(text.as_bytes())
    }

    /// Checks that `other` has the same columns; the error names the first that differs and both types.
    ///
    /// # Errors
    /// [`SchemaError::Mismatch`].
    pub fn expect_same(&self, other: &Self) -> Result<(), SchemaError> {
        if self == other {
            return Ok(());
        }
        let show = |field: Option<&Field>| match field {
            Some(f) => format!("{} {}{}", f.name, f.kind, if f.nullable { " nullable" } else { "" }),
            None => "no column".into(),
        };
        let index = (0..).find(|&i| self.fields.get(i) != other.fields.get(i)).unwrap_or_default();
        Err(SchemaError::Mismatch {
            index,
            expected: show(self.fields.get(index)),
            found: show(other.fields.get(index)),
        })
    }
}

impl PartialEq for Schema {
    /// By the columns; Arrow's form follows from them. Most are clones of each other, which one look at a pointer tells.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fields, &other.fields) || self.fields == other.fields
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter()).finish()
    }
}

impl TryFrom<Vec<Field>> for Schema {
    type Error = SchemaError;
    fn try_from(fields: Vec<Field>) -> Result<Self, SchemaError> {
        Self::new(fields)
    }
}

impl From<Schema> for Vec<Field> {
    fn from(schema: Schema) -> Self {
        schema.fields.to_vec()
    }
}

/// A set of columns that cannot be, or is not the one expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A column without a name.
    #[error("column {} has an empty name", index + 1)]
    EmptyName {
        /// From 0.
        index: usize,
    },
    /// Two columns of one name.
    #[error("column `{name}` appears twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An Arrow type that none of our kinds stands for.
    #[error("column `{name}` has type {data_type}, which Plinth's tables do not hold")]
    UnsupportedType {
        /// The column.
        name: String,
        /// As Arrow prints it.
        data_type: String,
    },
    /// A column that does not exist.
    #[error("unknown column `{name}`")]
    UnknownColumn {
        /// What was asked for.
        name: String,
        /// A did-you-mean.
        hint: String,
    },
    /// Two schemas that should be the same.
    #[error("column {} is `{found}` where `{expected}` was expected", index + 1)]
    Mismatch {
        /// The first column that differs, from 0.
        index: usize,
        /// Name and type expected.
        expected: String,
        /// Name and type found.
        found: String,
    },
    /// A null where none may be.
    #[error("column `{name}` has a null in row {row} but is not nullable")]
    UnexpectedNull {
        /// The column.
        name: String,
        /// From 0.
        row: usize,
    },
}

impl Coded for SchemaError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownColumn { .. } => codes::UNKNOWN_COLUMN,
            Self::EmptyName { .. } | Self::DuplicateName { .. } => codes::BAD_TABLE,
            _ => codes::SCHEMA_MISMATCH,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownColumn { hint, .. } => Some(hint.clone()),
            Self::UnsupportedType { .. } => {
                Some("cast the column to one of: boolean, int64, timestamp-us, float32, float64, utf8, binary".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ab() -> Schema {
        Schema::new(vec![Field::new("a", Kind::Int64, false), Field::new("b", Kind::Utf8, true)]).unwrap()
    }

    #[test]
    fn arrow_and_json_round_trip() {
        let schema = ab();
        assert_eq!(Schema::from_arrow(schema.arrow()).unwrap(), schema);
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), schema);
    }

    #[test]
    fn the_fingerprint_sees_every_part() {
        let base = ab().fingerprint();
        for fields in [
            vec![Field::new("b", Kind::Utf8, true), Field::new("a", Kind::Int64, false)],
            vec![Field::new("a", Kind::Int64, true), Field::new("b", Kind::Utf8, true)],
            vec![Field::new("a", Kind::Float64, false), Field::new("b", Kind::Utf8, true)],
            vec![Field::new("a", Kind::Int64, false)],
        ] {
            assert_ne!(Schema::new(fields).unwrap().fingerprint(), base);
        }
    }

    #[test]
    fn a_mismatch_names_the_column_and_both_types() {
        let other =
            Schema::new(vec![Field::new("a", Kind::Int64, false), Field::new("b", Kind::Float64, true)]).unwrap();
        assert_eq!(
            ab().expect_same(&other).unwrap_err().to_string(),
            "column 2 is `b float64 nullable` where `b utf8 nullable` was expected"
        );
    }

    #[test]
    fn duplicate_and_empty_names_are_refused() {
        let twice = vec![Field::new("a", Kind::Int64, false), Field::new("a", Kind::Utf8, true)];
        assert!(matches!(Schema::new(twice), Err(SchemaError::DuplicateName { .. })));
        assert!(matches!(
            Schema::new(vec![Field::new("", Kind::Int64, false)]),
            Err(SchemaError::EmptyName { index: 0 })
        ));
    }
}
