//! Rows on their way out of a guest: a `block` of `wit/types` read from linear memory straight into Arrow buffers.
//!
//! wasmtime frees what a call returns before the call ends, and lifting a value has no argument that says where to put
//! it. So the caller sets up a [`Landing`] for its thread, makes its calls with [`Landing::during`], and every block
//! that they return is checked and copied, once, into it while it is lifted. A block is hostile until its lengths,
//! offsets, text and bitmaps are checked; all of that happens here.

use std::{cell::RefCell, sync::Arc};

use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, PrimitiveArray, StringArray, TimestampMicrosecondArray,
    types::{Float32Type, Float64Type, Int64Type},
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use plinth_core::PluginLimits;
use plinth_ext::{Batch, Kind, Numbers};
use wasmtime::{
    Result,
    component::{
        __internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext},
        ComponentType, Lift,
    },
};

use crate::{block::Layout, fault::bad_output, gathering::Slot};

thread_local! {
    static LANDING: RefCell<Option<Box<Landing>>> = const { RefCell::new(None) };
}

/// Where a block lands.
pub(crate) struct Landing {
    layout: Arc<Layout>,
    /// Rows that the block must bring together; none where the guest decides.
    expected: Option<usize>,
    rows_max: usize,
    into: Into,
}

enum Into {
    /// Nothing has landed.
    Empty,
    Alone(Alone),
    /// The rows of a table that the block is for; none once it has landed.
    Table(Option<Slot>),
}

/// A block that is all there is. Its lists are copied as they are, and its columns share them.
struct Alone {
    rows: usize,
    // Whole words: what `malloc` gives is aligned well enough for them, and its free blocks are used again, while Arrow's
    // own buffers ask for 64 bytes of alignment and go to fresh pages.
    f64s: Vec<f64>,
    f32s: Vec<f32>,
    s64s: Vec<u64>,
    bits: Vec<u8>,
    texts: Vec<Text>,
    /// The bitmaps of the nullable columns, if it has nulls.
    validity: Vec<u8>,
}

/// A utf8 or binary column.
pub(crate) struct Text {
    /// The first is 0.
    pub(crate) offsets: Vec<i32>,
    pub(crate) bytes: Vec<u8>,
}

impl Text {
    pub(crate) fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, bytes: Vec::with_capacity(bytes) }
    }
}

/// A block has landed. What a typed function returns in place of a block.
pub(crate) struct Landed;

/// A block as it lies in guest memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawBlock {
    rows: u32,
    pub(crate) f64s: RawList<f64>,
    pub(crate) f32s: RawList<f32>,
    pub(crate) s64s: RawList<i64>,
    pub(crate) bits: RawList<u8>,
    pub(crate) offsets: RawList<u32>,
    pub(crate) bytes: RawList<u8>,
    pub(crate) validity: RawList<u8>,
}

impl RawBlock {
    pub(crate) fn bytes_in_all(&self) -> u64 {
        let lists = [self.f64s.bytes, self.f32s.bytes, self.s64s.bytes, self.bits.bytes, self.offsets.bytes];
        (lists.iter().sum::<usize>() + self.bytes.bytes + self.validity.bytes) as u64
    }
}

/// A list that was found to lie within memory, and not read yet.
pub(crate) struct RawList<T> {
    start: usize,
    bytes: usize,
    marker: std::marker::PhantomData<fn() -> T>,
}

impl<T> RawList<T> {
    pub(crate) fn of<'a>(&self, memory: &'a [u8]) -> &'a [u8] {
        &memory[self.start..][..self.bytes]
    }
}

impl Landing {
    /// One block of at most `rows_max` rows, or exactly `expected`.
    pub(crate) fn one(layout: Arc<Layout>, expected: Option<usize>, rows_max: usize) -> Box<Self> {
        Box::new(Self { layout, expected, rows_max, into: Into::Empty })
    }

    /// The block of a part of a table.
    pub(crate) fn part(slot: Slot) -> Box<Self> {
        let rows = slot.rows();
        Box::new(Self {
            layout: slot.layout().clone(),
            expected: Some(rows),
            rows_max: rows,
            into: Into::Table(Some(slot)),
        })
    }

