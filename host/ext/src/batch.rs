//! Rows of a schema.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch,
    types::{Float32Type, Float64Type},
};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};

use crate::{Kind, Schema, SchemaError};

/// Some rows of a [`Schema`]: an Arrow record batch that is known to obey our rules. Cheap to clone.
///
/// One that was made [of numbers](Self::of_numbers) has no arrays until somebody asks for them: to make and to drop one
/// for each column is half of the time that a transform of one row takes, and models read the numbers as they are.
#[derive(Debug, Clone)]
pub struct Batch {
    schema: Schema,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Arrays(RecordBatch),
    Numbers(Arc<Piece>),
}

/// Numbers, and the arrays that they became, if they did.
#[derive(Debug)]
struct Piece {
    numbers: Numbers,
    rows: usize,
    arrays: OnceLock<RecordBatch>,
}

/// All values of rows whose columns are all of one kind and have no nulls: the columns, end to end.
#[derive(Debug, Clone)]
pub enum Numbers {
    /// Of [`Kind::Float32`].
    F32(ScalarBuffer<f32>),
    /// Of [`Kind::Float64`].
    F64(ScalarBuffer<f64>),
}

impl Numbers {
    /// What all columns are.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::Float32,
            Self::F64(_) => Kind::Float64,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// As they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => values.inner().as_slice(),
            Self::F64(values) => values.inner().as_slice(),
        }
    }

    fn column(&self, index: usize, rows: usize) -> ArrayRef {
        fn part<T: ArrowPrimitiveType>(all: &ScalarBuffer<T::Native>, index: usize, rows: usize) -> ArrayRef {
            Arc::new(PrimitiveArray::<T>::new(all.slice(index * rows, rows), None))
        }
        match self {
            Self::F32(values) => part::<Float32Type>(values, index, rows),
            Self::F64(values) => part::<Float64Type>(values, index, rows),
        }
    }
}

/// Values that lie row by row, `width` to a row, column by column; or those that lie column by column, `width` to a column, row
/// by row.
///
/// # Panics
/// If the last row is not a whole one.
pub fn transposed<T: Copy>(values: &[T], width: usize) -> Vec<T> {
    let rows = values.len() / width.max(1);
    assert_eq!(rows * width, values.len(), "rows of {width} values");
    let mut across = Vec::with_capacity(values.len());
    (0..width).for_each(|column| across.extend((0..rows).map(|row| values[row * width + column])));
    across
}

impl Piece {
    fn arrays(&self, schema: &Schema) -> RecordBatch {
        let columns = (0..schema.len()).map(|index| self.numbers.column(index, self.rows)).collect();
        // SAFETY: `Batch::of_numbers` saw that each column is of the kind of the numbers and how many there are; none is
        // null.
        #[expect(unsafe_code, reason = "as in `Batch::new`")]
        unsafe {
            RecordBatch::new_unchecked(schema.arrow().clone(), columns, self.rows)
        }
    }
}

impl Batch {
    /// Rows from columns, checked against the schema: number, types, lengths, nullability.
    ///
    /// # Errors
    /// [`SchemaError`] names the column.
    pub fn new(schema: Schema, columns: Vec<ArrayRef>, rows: usize) -> Result<Self, SchemaError> {
        Self::check(&schema, &columns, rows)?;
        // SAFETY: there are as many columns as fields, each of its field's type, with `rows` rows and no null where none
        // may be: all of that was checked.
        #[expect(unsafe_code, reason = "checking everything twice costs a third of scoring one row")]
        Ok(unsafe { Self::new_unchecked(schema, columns, rows) })
    }

    fn check(schema: &Schema, columns: &[ArrayRef], rows: usize) -> Result<(), SchemaError> {
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
        Ok(())
    }

    /// Rows from columns that are known to obey the schema.
    ///
    /// # Safety
    /// [`new`](Self::new) would take them.
    #[expect(unsafe_code, reason = "for columns that were made from the schema: checking them again shows in one row")]
    pub unsafe fn new_unchecked(schema: Schema, columns: Vec<ArrayRef>, rows: usize) -> Self {
        debug_assert_eq!(Self::check(&schema, &columns, rows), Ok(()));
        // SAFETY: what `new` checks is all that this asks for.
        let arrays = unsafe { RecordBatch::new_unchecked(schema.arrow().clone(), columns, rows) };
        Self { schema, content: Content::Arrays(arrays) }
    }

    /// Rows of columns that are all of one kind and have no nulls.
    ///
    /// # Errors
    /// [`SchemaError::Mismatch`] where a column is of another kind, or there are not as many numbers as the columns have.
    pub fn of_numbers(schema: Schema, numbers: Numbers, rows: usize) -> Result<Self, SchemaError> {
        let kind = numbers.kind();
        let other = schema.fields().iter().position(|field| field.kind != kind);
        if other.is_some() || schema.len().checked_mul(rows) != Some(numbers.len()) {
            let index = other.unwrap_or(schema.len());
            let expected = schema.fields().get(index).map_or("no column".into(), |field| field.kind.to_string());
            let found = format!("{} numbers of {kind} for {rows} rows of {} columns", numbers.len(), schema.len());
            return Err(SchemaError::Mismatch { index, expected, found });
        }
        Ok(Self { schema, content: Content::Numbers(Arc::new(Piece { numbers, rows, arrays: OnceLock::new() })) })
    }

    /// All values, if the rows were made [of numbers](Self::of_numbers).
    pub fn numbers(&self) -> Option<&Numbers> {
        match &self.content {
            Content::Arrays(_) => None,
            Content::Numbers(piece) => Some(&piece.numbers),
        }
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
        let arrays = RecordBatch::new_empty(schema.arrow().clone());
        Self { schema, content: Content::Arrays(arrays) }
    }

