//! Columns become JSON, value by value, without a tree in between.
//!
//! What JSON cannot say (NaN, infinities) is null; times are microseconds since 1970; bytes are text, as well as
//! they can be.

use arrow_array::{
    Array, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use plinth_ext::{Batch, Kind};
use serde::Serialize;

/// A column that knows how to write its values.
pub(crate) enum View<'a> {
    Boolean(&'a BooleanArray),
    Int64(&'a Int64Array),
    TimestampUs(&'a TimestampMicrosecondArray),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Utf8(&'a StringArray),
    Binary(&'a BinaryArray),
}

impl<'a> View<'a> {
    pub(crate) fn of(batch: &'a Batch, index: usize) -> Self {
        let column = batch.column(index);
        match batch.schema().fields()[index].kind {
            Kind::Boolean => Self::Boolean(column.as_boolean()),
            Kind::Int64 => Self::Int64(column.as_primitive::<Int64Type>()),
            Kind::TimestampUs => Self::TimestampUs(column.as_primitive::<TimestampMicrosecondType>()),
            Kind::Float32 => Self::Float32(column.as_primitive::<Float32Type>()),
            Kind::Float64 => Self::Float64(column.as_primitive::<Float64Type>()),
            Kind::Utf8 => Self::Utf8(column.as_string::<i32>()),
            Kind::Binary => Self::Binary(column.as_binary::<i32>()),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, row: usize) {
        macro_rules! cell {
            ($array:expr, |$value:ident| $shown:expr) => {
                if $array.is_null(row) {
                    out.extend_from_slice(b"null");
                } else {
                    let $value = $array.value(row);
                    json(out, &$shown);
                }
            };
        }
        match self {
            Self::Boolean(array) => cell!(array, |v| v),
            Self::Int64(array) => cell!(array, |v| v),
            Self::TimestampUs(array) => cell!(array, |v| v),
            Self::Float32(array) => cell!(array, |v| v),
            Self::Float64(array) => cell!(array, |v| v),
            Self::Utf8(array) => cell!(array, |v| v),
            Self::Binary(array) => cell!(array, |v| String::from_utf8_lossy(v)),
        }
    }
}

/// Appends a value as JSON.
pub(crate) fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("numbers and texts can always be written to memory");
}

/// Appends `open`, the items with commas between, and `close`.
pub(crate) fn list<I: IntoIterator>(
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    items: I,
    mut write: impl FnMut(&mut Vec<u8>, I::Item),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}
