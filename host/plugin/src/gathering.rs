//! A table that comes back in blocks, several at once: each block is written to its own rows of columns that were made
//! before, so that nothing is joined afterwards but text.
//!
//! A [`Gathering`] also says who computes what: it hands out every part of the rows once, as a [`Slot`], and a block is
//! written to the rows of the slot that it was made for. So no two threads write to the same place.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use arrow_buffer::{ArrowNativeType, Buffer};
use plinth_ext::Batch;
use wasmtime::Result;

use crate::{
    block::Layout,
    fault::{TooManyBytes, bad_output},
    landing::{Columns, Finish, RawBlock, Text, Word, texts, too_long},
};

/// Where the blocks of one table land.
pub(crate) struct Gathering {
    layout: Arc<Layout>,
    rows: usize,
    /// Rows of a slot: a multiple of 64, so that bitmaps join at whole bytes. The last slot may have fewer.
    step: usize,
    /// The first row that is in no slot yet.
    next: AtomicUsize,
    /// Rows that have landed.
    landed: AtomicUsize,
    /// Bytes that may still come: wasmtime counts those of one block, and the blocks of a table count together.
    bytes_left: AtomicU64,
    f64s: Vec<Column<f64>>,
    f32s: Vec<Column<f32>>,
    s64s: Vec<Column<u64>>,
    bits: Vec<Column<u8>>,
    /// One for each nullable column, all ones where a block brought none.
    validity: Vec<Column<u8>>,
    nulls: AtomicBool,
    /// The texts of each block, by its first row.
    texts: Mutex<BTreeMap<usize, Vec<Text>>>,
}

/// Rows that whoever holds this computes, and nobody else.
pub(crate) struct Slot {
    gathering: Arc<Gathering>,
    start: usize,
    rows: usize,
}

impl Gathering {
    /// For `rows` rows of at most `bytes_max` bytes, in slots of `step` rows, a multiple of 64.
    pub(crate) fn new(layout: Arc<Layout>, rows: usize, step: usize, bytes_max: u64) -> Arc<Self> {
        fn room<T: Word>(columns: &[usize], len: usize) -> Vec<Column<T>> {
            columns.iter().map(|_| Column::new(len)).collect()
        }
        let bitmap = rows.div_ceil(8);
        Arc::new(Self {
            rows,
            step,
            next: AtomicUsize::new(0),
            landed: AtomicUsize::new(0),
            bytes_left: AtomicU64::new(bytes_max),
            f64s: room(&layout.f64s, rows),
            f32s: room(&layout.f32s, rows),
            s64s: room(&layout.s64s, rows),
            bits: room(&layout.bits, bitmap),
            validity: room(&layout.nullable, bitmap),
            nulls: AtomicBool::new(false),
            texts: Mutex::default(),
            layout,
        })
    }

    /// The next rows that nobody has taken. Rows are handed out in order, so that when a slot fails all before it were
    /// taken as well.
    pub(crate) fn slot(self: &Arc<Self>) -> Option<Slot> {
        let start = self.next.fetch_add(self.step, Ordering::Relaxed);
        let rows = self.step.min(self.rows.checked_sub(start).filter(|left| *left > 0)?);
        Some(Slot { gathering: self.clone(), start, rows })
    }

    /// Whether there are rows that nobody has taken.
    pub(crate) fn has_slots(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.rows
    }

    /// No more slots are handed out.
    pub(crate) fn stop(&self) {
        // Far from both ends: whoever asks meanwhile adds a step.
        self.next.store(usize::MAX / 2, Ordering::Relaxed);
    }

    /// All rows. Nobody may hold a slot any more, and every one of them has landed.
    ///
    /// # Errors
    /// What is wrong with them, for a message.
    pub(crate) fn finish(self: Arc<Self>) -> std::result::Result<Batch, String> {
        let whole = Arc::into_inner(self).ok_or("rows are still on their way")?;
        let (layout, rows) = (whole.layout, whole.rows);
        if whole.landed.into_inner() != rows {
            return Err("not all rows came back".into());
        }
        let texts = join(&layout, whole.texts.into_inner().unwrap_or_else(PoisonError::into_inner), rows)?;
        let nulls = whole.nulls.into_inner();
        // SAFETY: as many rows landed as there are, each in a slot of its own, so every value of a column was written.
        #[expect(unsafe_code, reason = "columns are written by several threads, each its own rows")]
        let finish = unsafe {
            Finish {
                f64s: filled(whole.f64s),
                f32s: filled(whole.f32s),
                s64s: filled(whole.s64s),
                bits: filled(whole.bits),
                validity: if nulls { Some(filled(whole.validity)) } else { None },
                texts,
                layout,
                rows,
            }
        };
        Ok(finish.batch())
    }
}