    /// Its schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        match &self.content {
            Content::Arrays(arrays) => arrays.num_rows(),
            Content::Numbers(piece) => piece.rows,
        }
    }

    /// Number of columns.
    pub fn num_columns(&self) -> usize {
        self.schema.len()
    }

    /// The rows of all of them, one after the other, if they have one schema and all were made
    /// [of numbers](Self::of_numbers); none otherwise.
    pub fn join_numbers(parts: &[&Self]) -> Option<Self> {
        fn end_to_end<T: ArrowNativeType>(parts: &[(&ScalarBuffer<T>, usize)], columns: usize) -> ScalarBuffer<T> {
            let mut whole = Vec::with_capacity(parts.iter().map(|(values, _)| values.len()).sum());
            for column in 0..columns {
                parts.iter().for_each(|(values, rows)| whole.extend_from_slice(&values[column * rows..][..*rows]));
            }
            whole.into()
        }
        let schema = &parts.first()?.schema;
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        for part in parts {
            match part.numbers().filter(|_| part.schema == *schema)? {
                Numbers::F32(values) => narrow.push((values, part.num_rows())),
                Numbers::F64(values) => wide.push((values, part.num_rows())),
            }
        }
        // Rows of one schema have numbers of one kind.
        let numbers = match narrow.is_empty() {
            true => Numbers::F64(end_to_end(&wide, schema.len())),
            false => Numbers::F32(end_to_end(&narrow, schema.len())),
        };
        Self::of_numbers(schema.clone(), numbers, parts.iter().map(|part| part.num_rows()).sum()).ok()
    }

    /// How much memory it keeps, in bytes: of numbers what they take themselves, whatever arrays were made of them since;
    /// otherwise what Arrow says of its arrays.
    pub fn memory_size(&self) -> usize {
        match &self.content {
            Content::Arrays(arrays) => arrays.get_array_memory_size(),
            Content::Numbers(piece) => size_of::<Piece>() + piece.numbers.bytes().len(),
        }
    }

    /// As Arrow sees it.
    pub fn arrow(&self) -> &RecordBatch {
        match &self.content {
            Content::Arrays(arrays) => arrays,
            Content::Numbers(piece) => piece.arrays.get_or_init(|| piece.arrays(&self.schema)),
        }
    }

    /// The columns at `indices`, in that order; no copy.
    ///
    /// # Panics
    /// If an index is out of range, or named twice.
    pub fn project(&self, indices: &[usize]) -> Self {
        let schema = self.schema.project(indices);
        let columns = indices.iter().map(|&i| self.column(i).clone()).collect();
        Self::new(schema, columns, self.num_rows()).expect("columns of a batch obey its schema")
    }

    /// Rows `offset .. offset + len`; no copy.
    ///
    /// # Panics
    /// If the range goes past the end.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self { schema: self.schema.clone(), content: Content::Arrays(self.arrow().slice(offset, len)) }
    }
}

impl Deref for Batch {
    type Target = RecordBatch;
    fn deref(&self) -> &RecordBatch {
        self.arrow()
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema && self.arrow() == other.arrow()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array};

    use super::*;
    use crate::Field;

    #[test]
    fn rows_become_columns_and_columns_rows() {
        let rows = [1, 2, 3, 4, 5, 6];
        assert_eq!(transposed(&rows, 3), [1, 4, 2, 5, 3, 6]);
        assert_eq!(transposed(&transposed(&rows, 3), 2), rows);
        assert!(transposed::<u8>(&[], 0).is_empty());
    }

    #[test]
    fn numbers_become_arrays_when_they_are_asked_for() {
        let schema =
            Schema::new(vec![Field::new("a", Kind::Float64, false), Field::new("b", Kind::Float64, true)]).unwrap();
        let numbers = |values: &[f64]| Numbers::F64(values.to_vec().into());
        let rows = Batch::of_numbers(schema.clone(), numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 3).unwrap();
        assert_eq!((rows.num_rows(), rows.num_columns()), (3, 2));
        assert!(matches!(&rows.content, Content::Numbers(piece) if piece.arrays.get().is_none()));
        let column = |values: [f64; 3]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        let columns = vec![column([1.0, 2.0, 3.0]), column([4.0, 5.0, 6.0])];
        assert_eq!(rows, Batch::new(schema.clone(), columns, 3).unwrap());
        assert_eq!(rows.slice(1, 2).num_rows(), 2);
        assert_eq!(*rows.slice(1, 2).column(1).to_data().buffers()[0].typed_data::<f64>(), [5.0, 6.0]);

        let one = Batch::of_numbers(schema.clone(), numbers(&[7.0, 8.0]), 1).unwrap();
        let joined = Batch::join_numbers(&[&rows, &one, &rows]).unwrap();
        assert_eq!((joined.num_rows(), joined.memory_size()), (7, size_of::<Piece>() + 14 * 8));
        assert_eq!((joined.slice(0, 3), joined.slice(3, 1), joined.slice(4, 3)), (rows.clone(), one, rows.clone()));
        assert!(Batch::join_numbers(&[&rows, &rows.slice(0, 1)]).is_none());
        assert!(Batch::join_numbers(&[]).is_none());

        let wrong =
            |schema: Schema, values: &[f64], rows| Batch::of_numbers(schema, numbers(values), rows).unwrap_err();
        let message = wrong(schema, &[1.0; 5], 3).to_string();
        assert!(message.contains("5 numbers of float64 for 3 rows of 2 columns"), "{message}");
        let narrow = Schema::new(vec![Field::new("a", Kind::Float32, false)]).unwrap();
        assert!(wrong(narrow, &[1.0], 1).to_string().contains("float32"));
    }

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
