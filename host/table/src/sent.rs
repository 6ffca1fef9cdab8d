//! Parquet that somebody sent who is not trusted.
//!
//! What a file says of itself decides what a reader allocates, and a few bytes can say anything. So the heads are looked at
//! first: the footer's size and depth, how many rows there are, and, page by page for the columns that are wanted, what
//! it takes to unpack them. Then rows are read a few at a time, so few that no dictionary can make a batch large, and what
//! they hold is added up.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, TimestampMicrosecondArray,
    cast::AsArray,
    types::{
        ArrowPrimitiveType, Date32Type, Float16Type, Float32Type, Int8Type, Int16Type, Int32Type,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::{CompressionCodec as Codec, Type},
    file::metadata::ColumnChunkMetaData,
};
use plinth_ext::{Batch, Field, Kind, Schema};

use crate::{
    BATCH_ROWS, TableError,
    thrift::{Value, Walk},
};

/// Largest footer. What is made of it in memory is some fifty times as large.
pub(crate) const FOOTER_BYTES_MAX: usize = 1 << 20;
/// How deep columns may be nested, those included that nobody asks for.
const NESTED_MAX: usize = 32;
/// Widest values of one width.
const WIDTH_MAX: i32 = 64;

/// What a file may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Rows.
    pub rows_max: u64,
    /// Bytes of the wanted columns: of all their pages once these are unpacked, and of all texts and byte strings.
    pub bytes_max: u64,
}

/// A file that was sent: its footer has been read, its rows not yet.
#[derive(Debug)]
pub struct Sent {
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    bounds: Bounds,
}

impl Sent {
    /// Looks at a file's footer.
    ///
    /// # Errors
    /// [`TableError::BadSent`] if it is none; [`TableError::TooMuch`] if it says that it has too many rows.
    pub fn open(bytes: impl Into<Bytes>, bounds: Bounds) -> Result<Self, TableError> {
        let bytes = bytes.into();
        check_footer(&bytes)?;
        // The schema of Arrow's that may be in it is not needed, and is one thing more to believe.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(|| ArrowReaderMetadata::load(&bytes, options))?;
        let sent = Self { bytes, metadata, bounds };
        let mut rows = 0_u64;
        for group in sent.metadata.metadata().row_groups() {
            let own = u64::try_from(group.num_rows()).map_err(|_| bad("a row group has fewer than no rows"))?;
            rows = rows.checked_add(own).ok_or_else(|| bad("its row groups have more rows than can be counted"))?;
        }
        if i64::try_from(rows).ok() != Some(sent.metadata.metadata().file_metadata().num_rows()) {
            return Err(bad("its row groups do not have as many rows as it says"));
        }
        if rows > bounds.rows_max {
            return Err(TableError::TooMuch { found: rows, limit: bounds.rows_max, unit: "rows" });
        }
        Ok(sent)
    }