impl Slot {
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.gathering.layout
    }

    /// Writes a block to the rows of the slot, which is used up then. Its lengths were checked. What fails leaves the slot.
    pub(crate) fn fill(slot: &mut Option<Self>, memory: &[u8], block: &RawBlock) -> Result<()> {
        let Some(Self { gathering, start, rows }) = slot.as_ref() else {
            return Err(bad_output("a second block where one was expected"));
        };
        let (start, rows) = (*start, *rows);
        let texts = texts(&gathering.layout, block.offsets.of(memory), block.bytes.of(memory), rows)?;
        let left = |left: u64| left.checked_sub(block.bytes_in_all());
        gathering.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).map_err(|_| TooManyBytes)?;
        let bitmap = rows.div_ceil(8);
        let validity = block.validity.of(memory);
        // SAFETY: a row is in one slot, which nobody else has, and a bitmap's byte has bits of one slot's rows only, whose
        // number is a multiple of 64.
        #[expect(unsafe_code, reason = "columns are written by several threads, each its own rows")]
        unsafe {
            put(&gathering.f64s, block.f64s.of(memory), start, rows);
            put(&gathering.f32s, block.f32s.of(memory), start, rows);
            put(&gathering.s64s, block.s64s.of(memory), start, rows);
            put(&gathering.bits, block.bits.of(memory), start / 8, bitmap);
            if validity.is_empty() {
                gathering.validity.iter().for_each(|column| column.ones(start / 8, bitmap));
            } else {
                gathering.nulls.store(true, Ordering::Relaxed);
                put(&gathering.validity, validity, start / 8, bitmap);
            }
        }
        if !texts.is_empty() {
            gathering.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(start, texts);
        }
        gathering.landed.fetch_add(rows, Ordering::Release);
        *slot = None;
        Ok(())
    }
}

/// A column that several threads fill, each its own part.
struct Column<T> {
    /// Empty; what is written lies in its capacity.
    values: Vec<T>,
    at: *mut T,
    len: usize,
}

// SAFETY: `at` points to what `values` owns, whoever has the column; what is written through it from several threads is
// kept apart by the callers of the unsafe functions below.
#[expect(unsafe_code, reason = "columns are written by several threads, each its own rows")]
unsafe impl<T: Word + Send> Send for Column<T> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "columns are written by several threads, each its own rows")]
unsafe impl<T: Word + Send> Sync for Column<T> {}

impl<T: Word> Column<T> {
    fn new(len: usize) -> Self {
        let mut values = Vec::with_capacity(len);
        Self { at: values.as_mut_ptr(), values, len }
    }

    /// The place of `len` values from `start` on.
    ///
    /// # Panics
    /// If they are not all within the column.
    fn place(&self, start: usize, len: usize) -> *mut T {
        assert!(start <= self.len && len <= self.len - start, "rows past the end of the table");
        self.at.wrapping_add(start)
    }
}

impl Column<u8> {
    /// # Safety
    /// No other thread reads or writes these bytes meanwhile.
    #[expect(unsafe_code, reason = "columns are written by several threads, each its own rows")]
    unsafe fn ones(&self, start: usize, len: usize) {
        // SAFETY: within what is allocated, and nobody else's.
        unsafe { self.place(start, len).write_bytes(0xff, len) }
    }
}

/// Writes the columns of one list, end to end in `bytes`, each from its value `start` on.
///
/// # Safety
/// No other thread reads or writes these values meanwhile.
#[expect(unsafe_code, reason = "columns are written by several threads, each its own rows")]
unsafe fn put<T: Word>(columns: &[Column<T>], bytes: &[u8], start: usize, len: usize) {
    let width = len * size_of::<T>();
    for (column, bytes) in columns.iter().zip(bytes.chunks_exact(width.max(1))) {
        let place = column.place(start, len);
        if cfg!(target_endian = "little") {
            // SAFETY: `place` has room for `len` values, which is as many as `bytes` has, and is nobody else's; all bytes
            // are a `Word`.
            unsafe { place.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), width) }
        } else {
            for (index, bytes) in bytes.chunks_exact(size_of::<T>()).enumerate() {
                // SAFETY: as above.
                unsafe { place.add(index).write(T::read(bytes)) }
            }
        }
    }
}

/// The columns as buffers.
///
/// # Safety
/// Every value of them was written.
#[expect(unsafe_code, reason = "columns are written by several threads, each its own rows")]
unsafe fn filled<T: Word + ArrowNativeType>(columns: Vec<Column<T>>) -> Columns {
    let buffer = |mut column: Column<T>| {
        // SAFETY: within what is allocated, and written.
        unsafe { column.values.set_len(column.len) };
        Buffer::from_vec(column.values)
    };
    Columns::Each(columns.into_iter().map(buffer).collect())
}

/// The texts of all blocks, those of a column one after another.
fn join(layout: &Layout, blocks: BTreeMap<usize, Vec<Text>>, rows: usize) -> std::result::Result<Vec<Text>, String> {
    let bytes = |place: usize| blocks.values().map(|texts| texts[place].bytes.len()).sum::<usize>();
    let mut joined: Vec<_> = (0..layout.texts.len()).map(|place| Text::with_capacity(rows, bytes(place))).collect();
    for block in blocks.into_values() {
        for ((into, text), &column) in joined.iter_mut().zip(block).zip(&layout.texts) {
            let base = i32::try_from(into.bytes.len()).ok();
            let base = base.filter(|base| base.checked_add(*text.offsets.last().unwrap_or(&0)).is_some());
            let base = base.ok_or_else(|| too_long(&layout.schema.fields()[column].name))?;
            into.offsets.extend(text.offsets[1..].iter().map(|offset| base + offset));
            into.bytes.extend_from_slice(&text.bytes);
        }
    }
    Ok(joined)
}
