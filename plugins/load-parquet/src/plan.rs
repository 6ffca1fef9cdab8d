//! What a file holds: its columns and its row groups.

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, Length as _, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;
use plinth_sdk::loader::{Partition, ReadPlan};
use plinth_sdk::{Field, Problem, Schema, options::nearest};
use serde::Deserialize;

use crate::convert::Meaning;
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
    let groups = table.file.metadata().row_groups();
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
    pub(crate) file: SerializedFileReader<File>,
    /// The columns that are read.
    pub(crate) schema: Schema,
    /// Where each of them is in the file, and what it holds.
    pub(crate) leaves: Vec<(usize, Meaning)>,
}

impl Table {
    /// Reads a file's footer and checks the columns.
    ///
    /// # Errors
    /// As [`plan`].
    pub(crate) fn open(source: &str, options: &Options) -> Result<Self, Problem> {
        let file = File::open(source)?;
        if file.len() == 0 {
            return Err(Problem::bad_input("empty-file", format!("{source}: the file is empty")));
        }
        let file = SerializedFileReader::new(file).map_err(|error| bad_parquet(source, error))?;
        let descriptor = file.metadata().file_metadata().schema_descr();
        let all: Vec<&str> = descriptor.root_schema().get_fields().iter().map(|field| field.name()).collect();
        for name in options.columns.iter().flatten() {
            if !all.contains(&name.as_str()) {
                let near = nearest(name, all.iter().copied());
                let message = format!("{source}: there is no column `{name}`{near}");
                return Err(Problem::bad_input("unknown-column", message).in_column(name));
            }
        }
        let (mut schema, mut leaves) = (Schema::default(), Vec::new());
        for (root, name) in all.into_iter().enumerate() {
            if options.columns.as_ref().is_some_and(|columns| !columns.iter().any(|wanted| wanted == name)) {
                continue;
            }
            let (leaf, meaning) = flat_column(descriptor, root).map_err(|found| {
                let message = format!(
                    "{source}: column `{name}` is {found}, which has no counterpart here; leave it out with columns"
                );
                Problem::bad_input("unsupported-type", message).in_column(name)
            })?;
            if schema.index_of(name).is_some() {
                let message = format!("{source}: two columns are named `{name}`");
                return Err(Problem::bad_input("duplicate-column", message).in_column(name));
            }
            check_compression(source, &file, leaf, name)?;
            let nullable = descriptor.column(leaf).max_def_level() > 0;
            schema.fields.push(Field::new(name, meaning.kind(), nullable));
            leaves.push((leaf, meaning));
        }
        if leaves.is_empty() {
            return Err(Problem::bad_input("bad-parquet", format!("{source}: the file has no column")));
        }
        Ok(Self { file, schema, leaves })
    }
}

/// The leaf of a column that is not nested, and what it holds; otherwise what it is instead.
fn flat_column(descriptor: &SchemaDescriptor, root: usize) -> Result<(usize, Meaning), String> {
    let leaf = (0..descriptor.num_columns()).find(|&leaf| descriptor.get_column_root_idx(leaf) == root);
    let Some(leaf) = leaf else { return Err("a group without columns".to_owned()) };
    let column = descriptor.column(leaf);
    if !descriptor.get_column_root(leaf).is_primitive() || column.max_rep_level() > 0 || column.max_def_level() > 1 {
        return Err("nested (a list, a map or a struct)".to_owned());
    }
    Meaning::of(&column).map(|meaning| (leaf, meaning))
}

fn check_compression(source: &str, file: &SerializedFileReader<File>, leaf: usize, name: &str) -> Result<(), Problem> {
    for group in file.metadata().row_groups() {
        let codec = match group.column(leaf).compression() {
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
