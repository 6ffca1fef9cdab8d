//! Row groups as blocks.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use plinth_sdk::{Block, BlockBuilder, Problem, Schema};

use crate::convert::{Meaning, Values, push};
use crate::file::File;
use crate::plan::{Options, Table, bad_parquet, from_token};

/// Rows of one block, at most.
const ROWS_MAX: u32 = 1 << 16;

/// One partition being read.
pub struct ParquetReader {
    source: String,
    file: SerializedFileReader<File>,
    schema: Schema,
    leaves: Vec<(usize, Meaning)>,
    /// Row groups to come.
    groups: std::vec::IntoIter<usize>,
    /// The columns of the row group being read.
    columns: Vec<ColumnReader>,
    /// Its rows that are left.
    left: usize,
    /// Row of the partition that the next block starts at.
    row: u64,
}

impl ParquetReader {
    /// Opens a partition.
    ///
    /// # Errors
    /// `bad-token`, `schema-changed`, and what planning the file would say.
    pub fn open(source: &str, options: &Options, schema: Schema, token: &[u8]) -> Result<Self, Problem> {
        let table = Table::open(source, options)?;
        if table.schema != schema {
            let message = format!("{source}: the file has other columns than when it was planned; plan it again");
            return Err(Problem::bad_input("schema-changed", message));
        }
        let groups = from_token(token, table.file.metadata().num_row_groups())?;
        Ok(Self {
            source: source.to_owned(),
            file: table.file,
            schema,
            leaves: table.leaves,
            groups: groups.into_iter(),
            columns: Vec::new(),
            left: 0,
            row: 0,
        })
    }

    /// Opens row groups until one has rows; `false` at the end.
    fn next_group(&mut self) -> Result<bool, Problem> {
        while self.left == 0 {
            let Some(group) = self.groups.next() else { return Ok(false) };
            let bad = |error| bad_parquet(&self.source, error);
            let group = self.file.get_row_group(group).map_err(bad)?;
            self.left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
            let columns = self.leaves.iter().map(|(leaf, _)| group.get_column_reader(*leaf));
            self.columns = columns.collect::<Result<_, _>>().map_err(bad)?;
        }
        Ok(true)
    }
}

impl plinth_sdk::loader::Reader for ParquetReader {
    fn next(&mut self, max_rows: u32) -> Result<Option<Block>, Problem> {
        if !self.next_group()? {
            return Ok(None);
        }
        let rows = self.left.min(max_rows.clamp(1, ROWS_MAX) as usize);
        let mut builder = BlockBuilder::new(&self.schema, rows);
        for ((column, (_, meaning)), field) in self.columns.iter_mut().zip(&self.leaves).zip(&self.schema.fields) {
            let decoded = decode(column, rows, field.nullable).map_err(|error| bad_parquet(&self.source, error))?;
            let present = decoded.present.as_deref();
            push(&mut builder, decoded.values, present, *meaning, field).map_err(|problem| {
                let message = format!("{}: {}", self.source, problem.message);
                let row = problem.row.map(|row| row + self.row);
                Problem { message, row, ..problem }
            })?;
        }
        self.left -= rows;
        self.row += rows as u64;
        builder.finish().map(Some)
    }
}

/// Decoded rows of a column.
struct Decoded {
    values: Values,
    /// Which rows have a value; none stands for all.
    present: Option<Vec<bool>>,
}

/// Decodes the next `rows` rows of a column.
fn decode(column: &mut ColumnReader, rows: usize, nullable: bool) -> Result<Decoded, ParquetError> {
    let mut levels = Vec::new();
    macro_rules! take {
        ($reader:expr, $variant:ident) => {
            Values::$variant(read($reader, rows, nullable, &mut levels)?)
        };
    }
    let values = match column {
        ColumnReader::BoolColumnReader(reader) => take!(reader, Bool),
        ColumnReader::Int32ColumnReader(reader) => take!(reader, Int32),
        ColumnReader::Int64ColumnReader(reader) => take!(reader, Int64),
        ColumnReader::Int96ColumnReader(reader) => take!(reader, Int96),
        ColumnReader::FloatColumnReader(reader) => take!(reader, Float),
        ColumnReader::DoubleColumnReader(reader) => take!(reader, Double),
        ColumnReader::ByteArrayColumnReader(reader) => take!(reader, Bytes),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => take!(reader, Fixed),
    };
    // A nullable column has a level for each row: 1 where there is a value.
    let present: Option<Vec<bool>> = nullable.then(|| levels.iter().map(|&level| level > 0).collect());
    let present_rows = present.as_ref().map_or(rows, |present| present.iter().filter(|here| **here).count());
    let all_rows = present.as_ref().map_or(rows, Vec::len);
    if values.len() != present_rows || all_rows != rows {
        return Err(ParquetError::General(format!("a column ends before the {rows} rows that its row group has")));
    }
    Ok(Decoded { present: present.filter(|_| present_rows < rows), values })
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    nullable: bool,
    levels: &mut Vec<i16>,
) -> Result<Vec<T::T>, ParquetError> {
    let mut values = Vec::new();
    let mut done = 0;
    while done < rows {
        let levels = nullable.then_some(&mut *levels);
        let (records, ..) = reader.read_records(rows - done, levels, None, &mut values)?;
        if records == 0 {
            break;
        }
        done += records;
    }
    Ok(values)
}
