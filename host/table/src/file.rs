//! Parquet files whose bytes depend on nothing but schema and rows.
//!
//! Batches are re-cut to [`BATCH_ROWS`] before they are written, because page boundaries follow write calls; the
//! writer's name is fixed, because the library's default carries its version. [`write_in_pieces`] is the exception.

use std::{
    fs::File,
    io,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arrow_select::coalesce::BatchCoalescer;
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
        arrow_writer::compute_leaves,
    },
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion},
        reader::ChunkReader,
    },
    schema::types::ColumnPath,
};
use plinth_ext::{Batch, Kind, Schema};

use crate::TableError;

/// Rows of one batch as read, and of one write.
pub const BATCH_ROWS: usize = 8_192;
/// Rows of one row group: what a writer holds in memory.
pub const ROW_GROUP_ROWS: usize = 65_536;

/// Writes one table. Dropping it without [`Writer::finish`] leaves a file that cannot be read.
pub struct Writer<W: Write + Send> {
    schema: Schema,
    cutter: BatchCoalescer,
    inner: ArrowWriter<Target<W>>,
    failed: Failure,
    rows: u64,
}

impl<W: Write + Send> Writer<W> {
    /// A table that goes to `to`.
    ///
    /// # Errors
    /// [`TableError::NoColumns`]; [`TableError::Parquet`] if `to` refuses the first bytes.
    pub fn new(to: W, schema: Schema) -> Result<Self, TableError> {
        let (inner, failed) = start(to, &schema, properties())?;
        Ok(Self { cutter: BatchCoalescer::new(schema.arrow().clone(), BATCH_ROWS), schema, inner, failed, rows: 0 })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`TableError::Schema`] if they have other columns; [`TableError::Io`] if the target refuses the bytes.
    pub fn write(&mut self, batch: &Batch) -> Result<(), TableError> {
        self.schema.expect_same(batch.schema())?;
        self.rows += batch.num_rows() as u64;
        self.cutter.push_batch(batch.arrow().clone())?;
        self.drain()
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is left and the footer, and gives the target back.
    ///
    /// # Errors
    /// [`TableError::Io`] if the target refuses the bytes.
    pub fn finish(mut self) -> Result<W, TableError> {
        self.cutter.finish_buffered_batch()?;
        self.drain()?;
        let Self { inner, failed, .. } = self;
        inner.into_inner().map(|target| target.to).map_err(|error| why(&failed, error))
    }

    fn drain(&mut self) -> Result<(), TableError> {
        while let Some(rows) = self.cutter.next_completed_batch() {
            if let Err(error) = self.inner.write(&rows) {
                return Err(why(&self.failed, error));
            }
        }
        Ok(())
    }
}

fn properties() -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(1).expect("zstd has a level 1");
    WriterProperties::builder()
        .set_created_by("plinth".into())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
}

fn start<W: Write + Send>(
    to: W,
    schema: &Schema,
    properties: WriterPropertiesBuilder,
) -> Result<(ArrowWriter<Target<W>>, Failure), TableError> {
    if schema.is_empty() {
        return Err(TableError::NoColumns);
    }
    let failed = Failure::default();
    let to = Target { to, failed: failed.clone() };
    let writer = ArrowWriter::try_new(to, schema.arrow().clone(), Some(properties.build()));
    Ok((writer.map_err(|error| why(&failed, error))?, failed))
}

type Failure = Arc<Mutex<Option<io::Error>>>;

fn why(failed: &Failure, error: ParquetError) -> TableError {
    match failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(source) => TableError::Io { path: "table".into(), source },
        None => damaged("table")(error),
    }
}

/// Remembers why the target refused, because the library tells it in words only and a full disk must be told as such.
struct Target<W> {
    to: W,
    failed: Failure,
}

impl<W> Target<W> {
    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| {
            let kind = error.kind();
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            kind.into()
        })
    }
}

impl<W: Write> Write for Target<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.to.write(bytes);
        self.note(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.to.flush();
        self.note(outcome)
    }
}