    /// Rows that it expects, or the most that may come.
    pub(crate) fn rows(&self) -> usize {
        self.expected.unwrap_or(self.rows_max)
    }

    /// Makes this the landing of the thread while `call` runs; gives it back with what the call gave.
    pub(crate) fn during<R>(self: Box<Self>, call: impl FnOnce() -> R) -> (Box<Self>, R) {
        /// Puts back what was there before, also when the call panics.
        struct Before(Option<Box<Landing>>);
        impl Drop for Before {
            fn drop(&mut self) {
                let before = self.0.take();
                LANDING.with_borrow_mut(|place| *place = before);
            }
        }
        let before = Before(LANDING.with_borrow_mut(|place| place.replace(self)));
        let result = call();
        let landing = LANDING.with_borrow_mut(Option::take).expect("nothing but `during` takes a landing away");
        drop(before);
        (landing, result)
    }

    /// The rows that landed, unless they are part of a table.
    ///
    /// # Errors
    /// What is wrong with them, for a message.
    #[expect(clippy::boxed_local, reason = "out of its box it would be copied on the way here")]
    pub(crate) fn finish(self: Box<Self>) -> std::result::Result<Batch, String> {
        match self.into {
            Into::Alone(block) => block.batch(self.layout),
            Into::Empty | Into::Table(_) => Err("no rows came back".into()),
        }
    }

    /// The part of a table that it was for, if no block landed there.
    pub(crate) fn into_slot(self) -> Option<Slot> {
        match self.into {
            Into::Table(slot) => slot,
            Into::Empty | Into::Alone(_) => None,
        }
    }

    /// Checks a block and copies it.
    fn take(&mut self, memory: &[u8], block: &RawBlock) -> Result<()> {
        let rows = block.rows as usize;
        self.check(rows, block)?;
        match &mut self.into {
            Into::Empty => {
                self.into = Into::Alone(Alone::copy(&self.layout, memory, block)?);
                Ok(())
            }
            Into::Table(slot) => Slot::fill(slot, memory, block),
            Into::Alone(_) => Err(bad_output("a second block where one was expected")),
        }
    }

    /// Every length that does not depend on another value of the block.
    fn check(&self, rows: usize, block: &RawBlock) -> Result<()> {
        let layout = &self.layout;
        match self.expected {
            Some(expected) if rows != expected => {
                return Err(bad_output(format!("{rows} rows for {expected} rows")));
            }
            None if rows > self.rows_max => {
                return Err(bad_output(format!("{rows} rows, more than the {} that were asked for", self.rows_max)));
            }
            _ => {}
        }
        let bitmap = rows.div_ceil(8);
        let nullable = if block.validity.bytes == 0 { 0 } else { layout.nullable.len() };
        for (list, found, columns, width) in [
            ("f64s", block.f64s.bytes, layout.f64s.len(), rows * 8),
            ("f32s", block.f32s.bytes, layout.f32s.len(), rows * 4),
            ("s64s", block.s64s.bytes, layout.s64s.len(), rows * 8),
            ("bits", block.bits.bytes, layout.bits.len(), bitmap),
            ("offsets", block.offsets.bytes, layout.texts.len(), (rows + 1) * 4),
            ("validity", block.validity.bytes, nullable, bitmap),
        ] {
            if found != columns * width {
                let wanted = columns * width;
                return Err(bad_output(format!(
                    "`{list}` has {found} bytes where {columns} columns of {rows} rows have {wanted}"
                )));
            }
        }
        if layout.texts.is_empty() && block.bytes.bytes > 0 {
            return Err(bad_output(format!("`bytes` has {} bytes and there is no text column", block.bytes.bytes)));
        }
        Ok(())
    }
}

impl Alone {
    fn copy(layout: &Layout, memory: &[u8], block: &RawBlock) -> Result<Self> {
        let rows = block.rows as usize;
        Ok(Self {
            rows,
            f64s: words(block.f64s.of(memory)),
            f32s: words(block.f32s.of(memory)),
            s64s: words(block.s64s.of(memory)),
            bits: words(block.bits.of(memory)),
            texts: texts(layout, block.offsets.of(memory), block.bytes.of(memory), rows)?,
            validity: words(block.validity.of(memory)),
        })
    }

