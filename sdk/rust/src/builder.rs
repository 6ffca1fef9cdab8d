//! Blocks put together column by column.

use crate::{Block, Field, Kind, Problem, Schema};

/// Makes a block of a schema: push its columns in order, then [`BlockBuilder::finish`].
///
/// Each push takes the values and, for a nullable column, a bitmap (one bit a row, least significant first, 1 =
/// present); none stands for "no null". Slots of nulls are set to zero here, so callers may leave anything there.
#[derive(Debug)]
pub struct BlockBuilder<'a> {
    schema: &'a Schema,
    rows: usize,
    column: usize,
    block: Block,
    any_null: bool,
}

impl<'a> BlockBuilder<'a> {
    /// A block of `rows` rows.
    pub fn new(schema: &'a Schema, rows: usize) -> Self {
        let block = Block { rows: u32::try_from(rows).unwrap_or(u32::MAX), ..Block::default() };
        Self { schema, rows, column: 0, block, any_null: false }
    }

    /// The next column, of float64.
    ///
    /// # Errors
    /// `bad-output` where the schema has another kind there or the number of values is wrong; so for every push.
    pub fn f64s(&mut self, mut values: Vec<f64>, valid: Option<&[u8]>) -> Result<&mut Self, Problem> {
        self.begin(&[Kind::Float64], values.len(), valid)?;
        zero_nulls(&mut values, valid);
        append(&mut self.block.f64s, values);
        Ok(self)
    }

    /// The next column, of float32.
    ///
    /// # Errors
    /// As [`BlockBuilder::f64s`].
    pub fn f32s(&mut self, mut values: Vec<f32>, valid: Option<&[u8]>) -> Result<&mut Self, Problem> {
        self.begin(&[Kind::Float32], values.len(), valid)?;
        zero_nulls(&mut values, valid);
        append(&mut self.block.f32s, values);
        Ok(self)
    }

    /// The next column, of int64 or timestamp-us.
    ///
    /// # Errors
    /// As [`BlockBuilder::f64s`].
    pub fn s64s(&mut self, mut values: Vec<i64>, valid: Option<&[u8]>) -> Result<&mut Self, Problem> {
        self.begin(&[Kind::Int64, Kind::TimestampUs], values.len(), valid)?;
        zero_nulls(&mut values, valid);
        append(&mut self.block.s64s, values);
        Ok(self)
    }

    /// The next column, of booleans.
    ///
    /// # Errors
    /// As [`BlockBuilder::f64s`].
    pub fn bools(&mut self, values: &[bool], valid: Option<&[u8]>) -> Result<&mut Self, Problem> {
        self.begin(&[Kind::Boolean], values.len(), valid)?;
        let mut bits = bitmap(values.iter().copied());
        if let Some(valid) = valid {
            bits.iter_mut().zip(valid).for_each(|(bits, valid)| *bits &= valid);
        }
        append(&mut self.block.bits, bits);
        Ok(self)
    }

    /// The next column, of text or bytes.
    ///
    /// # Errors
    /// As [`BlockBuilder::f64s`]; also where all text of the block is more than 4 GiB.
    pub fn texts<T: AsRef<[u8]>>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        valid: Option<&[u8]>,
    ) -> Result<&mut Self, Problem> {
        self.begin(&[Kind::Utf8, Kind::Binary], values.len(), valid)?;
        self.block.offsets.reserve(self.rows + 1);
        self.end_of_text()?;
        for (row, value) in values.enumerate() {
            if valid.is_none_or(|bits| bits[row / 8] >> (row % 8) & 1 == 1) {
                self.block.bytes.extend_from_slice(value.as_ref());
            }
            self.end_of_text()?;
        }
        Ok(self)
    }

    /// The block.
    ///
    /// # Errors
    /// `bad-output` where columns are missing.
    pub fn finish(mut self) -> Result<Block, Problem> {
        if self.column < self.schema.len() {
            let name = &self.schema.fields[self.column].name;
            return Err(Problem::bad_input("bad-output", format!("column `{name}` was not written")).in_column(name));
        }
        if !self.any_null {
            self.block.validity = Vec::new();
        }
        Ok(self.block)
    }

    fn begin(&mut self, kinds: &[Kind], values: usize, valid: Option<&[u8]>) -> Result<(), Problem> {
        let bad = |message: String| Err(Problem::bad_input("bad-output", message));
        let Some(Field { name, kind, nullable }) = self.schema.fields.get(self.column) else {
            return bad(format!("more than {} columns were written", self.schema.len()));
        };
        if !kinds.contains(kind) {
            return bad(format!("column `{name}` is {kind}, and {} was written", kinds[0]));
        }
        if values != self.rows {
            return bad(format!("column `{name}` has {values} values in {} rows", self.rows));
        }
        let bytes = self.rows.div_ceil(8);
        match valid {
            Some(bits) if bits.len() != bytes => {
                return bad(format!("column `{name}` has a bitmap of {} bytes, not {bytes}", bits.len()));
            }
            Some(bits) => {
                let nulls = (0..self.rows).any(|row| bits[row / 8] >> (row % 8) & 1 == 0);
                if nulls && !nullable {
                    return bad(format!("column `{name}` is not nullable and has a null"));
                }
                if *nullable {
                    self.any_null |= nulls;
                    self.block.validity.extend_from_slice(bits);
                    mask_tail(&mut self.block.validity, self.rows);
                }
            }
            None if *nullable => {
                self.block.validity.resize(self.block.validity.len() + bytes, 0xff);
                mask_tail(&mut self.block.validity, self.rows);
            }
            None => {}
        }
        self.column += 1;
        Ok(())
    }

    fn end_of_text(&mut self) -> Result<(), Problem> {
        let end = u32::try_from(self.block.bytes.len())
            .map_err(|_| Problem::bad_input("bad-output", "more than 4 GiB of text in one block"))?;
        self.block.offsets.push(end);
        Ok(())
    }
}

