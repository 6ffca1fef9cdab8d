//! Rows on their way into a guest: Arrow columns written straight into linear memory as one `block` of `wit/types`.
//!
//! No buffer lies between: each list of the record is lowered by copying the columns of its physical type, one after
//! another, to where the guest's allocator wants them. Deliberately knows nothing of instances and calls.

use std::{marker::PhantomData, mem::MaybeUninit};

use arrow_array::{Array, ArrayRef, cast::AsArray, types};
use plinth_ext::{Batch, Kind, Schema};
use wasmtime::{
    Result, ValRaw,
    component::{
        __internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext},
        ComponentType, Lower,
    },
};

/// Where the columns of a schema lie in a block: for each physical type, the columns that it holds.
pub(crate) struct Layout {
    pub(crate) schema: Schema,
    pub(crate) f64s: Vec<usize>,
    pub(crate) f32s: Vec<usize>,
    pub(crate) s64s: Vec<usize>,
    pub(crate) bits: Vec<usize>,
    /// The utf8 and binary columns.
    pub(crate) texts: Vec<usize>,
    pub(crate) nullable: Vec<usize>,
    /// Bytes of a row without its text.
    row_bytes: usize,
}

impl Layout {
    pub(crate) fn new(schema: Schema) -> Self {
        let all = |wanted: &[Kind]| -> Vec<usize> {
            let fields = schema.fields().iter().enumerate();
            fields.filter(|(_, field)| wanted.contains(&field.kind)).map(|(index, _)| index).collect()
        };
        let f64s = all(&[Kind::Float64]);
        let f32s = all(&[Kind::Float32]);
        let s64s = all(&[Kind::Int64, Kind::TimestampUs]);
        let bits = all(&[Kind::Boolean]);
        let texts = all(&[Kind::Utf8, Kind::Binary]);
        let nullable = (0..schema.len()).filter(|&index| schema.fields()[index].nullable).collect();
        let row_bytes = 8 * (f64s.len() + s64s.len()) + 4 * (f32s.len() + texts.len()) + bits.len().div_ceil(8);
        Self { f64s, f32s, s64s, bits, texts, nullable, row_bytes, schema }
    }

    /// How many rows of `batch` make a block of about `bytes_target`: a multiple of 64, so that the bitmaps of
    /// consecutive blocks join at whole bytes.
    pub(crate) fn rows_per_block(&self, batch: &Batch, bytes_target: u64) -> usize {
        let rows = batch.num_rows().max(1);
        if rows <= 64 {
            return 64;
        }
        let text = if self.texts.is_empty() { 0 } else { self.text_bytes(batch.columns(), 0, rows) };
        let per_row = (self.row_bytes + text / rows).max(1);
        let target = usize::try_from(bytes_target).unwrap_or(usize::MAX);
        (target / per_row).max(64) / 64 * 64
    }

    /// Bytes that so many rows have at least.
    pub(crate) fn bytes_min(&self, rows: usize) -> u64 {
        let bits = self.bits.len() as u64;
        let whole = self.row_bytes as u64 - bits.div_ceil(8);
        (rows as u64).saturating_mul(whole).saturating_add(bits.saturating_mul(rows.div_ceil(8) as u64))
    }

    fn text_bytes(&self, columns: &[ArrayRef], start: usize, rows: usize) -> usize {
        self.texts.iter().map(|&index| text_range(&columns[index], start, rows).len()).sum()
    }
}

/// Rows `start .. start + rows` of columns that obey a layout's schema.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The only list, where it is known as one; then there are no columns.
    whole: Option<&'a [u8]>,
    columns: &'a [ArrayRef],
    layout: &'a Layout,
    start: usize,
    rows: usize,
    has_nulls: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(batch: &'a Batch, layout: &'a Layout, start: usize, rows: usize) -> Self {
        if let Some(numbers) = batch.numbers().filter(|_| rows == batch.num_rows()) {
            return Self { whole: Some(numbers.bytes()), columns: &[], layout, start, rows, has_nulls: false };
        }
        let columns = batch.columns();
        let has_nulls = layout.nullable.iter().any(|&index| {
            columns[index].nulls().is_some_and(|nulls| {
                nulls.null_count() > 0 && (rows == nulls.len() || nulls.slice(start, rows).null_count() > 0)
            })
        });
        Self { whole: None, columns, layout, start, rows, has_nulls }
    }
}

