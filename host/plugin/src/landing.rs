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

use crate::{
    block::Layout,
    fault::{TooManyBytes, bad_output},
};

thread_local! {
    static LANDING: RefCell<Option<Box<Landing>>> = const { RefCell::new(None) };
}

/// Where the blocks of one batch land.
pub(crate) struct Landing {
    layout: Arc<Layout>,
    /// Rows that every block must bring together; none where the guest decides.
    expected: Option<usize>,
    rows_max: usize,
    /// Bytes that may still come: wasmtime counts those of one block, and several blocks count together.
    bytes_left: u64,
    /// Whether several blocks come: then every column has a buffer of its own, so that they can grow side by side.
    /// One block is copied list by list, and its columns share the buffers.
    several: bool,
    rows: usize,
    // Whole words: what `malloc` gives is aligned well enough for them, and its free blocks are used again, while Arrow's
    // own buffers ask for 64 bytes of alignment and go to fresh pages.
    f64s: Vec<Vec<f64>>,
    f32s: Vec<Vec<f32>>,
    s64s: Vec<Vec<u64>>,
    bits: Vec<Vec<u8>>,
    texts: Vec<Text>,
    /// For each nullable column; `None` while no block had a null.
    validity: Option<Vec<Vec<u8>>>,
}

/// A utf8 or binary column that grows.
struct Text {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

/// A block has landed. What a typed function returns in place of a block.
pub(crate) struct Landed;

/// A block as it lies in guest memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawBlock {
    rows: u32,
    f64s: RawList<f64>,
    f32s: RawList<f32>,
    s64s: RawList<i64>,
    bits: RawList<u8>,
    offsets: RawList<u32>,
    bytes: RawList<u8>,
    validity: RawList<u8>,
}

impl RawBlock {
    fn bytes_in_all(&self) -> u64 {
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
    fn of<'a>(&self, memory: &'a [u8]) -> &'a [u8] {
        &memory[self.start..][..self.bytes]
    }
}

impl Landing {
    /// One block of at most `rows_max` rows, or exactly `expected`.
    pub(crate) fn one(layout: Arc<Layout>, expected: Option<usize>, rows_max: usize) -> Box<Self> {
        Box::new(Self {
            layout,
            expected,
            rows_max,
            bytes_left: u64::MAX,
            several: false,
            rows: 0,
            f64s: Vec::new(),
            f32s: Vec::new(),
            s64s: Vec::new(),
            bits: Vec::new(),
            texts: Vec::new(),
            validity: None,
        })
    }

    /// Several blocks that together have `total` rows and at most `bytes_max` bytes; each but the last has a multiple of
    /// 8 rows.
    pub(crate) fn several(layout: Arc<Layout>, total: usize, bytes_max: u64) -> Box<Self> {
        fn room<T>(columns: &[usize], len: usize) -> Vec<Vec<T>> {
            columns.iter().map(|_| Vec::with_capacity(len)).collect()
        }
        let texts = layout.texts.iter().map(|_| {
            let mut offsets = Vec::with_capacity(total + 1);
            offsets.push(0);
            Text { offsets, bytes: Vec::new() }
        });
        Box::new(Self {
            several: true,
            f64s: room(&layout.f64s, total),
            f32s: room(&layout.f32s, total),
            s64s: room(&layout.s64s, total),
            bits: room(&layout.bits, total.div_ceil(8)),
            texts: texts.collect(),
            bytes_left: bytes_max,
            ..*Self::one(layout, None, total)
        })
    }

