//! Blocks that land, sound ones and those that lie.

use arrow_array::{Array, Float32Array, Float64Array, Int64Array, cast::AsArray};
use plinth_ext::{Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::{
    block::{Bits, Bytes, F32s, F64s, Offsets, Physical, S64s, Source, Validity, list_bytes},
    fault::TooManyBytes,
    gathering::Gathering,
};

/// A block laid out in a pretended guest memory.
#[derive(Default)]
struct Draft {
    rows: u32,
    f64s: Vec<f64>,
    bits: Vec<u8>,
    offsets: Vec<u32>,
    bytes: Vec<u8>,
    validity: Vec<u8>,
}

impl Draft {
    fn land(&self, landing: &mut Landing) -> Result<()> {
        let mut memory = Vec::new();
        fn list<T>(memory: &mut Vec<u8>, bytes: &[u8]) -> RawList<T> {
            let start = memory.len();
            memory.extend_from_slice(bytes);
            RawList { start, bytes: bytes.len(), marker: std::marker::PhantomData }
        }
        let f64s: Vec<u8> = self.f64s.iter().flat_map(|v| v.to_le_bytes()).collect();
        let offsets: Vec<u8> = self.offsets.iter().flat_map(|v| v.to_le_bytes()).collect();
        let block = RawBlock {
            rows: self.rows,
            f64s: list(&mut memory, &f64s),
            f32s: list(&mut memory, &[]),
            s64s: list(&mut memory, &[]),
            bits: list(&mut memory, &self.bits),
            offsets: list(&mut memory, &offsets),
            bytes: list(&mut memory, &self.bytes),
            validity: list(&mut memory, &self.validity),
        };
        landing.take(&memory, &block)
    }
}

fn layout(fields: &[(&str, Kind, bool)]) -> Arc<Layout> {
    let fields = fields.iter().map(|(name, kind, nullable)| Field::new(*name, *kind, *nullable)).collect();
    Arc::new(Layout::new(Schema::new(fields).unwrap()))
}

fn refused(layout: &Arc<Layout>, draft: &Draft) -> String {
    let mut landing = Landing::one(layout.clone(), Some(2), 100);
    match draft.land(&mut landing) {
        Ok(()) => landing.finish().unwrap_err(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn floats_without_nulls_stay_in_one_piece() {
    let layout = layout(&[("x", Kind::Float64, true), ("y", Kind::Float64, false)]);
    let land = |validity: &[u8]| {
        let draft = Draft { rows: 2, f64s: vec![1.0, 0.0, 3.0, 4.0], validity: validity.to_vec(), ..Draft::default() };
        let mut landing = Landing::one(layout.clone(), Some(2), 100);
        draft.land(&mut landing).unwrap();
        landing.finish().unwrap()
    };
    let (without, with) = (land(&[]), land(&[0b01]));
    assert!(without.numbers().is_some());
    assert_eq!(*without.column(1).as_primitive::<Float64Type>().values(), [3.0, 4.0]);
    assert!(with.numbers().is_none());
    assert!(with.column(0).is_null(1));
}

#[test]
fn blocks_whose_nulls_come_late_join_into_one_column() {
    let layout = layout(&[("x", Kind::Float64, true), ("b", Kind::Boolean, false)]);
    let table = Gathering::new(layout, 130, 64, 10_000);
    let first = Draft { rows: 64, f64s: vec![1.0; 64], bits: vec![0xff; 8], ..Draft::default() };
    let validity = [vec![0xfe], vec![0xff; 7]].concat();
    let second = Draft { rows: 64, f64s: vec![2.0; 64], bits: vec![0; 8], validity, ..Draft::default() };
    let third = Draft { rows: 2, f64s: vec![3.0; 2], bits: vec![1], ..Draft::default() };
    let slots: Vec<Slot> = std::iter::from_fn(|| table.slot()).collect();
    // The order in which they come back does not matter.
    for (slot, draft) in slots.into_iter().zip([first, second, third]).rev() {
        draft.land(&mut Landing::part(slot)).unwrap();
    }
    let batch = table.finish().unwrap();
    let x = batch.column(0).as_primitive::<arrow_array::types::Float64Type>();
    assert_eq!((x.len(), x.null_count(), x.is_null(64), x.value(129)), (130, 1, true, 3.0));
    let b = batch.column(1).as_boolean();
    assert_eq!((b.true_count(), b.value(128), b.value(129)), (65, true, false));
}

#[test]
fn a_table_of_which_a_part_is_missing_or_too_large_is_none() {
    let layout = layout(&[("x", Kind::Float64, false)]);
    let draft = |rows| Draft { rows, f64s: vec![1.0; rows as usize], ..Draft::default() };
    let table = Gathering::new(layout.clone(), 65, 64, 10_000);
    let mut landing = Landing::part(table.slot().unwrap());
    draft(64).land(&mut landing).unwrap();
    assert_eq!(draft(64).land(&mut landing).unwrap_err().to_string(), "a second block where one was expected");
    let mut landing = Landing::part(table.slot().unwrap());
    assert_eq!(draft(64).land(&mut landing).unwrap_err().to_string(), "64 rows for 1 rows");
    drop(landing);
    assert!(table.slot().is_none());
    assert_eq!(table.finish().unwrap_err(), "not all rows came back");

    let table = Gathering::new(layout, 65, 64, 64 * 8);
    draft(64).land(&mut Landing::part(table.slot().unwrap())).unwrap();
    assert!(draft(1).land(&mut Landing::part(table.slot().unwrap())).unwrap_err().is::<TooManyBytes>());
    table.stop();
    assert!(table.slot().is_none());
}

#[test]
fn text_is_rebased_for_each_column_and_checked() {
    let layout = layout(&[("a", Kind::Utf8, false), ("b", Kind::Utf8, false)]);
    let good = Draft { rows: 2, offsets: vec![0, 2, 3, 3, 3, 5], bytes: "xxyé".into(), ..Draft::default() };
    let mut landing = Landing::one(layout.clone(), Some(2), 100);
    good.land(&mut landing).unwrap();
    let batch = landing.finish().unwrap();
    assert_eq!(batch.column(0).as_string::<i32>().value(1), "y");
    assert_eq!(batch.column(1).as_string::<i32>().value(1), "é");
    for (offsets, bytes, message) in [
        (vec![0, 2, 1, 3, 3, 5], &b"xxyzz"[..], "the text offsets of column `a` decrease"),
        (vec![0, 1, 2, 2, 3, 9], b"abc", "the text of column `b` ends at 9 of 3 bytes"),
        (vec![0, 1, 2, 2, 3, 4], b"ab\xff\xff", "the text of column `b` is not UTF-8"),
        (vec![0, 1, 2], b"ab", "`offsets` has 12 bytes where 2 columns of 2 rows have 24"),
    ] {
        let found = refused(&layout, &Draft { rows: 2, offsets, bytes: bytes.to_vec(), ..Draft::default() });
        assert_eq!(found, message);
    }
}

/// Rows of every kind of column, with nulls, seen through a slice so that bitmaps start within a byte.
fn any_batch() -> impl Strategy<Value = Batch> {
    let field = (0..Kind::ALL.len(), any::<bool>());
    (proptest::collection::vec(field, 0..6), 0..300_usize, 0..9_usize, any::<u64>()).prop_map(
        |(fields, rows, skip, seed)| {
            let total = rows + skip;
            let value = |column: usize, row: usize| seed.wrapping_mul((row * 31 + column * 7 + 1) as u64) >> 7;
            let columns = fields.iter().enumerate().map(|(index, (kind, nullable))| -> ArrayRef {
                let cell = |row: usize| {
                    let value = value(index, row);
                    (!(*nullable && value % 5 == 0)).then_some(value)
                };
                let cells = (0..total).map(cell);
                let text = cells.clone().map(|cell| cell.map(|v| "é".repeat((v % 4) as usize)));
                match Kind::ALL[*kind] {
                    Kind::Boolean => Arc::new(cells.map(|v| v.map(|v| v % 2 == 0)).collect::<BooleanArray>()),
                    Kind::Int64 => Arc::new(cells.map(|v| v.map(|v| v as i64)).collect::<Int64Array>()),
                    Kind::TimestampUs => Arc::new(
                        cells.map(|v| v.map(|v| v as i64)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
                    ),
                    Kind::Float32 => Arc::new(cells.map(|v| v.map(|v| v as f32)).collect::<Float32Array>()),
                    Kind::Float64 => Arc::new(cells.map(|v| v.map(|v| v as f64)).collect::<Float64Array>()),
                    Kind::Utf8 => Arc::new(text.collect::<StringArray>()),
                    Kind::Binary => {
                        Arc::new(text.collect::<Vec<_>>().iter().map(Option::as_ref).collect::<BinaryArray>())
                    }
                }
            });
            let columns = columns.collect();
            let fields = fields
                .iter()
                .enumerate()
                .map(|(index, (kind, nullable))| Field::new(format!("c{index}"), Kind::ALL[*kind], *nullable))
                .collect();
            Batch::new(Schema::new(fields).unwrap(), columns, total).unwrap().slice(skip, rows)
        },
    )
}

/// Takes a part of the rows to a pretended guest, which returns it.
fn return_as_it_is(batch: &Batch, layout: &Layout, start: usize, landing: &mut Landing) {
    fn list<P: Physical, T>(memory: &mut Vec<u8>, source: &Source<'_>) -> RawList<T> {
        let bytes = list_bytes::<P>(source);
        let start = memory.len();
        memory.extend_from_slice(&bytes);
        RawList { start, bytes: bytes.len(), marker: std::marker::PhantomData }
    }
    let source = Source::new(batch, layout, start, landing.rows());
    let mut memory = Vec::new();
    let block = RawBlock {
        rows: landing.rows() as u32,
        f64s: list::<F64s, _>(&mut memory, &source),
        f32s: list::<F32s, _>(&mut memory, &source),
        s64s: list::<S64s, _>(&mut memory, &source),
        bits: list::<Bits, _>(&mut memory, &source),
        offsets: list::<Offsets, _>(&mut memory, &source),
        bytes: list::<Bytes, _>(&mut memory, &source),
        validity: list::<Validity, _>(&mut memory, &source),
    };
    landing.take(&memory, &block).unwrap();
}

proptest! {
    #[test]
    fn rows_that_cross_and_come_back_are_the_same(batch in any_batch(), step in 1..4_usize) {
        let layout = Arc::new(Layout::new(batch.schema().clone()));
        let mut landing = Landing::one(layout.clone(), None, batch.num_rows());
        return_as_it_is(&batch, &layout, 0, &mut landing);
        prop_assert_eq!(&landing.finish().unwrap(), &batch);

        let table = Gathering::new(layout.clone(), batch.num_rows(), step * 64, u64::MAX);
        let work = || {
            while let Some(slot) = table.slot() {
                let start = slot.start();
                return_as_it_is(&batch, &layout, start, &mut Landing::part(slot));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(work);
            work();
        });
        prop_assert_eq!(table.finish().unwrap(), batch);
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let layout = layout(&[("x", Kind::Float64, true)]);
    let draft = |rows, floats, validity: &[u8]| Draft {
        rows,
        f64s: vec![0.0; floats],
        validity: validity.to_vec(),
        ..Draft::default()
    };
    assert_eq!(refused(&layout, &draft(3, 3, &[])), "3 rows for 2 rows");
    assert_eq!(refused(&layout, &draft(2, 3, &[])), "`f64s` has 24 bytes where 1 columns of 2 rows have 16");
    assert_eq!(refused(&layout, &draft(2, 2, &[1, 1])), "`validity` has 2 bytes where 1 columns of 2 rows have 1");
    let bytes = Draft { bytes: b"x".to_vec(), ..draft(2, 2, &[]) };
    assert_eq!(refused(&layout, &bytes), "`bytes` has 1 bytes and there is no text column");
}