/// A table as the bytes of a file.
///
/// # Errors
/// As for [`Writer`].
pub fn to_bytes<'a>(schema: &Schema, batches: impl IntoIterator<Item = &'a Batch>) -> Result<Vec<u8>, TableError> {
    let mut writer = Writer::new(Vec::new(), schema.clone())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

/// Rows of one column that [`write_in_pieces`] encodes at once, rows of a page, and bytes of a dictionary, which is compressed
/// at once when its column ends.
const PIECE_ROWS: usize = 256;
const PIECE_PAGE_ROWS: usize = 1_024;
const PIECE_DICTIONARY_BYTES: usize = 16 << 10;

/// A table whose rows come in `parts`, to `to`, with a call of `pause` after each piece of the work, which is some rows of
/// one column or their way to `to`: who encodes a table at once keeps a processor from those that answer requests. Its
/// bytes are not those of [`Writer`], and depend on how the rows are cut into parts.
///
/// # Errors
/// As for [`Writer`].
pub fn write_in_pieces<W: Write + Send>(
    to: W,
    schema: &Schema,
    parts: &[Batch],
    mut pause: impl FnMut(),
) -> Result<W, TableError> {
    for part in parts {
        schema.expect_same(part.schema())?;
    }
    // Each column's zstd has memory of its own that is cleared first, for all columns at once.
    let mut pages = properties()
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(PIECE_PAGE_ROWS)
        .set_write_batch_size(PIECE_ROWS)
        .set_dictionary_page_size_limit(PIECE_DICTIONARY_BYTES);
    // A dictionary so small makes 32-bit numbers hardly smaller than Snappy does, unless there are few different ones, and
    // takes longer than anything else that is done with them. Times grow by little at a time.
    for field in schema.fields() {
        let column = || ColumnPath::new(vec![field.name.clone()]);
        pages = match field.kind {
            Kind::Float32 => pages.set_column_dictionary_enabled(column(), false),
            Kind::TimestampUs => pages
                .set_column_dictionary_enabled(column(), false)
                .set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED),
            _ => pages,
        };
    }
    let (writer, failed) = start(to, schema, pages)?;
    let why = |error| why(&failed, error);
    let (mut file, columns) = writer.into_serialized_writer().map_err(why)?;
    let pieces: Vec<(usize, usize, usize)> = parts
        .iter()
        .enumerate()
        .flat_map(|(part, rows)| {
            let rows = rows.num_rows();
            (0..rows).step_by(PIECE_ROWS).map(move |from| (part, from, PIECE_ROWS.min(rows - from)))
        })
        .collect();
    // A piece has no more than so many rows, so neither has a group.
    for (group, pieces) in pieces.chunks(ROW_GROUP_ROWS / PIECE_ROWS).enumerate() {
        let mut encoded = Vec::with_capacity(schema.len());
        let writers = columns.create_column_writers(group).map_err(why)?;
        pause();
        for (index, mut column) in writers.into_iter().enumerate() {
            for &(part, from, rows) in pieces {
                let rows = parts[part].column(index).slice(from, rows);
                for leaf in compute_leaves(schema.arrow().field(index), &rows).map_err(why)? {
                    column.write(&leaf).map_err(why)?;
                }
                pause();
            }
            encoded.push(column.close().map_err(why)?);
            pause();
        }
        let mut group = file.next_row_group().map_err(why)?;
        for column in encoded {
            column.append_to_row_group(&mut group).map_err(why)?;
            pause();
        }
        group.close().map_err(why)?;
    }
    file.into_inner().map(|target| target.to).map_err(why)
}

/// A table at rest: opened, its footer read, its rows not yet.
#[derive(Debug)]
pub struct Table {
    what: String,
    source: Source,
    metadata: ArrowReaderMetadata,
    schema: Schema,
}

#[derive(Debug)]
enum Source {
    Path(PathBuf),
    Bytes(Bytes),
}