    /// How many rows the next block must bring.
    pub(crate) fn expect(&mut self, rows: usize) {
        self.expected = Some(rows);
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

    /// The rows that landed.
    ///
    /// # Errors
    /// What is wrong with them, for a message.
    #[expect(clippy::boxed_local, reason = "out of its box it would be copied on the way here")]
    pub(crate) fn finish(mut self: Box<Self>) -> std::result::Result<Batch, String> {
        let (schema, rows) = (self.layout.schema.clone(), self.rows);
        if let Some(numbers) = self.numbers() {
            return Batch::of_numbers(schema, numbers, rows).map_err(|error| error.to_string());
        }
        let columns = Finish::new(*self).columns()?;
        // SAFETY: one column for each field, of its kind and with as many rows as all blocks together, and with nulls only
        // where its field allows them: `columns` makes them so, whatever the guest returned.
        #[expect(unsafe_code, reason = "to look at every column again costs a tenth of scoring one row")]
        Ok(unsafe { Batch::new_unchecked(schema, columns, rows) })
    }

    /// One block of nothing but floats of one kind, without a null.
    fn numbers(&mut self) -> Option<Numbers> {
        let (layout, columns) = (&self.layout, self.layout.schema.len());
        if self.several || self.validity.is_some() {
            return None;
        }
        if layout.f64s.len() == columns {
            self.f64s.pop().map(|values| Numbers::F64(values.into()))
        } else if layout.f32s.len() == columns {
            self.f32s.pop().map(|values| Numbers::F32(values.into()))
        } else {
            None
        }
    }

    /// Checks a block and copies it.
    fn take(&mut self, memory: &[u8], block: &RawBlock) -> Result<()> {
        let rows = block.rows as usize;
        self.check(rows, block)?;
        self.bytes_left = self.bytes_left.checked_sub(block.bytes_in_all()).ok_or(TooManyBytes)?;
        let (layout, several) = (&self.layout, self.several);
        fill(&mut self.f64s, block.f64s.of(memory), layout.f64s.len(), several);
        fill(&mut self.f32s, block.f32s.of(memory), layout.f32s.len(), several);
        fill(&mut self.s64s, block.s64s.of(memory), layout.s64s.len(), several);
        fill(&mut self.bits, block.bits.of(memory), layout.bits.len(), several);
        self.take_text(block.offsets.of(memory), block.bytes.of(memory), rows)?;
        self.take_validity(block.validity.of(memory), rows);
        self.rows += rows;
        Ok(())
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
        if !self.several && self.rows > 0 {
            return Err(bad_output("a second block where one was expected"));
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

    fn take_text(&mut self, offsets: &[u8], bytes: &[u8], rows: usize) -> Result<()> {
        let layout = &self.layout;
        for (place, (raw, &column)) in offsets.chunks_exact((rows + 1) * 4).zip(&layout.texts).enumerate() {
            let name = &layout.schema.fields()[column].name;
            let offset = |row: usize| {
                let at = row * 4;
                u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
            };
            let (first, last) = (offset(0), offset(rows));
            if last as usize > bytes.len() || first > last {
                return Err(bad_output(format!("the text of column `{name}` ends at {last} of {} bytes", bytes.len())));
            }
            if !self.several {
                self.texts.push(Text { offsets: Vec::with_capacity(rows + 1), bytes: Vec::new() });
                self.texts[place].offsets.push(0);
            }
            let text = &mut self.texts[place];
            let base = i64::try_from(text.bytes.len()).unwrap_or(i64::MAX) - i64::from(first);
            if base + i64::from(last) > i64::from(i32::MAX) {
                return Err(bad_output(format!("the text of column `{name}` is longer than 2 GiB")));
            }
            let mut before = first;
            let mut sorted = true;
            text.offsets.extend(raw[4..].as_chunks::<4>().0.iter().map(|offset| {
                let offset = u32::from_le_bytes(*offset);
                sorted &= offset >= before;
                before = offset;
                // In range where the offsets are sorted, and dropped where they are not.
                (base + i64::from(offset)) as i32
            }));
            if !sorted {
                return Err(bad_output(format!("the text offsets of column `{name}` decrease")));
            }
            text.bytes.extend_from_slice(&bytes[first as usize..last as usize]);
        }
        Ok(())
    }

    fn take_validity(&mut self, bitmaps: &[u8], rows: usize) {
        let columns = self.layout.nullable.len();
        if columns == 0 {
            return;
        }
        if bitmaps.is_empty() {
            if let Some(validity) = &mut self.validity {
                let len = (self.rows + rows).div_ceil(8);
                validity.iter_mut().for_each(|bits| bits.resize(len, 0xff));
            }
            return;
        }
        let before = self.rows.div_ceil(8);
        let validity = self.validity.get_or_insert_with(|| vec![Vec::new(); columns]);
        for (bits, bitmap) in validity.iter_mut().zip(bitmaps.chunks_exact(rows.div_ceil(8))) {
            bits.resize(before, 0xff);
            bits.extend_from_slice(bitmap);
        }
    }
}

/// Appends the columns of one list: each to its own buffer, or all to a new one that they share.
fn fill<T: Word>(buffers: &mut Vec<Vec<T>>, list: &[u8], columns: usize, several: bool) {
    if columns == 0 {
        return;
    }
    if several {
        let width = list.len() / columns;
        for (buffer, column) in buffers.iter_mut().zip(list.chunks_exact(width.max(1))) {
            append(buffer, column);
        }
    } else {
        let mut buffer = Vec::with_capacity(list.len() / size_of::<T>());
        append(&mut buffer, list);
        buffers.push(buffer);
    }
}

/// A number that any bytes are.
trait Word: Copy + 'static {
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

/// Appends the words that lie in `bytes`, whose length is a multiple of theirs.
fn append<T: Word>(words: &mut Vec<T>, bytes: &[u8]) {
    // SAFETY: `Word` is implemented only for plain numbers, for which all bytes are valid.
    #[expect(unsafe_code, reason = "one copy of memory instead of a loop over words")]
    let (head, middle, tail) = unsafe { bytes.align_to::<T>() };
    if cfg!(target_endian = "little") && head.is_empty() && tail.is_empty() {
        words.extend_from_slice(middle);
    } else {
        words.extend(bytes.chunks_exact(size_of::<T>()).map(T::read));
    }
}

/// What has landed, on its way to become arrays.
struct Finish {
    layout: Arc<Layout>,
    rows: usize,
    several: bool,
    f64s: Vec<Buffer>,
    f32s: Vec<Buffer>,
    s64s: Vec<Buffer>,
    bits: Vec<Buffer>,
    texts: Vec<Text>,
    validity: Option<Vec<Vec<u8>>>,
}

impl Finish {
    fn new(landing: Landing) -> Self {
        fn buffers<T: ArrowNativeType>(list: Vec<Vec<T>>) -> Vec<Buffer> {
            list.into_iter().map(Buffer::from_vec).collect()
        }
        Self {
            layout: landing.layout,
            rows: landing.rows,
            several: landing.several,
            f64s: buffers(landing.f64s),
            f32s: buffers(landing.f32s),
            s64s: buffers(landing.s64s),
            bits: buffers(landing.bits),
            texts: landing.texts,
            validity: landing.validity,
        }
    }

    fn columns(mut self) -> std::result::Result<Vec<ArrayRef>, String> {
        let layout = self.layout.clone();
        let rows = self.rows;
        let mut validity = self.validity.take().map(Vec::into_iter);
        let mut texts = std::mem::take(&mut self.texts).into_iter();
        let (mut f64s, mut f32s, mut s64s, mut bits) = (0, 0, 0, 0);
        let next = |place: &mut usize| {
            *place += 1;
            *place - 1
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(layout.schema.len());
        for (index, field) in layout.schema.fields().iter().enumerate() {
            let nulls = match &mut validity {
                Some(bitmaps) if field.nullable => bitmaps
                    .next()
                    .map(|bits| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows)))
                    .filter(|nulls| nulls.null_count() > 0),
                _ => None,
            };
            columns.push(match field.kind {
                Kind::Float64 => primitive::<Float64Type>(self.values(&self.f64s, next(&mut f64s)), nulls),
                Kind::Float32 => primitive::<Float32Type>(self.values(&self.f32s, next(&mut f32s)), nulls),
                Kind::Int64 => primitive::<Int64Type>(self.values(&self.s64s, next(&mut s64s)), nulls),
                Kind::TimestampUs => Arc::new(
                    TimestampMicrosecondArray::new(self.values(&self.s64s, next(&mut s64s)), nulls)
                        .with_data_type(layout.schema.arrow().field(index).data_type().clone()),
                ),
                Kind::Boolean => {
                    let place = next(&mut bits);
                    let (buffer, start) = if self.several { (place, 0) } else { (0, place * rows.div_ceil(8) * 8) };
                    Arc::new(BooleanArray::new(BooleanBuffer::new(self.bits[buffer].clone(), start, rows), nulls))
                }
                Kind::Utf8 | Kind::Binary => {
                    let text = texts.next().unwrap_or(Text { offsets: vec![0], bytes: Vec::new() });
                    let offsets = OffsetBuffer::new(ScalarBuffer::from(text.offsets));
                    let bytes = Buffer::from_vec(text.bytes);
                    if field.kind == Kind::Binary {
                        Arc::new(BinaryArray::new(offsets, bytes, nulls))
                    } else {
                        let array = StringArray::try_new(offsets, bytes, nulls);
                        Arc::new(array.map_err(|_| format!("the text of column `{}` is not UTF-8", field.name))?)
                    }
                }
            });
        }
        Ok(columns)
    }

    /// The values of the column at `place` among those of its physical type.
    fn values<T: ArrowNativeType>(&self, buffers: &[Buffer], place: usize) -> ScalarBuffer<T> {
        let (buffer, start) = if self.several { (place, 0) } else { (0, place * self.rows) };
        let width = size_of::<T>();
        ScalarBuffer::from(buffers[buffer].slice_with_length(start * width, self.rows * width))
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
