//! What a file holds: its columns and its row groups.

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use plinth_sdk::loader::{Partition, ReadPlan};
use plinth_sdk::{Field, Problem, Schema, options::nearest};
use serde::Deserialize;

use crate::convert::kind_of;
use crate::file::File;

/// Options of the loader; `options.json` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// The columns to read; all by default.
    pub columns: Option<Vec<String>>,
    /// Compressed bytes up to which small row groups are put together.
    pub partition_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { columns: None, partition_bytes: 8 << 20 }
    }
}

/// Looks at a file.
///
/// # Errors
/// `empty-file`, `bad-parquet`, `unknown-column`, `unsupported-type`, `unsupported-compression`, and the host's.
pub(crate) fn plan(source: &str, options: &Options) -> Result<ReadPlan, Problem> {
    let table = Table::open(source, options)?;
    let mut partitions = Vec::new();
    let groups = table.builder.metadata().row_groups();
    let mut first = 0;
    while first < groups.len() {
        let (mut last, mut bytes, mut rows) = (first, 0, 0);
        while last < groups.len() && (last == first || bytes < options.partition_bytes) {
            bytes += non_negative(groups[last].compressed_size());
            rows += non_negative(groups[last].num_rows());
            last += 1;
        }
        partitions.push(Partition { token: to_token(first, last), rows_hint: Some(rows), bytes_hint: Some(bytes) });
        first = last;
    }
    Ok(ReadPlan { schema: table.schema, partitions })
}

/// An open file with the columns that were asked for.
pub(crate) struct Table {
    pub(crate) builder: ParquetRecordBatchReaderBuilder<File>,
    /// The columns that are read.
    pub(crate) schema: Schema,
    pub(crate) mask: ProjectionMask,
}

impl Table {
    /// Reads a file's footer and checks the columns.
    ///
    /// # Errors
    /// As [`plan`].
    pub(crate) fn open(source: &str, options: &Options) -> Result<Self, Problem> {
        let file = File::open(source)?;
        if parquet::file::reader::Length::len(&file) == 0 {
            return Err(Problem::bad_input("empty-file", format!("{source}: the file is empty")));
        }
        // The columns' own types say all we can hold; what Arrow wrote besides only adds encodings of the same.
        let reading = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, reading)
            .map_err(|error| bad_parquet(source, error))?;
        let all = builder.schema().fields();
        if let Some(columns) = &options.columns {
            for name in columns {
                if !all.iter().any(|field| field.name() == name) {
                    let near = nearest(name, all.iter().map(|field| field.name().as_str()));
                    let message = format!("{source}: there is no column `{name}`{near}");
                    return Err(Problem::bad_input("unknown-column", message).in_column(name));
                }
            }
        }
        let wanted = |name: &String| options.columns.as_ref().is_none_or(|columns| columns.contains(name));
        let mut roots = Vec::new();
        let mut fields: Vec<Field> = Vec::new();
        for (root, field) in all.iter().enumerate().filter(|(_, field)| wanted(field.name())) {
            let name = field.name();
            let kind = kind_of(field.data_type()).ok_or_else(|| {
                let message = format!(
                    "{source}: column `{name}` has the type {}, which has no counterpart here; leave it out with columns",
                    field.data_type()
                );
                Problem::bad_input("unsupported-type", message).in_column(name)
            })?;
            if fields.iter().any(|there| there.name == *name) {
                let message = format!("{source}: two columns are named `{name}`");
                return Err(Problem::bad_input("duplicate-column", message).in_column(name));
            }
            roots.push(root);
            fields.push(Field { name: name.clone(), kind, nullable: field.is_nullable() });
        }
        if fields.is_empty() {
            return Err(Problem::bad_input("bad-parquet", format!("{source}: the file has no column")));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        check_compression(source, &builder, &mask)?;
        Ok(Self { builder, schema: Schema { fields }, mask })
    }
}

fn check_compression(
    source: &str,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    mask: &ProjectionMask,
) -> Result<(), Problem> {
    for group in builder.metadata().row_groups() {
        for (_, column) in group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf)) {
            let name = column.column_path().string();
            let codec = match column.compression() {
                Compression::BROTLI(_) => "brotli",
                Compression::LZO => "lzo",
                _ => continue,
            };
            let message = format!(
                "{source}: column `{name}` is compressed with {codec}, which this loader cannot read; write the file with \
                 zstd, snappy, gzip or lz4"
            );
            return Err(Problem::bad_input("unsupported-compression", message).in_column(name));
        }
    }
    Ok(())
}

/// What the decoder says, with the file; the host's own problems pass through.
pub(crate) fn bad_parquet(source: &str, error: ParquetError) -> Problem {
    if let ParquetError::External(inner) = error {
        return match inner.downcast::<Problem>() {
            Ok(problem) => *problem,
            Err(inner) => Problem::bad_input("bad-parquet", format!("{source}: {inner}")),
        };
    }
    Problem::bad_input("bad-parquet", format!("{source}: not a Parquet file that can be read: {error}"))
}

fn non_negative(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn to_token(first: usize, last: usize) -> Vec<u8> {
    let mut token = vec![1];
    token.extend_from_slice(&(first as u64).to_le_bytes());
    token.extend_from_slice(&(last as u64).to_le_bytes());
    token
}

/// The row groups of a partition of a file that has `groups` of them.
///
/// # Errors
/// `bad-token`.
pub(crate) fn from_token(token: &[u8], groups: usize) -> Result<Vec<usize>, Problem> {
    let bad = || Problem::bad_input("bad-token", "the partition does not belong to this source; plan it again");
    let [1, numbers @ ..] = token else { return Err(bad()) };
    let (&[first, last], []) = numbers.as_chunks::<8>() else { return Err(bad()) };
    let bound = |bytes| usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| bad());
    let (first, last) = (bound(first)?, bound(last)?);
    if first >= last || last > groups {
        return Err(bad());
    }
    Ok((first..last).collect())
}