    fn batch(self, layout: Arc<Layout>) -> std::result::Result<Batch, String> {
        let (columns, rows, nulls) = (layout.schema.len(), self.rows, !self.validity.is_empty());
        // Nothing but floats of one kind, without a null, stay in one piece.
        if columns > 0 && !nulls && layout.f64s.len() == columns {
            return numbers(&layout, Numbers::F64(self.f64s.into()), rows);
        }
        if columns > 0 && !nulls && layout.f32s.len() == columns {
            return numbers(&layout, Numbers::F32(self.f32s.into()), rows);
        }
        let finish = Finish {
            rows,
            f64s: Columns::list(self.f64s),
            f32s: Columns::list(self.f32s),
            s64s: Columns::list(self.s64s),
            bits: Columns::list(self.bits),
            texts: self.texts,
            validity: nulls.then(|| Columns::list(self.validity)),
            layout,
        };
        Ok(finish.batch())
    }
}

fn numbers(layout: &Layout, numbers: Numbers, rows: usize) -> std::result::Result<Batch, String> {
    Batch::of_numbers(layout.schema.clone(), numbers, rows).map_err(|error| error.to_string())
}

/// The text columns of a block.
///
/// # Errors
/// If offsets decrease, or point past the end.
pub(crate) fn texts(layout: &Layout, offsets: &[u8], bytes: &[u8], rows: usize) -> Result<Vec<Text>> {
    let text = |(raw, &column): (&[u8], &usize)| {
        let name = &layout.schema.fields()[column].name;
        let (offsets, _) = raw.as_chunks::<4>();
        let offset = |row: usize| u32::from_le_bytes(offsets[row]);
        let (first, last) = (offset(0), offset(rows));
        if last as usize > bytes.len() || first > last {
            return Err(bad_output(format!("the text of column `{name}` ends at {last} of {} bytes", bytes.len())));
        }
        if i32::try_from(last - first).is_err() {
            return Err(bad_output(too_long(name)));
        }
        let mut text = Text::with_capacity(rows, 0);
        let (mut before, mut sorted) = (first, true);
        text.offsets.extend(offsets[1..].iter().map(|offset| {
            let offset = u32::from_le_bytes(*offset);
            sorted &= offset >= before;
            before = offset;
            // In range where the offsets are sorted, and dropped where they are not.
            offset.wrapping_sub(first) as i32
        }));
        if !sorted {
            return Err(bad_output(format!("the text offsets of column `{name}` decrease")));
        }
        let bytes = &bytes[first as usize..last as usize];
        if layout.schema.fields()[column].kind == Kind::Utf8 && !is_utf8(bytes, &text.offsets) {
            return Err(bad_output(format!("the text of column `{name}` is not UTF-8")));
        }
        text.bytes.extend_from_slice(bytes);
        Ok(text)
    };
    offsets.chunks_exact((rows + 1) * 4).zip(&layout.texts).map(text).collect()
}

/// Whether each text is UTF-8: all of them end to end, and none ends within a character. The offsets are sorted.
fn is_utf8(bytes: &[u8], offsets: &[i32]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| offsets.iter().all(|offset| text.is_char_boundary(*offset as usize)))
}

/// What is wrong with a text column that Arrow's 32-bit offsets cannot tell.
pub(crate) fn too_long(name: &str) -> String {
    format!("the text of column `{name}` is longer than 2 GiB")
}

/// The words that lie in `bytes`, whose length is a multiple of theirs.
fn words<T: Word>(bytes: &[u8]) -> Vec<T> {
    // SAFETY: `Word` is implemented only for plain numbers, for which all bytes are valid.
    #[expect(unsafe_code, reason = "one copy of memory instead of a loop over words")]
    let (head, middle, tail) = unsafe { bytes.align_to::<T>() };
    if cfg!(target_endian = "little") && head.is_empty() && tail.is_empty() {
        middle.to_vec()
    } else {
        bytes.chunks_exact(size_of::<T>()).map(T::read).collect()
    }
}

/// A number that any bytes are.
pub(crate) trait Word: Copy + 'static {
    fn read(bytes: &[u8]) -> Self;
}

impl Word for u8 {
    fn read(bytes: &[u8]) -> Self {
        bytes[0]
    }
}

impl Word for f32 {
    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map_or(0.0, Self::from_le_bytes)
    }
}