/// A block that borrows its rows.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct BlockIn<'a> {
    rows: u32,
    f64s: ListOf<'a, F64s>,
    f32s: ListOf<'a, F32s>,
    s64s: ListOf<'a, S64s>,
    bits: ListOf<'a, Bits>,
    offsets: ListOf<'a, Offsets>,
    bytes: ListOf<'a, Bytes>,
    validity: ListOf<'a, Validity>,
}

impl<'a> BlockIn<'a> {
    pub(crate) fn new(source: &'a Source<'a>) -> Self {
        Self {
            rows: u32::try_from(source.rows).unwrap_or(u32::MAX),
            f64s: ListOf(source, PhantomData),
            f32s: ListOf(source, PhantomData),
            s64s: ListOf(source, PhantomData),
            bits: ListOf(source, PhantomData),
            offsets: ListOf(source, PhantomData),
            bytes: ListOf(source, PhantomData),
            validity: ListOf(source, PhantomData),
        }
    }
}

/// A block that owns its rows: what a host function returns.
pub(crate) struct OwnedBlock {
    pub(crate) batch: Batch,
    pub(crate) layout: std::sync::Arc<Layout>,
}

/// One list of a block: the columns of one physical type, end to end.
pub(crate) struct ListOf<'a, P>(&'a Source<'a>, PhantomData<fn() -> P>);

/// How the columns of one physical type become a list.
pub(crate) trait Physical: Send + Sync + 'static {
    type Element: Lower;
    /// Elements of the list.
    fn len(source: &Source<'_>) -> usize;
    /// Writes the list; `dst` has exactly its bytes.
    fn write(source: &Source<'_>, dst: &mut [u8]);
}

pub(crate) struct F64s;
pub(crate) struct F32s;
pub(crate) struct S64s;
pub(crate) struct Bits;
pub(crate) struct Offsets;
pub(crate) struct Bytes;
pub(crate) struct Validity;

impl Physical for F64s {
    type Element = f64;
    fn len(source: &Source<'_>) -> usize {
        source.layout.f64s.len() * source.rows
    }
    fn write(source: &Source<'_>, dst: &mut [u8]) {
        write_values::<8>(source, &source.layout.f64s, dst, |array| {
            array.as_primitive::<types::Float64Type>().values().inner().as_slice()
        });
    }
}

impl Physical for F32s {
    type Element = f32;
    fn len(source: &Source<'_>) -> usize {
        source.layout.f32s.len() * source.rows
    }
    fn write(source: &Source<'_>, dst: &mut [u8]) {
        write_values::<4>(source, &source.layout.f32s, dst, |array| {
            array.as_primitive::<types::Float32Type>().values().inner().as_slice()
        });
    }
}

impl Physical for S64s {
    type Element = i64;
    fn len(source: &Source<'_>) -> usize {
        source.layout.s64s.len() * source.rows
    }
    fn write(source: &Source<'_>, dst: &mut [u8]) {
        write_values::<8>(source, &source.layout.s64s, dst, |array| {
            match array.as_primitive_opt::<types::Int64Type>() {
                Some(array) => array.values().inner().as_slice(),
                None => array.as_primitive::<types::TimestampMicrosecondType>().values().inner().as_slice(),
            }
        });
    }
}

/// Values of a fixed width are copied whole; then the slots of nulls are zeroed.
fn write_values<const WIDTH: usize>(
    source: &Source<'_>,
    indices: &[usize],
    dst: &mut [u8],
    bytes: impl Fn(&ArrayRef) -> &[u8],
) {
    let &Source { whole, columns, start, rows, has_nulls, .. } = source;
    if let Some(whole) = whole {
        return dst.copy_from_slice(whole);
    }
    for (dst, &index) in dst.chunks_exact_mut((rows * WIDTH).max(1)).zip(indices) {
        let column = &columns[index];
        dst.copy_from_slice(&bytes(column)[start * WIDTH..][..rows * WIDTH]);
        if has_nulls {
            for row in null_rows(column, start, rows) {
                dst[row * WIDTH..][..WIDTH].fill(0);
            }
        }
    }
}

/// The null rows of a part of a column, counted from its start.
fn null_rows(column: &ArrayRef, start: usize, rows: usize) -> impl Iterator<Item = usize> {
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
    (0..if nulls.is_some() { rows } else { 0 }).filter(move |row| nulls.is_some_and(|nulls| nulls.is_null(start + row)))
}

impl Physical for Bits {
    type Element = u8;
    fn len(source: &Source<'_>) -> usize {
        source.layout.bits.len() * source.rows.div_ceil(8)
    }
    fn write(source: &Source<'_>, dst: &mut [u8]) {
        let &Source { columns, layout, start, rows, .. } = source;
        for (dst, &index) in dst.chunks_exact_mut(rows.div_ceil(8).max(1)).zip(&layout.bits) {
            let array = columns[index].as_boolean();
            match array.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => write_bits(&array.values().slice(start, rows), dst),
                Some(nulls) => write_bits(&(array.values() & nulls.inner()).slice(start, rows), dst),
            }
        }
    }
}