    /// Its columns, those included that nobody can read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.metadata.schema().fields().iter().map(|field| field.name().as_str())
    }

    /// Reads some columns by where they stand in [`Sent::names`], in that order and as what their types come nearest to
    /// among ours, and hands over a few rows at a time.
    ///
    /// # Errors
    /// [`TableError::BadSent`], [`TableError::TooMuch`], and those of `take`.
    pub fn read<E: From<TableError>>(
        &self,
        wanted: &[usize],
        mut take: impl FnMut(&Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let at_once = self.check(wanted)?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), wanted.iter().copied());
        let mut reader = guarded(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
                .with_projection(mask)
                .with_batch_size(at_once)
                .build()
        })?;
        let (mut rows, mut held) = (0, 0);
        while let Some(batch) = guarded(|| reader.next().transpose())? {
            rows += batch.num_rows() as u64;
            if rows > self.bounds.rows_max {
                return Err(bad("its pages hold more rows than it says").into());
            }
            let columns = batch.columns().iter().zip(batch.schema_ref().fields());
            let columns: Vec<(Field, ArrayRef)> = columns
                .map(|(column, field)| {
                    let column = nearest(field.name(), column)?;
                    let kind = Kind::from_arrow(column.data_type());
                    let kind = kind.ok_or_else(|| bad(format!("column `{}` has no type of ours", field.name())))?;
                    Ok((Field::new(field.name().as_str(), kind, true), column))
                })
                .collect::<Result<_, TableError>>()?;
            held += columns.iter().map(|(_, column)| variable(column)).sum::<u64>();
            if held > self.bounds.bytes_max {
                return Err(self.too_large(held).into());
            }
            let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
            let schema = Schema::new(fields).map_err(TableError::from)?;
            take(&Batch::new(schema, columns, batch.num_rows()).map_err(TableError::from)?)?;
        }
        Ok(())
    }

    fn too_large(&self, found: u64) -> TableError {
        TableError::TooMuch { found, limit: self.bounds.bytes_max, unit: "bytes once it is unpacked" }
    }

    /// Looks at all pages of the wanted columns. Gives how many rows may be read at once.
    fn check(&self, wanted: &[usize]) -> Result<usize, TableError> {
        let schema = self.metadata.parquet_schema();
        // How much one row may hold of what pages say once and rows then repeat.
        let (mut total, mut repeated) = (0_u64, 0_u64);
        for (leaf, column) in schema.columns().iter().enumerate() {
            if !wanted.contains(&schema.get_column_root_idx(leaf)) {
                continue;
            }
            let name = column.path().string();
            if column.max_rep_level() > 0 || column.max_def_level() > 1 || column.path().parts().len() > 1 {
                return Err(bad(format!("column `{name}` is nested; a column of numbers, texts or times is expected")));
            }
            if column.physical_type() == Type::FIXED_LEN_BYTE_ARRAY && !(1..=WIDTH_MAX).contains(&column.type_length())
            {
                return Err(bad(format!("column `{name}` has values of {} bytes", column.type_length())));
            }
            let mut largest = 0;
            for group in self.metadata.metadata().row_groups() {
                let chunk = group.columns().get(leaf).ok_or_else(|| bad("a row group lacks a column"))?;
                let pages = self.pages(&name, chunk, group.num_rows(), self.bounds.bytes_max - total)?;
                total += pages.unpacked;
                largest = largest.max(pages.repeatable);
            }
            repeated += largest;
        }
        let at_once = self.bounds.bytes_max / repeated.max(1);
        Ok(usize::try_from(at_once).unwrap_or(usize::MAX).clamp(1, BATCH_ROWS))
    }

    fn pages(&self, name: &str, chunk: &ColumnChunkMetaData, rows: i64, left: u64) -> Result<Pages, TableError> {
        let damaged = || bad(format!("the pages of column `{name}` are not where, or what, it says"));
        // These are unpacked as far as a page says; by the others, whatever comes would be.
        let packing = chunk.compression_codec();
        if !matches!(packing, Codec::UNCOMPRESSED | Codec::SNAPPY | Codec::ZSTD | Codec::LZ4_RAW) {
            return Err(bad(format!("column `{name}` is packed by {packing:?}; snappy, zstd and lz4_raw are read")));
        }
        let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        let length = usize::try_from(chunk.compressed_size()).map_err(|_| damaged())?;
        let whole = usize::try_from(start).ok().and_then(|start| self.bytes.get(start..)?.get(..length));
        let mut walk = Walk(whole.ok_or_else(damaged)?);
        let (mut pages, mut values) = (Pages::default(), 0_i64);
        while !walk.0.is_empty() {
            let head = Head::read(&mut walk).ok_or_else(damaged)?;
            let (packed, unpacked) = (usize::try_from(head.packed), u64::try_from(head.unpacked));
            let (packed, unpacked) = (packed.map_err(|_| damaged())?, unpacked.map_err(|_| damaged())?);
            walk.0 = walk.0.get(packed..).ok_or_else(damaged)?;
            // One that is not packed is taken as it lies there.
            pages.unpacked += unpacked.max(packed as u64);
            if pages.unpacked > left {
                return Err(self.too_large(self.bounds.bytes_max - left + pages.unpacked));
            }
            if head.values < 0 {
                return Err(damaged());
            }
            match head.kind {
                Head::DICTIONARY if head.values.unsigned_abs() > unpacked.max(packed as u64) => return Err(damaged()),
                Head::DICTIONARY => {}
                Head::DATA | Head::DATA_V2 => values = values.checked_add(head.values).ok_or_else(damaged)?,
                Head::INDEX => {}
                _ => return Err(damaged()),
            }
            let again = head.kind == Head::DICTIONARY || head.encoding == Head::DELTA_BYTE_ARRAY;
            if again && chunk.column_type() == Type::BYTE_ARRAY {
                pages.repeatable = pages.repeatable.max(unpacked.max(packed as u64));
            }
        }
        if values != rows {
            return Err(bad(format!("column `{name}` has {values} values where its row group has {rows} rows")));
        }
        Ok(pages)
    }
}

