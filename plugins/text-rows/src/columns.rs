//! Buffers that rows are parsed into, and that become blocks.

use plinth_sdk::{Block, Kind, Problem, Schema};

/// Text of one block, at most: its offsets are 32 bits wide.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// The columns of the rows to come.
pub struct Columns {
    schema: Schema,
    columns: Vec<Column>,
}

/// The values of one column.
pub struct Column {
    values: Values,
    /// Rows without a value.
    nulls: Vec<u32>,
}

enum Values {
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
    /// Ends of the texts, and the texts.
    Text(Vec<u32>, Vec<u8>),
}

impl Columns {
    /// Empty buffers.
    pub fn new(schema: Schema) -> Self {
        let columns = schema.fields.iter().map(|field| Column::new(field.kind)).collect();
        Self { schema, columns }
    }

    /// What the columns hold.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// One column's buffer.
    #[inline]
    pub fn column(&mut self, at: usize) -> &mut Column {
        &mut self.columns[at]
    }

    /// All buffers, in schema order.
    #[inline]
    pub fn all(&mut self) -> &mut [Column] {
        &mut self.columns
    }

    /// Takes back what was pushed after the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// Whether a block should end here, whatever number of rows was asked for.
    pub fn is_full(&self) -> bool {
        let texts = self.columns.iter().map(|column| match &column.values {
            Values::Text(_, bytes) => bytes.len(),
            _ => 0,
        });
        texts.sum::<usize>() >= TEXT_BYTES_MAX
    }

    /// Makes a block of the `rows` rows pushed, and starts anew.
    ///
    /// # Errors
    /// `(row, column)` of the first text that is not UTF-8.
    pub fn take(&mut self, rows: usize) -> Result<Block, (usize, usize)> {
        let mut block = self.empty_block(rows);
        let some_null = self.columns.iter().any(|column| !column.nulls.is_empty());
        for (at, (column, field)) in self.columns.iter_mut().zip(&self.schema.fields).enumerate() {
            if field.nullable && some_null {
                column.write_validity(&mut block.validity, rows);
            }
            match &mut column.values {
                Values::F64(values) => move_into(&mut block.f64s, values),
                Values::F32(values) => move_into(&mut block.f32s, values),
                Values::I64(values) => move_into(&mut block.s64s, values),
                Values::Bool(values) => {
                    block.bits.extend(plinth_sdk::bitmap(values.iter().copied()));
                    values.clear();
                }
                Values::Text(ends, bytes) => {
                    check_utf8(ends, bytes).map_err(|row| (row, at))?;
                    let base = block.bytes.len() as u32;
                    block.offsets.push(base);
                    block.offsets.extend(ends.iter().map(|end| base + end));
                    move_into(&mut block.bytes, bytes);
                    ends.clear();
                }
            }
            column.nulls.clear();
        }
        Ok(block)
    }
}

impl Columns {
    /// A block with room for everything, so that no list is copied while it grows.
    fn empty_block(&self, rows: usize) -> Block {
        let (mut f64s, mut f32s, mut s64s, mut texts, mut text_bytes) = (0, 0, 0, 0, 0);
        for column in &self.columns {
            match &column.values {
                Values::F64(_) => f64s += rows,
                Values::F32(_) => f32s += rows,
                Values::I64(_) => s64s += rows,
                Values::Bool(_) => {}
                Values::Text(_, bytes) => {
                    texts += rows + 1;
                    text_bytes += bytes.len();
                }
            }
        }
        Block {
            rows: rows as u32,
            f64s: Vec::with_capacity(f64s),
            f32s: Vec::with_capacity(f32s),
            s64s: Vec::with_capacity(s64s),
            offsets: Vec::with_capacity(texts),
            bytes: Vec::with_capacity(text_bytes),
            ..Block::default()
        }
    }
}