impl Physical for Validity {
    type Element = u8;
    fn len(source: &Source<'_>) -> usize {
        if source.has_nulls { source.layout.nullable.len() * source.rows.div_ceil(8) } else { 0 }
    }
    fn write(source: &Source<'_>, dst: &mut [u8]) {
        let &Source { columns, layout, start, rows, .. } = source;
        for (dst, &index) in dst.chunks_exact_mut(rows.div_ceil(8).max(1)).zip(&layout.nullable) {
            match columns[index].nulls() {
                Some(nulls) => write_bits(&nulls.inner().slice(start, rows), dst),
                None => {
                    dst.fill(0xff);
                    clear_tail(dst, rows);
                }
            }
        }
    }
}

/// Bits from the first on; those past the last row are zero, so that equal rows are equal bytes.
fn write_bits(bits: &arrow_buffer::BooleanBuffer, dst: &mut [u8]) {
    let rows = bits.len();
    if bits.offset().is_multiple_of(8) {
        dst.copy_from_slice(&bits.values()[bits.offset() / 8..][..dst.len()]);
    } else {
        dst.copy_from_slice(&bits.sliced().as_slice()[..dst.len()]);
    }
    clear_tail(dst, rows);
}

fn clear_tail(dst: &mut [u8], rows: usize) {
    if let (Some(last), tail @ 1..) = (dst.last_mut(), rows % 8) {
        *last &= (1 << tail) - 1;
    }
}

impl Physical for Offsets {
    type Element = u32;
    fn len(source: &Source<'_>) -> usize {
        source.layout.texts.len() * (source.rows + 1)
    }
    fn write(source: &Source<'_>, dst: &mut [u8]) {
        let &Source { columns, layout, start, rows, has_nulls, .. } = source;
        let mut base = 0_u32;
        for (dst, &index) in dst.chunks_exact_mut((rows + 1) * 4).zip(&layout.texts) {
            let column = &columns[index];
            let offsets = &text_offsets(column)[start..=start + rows];
            let (first, out) = (offsets[0], dst.chunks_exact_mut(4));
            let end = if has_nulls && has_hidden_text(column, start, rows) {
                let mut at = base;
                out.enumerate().for_each(|(row, out)| {
                    out.copy_from_slice(&at.to_le_bytes());
                    if row < rows && column.is_valid(start + row) {
                        at = at.wrapping_add((offsets[row + 1] - offsets[row]) as u32);
                    }
                });
                at
            } else {
                out.zip(offsets).for_each(|(out, &offset)| {
                    out.copy_from_slice(&base.wrapping_add((offset - first) as u32).to_le_bytes());
                });
                base.wrapping_add((offsets[rows] - first) as u32)
            };
            base = end;
        }
    }
}

impl Physical for Bytes {
    type Element = u8;
    fn len(source: &Source<'_>) -> usize {
        let &Source { columns, layout, start, rows, has_nulls, .. } = source;
        let column = |&index: &usize| -> usize {
            let column = &columns[index];
            if has_nulls && has_hidden_text(column, start, rows) {
                visible_text(column, start, rows).map(<[u8]>::len).sum()
            } else {
                text_range(column, start, rows).len()
            }
        };
        layout.texts.iter().map(column).sum()
    }
    fn write(source: &Source<'_>, dst: &mut [u8]) {
        let &Source { columns, layout, start, rows, has_nulls, .. } = source;
        let mut rest = dst;
        let mut put = |bytes: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            head.copy_from_slice(bytes);
            rest = tail;
        };
        for &index in &layout.texts {
            let column = &columns[index];
            if has_nulls && has_hidden_text(column, start, rows) {
                visible_text(column, start, rows).for_each(&mut put);
            } else {
                put(text_range(column, start, rows));
            }
        }
    }
}

fn text_offsets(column: &ArrayRef) -> &[i32] {
    match column.as_string_opt::<i32>() {
        Some(array) => array.value_offsets(),
        None => column.as_binary::<i32>().value_offsets(),
    }
}