/// What it takes to read a column of a row group.
#[derive(Debug, Default)]
struct Pages {
    unpacked: u64,
    /// The largest page of which a value may be repeated in every row.
    repeatable: u64,
}

/// What the head of a page says.
#[derive(Debug, Default)]
struct Head {
    kind: i64,
    unpacked: i64,
    packed: i64,
    values: i64,
    encoding: i64,
}

impl Head {
    const DATA: i64 = 0;
    const INDEX: i64 = 1;
    const DICTIONARY: i64 = 2;
    const DATA_V2: i64 = 3;
    const DELTA_BYTE_ARRAY: i64 = 7;

    fn read(walk: &mut Walk<'_>) -> Option<Self> {
        let mut head = Self { kind: -1, unpacked: -1, packed: -1, ..Self::default() };
        let mut sound = Some(());
        walk.fields(|id, value| match (id, value) {
            (1, Value::Whole(kind)) => head.kind = kind,
            (2, Value::Whole(bytes)) => head.unpacked = bytes,
            (3, Value::Whole(bytes)) => head.packed = bytes,
            // A data page, a dictionary, and a data page of the second version.
            (5 | 7 | 8, Value::Struct(mut inner)) => {
                let encoding = if id == 8 { 4 } else { 2 };
                let read = inner.fields(|field, value| match value {
                    Value::Whole(count) if field == 1 => head.values = count,
                    Value::Whole(number) if field == encoding => head.encoding = number,
                    _ => {}
                });
                sound = sound.and(read);
            }
            _ => {}
        })?;
        sound.map(|()| head)
    }
}

/// Looks at the footer before the library does: it ends the file, says its length before that, and its schema is a tree
/// written as a list, which the library walks down by calling itself.
fn check_footer(bytes: &[u8]) -> Result<(), TableError> {
    let none = || bad("it does not end as a parquet file does");
    let (rest, magic) = bytes.split_last_chunk::<4>().ok_or_else(none)?;
    let (rest, length) = rest.split_last_chunk::<4>().ok_or_else(none)?;
    if magic != b"PAR1" || !bytes.starts_with(b"PAR1") {
        return Err(none());
    }
    let length = u32::from_le_bytes(*length) as usize;
    let start = rest.len().checked_sub(length).ok_or_else(none)?;
    if length > FOOTER_BYTES_MAX {
        let (found, limit) = (length as u64, FOOTER_BYTES_MAX as u64);
        return Err(TableError::TooMuch { found, limit, unit: "bytes of footer" });
    }
    let unreadable = || bad("its footer does not read");
    let mut elements = None;
    let mut tell = |id: i64, value: Value<'_>| {
        if let (2, Value::List(count, kind, items)) = (id, value) {
            elements = depth(count, kind, items);
        }
    };
    Walk(&rest[start..]).fields(&mut tell).ok_or_else(unreadable)?;
    match elements {
        None => Err(unreadable()),
        Some(depth) if depth > NESTED_MAX => Err(bad(format!("its columns are nested more than {NESTED_MAX} deep"))),
        Some(_) => Ok(()),
    }
}

/// How deep a schema goes.
fn depth(count: usize, kind: u8, mut items: Walk<'_>) -> Option<usize> {
    // For each level, how many are still to come.
    let mut open: Vec<i64> = Vec::new();
    let mut deepest = 0;
    for _ in 0..count {
        let Value::Struct(mut fields) = items.value(kind, 0)? else { return None };
        let mut children = 0;
        fields.fields(|id, value| {
            if let (5, Value::Whole(count)) = (id, value) {
                children = count;
            }
        })?;
        while open.pop_if(|left| *left <= 0).is_some() {}
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if children > 0 {
            open.push(children);
        }
        deepest = deepest.max(open.len());
        if deepest > NESTED_MAX {
            break;
        }
    }
    Some(deepest)
}

