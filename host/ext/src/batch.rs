//! Rows of a schema.

use std::ops::Deref;

use arrow_array::{Array, ArrayRef, RecordBatch};

use crate::{Schema, SchemaError};

/// Some rows of a [`Schema`]: an Arrow record batch that is known to obey our rules. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    schema: Schema,
    rows: RecordBatch,
}

impl Batch {
    /// Rows from columns, checked against the schema: number, types, lengths, nullability.
    ///
    /// # Errors
    /// [`SchemaError`] names the column.
    pub fn new(schema: Schema, columns: Vec<ArrayRef>, rows: usize) -> Result<Self, SchemaError> {
        for (index, field) in schema.fields().iter().enumerate() {
            let found = match columns.get(index) {
                None => Some("no column".to_owned()),
                Some(c) if c.data_type() != schema.arrow().field(index).data_type() => {
                    Some(format!("{} {}", field.name, c.data_type()))
                }
                Some(c) if c.len() != rows => Some(format!("{} with {} rows", field.name, c.len())),
                Some(_) => None,
            };
            if let Some(found) = found {
                return Err(SchemaError::Mismatch {
                    index,
                    expected: format!("{} {}, {rows} rows", field.name, field.kind),
                    found,
                });
            }
            if !field.nullable && columns[index].null_count() > 0 {
                let row = (0..rows).find(|&row| columns[index].is_null(row)).unwrap_or_default();
                return Err(SchemaError::UnexpectedNull { name: field.name.clone(), row });
            }
        }
        if columns.len() > schema.len() {
            return Err(SchemaError::Mismatch {
                index: schema.len(),
                expected: "no column".into(),
                found: columns[schema.len()].data_type().to_string(),
            });
        }
        // SAFETY: there are as many columns as fields, each of its field's type, with `rows` rows and no null where none
        // may be: all of that was checked above.
        #[expect(unsafe_code, reason = "checking everything twice costs a third of scoring one row")]
        let rows = unsafe { RecordBatch::new_unchecked(schema.arrow().clone(), columns, rows) };
        Ok(Self { schema, rows })
    }

    /// Rows from columns that are known to obey the schema.
    ///
    /// # Safety
    /// [`new`](Self::new) would take them.
    #[expect(unsafe_code, reason = "for columns that were made from the schema: checking them again shows in one row")]
    pub unsafe fn new_unchecked(schema: Schema, columns: Vec<ArrayRef>, rows: usize) -> Self {
        debug_assert_eq!(Self::new(schema.clone(), columns.clone(), rows).err(), None);
        // SAFETY: what `new` checks is all that this asks for.
        let rows = unsafe { RecordBatch::new_unchecked(schema.arrow().clone(), columns, rows) };
        Self { schema, rows }
    }

    /// Takes over an Arrow batch that has only our types.
    ///
    /// # Errors
    /// [`SchemaError::UnsupportedType`] or a duplicate name.
    pub fn from_arrow(batch: &RecordBatch) -> Result<Self, SchemaError> {
        let schema = Schema::from_arrow(batch.schema_ref())?;
        Self::new(schema, batch.columns().to_vec(), batch.num_rows())
    }

    /// No rows of a schema.
    pub fn empty(schema: Schema) -> Self {
        let rows = RecordBatch::new_empty(schema.arrow().clone());
        Self { schema, rows }
    }

    /// Its schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// As Arrow sees it.
    pub fn arrow(&self) -> &RecordBatch {
        &self.rows
    }

    /// The columns at `indices`, in that order; no copy.
    ///
    /// # Panics
    /// If an index is out of range, or named twice.
    pub fn project(&self, indices: &[usize]) -> Self {
        let schema = self.schema.project(indices);
        let columns = indices.iter().map(|&i| self.rows.column(i).clone()).collect();
        Self::new(schema, columns, self.rows.num_rows()).expect("columns of a batch obey its schema")
    }

    /// Rows `offset .. offset + len`; no copy.
    ///
    /// # Panics
    /// If the range goes past the end.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self { schema: self.schema.clone(), rows: self.rows.slice(offset, len) }
    }
}

impl Deref for Batch {
    type Target = RecordBatch;
    fn deref(&self) -> &RecordBatch {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array};

    use super::*;
    use crate::{Field, Kind};

    #[test]
    fn rules_are_checked_when_a_batch_is_made() {
        let schema = Schema::new(vec![Field::new("a", Kind::Int64, false)]).unwrap();
        let good: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        assert_eq!(Batch::new(schema.clone(), vec![good.clone()], 2).unwrap().num_rows(), 2);
        assert!(Batch::new(schema.clone(), vec![good.clone()], 3).is_err());
        assert!(Batch::new(schema.clone(), vec![], 2).is_err());
        assert!(Batch::new(schema.clone(), vec![good.clone(), good], 2).is_err());
        assert!(Batch::new(schema.clone(), vec![Arc::new(Float64Array::from(vec![1.0]))], 1).is_err());
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        assert_eq!(Batch::new(schema, vec![nulls], 2), Err(SchemaError::UnexpectedNull { name: "a".into(), row: 1 }));
    }
}