impl Word for f64 {
    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map_or(0.0, Self::from_le_bytes)
    }
}

impl Word for u64 {
    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map_or(0, Self::from_le_bytes)
    }
}

/// The columns of one physical type.
pub(crate) enum Columns {
    /// End to end in one list.
    List(Buffer),
    Each(Vec<Buffer>),
}

impl Columns {
    fn list<T: ArrowNativeType>(values: Vec<T>) -> Self {
        if values.is_empty() { Self::Each(Vec::new()) } else { Self::List(Buffer::from_vec(values)) }
    }

    /// The `bytes` bytes of the column at `place`.
    fn column(&self, place: usize, bytes: usize) -> Buffer {
        match self {
            _ if bytes == 0 => Buffer::default(),
            Self::List(list) => list.slice_with_length(place * bytes, bytes),
            Self::Each(buffers) => buffers[place].slice_with_length(0, bytes),
        }
    }

    fn values<T: ArrowNativeType>(&self, place: usize, rows: usize) -> ScalarBuffer<T> {
        ScalarBuffer::from(self.column(place, rows * size_of::<T>()))
    }

    fn bits(&self, place: usize, rows: usize) -> BooleanBuffer {
        BooleanBuffer::new(self.column(place, rows.div_ceil(8)), 0, rows)
    }
}

/// What has landed, on its way to become arrays.
pub(crate) struct Finish {
    pub(crate) layout: Arc<Layout>,
    pub(crate) rows: usize,
    pub(crate) f64s: Columns,
    pub(crate) f32s: Columns,
    pub(crate) s64s: Columns,
    pub(crate) bits: Columns,
    pub(crate) texts: Vec<Text>,
    /// The bitmaps of the nullable columns, if there are nulls.
    pub(crate) validity: Option<Columns>,
}

impl Finish {
    pub(crate) fn batch(self) -> Batch {
        let (schema, rows) = (self.layout.schema.clone(), self.rows);
        let columns = self.columns();
        // SAFETY: one column for each field, of its kind and with as many rows as landed, and with nulls only where its
        // field allows them: `columns` makes them so, whatever the guest returned.
        #[expect(unsafe_code, reason = "to look at every column again costs a tenth of scoring one row")]
        unsafe {
            Batch::new_unchecked(schema, columns, rows)
        }
    }

