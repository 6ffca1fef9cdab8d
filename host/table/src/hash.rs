//! One 64-bit number for each row, so that two tables can be asked what they share.

use arrow_array::{
    Array,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use plinth_ext::{Batch, Kind};
use twox_hash::XxHash64;

/// What a null does to a row's hash: something no value does, since values go through the hash function.
const NULL: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of each row over all columns, in column order. Rows that are equal as values have equal hashes: `0.0`
/// equals `-0.0`, every NaN equals every NaN, a null equals only a null. Names do not count: project the columns to
/// compare first (identifiers and times make every row unique).
///
/// XXH64, not for adversaries; two different rows collide with a chance of 2⁻⁶⁴.
pub fn row_hashes(batch: &Batch) -> Vec<u64> {
    let mut hashes = vec![0_u64; batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        fold(&mut hashes, column, field.kind);
    }
    hashes
}

fn fold(hashes: &mut [u64], column: &dyn Array, kind: Kind) {
    macro_rules! each {
        ($array:expr, |$value:ident| $bytes:expr) => {{
            let array = $array;
            for (row, hash) in hashes.iter_mut().enumerate() {
                *hash = if array.is_null(row) {
                    hash.rotate_left(23) ^ NULL
                } else {
                    let $value = array.value(row);
                    XxHash64::oneshot(*hash, $bytes.as_ref())
                };
            }
        }};
    }
    match kind {
        Kind::Boolean => each!(column.as_boolean(), |v| [u8::from(v)]),
        Kind::Int64 => each!(column.as_primitive::<Int64Type>(), |v| v.to_le_bytes()),
        Kind::TimestampUs => each!(column.as_primitive::<TimestampMicrosecondType>(), |v| v.to_le_bytes()),
        Kind::Float32 => each!(column.as_primitive::<Float32Type>(), |v| canonical(f64::from(v))),
        Kind::Float64 => each!(column.as_primitive::<Float64Type>(), |v| canonical(v)),
        Kind::Utf8 => each!(column.as_string::<i32>(), |v| v.as_bytes()),
        Kind::Binary => each!(column.as_binary::<i32>(), |v| v),
    }
}

fn canonical(value: f64) -> [u8; 8] {
    // Adding 0.0 turns -0.0 into 0.0.
    (if value.is_nan() { f64::NAN } else { value + 0.0 }).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc};

    use arrow_array::{ArrayRef, Float64Array, StringArray};
    use plinth_ext::{Field, Schema};

    use super::*;

    fn hashes(numbers: Vec<Option<f64>>, texts: Vec<Option<&str>>) -> Vec<u64> {
        let schema =
            Schema::new(vec![Field::new("n", Kind::Float64, true), Field::new("t", Kind::Utf8, true)]).unwrap();
        let rows = numbers.len();
        let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(numbers)), Arc::new(StringArray::from(texts))];
        row_hashes(&Batch::new(schema, columns, rows).unwrap())
    }

    #[test]
    fn equal_values_hash_equal_and_others_do_not() {
        let nan = f64::from_bits(0x7ff8_0000_0000_0001);
        let found = hashes(
            vec![Some(0.0), Some(-0.0), Some(f64::NAN), Some(nan), None, Some(0.0), Some(0.0), Some(1.0)],
            vec![Some("a"), Some("a"), Some("a"), Some("a"), Some("a"), None, Some(""), Some("a")],
        );
        assert_eq!(found[0], found[1]);
        assert_eq!(found[2], found[3]);
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), 6);
    }

    #[test]
    fn a_hash_stays_what_it_was() {
        // Hashes may be stored: a change here is a change of format.
        assert_eq!(hashes(vec![Some(1.5), None], vec![Some("x"), None]), GOLDEN);
    }

    const GOLDEN: [u64; 2] = [15_260_155_302_778_943_716, 4_794_324_277_686_265_769];
}