/// Bytes of what has no fixed width.
fn variable(column: &ArrayRef) -> u64 {
    let bytes = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value_offsets().last().map_or(0, |end| *end),
        DataType::Binary => column.as_binary::<i32>().value_offsets().last().map_or(0, |end| *end),
        _ => 0,
    };
    u64::try_from(bytes).unwrap_or(0)
}

/// A column as what comes nearest to it among our kinds.
fn nearest(name: &str, column: &ArrayRef) -> Result<ArrayRef, TableError> {
    fn wholes<T: ArrowPrimitiveType<Native: Into<i64>>>(column: &ArrayRef) -> ArrayRef {
        let values = column.as_primitive::<T>();
        Arc::new(values.iter().map(|value| value.map(Into::<i64>::into)).collect::<Int64Array>())
    }
    fn floats<T: ArrowPrimitiveType<Native: Into<f64>>>(column: &ArrayRef) -> ArrayRef {
        let values = column.as_primitive::<T>();
        Arc::new(values.iter().map(|value| value.map(Into::<f64>::into)).collect::<Float64Array>())
    }
    fn times<T: ArrowPrimitiveType<Native: Into<i64>>>(
        column: &ArrayRef,
        micros: impl Fn(i64) -> Option<i64>,
    ) -> Option<ArrayRef> {
        let values = column.as_primitive::<T>().iter();
        let values = values.map(|value| value.map(|value| micros(value.into()).ok_or(())).transpose());
        let values = values.collect::<Result<TimestampMicrosecondArray, ()>>().ok()?;
        Some(Arc::new(values.with_timezone("UTC")))
    }
    let far = || bad(format!("column `{name}` holds a time that is too far away"));
    Ok(match column.data_type() {
        DataType::Boolean | DataType::Int64 | DataType::Float64 | DataType::Utf8 | DataType::Binary => {
            Arc::clone(column)
        }
        DataType::Int8 => wholes::<Int8Type>(column),
        DataType::Int16 => wholes::<Int16Type>(column),
        DataType::Int32 => wholes::<Int32Type>(column),
        DataType::UInt8 => wholes::<UInt8Type>(column),
        DataType::UInt16 => wholes::<UInt16Type>(column),
        DataType::UInt32 => wholes::<UInt32Type>(column),
        DataType::UInt64 => {
            let values = column.as_primitive::<UInt64Type>();
            match values.iter().map(|value| value.map(i64::try_from).transpose()).collect::<Result<Int64Array, _>>() {
                Ok(whole) => Arc::new(whole),
                Err(_) => {
                    Arc::new(values.iter().map(|value| value.map(|value| value as f64)).collect::<Float64Array>())
                }
            }
        }
        DataType::Float16 => floats::<Float16Type>(column),
        DataType::Float32 => floats::<Float32Type>(column),
        DataType::Date32 => times::<Date32Type>(column, |days| days.checked_mul(86_400_000_000)).ok_or_else(far)?,
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => times::<TimestampSecondType>(column, |time| time.checked_mul(1_000_000)),
            TimeUnit::Millisecond => times::<TimestampMillisecondType>(column, |time| time.checked_mul(1_000)),
            TimeUnit::Microsecond => times::<TimestampMicrosecondType>(column, Some),
            TimeUnit::Nanosecond => times::<TimestampNanosecondType>(column, |time| Some(time.div_euclid(1_000))),
        }
        .ok_or_else(far)?,
        other => {
            return Err(bad(format!(
                "column `{name}` is of type {other}; numbers, texts, times and truth values are read"
            )));
        }
    })
}

/// Whatever the library meets: it may panic where bytes are not what it expects.
fn guarded<T, E: std::fmt::Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, TableError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(bad(error.to_string())),
        Err(_) => Err(bad("its pages do not hold what they say")),
    }
}

fn bad(why: impl Into<String>) -> TableError {
    TableError::BadSent(why.into())
}