fn text_values(column: &ArrayRef) -> &[u8] {
    match column.as_string_opt::<i32>() {
        Some(array) => array.value_data(),
        None => column.as_binary::<i32>().value_data(),
    }
}

fn text_range(column: &ArrayRef, start: usize, rows: usize) -> &[u8] {
    let offsets = text_offsets(column);
    &text_values(column)[offsets[start] as usize..offsets[start + rows] as usize]
}

/// Whether a null's slot holds text, which Arrow allows and the contract does not.
fn has_hidden_text(column: &ArrayRef, start: usize, rows: usize) -> bool {
    let offsets = text_offsets(column);
    null_rows(column, start, rows).any(|row| offsets[start + row] != offsets[start + row + 1])
}

fn visible_text(column: &ArrayRef, start: usize, rows: usize) -> impl Iterator<Item = &[u8]> {
    (start..start + rows).filter(|&row| column.is_valid(row)).map(move |row| text_range(column, row, 1))
}

// SAFETY: the same representation as `[P::Element]`, whose implementation this one forwards to.
#[expect(unsafe_code, reason = "the trait is unsafe: a list type must describe its representation faithfully")]
unsafe impl<P: Physical> ComponentType for ListOf<'_, P> {
    type Lower = <[P::Element] as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <[P::Element] as ComponentType>::ABI;
    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[P::Element] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: `dst` is written whole, with the pointer and the length of a list that was just written within memory.
#[expect(unsafe_code, reason = "the trait is unsafe: `dst` must be initialized")]
unsafe impl<P: Physical> Lower for ListOf<'_, P> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let (pointer, len) = self.store(cx)?;
        dst.write([ValRaw::i64(pointer as i64), ValRaw::i64(len as i64)]);
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, cx: &mut LowerContext<'_, T>, _ty: InterfaceType, offset: usize) -> Result<()> {
        let (pointer, len) = self.store(cx)?;
        *cx.get(offset) = u32::try_from(pointer)?.to_le_bytes();
        *cx.get(offset + 4) = u32::try_from(len)?.to_le_bytes();
        Ok(())
    }
}

impl<P: Physical> ListOf<'_, P> {
    /// Writes the list into memory that the guest allocates; gives its place and its length.
    fn store<T>(&self, cx: &mut LowerContext<'_, T>) -> Result<(usize, usize)> {
        let len = P::len(self.0);
        let align = <P::Element as ComponentType>::ALIGN32;
        if len == 0 {
            // Nothing to allocate: any aligned address will do.
            return Ok((align as usize, 0));
        }
        let size = len * <P::Element as ComponentType>::SIZE32;
        let pointer = cx.realloc(0, 0, align, size)?;
        P::write(self.0, &mut cx.as_slice_mut()[pointer..][..size]);
        Ok((pointer, len))
    }
}

// SAFETY: the same representation as `BlockIn`, to which everything is forwarded.
#[expect(unsafe_code, reason = "the trait is unsafe: the type must describe its representation faithfully")]
unsafe impl ComponentType for OwnedBlock {
    type Lower = <BlockIn<'static> as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <BlockIn<'static> as ComponentType>::ABI;
    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <BlockIn<'static> as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: as for `BlockIn`, which does the work.
#[expect(unsafe_code, reason = "the trait is unsafe: `dst` must be initialized")]
unsafe impl Lower for OwnedBlock {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        BlockIn::new(&self.source()).linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<T>(&self, cx: &mut LowerContext<'_, T>, ty: InterfaceType, offset: usize) -> Result<()> {
        BlockIn::new(&self.source()).linear_lower_to_memory(cx, ty, offset)
    }
}

impl OwnedBlock {
    fn source(&self) -> Source<'_> {
        Source::new(&self.batch, &self.layout, 0, self.batch.num_rows())
    }
}