impl Table {
    /// A table in a file, which must stay as it is: each read opens it again.
    ///
    /// # Errors
    /// [`TableError::Io`], [`TableError::Parquet`], [`TableError::Schema`] if a column has a type that ours do not.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let what = path.display().to_string();
        let file = File::open(path).map_err(|source| TableError::Io { path: what.clone(), source })?;
        let metadata = load(&file, &what)?;
        Self::new(what, Source::Path(path.to_owned()), metadata)
    }

    /// A table in memory.
    ///
    /// # Errors
    /// [`TableError::Parquet`], [`TableError::Schema`] if a column has a type that ours do not.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, TableError> {
        let bytes = bytes.into();
        let metadata = load(&bytes, "table")?;
        Self::new("table".into(), Source::Bytes(bytes), metadata)
    }

    fn new(what: String, source: Source, metadata: ArrowReaderMetadata) -> Result<Self, TableError> {
        let schema = Schema::from_arrow(metadata.schema())?;
        Ok(Self { what, source, metadata, schema })
    }

    /// Its columns.
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How many rows it holds.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads it from the start, [`BATCH_ROWS`] rows at a time.
    ///
    /// # Errors
    /// [`TableError::Io`], [`TableError::Parquet`].
    pub fn batches(&self) -> Result<Batches, TableError> {
        self.read(self.schema.clone(), ProjectionMask::all())
    }

    /// Reads only the columns named, in the table's order; the others' bytes are not touched.
    ///
    /// # Errors
    /// [`TableError::Schema`] names a column that does not exist; else as [`Table::batches`].
    pub fn columns<S: AsRef<str>>(&self, names: &[S]) -> Result<Batches, TableError> {
        let mut wanted =
            names.iter().map(|name| self.schema.require(name.as_ref())).collect::<Result<Vec<usize>, _>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), wanted.iter().copied());
        self.read(self.schema.project(&wanted), mask)
    }

    /// All rows as one batch.
    ///
    /// # Errors
    /// As for [`Table::batches`], and [`TableError::Arrow`] if a text column has more than 2 GiB.
    pub fn read_all(&self) -> Result<Batch, TableError> {
        let batches = self.batches()?.collect::<Result<Vec<_>, _>>()?;
        crate::concat(&self.schema, &batches)
    }

    fn read(&self, schema: Schema, mask: ProjectionMask) -> Result<Batches, TableError> {
        let inner = match &self.source {
            // Not `try_clone`: clones share one position, and two readers of one table would disturb each other
            // were the library to seek; it reads at offsets through its own clone, each seeking first under `&self`.
            // Opened again: clones of a file share one position, and readers on two threads would disturb each other.
            Source::Path(path) => {
                let file = File::open(path).map_err(|source| TableError::Io { path: self.what.clone(), source })?;
                build(file, &self.metadata, mask)
            }
            Source::Bytes(bytes) => build(bytes.clone(), &self.metadata, mask),
        };
        Ok(Batches { what: self.what.clone(), schema, inner: inner.map_err(damaged(&self.what))? })
    }
}

/// The rows of a [`Table`], batch by batch.
pub struct Batches {
    what: String,
    schema: Schema,
    inner: ParquetRecordBatchReader,
}

impl Batches {
    /// The columns of every batch.
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.inner.next()? {
            Ok(rows) => Batch::new(self.schema.clone(), rows.columns().to_vec(), rows.num_rows()).map_err(Into::into),
            Err(source) => {
                Err(TableError::Parquet { what: self.what.clone(), source: ParquetError::External(source.into()) })
            }
        })
    }
}

fn load(source: &impl ChunkReader, what: &str) -> Result<ArrowReaderMetadata, TableError> {
    ArrowReaderMetadata::load(source, ArrowReaderOptions::new()).map_err(damaged(what))
}

fn build<R: ChunkReader + 'static>(
    source: R,
    metadata: &ArrowReaderMetadata,
    mask: ProjectionMask,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata.clone())
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
}

fn damaged(what: &str) -> impl FnOnce(ParquetError) -> TableError + use<> {
    let what = what.to_owned();
    move |source| TableError::Parquet { what, source }
}

#[cfg(test)]
mod tests {

    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use plinth_core::{Coded, codes};
    use plinth_ext::{Field, Kind};
    use proptest::prelude::*;

    use super::*;

    fn schema() -> Schema {
        Schema::new(Kind::ALL.into_iter().map(|kind| Field::new(kind.name(), kind, kind != Kind::Int64)).collect())
            .unwrap()
    }

