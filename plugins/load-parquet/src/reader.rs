//! Row groups as blocks.

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use plinth_sdk::{Block, BlockBuilder, Problem, Schema};

use crate::convert::push;
use crate::file::File;
use crate::plan::{Options, Table, bad_parquet, from_token};

/// Rows of one block, at most.
const ROWS_MAX: u32 = 1 << 16;

/// One partition being read.
pub struct ParquetReader {
    source: String,
    schema: Schema,
    /// Until the first call says how many rows a batch should have.
    builder: Option<ParquetRecordBatchReaderBuilder<File>>,
    batches: Option<ParquetRecordBatchReader>,
    /// Rows that were decoded and did not fit the last block.
    left: Option<RecordBatch>,
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
        let groups = from_token(token, table.builder.metadata().num_row_groups())?;
        let builder = table.builder.with_row_groups(groups).with_projection(table.mask);
        Ok(Self { source: source.to_owned(), schema, builder: Some(builder), batches: None, left: None, row: 0 })
    }

    fn next_batch(&mut self, max_rows: usize) -> Result<Option<RecordBatch>, Problem> {
        if let Some(builder) = self.builder.take() {
            let batches = builder.with_batch_size(max_rows).build();
            self.batches = Some(batches.map_err(|error| bad_parquet(&self.source, error))?);
        }
        let batch = match self.left.take() {
            Some(left) => Some(left),
            None => match self.batches.as_mut().and_then(Iterator::next) {
                Some(batch) => Some(batch.map_err(|error| bad_parquet(&self.source, error.into()))?),
                None => None,
            },
        };
        Ok(batch.map(|batch| {
            if batch.num_rows() <= max_rows {
                return batch;
            }
            self.left = Some(batch.slice(max_rows, batch.num_rows() - max_rows));
            batch.slice(0, max_rows)
        }))
    }
}

impl plinth_sdk::loader::Reader for ParquetReader {
    fn next(&mut self, max_rows: u32) -> Result<Option<Block>, Problem> {
        let Some(batch) = self.next_batch(max_rows.clamp(1, ROWS_MAX) as usize)? else { return Ok(None) };
        let mut builder = BlockBuilder::new(&self.schema, batch.num_rows());
        for (array, field) in batch.columns().iter().zip(&self.schema.fields) {
            push(&mut builder, array, field).map_err(|problem| {
                let message = format!("{}: {}", self.source, problem.message);
                let row = problem.row.map(|row| row + self.row);
                Problem { message, row, ..problem }
            })?;
        }
        self.row += batch.num_rows() as u64;
        builder.finish().map(Some)
    }
}