impl Column {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Float64 => Values::F64(Vec::new()),
            Kind::Float32 => Values::F32(Vec::new()),
            Kind::Int64 | Kind::TimestampUs => Values::I64(Vec::new()),
            Kind::Boolean => Values::Bool(Vec::new()),
            Kind::Utf8 | Kind::Binary => Values::Text(Vec::new(), Vec::new()),
        };
        Self { values, nulls: Vec::new() }
    }

    /// A row without a value.
    #[inline]
    pub fn push_null(&mut self) {
        let row = match &mut self.values {
            Values::F64(values) => push_at(values, 0.0),
            Values::F32(values) => push_at(values, 0.0),
            Values::I64(values) => push_at(values, 0),
            Values::Bool(values) => push_at(values, false),
            Values::Text(ends, bytes) => push_at(ends, bytes.len() as u32),
        };
        self.nulls.push(row as u32);
    }

    /// A float, into a column of floats.
    #[inline]
    pub fn push_float(&mut self, value: f64) {
        match &mut self.values {
            Values::F64(values) => values.push(value),
            Values::F32(values) => values.push(value as f32),
            _ => debug_assert!(false, "not a column of floats"),
        }
    }

    /// An integer or a timestamp, into a column of these.
    #[inline]
    pub fn push_int(&mut self, value: i64) {
        match &mut self.values {
            Values::I64(values) => values.push(value),
            _ => debug_assert!(false, "not a column of integers"),
        }
    }

    /// A boolean, into a column of booleans.
    #[inline]
    pub fn push_bool(&mut self, value: bool) {
        match &mut self.values {
            Values::Bool(values) => values.push(value),
            _ => debug_assert!(false, "not a column of booleans"),
        }
    }

    /// A text, into a column of texts. Its UTF-8 is checked with the block.
    #[inline]
    pub fn push_text(&mut self, value: &[u8]) {
        match &mut self.values {
            Values::Text(ends, bytes) => {
                bytes.extend_from_slice(value);
                ends.push(bytes.len() as u32);
            }
            _ => debug_assert!(false, "not a column of texts"),
        }
    }

    /// Number of rows pushed.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::F64(values) => values.len(),
            Values::F32(values) => values.len(),
            Values::I64(values) => values.len(),
            Values::Bool(values) => values.len(),
            Values::Text(ends, _) => ends.len(),
        }
    }

    /// Whether no row was pushed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::F64(values) => values.truncate(rows),
            Values::F32(values) => values.truncate(rows),
            Values::I64(values) => values.truncate(rows),
            Values::Bool(values) => values.truncate(rows),
            Values::Text(ends, bytes) => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
        }
        while self.nulls.last().is_some_and(|&row| row as usize >= rows) {
            self.nulls.pop();
        }
    }

    fn write_validity(&self, validity: &mut Vec<u8>, rows: usize) {
        let start = validity.len();
        validity.resize(start + rows / 8, 0xff);
        if !rows.is_multiple_of(8) {
            validity.push((1 << (rows % 8)) - 1);
        }
        for &row in &self.nulls {
            validity[start + row as usize / 8] &= !(1 << (row % 8));
        }
    }
}

/// Pushes, and tells where.
fn push_at<T>(values: &mut Vec<T>, value: T) -> usize {
    values.push(value);
    values.len() - 1
}

/// Moves values behind others; the source keeps its room for the next block.
fn move_into<T: Copy>(all: &mut Vec<T>, values: &mut Vec<T>) {
    all.extend_from_slice(values);
    values.clear();
}

fn check_utf8(ends: &[u32], bytes: &[u8]) -> Result<(), usize> {
    let row_of = |byte: usize| ends.partition_point(|&end| end as usize <= byte);
    if bytes.is_ascii() {
        return Ok(());
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(row_of(error.valid_up_to()));
    }
    // A character must not lie half in one cell and half in the next.
    let inside = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    match ends.iter().position(|&end| bytes.get(end as usize).is_some_and(|&byte| inside(byte))) {
        Some(row) => Err(row),
        None => Ok(()),
    }
}

/// A problem of a row that is not UTF-8.
pub fn invalid_utf8(source: &str, line: u64, column: &str) -> Problem {
    let message = format!(
        "{source}: line {line}, column `{column}` is not valid UTF-8; convert the file, for example with iconv"
    );
    Problem::bad_input("invalid-utf8", message).in_column(column)
}

#[cfg(test)]
mod tests {
    use plinth_sdk::Field;

    use super::*;

    fn columns() -> Columns {
        Columns::new(Schema::new([Field::new("a", Kind::Int64, true), Field::new("b", Kind::Utf8, true)]))
    }

    #[test]
    fn a_block_holds_what_was_pushed_and_the_buffers_start_anew() {
        let mut columns = columns();
        for round in 0..2 {
            columns.column(0).push_int(round);
            columns.column(1).push_text("é".as_bytes());
            columns.column(0).push_null();
            columns.column(1).push_null();
            let block = columns.take(2).unwrap();
            let schema = columns.schema().clone();
            assert_eq!(block.s64s, [round, 0]);
            assert_eq!(block.texts(&schema, 1).unwrap().get(0), "é");
            assert_eq!(block.validity, [0b01, 0b01]);
        }
    }

    #[test]
    fn rows_that_were_half_pushed_can_be_taken_back() {
        let mut columns = columns();
        columns.column(0).push_int(1);
        columns.column(1).push_text(b"one");
        columns.column(0).push_null();
        columns.truncate(1);
        let block = columns.take(1).unwrap();
        assert_eq!((block.s64s, block.bytes, block.validity), (vec![1], b"one".to_vec(), vec![]));
    }

    #[test]
    fn text_that_is_not_utf8_is_found_even_where_cells_join_to_a_character() {
        for (cells, row) in [([&b"ok"[..], b"\xff"], 1), ([b"\xc3", b"\xa9"], 0)] {
            let mut columns = columns();
            for cell in cells {
                columns.column(0).push_int(0);
                columns.column(1).push_text(cell);
            }
            assert_eq!(columns.take(2), Err((row, 1)));
        }
    }
}