    /// `rows` rows of every kind, with nulls wherever the schema allows them.
    fn table(rows: usize) -> Batch {
        fn every<T>(rows: usize, skip: usize, value: impl Fn(usize) -> T) -> Vec<Option<T>> {
            (0..rows).map(|row| (row % 7 != skip).then(|| value(row))).collect()
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(every(rows, 0, |r| r % 3 == 0))),
            Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|r| r * r - 5))),
            Arc::new(TimestampMicrosecondArray::from(every(rows, 1, |r| r as i64 * 1_000_003)).with_timezone("UTC")),
            Arc::new(Float32Array::from(every(rows, 2, |r| r as f32 / 3.0))),
            Arc::new(Float64Array::from(every(rows, 3, |r| if r == 4 { f64::NAN } else { -(r as f64) / 7.0 }))),
            Arc::new(StringArray::from(every(rows, 4, |r| format!("text {}", r % 50)))),
            Arc::new(BinaryArray::from_iter(every(rows, 5, |r| (r as u32).to_be_bytes()))),
        ];
        Batch::new(schema(), columns, rows).unwrap()
    }

    fn same(left: &Batch, right: &Batch) -> bool {
        // Arrow compares NaN by IEEE rules in some versions; hashes take every NaN for equal.
        left.schema() == right.schema() && crate::row_hashes(left) == crate::row_hashes(right)
    }

    #[test]
    fn rows_come_back_as_they_went_in_across_row_groups() {
        let rows = table(ROW_GROUP_ROWS + 10);
        let read = Table::from_bytes(to_bytes(rows.schema(), [&rows]).unwrap()).unwrap();
        assert_eq!(read.rows(), rows.num_rows() as u64);
        assert!(same(&read.read_all().unwrap(), &rows));
        assert!(read.batches().unwrap().all(|batch| batch.unwrap().num_rows() <= BATCH_ROWS));
    }

    #[test]
    fn a_table_in_pieces_has_the_same_rows_and_a_pause_after_each() {
        let (rows, mut pauses) = (table(ROW_GROUP_ROWS + 1_000), 0);
        let cuts = [0, 1, 1, 400, 60_000, rows.num_rows()];
        let parts: Vec<Batch> = cuts.windows(2).map(|cut| rows.slice(cut[0], cut[1] - cut[0])).collect();
        let bytes = write_in_pieces(Vec::new(), rows.schema(), &parts, || pauses += 1).unwrap();
        let read = Table::from_bytes(bytes).unwrap();
        assert_eq!(read.rows(), rows.num_rows() as u64);
        assert!(same(&read.read_all().unwrap(), &rows));
        let pieces = parts.iter().map(|part| part.num_rows().div_ceil(PIECE_ROWS)).sum::<usize>();
        let times = Kind::ALL.iter().position(|kind| *kind == Kind::TimestampUs).unwrap();
        let group = read.metadata.metadata().row_group(0);
        assert!(group.column(times).encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED));
        // Each of the two groups begins, and each column ends there and goes to the file.
        assert_eq!(pauses, (pieces + 2 * 2) * rows.num_columns() + 2);
    }

    #[test]
    fn pieces_of_other_columns_and_a_target_that_is_full_are_refused() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let rows = table(10);
        let write = |schema: &Schema| write_in_pieces(Full, schema, std::slice::from_ref(&rows), || {}).err().unwrap();
        let TableError::Io { source, .. } = write(rows.schema()) else { panic!("not told as what it is") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(matches!(write(rows.project(&[1]).schema()), TableError::Schema(_)));
    }

    #[test]
    fn a_table_without_rows_keeps_its_columns() {
        let read = Table::from_bytes(to_bytes(&schema(), []).unwrap()).unwrap();
        assert_eq!((read.schema(), read.rows()), (&schema(), 0));
        assert_eq!(read.read_all().unwrap(), Batch::empty(schema()));
    }

    #[test]
    fn only_the_columns_asked_for_are_read_and_a_slip_is_pointed_out() {
        let rows = table(100);
        let read = Table::from_bytes(to_bytes(rows.schema(), [&rows]).unwrap()).unwrap();
        let two: Vec<Batch> = read.columns(&["utf8", "int64"]).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(same(&two[0], &rows.project(&[1, 5])));
        let Err(error) = read.columns(&["utf9"]) else { panic!("found a column that is not there") };
        assert_eq!(error.hint().as_deref(), Some("did you mean `utf8`?"));
    }

    #[test]
    fn missing_and_damaged_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        assert_eq!(Table::open(&path).unwrap_err().code(), codes::FILE_NOT_FOUND);
        std::fs::write(&path, b"a,b\n1,2\n").unwrap();
        assert_eq!(Table::open(&path).unwrap_err().code(), codes::BAD_TABLE);
        let mut bytes = to_bytes(&schema(), [&table(50)]).unwrap();
        bytes.truncate(bytes.len() / 2);
        assert_eq!(Table::from_bytes(bytes).unwrap_err().code(), codes::BAD_TABLE);
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let outcome = Writer::new(Full, schema()).and_then(|mut writer| {
            writer.write(&table(10))?;
            writer.finish().map(|_| ())
        });
        assert_eq!(outcome.unwrap_err().code(), codes::DISK_FULL);
    }

    #[test]
    fn rows_of_other_columns_are_refused() {
        let mut writer = Writer::new(Vec::new(), schema()).unwrap();
        assert_eq!(writer.write(&table(3).project(&[0, 1])).unwrap_err().code(), codes::SCHEMA_MISMATCH);
        let none = Schema::new(vec![]).unwrap();
        assert!(matches!(Writer::new(Vec::new(), none), Err(TableError::NoColumns)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_bytes_do_not_depend_on_batch_boundaries(rows in 1_usize..20_000, cuts in prop::collection::vec(1_usize..9_000, 1..8)) {
            let whole = table(rows);
            let mut parts = Vec::new();
            let mut offset = 0;
            for cut in cuts.into_iter().cycle() {
                let len = cut.min(rows - offset);
                parts.push(whole.slice(offset, len));
                offset += len;
                if offset == rows {
                    break;
                }
            }
            prop_assert!(to_bytes(whole.schema(), [&whole]).unwrap() == to_bytes(whole.schema(), &parts).unwrap());
        }
    }
}