/// The bytes of a list, for tests and for checks of what was written.
#[cfg(test)]
pub(crate) fn list_bytes<P: Physical>(source: &Source<'_>) -> Vec<u8> {
    let mut bytes = vec![0xaa; P::len(source) * <P::Element as ComponentType>::SIZE32];
    P::write(source, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Float64Array, Int64Array, StringArray};
    use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
    use plinth_ext::Field;

    use super::*;

    fn words<const N: usize>(bytes: &[u8]) -> Vec<[u8; N]> {
        bytes.as_chunks::<N>().0.to_vec()
    }

    #[test]
    fn slots_of_nulls_are_zero_whatever_arrow_holds_there() {
        let fields = vec![
            Field::new("x", Kind::Float64, true),
            Field::new("s", Kind::Utf8, true),
            Field::new("b", Kind::Boolean, true),
            Field::new("n", Kind::Int64, false),
        ];
        let nulls = Some(NullBuffer::from(vec![true, false, true]));
        let text =
            StringArray::new(OffsetBuffer::new(vec![0, 1, 3, 4].into()), "abcd".as_bytes().into(), nulls.clone());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::new(ScalarBuffer::from(vec![1.0, 2.0, 3.0]), nulls.clone())),
            Arc::new(text),
            Arc::new(BooleanArray::new(vec![true, true, true].into(), nulls)),
            Arc::new(Int64Array::from(vec![7, 8, 9])),
        ];
        let layout = Layout::new(Schema::new(fields).unwrap());
        let batch = Batch::new(layout.schema.clone(), columns, 3).unwrap();
        let source = Source::new(&batch, &layout, 0, 3);
        let floats: Vec<f64> = words(&list_bytes::<F64s>(&source)).into_iter().map(f64::from_le_bytes).collect();
        assert_eq!(floats, [1.0, 0.0, 3.0]);
        let offsets: Vec<u32> = words(&list_bytes::<Offsets>(&source)).into_iter().map(u32::from_le_bytes).collect();
        assert_eq!(offsets, [0, 1, 1, 2]);
        assert_eq!(list_bytes::<Bytes>(&source), b"ad");
        assert_eq!(list_bytes::<Bits>(&source), [0b101]);
        assert_eq!(list_bytes::<Validity>(&source), [0b101, 0b101, 0b101]);
        // The last row alone has no null, so no bitmap crosses.
        let last = Source::new(&batch, &layout, 2, 1);
        assert_eq!(list_bytes::<Validity>(&last), [0_u8; 0]);
        assert_eq!(list_bytes::<Bytes>(&last), b"d");
        assert_eq!(list_bytes::<S64s>(&last), 9_i64.to_le_bytes());
    }

    #[test]
    fn numbers_in_one_piece_are_copied_as_their_columns_are() {
        let fields = vec![Field::new("a", Kind::Float64, true), Field::new("b", Kind::Float64, false)];
        let layout = Layout::new(Schema::new(fields).unwrap());
        let numbers = plinth_ext::Numbers::F64(vec![1.0, 2.0, 3.0, 4.0].into());
        let batch = Batch::of_numbers(layout.schema.clone(), numbers, 2).unwrap();
        let columns = Batch::new(layout.schema.clone(), batch.columns().to_vec(), 2).unwrap();
        for (start, rows) in [(0, 2), (1, 1), (0, 1)] {
            let [one, other] = [&batch, &columns].map(|rows_of| Source::new(rows_of, &layout, start, rows));
            assert_eq!(list_bytes::<F64s>(&one), list_bytes::<F64s>(&other));
            assert_eq!(list_bytes::<Validity>(&one), [0_u8; 0]);
        }
    }

    #[test]
    fn text_offsets_of_a_second_column_go_on_where_the_first_ends() {
        let fields = vec![Field::new("a", Kind::Utf8, false), Field::new("b", Kind::Utf8, false)];
        let layout = Layout::new(Schema::new(fields).unwrap());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["xx", "", "yyy"])),
            Arc::new(StringArray::from(vec!["1", "22", "333"])),
        ];
        let batch = Batch::new(layout.schema.clone(), columns, 3).unwrap();
        let source = Source::new(&batch, &layout, 1, 2);
        let offsets: Vec<u32> = words(&list_bytes::<Offsets>(&source)).into_iter().map(u32::from_le_bytes).collect();
        assert_eq!(offsets, [0, 0, 3, 3, 5, 8]);
        assert_eq!(list_bytes::<Bytes>(&source), b"yyy22333");
    }

    #[test]
    fn bitmaps_of_rows_that_start_within_a_byte_are_shifted() {
        let layout = Layout::new(Schema::new(vec![Field::new("b", Kind::Boolean, false)]).unwrap());
        let column: ArrayRef = Arc::new(BooleanArray::from((0..20).map(|i| i % 3 == 0).collect::<Vec<_>>()));
        let batch = Batch::new(layout.schema.clone(), vec![column], 20).unwrap();
        let batch = batch.slice(3, 17);
        let source = Source::new(&batch, &layout, 0, 10);
        assert_eq!(list_bytes::<Bits>(&source), [0b0100_1001, 0b10]);
    }
}