    fn columns(self) -> Vec<ArrayRef> {
        let Self { layout, rows, f64s, f32s, s64s, bits, texts, validity } = self;
        let mut texts = texts.into_iter();
        let (mut f64_at, mut f32_at, mut s64_at, mut bit_at, mut null_at) = (0, 0, 0, 0, 0);
        let next = |place: &mut usize| {
            *place += 1;
            *place - 1
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(layout.schema.len());
        for (index, field) in layout.schema.fields().iter().enumerate() {
            let nulls = match &validity {
                Some(bitmaps) if field.nullable => Some(NullBuffer::new(bitmaps.bits(next(&mut null_at), rows))),
                _ => None,
            };
            let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
            columns.push(match field.kind {
                Kind::Float64 => primitive::<Float64Type>(f64s.values(next(&mut f64_at), rows), nulls),
                Kind::Float32 => primitive::<Float32Type>(f32s.values(next(&mut f32_at), rows), nulls),
                Kind::Int64 => primitive::<Int64Type>(s64s.values(next(&mut s64_at), rows), nulls),
                Kind::TimestampUs => Arc::new(
                    TimestampMicrosecondArray::new(s64s.values(next(&mut s64_at), rows), nulls)
                        .with_data_type(layout.schema.arrow().field(index).data_type().clone()),
                ),
                Kind::Boolean => Arc::new(BooleanArray::new(bits.bits(next(&mut bit_at), rows), nulls)),
                Kind::Utf8 | Kind::Binary => {
                    let text = texts.next().unwrap_or_else(|| Text::with_capacity(0, 0));
                    let offsets = OffsetBuffer::new(ScalarBuffer::from(text.offsets));
                    let bytes = Buffer::from_vec(text.bytes);
                    if field.kind == Kind::Binary {
                        Arc::new(BinaryArray::new(offsets, bytes, nulls))
                    } else {
                        // SAFETY: `texts` found sorted offsets within the bytes and UTF-8, and texts of several blocks are
                        // each of them.
                        #[expect(unsafe_code, reason = "text is checked where it lands, by whoever returned it")]
                        Arc::new(unsafe { StringArray::new_unchecked(offsets, bytes, nulls) })
                    }
                }
            });
        }
        columns
    }
}

/// An array of values, one for each bit of `nulls`.
fn primitive<T: ArrowPrimitiveType>(values: ScalarBuffer<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    if nulls.is_some() {
        return Arc::new(PrimitiveArray::<T>::new(values, nulls));
    }
    // SAFETY: nothing is required of values that have no nulls.
    #[expect(unsafe_code, reason = "a result that cannot fail is moved about, which shows in a row of many columns")]
    let array = unsafe { PrimitiveArray::<T>::new_unchecked(values, None) };
    Arc::new(array)
}

// SAFETY: the same representation as `RawBlock`, to which everything is forwarded.
#[expect(unsafe_code, reason = "the trait is unsafe: the type must describe its representation faithfully")]
unsafe impl ComponentType for Landed {
    type Lower = <RawBlock as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <RawBlock as ComponentType>::ABI;
    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <RawBlock as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: forwards to `RawBlock` and then only reads memory that it found to be in bounds.
#[expect(unsafe_code, reason = "the trait is unsafe: only valid values may be lifted")]
unsafe impl Lift for Landed {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> Result<Self> {
        let block = RawBlock::linear_lift_from_flat(cx, ty, src)?;
        land(cx, &block)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Self> {
        let block = RawBlock::linear_lift_from_memory(cx, ty, bytes)?;
        land(cx, &block)
    }
}

fn land(cx: &LiftContext<'_>, block: &RawBlock) -> Result<Landed> {
    LANDING.with_borrow_mut(|landing| match landing {
        Some(landing) => landing.take(cx.memory(), block).map(|()| Landed),
        None => Err(wasmtime::Error::msg("a block was returned where none can land")),
    })
}

// SAFETY: the same representation as `[T]`, to which everything is forwarded.
#[expect(unsafe_code, reason = "the trait is unsafe: the type must describe its representation faithfully")]
unsafe impl<T: ComponentType> ComponentType for RawList<T> {
    type Lower = <[T] as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <[T] as ComponentType>::ABI;
    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[T] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: only numbers are kept, and only after they were found to name bytes within memory.
#[expect(unsafe_code, reason = "the trait is unsafe: only valid values may be lifted")]
unsafe impl<T: ComponentType> Lift for RawList<T> {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, _ty: InterfaceType, src: &Self::Lower) -> Result<Self> {
        let pair = <[T] as Pair>::pair(src);
        Self::check(cx, pair.0, pair.1)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, _ty: InterfaceType, bytes: &[u8]) -> Result<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self::check(cx, word(0), word(4))
    }
}

/// The pointer and the length in the flat form of a list.
trait Pair: ComponentType {
    fn pair(flat: &Self::Lower) -> (u32, u32);
}

impl<T: ComponentType> Pair for [T] {
    fn pair(flat: &[wasmtime::ValRaw; 2]) -> (u32, u32) {
        (flat[0].get_u32(), flat[1].get_u32())
    }
}

impl<T: ComponentType> RawList<T> {
    fn check(cx: &mut LiftContext<'_>, pointer: u32, len: u32) -> Result<Self> {
        let bytes = (len as usize).checked_mul(T::SIZE32);
        let end = bytes.and_then(|bytes| bytes.checked_add(pointer as usize));
        let (Some(bytes), Some(end)) = (bytes, end) else { return Err(bad_output("a list longer than memory")) };
        if bytes > 0 && (end > cx.memory().len() || !pointer.is_multiple_of(T::ALIGN32)) {
            return Err(bad_output("a list that does not lie within memory"));
        }
        cx.consume_fuel(bytes)?;
        Ok(Self { start: if bytes == 0 { 0 } else { pointer as usize }, bytes, marker: std::marker::PhantomData })
    }
}

/// The most rows that one returned block may have.
pub(crate) fn rows_max(limits: &PluginLimits) -> usize {
    limits.output_rows_max as usize
}

#[cfg(test)]
#[path = "landing_tests.rs"]
mod tests;
