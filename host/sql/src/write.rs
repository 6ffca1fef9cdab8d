//! Where rows go: CSV, JSON or Parquet, batch by batch.

use std::{io::Write, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
        csv,
        datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
        error::ArrowError,
        json::{ArrayWriter, LineDelimitedWriter},
        util::display::{ArrayFormatter, FormatOptions},
    },
    parquet::{
        arrow::ArrowWriter,
        basic::{Compression, ZstdLevel},
        errors::ParquetError,
        file::properties::WriterProperties,
    },
};
use plinth_core::codes;

use crate::{
    SqlError,
    error::{line, of_io},
};

/// Rows of one group of a Parquet file: what is in memory until the group is written.
const ROWS_PER_GROUP: usize = 131_072;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header and a line for each row; structs become columns.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    JsonLines,
    /// A Parquet file.
    Parquet,
}

type To = Box<dyn Write + Send>;

/// Writes rows.
pub struct Writer {
    inner: Inner,
}

enum Inner {
    Csv(Box<csv::Writer<To>>),
    Json(ArrayWriter<To>),
    JsonLines(LineDelimitedWriter<To>),
    Parquet(Box<ArrowWriter<To>>),
}

impl Writer {
    /// Starts, which for CSV writes the header.
    ///
    /// # Errors
    /// [`SqlError`]: the target refuses, or the format cannot hold one of the types.
    pub fn new(format: Format, to: To, schema: &SchemaRef) -> Result<Self, SqlError> {
        let inner = match format {
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(to);
                let (schema, _) = flat_schema(schema);
                // The header belongs there also where no row comes.
                writer.write(&RecordBatch::new_empty(schema)).map_err(|error| of_arrow(&error))?;
                Inner::Csv(Box::new(writer))
            }
            Format::Json => Inner::Json(ArrayWriter::new(to)),
            Format::JsonLines => Inner::JsonLines(LineDelimitedWriter::new(to)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
                    .build();
                let writer = ArrowWriter::try_new(to, schema.clone(), Some(properties));
                Inner::Parquet(Box::new(writer.map_err(|error| of_parquet(&error))?))
            }
        };
        Ok(Self { inner })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), SqlError> {
        match &mut self.inner {
            Inner::Csv(to) => to.write(&flat(rows)?).map_err(|error| of_arrow(&error)),
            Inner::Json(to) => to.write(rows).map_err(|error| of_arrow(&error)),
            Inner::JsonLines(to) => to.write(rows).map_err(|error| of_arrow(&error)),
            Inner::Parquet(to) => to.write(rows).map_err(|error| of_parquet(&error)),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn finish(self) -> Result<(), SqlError> {
        let mut to = match self.inner {
            Inner::Csv(to) => to.into_inner(),
            Inner::Json(mut to) => {
                to.finish().map_err(|error| of_arrow(&error))?;
                let mut to = to.into_inner();
                to.write_all(b"\n").map_err(|error| of_io(&error))?;
                to
            }
            Inner::JsonLines(mut to) => {
                to.finish().map_err(|error| of_arrow(&error))?;
                to.into_inner()
            }
            Inner::Parquet(to) => to.into_inner().map_err(|error| of_parquet(&error))?,
        };
        to.flush().map_err(|error| of_io(&error))
    }
}

/// The names of the columns of rows as a table shows them, and whether they hold numbers.
pub fn columns(schema: &SchemaRef) -> (Vec<String>, Vec<bool>) {
    let (schema, _) = flat_schema(schema);
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().is_numeric())).unzip()
}

/// Rows as texts, in the columns of [`columns`].
///
/// # Errors
/// [`SqlError`]: a value cannot be shown.
pub fn cells(rows: &RecordBatch) -> Result<Vec<Vec<String>>, SqlError> {
    let rows = flat(rows)?;
    let options = FormatOptions::default().with_null("null");
    let shown = rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let shown = shown.collect::<Result<Vec<_>, _>>().map_err(|error| of_arrow(&error))?;
    let cell = |column: &ArrayFormatter<'_>, row| column.value(row).try_to_string().map_err(|error| of_arrow(&error));
    (0..rows.num_rows()).map(|row| shown.iter().map(|column| cell(column, row)).collect()).collect()
}

/// Rows without structs: each of their fields is a column, `NAME.FIELD`. What is nested otherwise becomes text.
///
/// # Errors
/// [`SqlError`]: a value cannot be shown.
fn flat(rows: &RecordBatch) -> Result<RecordBatch, SqlError> {
    let (schema, changed) = flat_schema(rows.schema_ref());
    if !changed {
        return Ok(rows.clone());
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for column in rows.columns() {
        flatten(column, &mut columns)?;
    }
    RecordBatch::try_new(schema, columns).map_err(|error| of_arrow(&error))
}

fn flatten(column: &ArrayRef, to: &mut Vec<ArrayRef>) -> Result<(), SqlError> {
    match column.data_type() {
        DataType::Struct(_) => {
            let (_, fields, nulls) = column.as_struct().clone().into_parts();
            for field in fields {
                let field = match &nulls {
                    None => field,
                    // A row without a struct has none of its fields.
                    Some(nulls) => {
                        let absent = datafusion::arrow::array::BooleanArray::new(!nulls.inner(), None);
                        datafusion::arrow::compute::nullif(&field, &absent).map_err(|error| of_arrow(&error))?
                    }
                };
                flatten(&field, to)?;
            }
        }
        nested if nested.is_nested() => {
            let options = FormatOptions::default();
            let show = ArrayFormatter::try_new(column, &options).map_err(|error| of_arrow(&error))?;
            let text: StringArray =
                (0..column.len()).map(|row| column.is_valid(row).then(|| show.value(row).to_string())).collect();
            to.push(Arc::new(text));
        }
        _ => to.push(Arc::clone(column)),
    }
    Ok(())
}

fn flat_schema(schema: &SchemaRef) -> (SchemaRef, bool) {
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return (schema.clone(), false);
    }
    fn add(name: &str, field: &FieldRef, nullable: bool, to: &mut Vec<Field>) {
        match field.data_type() {
            DataType::Struct(fields) => {
                for inner in fields {
                    add(&format!("{name}.{}", inner.name()), inner, nullable || field.is_nullable(), to);
                }
            }
            nested if nested.is_nested() => to.push(Field::new(name, DataType::Utf8, true)),
            other => to.push(Field::new(name, other.clone(), nullable || field.is_nullable())),
        }
    }
    let mut fields = Vec::new();
    for field in schema.fields() {
        add(field.name(), field, false, &mut fields);
    }
    (Arc::new(Schema::new(fields)), true)
}

fn of_arrow(error: &ArrowError) -> SqlError {
    match error {
        ArrowError::IoError(_, io) => of_io(io),
        other => SqlError::new(codes::BAD_TABLE, line(&other.to_string())),
    }
}

fn of_parquet(error: &ParquetError) -> SqlError {
    if let ParquetError::External(inner) = error
        && let Some(io) = inner.downcast_ref::<std::io::Error>()
    {
        return of_io(io);
    }
    SqlError::new(codes::BAD_TABLE, line(&error.to_string()))
}