/// One bit a row, least significant first.
pub fn bitmap(values: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bits = Vec::with_capacity(values.size_hint().0.div_ceil(8));
    for (row, value) in values.enumerate() {
        if row % 8 == 0 {
            bits.push(0);
        }
        bits[row / 8] |= u8::from(value) << (row % 8);
    }
    bits
}

/// Moves where it can: the first column of a type becomes the list itself.
fn append<T>(list: &mut Vec<T>, mut values: Vec<T>) {
    if list.is_empty() {
        *list = values;
    } else {
        list.append(&mut values);
    }
}

fn zero_nulls<T: Default>(values: &mut [T], valid: Option<&[u8]>) {
    let Some(bits) = valid else { return };
    for (row, value) in values.iter_mut().enumerate() {
        if bits[row / 8] >> (row % 8) & 1 == 0 {
            *value = T::default();
        }
    }
}

/// Clears the bits after the last row, so that equal columns are equal bytes.
fn mask_tail(bits: &mut [u8], rows: usize) {
    if let (Some(last), 1..) = (bits.last_mut(), rows % 8) {
        *last &= (1 << (rows % 8)) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::new([
            Field::new("a", Kind::Float64, false),
            Field::new("t", Kind::Utf8, true),
            Field::new("b", Kind::Float64, true),
            Field::new("on", Kind::Boolean, false),
            Field::new("raw", Kind::Binary, false),
            Field::new("n", Kind::Int64, false),
            Field::new("at", Kind::TimestampUs, true),
        ])
    }

    fn block(schema: &Schema) -> Block {
        let mut builder = BlockBuilder::new(schema, 3);
        builder
            .f64s(vec![1.0, 2.0, 3.0], None)
            .and_then(|b| b.texts(["x", "gone", "öz"].iter(), Some(&[0b101])))
            .and_then(|b| b.f64s(vec![4.0, 5.0, 9.9], Some(&[0b011])))
            .and_then(|b| b.bools(&[true, false, true], None))
            .and_then(|b| b.texts([&[0xff_u8][..], &[], &[1, 2]].iter(), None))
            .and_then(|b| b.s64s(vec![7, 8, 9], None))
            .and_then(|b| b.s64s(vec![10, 20, 30], None))
            .unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn what_was_built_is_what_the_views_show() {
        let schema = schema();
        let mut block = block(&schema);
        assert_eq!(block.f64s(&schema, 0).unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(block.texts(&schema, 1).unwrap().iter().collect::<Vec<_>>(), ["x", "", "öz"]);
        assert_eq!(block.f64s(&schema, 2).unwrap(), [4.0, 5.0, 0.0]);
        assert_eq!(block.bools(&schema, 3).unwrap().iter().collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(block.binaries(&schema, 4).unwrap().iter().collect::<Vec<_>>(), [&[0xff][..], &[], &[1, 2]]);
        assert_eq!(block.s64s(&schema, 5).unwrap(), [7, 8, 9]);
        assert_eq!(block.s64s(&schema, 6).unwrap(), [10, 20, 30]);
        assert_eq!(block.numbers(&schema, 2).unwrap().collect::<Vec<_>>(), [Some(4.0), Some(5.0), None]);
        let nulls: Vec<usize> = (0..7).map(|column| block.valid(&schema, column).unwrap().nulls()).collect();
        assert_eq!(nulls, [0, 1, 1, 0, 0, 0, 0]);
        block.f64s_mut(&schema, 2).unwrap().fill(1.0);
        block.zero_null_f64s(&schema, 2).unwrap();
        assert_eq!(block.f64s(&schema, 2).unwrap(), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_block_without_nulls_carries_no_bitmap() {
        let schema = Schema::new([Field::new("a", Kind::Int64, true)]);
        let mut builder = BlockBuilder::new(&schema, 2);
        builder.s64s(vec![1, 2], Some(&[0xff])).unwrap();
        assert!(builder.finish().unwrap().validity.is_empty());
    }

    #[test]
    fn a_column_that_does_not_fit_is_named() {
        let schema = schema();
        let mut builder = BlockBuilder::new(&schema, 3);
        assert_eq!(builder.s64s(vec![1], None).unwrap_err().message, "column `a` is float64, and int64 was written");
        assert_eq!(builder.f64s(vec![1.0], None).unwrap_err().message, "column `a` has 1 values in 3 rows");
        assert_eq!(
            builder.f64s(vec![0.0; 3], Some(&[0b110])).unwrap_err().message,
            "column `a` is not nullable and has a null"
        );
        assert_eq!(builder.finish().unwrap_err().message, "column `a` was not written");
    }

    #[test]
    fn wrong_kinds_and_short_blocks_are_problems() {
        let schema = schema();
        let mut block = block(&schema);
        assert_eq!(block.f64s(&schema, 1).unwrap_err().code, "wrong-kind");
        assert_eq!(block.texts(&schema, 4).unwrap_err().code, "wrong-kind");
        block.f64s.pop();
        assert_eq!(block.f64s(&schema, 2).unwrap_err().code, "bad-block");
        block.bytes[0] = 0xff;
        assert_eq!(block.texts(&schema, 1).unwrap_err().code, "bad-block");
        block.offsets[1] = 9;
        assert_eq!(block.texts(&schema, 1).unwrap_err().code, "bad-block");
    }
}
