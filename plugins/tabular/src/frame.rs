//! A block taken apart into columns, and put together again.
//!
//! Steps work on columns one at a time; only here is it known where a block keeps them.

use plinth_sdk::{Block, Field, Kind, Problem};

/// The values of a column; slots of nulls hold zero or an empty text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    F64(Vec<f64>),
    F32(Vec<f32>),
    /// Integers and timestamps.
    I64(Vec<i64>),
    /// One bit a row, least significant first.
    Bits(Vec<u8>),
    /// Text or binary: `rows + 1` offsets from 0, and the bytes.
    Bytes(Vec<u32>, Vec<u8>),
}

/// One column of a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) values: Values,
    /// One bit a row, 1 = present; none where nothing is null.
    pub(crate) valid: Option<Vec<u8>>,
}

/// Some rows, column by column, in schema order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Column>,
}

impl Column {
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_deref().is_none_or(|valid| bit(valid, row))
    }

    /// The text of a row; a problem where a column holds no text.
    pub(crate) fn bytes_at(&self, row: usize) -> &[u8] {
        match &self.values {
            Values::Bytes(offsets, bytes) => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
            _ => &[],
        }
    }
}

impl Frame {
    /// Takes a block of the given schema apart.
    ///
    /// # Errors
    /// `bad-block` where its lists are too short for its schema.
    pub(crate) fn from_block(fields: &[Field], block: &Block) -> Result<Self, Problem> {
        let rows = block.rows as usize;
        let bitmap = rows.div_ceil(8);
        let (mut f64s, mut f32s, mut s64s) = (0, 0, 0);
        let (mut bits, mut offsets, mut validity) = (0, 0, 0);
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let values = match field.kind {
                Kind::Float64 => Values::F64(take(&block.f64s, &mut f64s, rows, field)?.to_vec()),
                Kind::Float32 => Values::F32(take(&block.f32s, &mut f32s, rows, field)?.to_vec()),
                Kind::Int64 | Kind::TimestampUs => Values::I64(take(&block.s64s, &mut s64s, rows, field)?.to_vec()),
                Kind::Boolean => Values::Bits(take(&block.bits, &mut bits, bitmap, field)?.to_vec()),
                Kind::Utf8 | Kind::Binary => {
                    let ends = take(&block.offsets, &mut offsets, rows + 1, field)?;
                    text_of(ends, &block.bytes, field)?
                }
            };
            let mut valid = None;
            if field.nullable && !block.validity.is_empty() {
                let map = take(&block.validity, &mut validity, bitmap, field)?;
                if !all_valid(map, rows) {
                    valid = Some(map.to_vec());
                }
            }
            columns.push(Column { values, valid });
        }
        Ok(Self { rows, columns })
    }

    /// Puts columns together as a block of the given schema.
    pub(crate) fn into_block(self, fields: &[Field]) -> Block {
        let rows = self.rows;
        let mut block = Block { rows: rows as u32, ..Block::default() };
        let some_null = self.columns.iter().any(|column| column.valid.is_some());
        for (column, field) in self.columns.into_iter().zip(fields) {
            if field.nullable && some_null {
                match &column.valid {
                    Some(valid) => block.validity.extend_from_slice(valid),
                    None => extend_all_valid(&mut block.validity, rows),
                }
            }
            match column.values {
                Values::F64(values) => append(&mut block.f64s, values),
                Values::F32(values) => append(&mut block.f32s, values),
                Values::I64(values) => append(&mut block.s64s, values),
                Values::Bits(values) => append(&mut block.bits, values),
                Values::Bytes(offsets, bytes) => {
                    let base = block.bytes.len() as u32;
                    block.offsets.extend(offsets.iter().map(|offset| base + offset));
                    append(&mut block.bytes, bytes);
                }
            }
        }
        block
    }
}

/// Whether a row's bit is set.
pub(crate) fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}

/// Whether the first `rows` bits are set.
pub(crate) fn all_valid(bits: &[u8], rows: usize) -> bool {
    let (full, rest) = (rows / 8, rows % 8);
    bits[..full].iter().all(|&byte| byte == 0xff) && (rest == 0 || bits[full] & mask(rest) == mask(rest))
}

fn extend_all_valid(bits: &mut Vec<u8>, rows: usize) {
    bits.resize(bits.len() + rows / 8, 0xff);
    if !rows.is_multiple_of(8) {
        bits.push(mask(rows % 8));
    }
}

fn mask(bits: usize) -> u8 {
    (1 << bits) - 1
}

fn append<T: Copy>(all: &mut Vec<T>, values: Vec<T>) {
    if all.is_empty() { *all = values } else { all.extend_from_slice(&values) }
}

fn take<'a, T>(all: &'a [T], at: &mut usize, n: usize, field: &Field) -> Result<&'a [T], Problem> {
    let taken = all.get(*at..*at + n).ok_or_else(|| {
        Problem::bad_input("bad-block", format!("the block ends within column {}", field.name)).in_column(&field.name)
    })?;
    *at += n;
    Ok(taken)
}

fn text_of(ends: &[u32], bytes: &[u8], field: &Field) -> Result<Values, Problem> {
    let (first, last) = (ends[0], ends[ends.len() - 1]);
    let text = bytes
        .get(first as usize..last as usize)
        .filter(|_| ends.windows(2).all(|pair| pair[0] <= pair[1]))
        .ok_or_else(|| {
            Problem::bad_input("bad-block", format!("offsets of column {} do not fit its bytes", field.name))
        })?;
    Ok(Values::Bytes(ends.iter().map(|end| end - first).collect(), text.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: Kind, nullable: bool) -> Field {
        Field { name: name.to_owned(), kind, nullable }
    }

    #[test]
    fn a_block_survives_being_taken_apart() {
        let fields = [
            field("a", Kind::Float64, true),
            field("b", Kind::Utf8, true),
            field("c", Kind::Boolean, false),
            field("d", Kind::Int64, false),
            field("e", Kind::Utf8, false),
            field("f", Kind::Float32, false),
        ];
        let block = Block {
            rows: 3,
            f64s: vec![1.0, 0.0, 3.0],
            f32s: vec![0.5; 3],
            s64s: vec![7, 8, 9],
            bits: vec![0b101],
            offsets: vec![0, 1, 3, 3, 3, 4, 4, 5],
            bytes: b"abcde".to_vec(),
            validity: vec![0b101, 0b111],
        };
        let frame = Frame::from_block(&fields, &block).unwrap();
        assert_eq!(frame.columns[1].valid, None);
        assert_eq!(frame.columns[1].bytes_at(1), b"bc");
        assert_eq!(frame.clone().into_block(&fields), block);
    }

    #[test]
    fn a_short_block_is_refused_by_column() {
        let block = Block { rows: 2, f64s: vec![1.0], ..Block::default() };
        let refused = Frame::from_block(&[field("a", Kind::Float64, false)], &block).unwrap_err();
        assert_eq!(refused.code, "bad-block");
        assert_eq!(refused.column.as_deref(), Some("a"));
    }
}
