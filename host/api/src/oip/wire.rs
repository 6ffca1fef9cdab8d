//! How the protocol names element types, and how it lays values out as bytes: little-endian, one byte for a boolean,
//! and four bytes of length before each text.

use plinth_ext::{Batch, DType, Data, Kind};

use super::messages::DataType;
use crate::{encode::View, error::ApiError};

/// Each type: ours, its name, its number in configurations, and the bytes of an element.
const TYPES: [(DType, &str, DataType, Option<usize>); 14] = [
    (DType::Bool, "BOOL", DataType::TypeBool, Some(1)),
    (DType::U8, "UINT8", DataType::TypeUint8, Some(1)),
    (DType::U16, "UINT16", DataType::TypeUint16, Some(2)),
    (DType::U32, "UINT32", DataType::TypeUint32, Some(4)),
    (DType::U64, "UINT64", DataType::TypeUint64, Some(8)),
    (DType::I8, "INT8", DataType::TypeInt8, Some(1)),
    (DType::I16, "INT16", DataType::TypeInt16, Some(2)),
    (DType::I32, "INT32", DataType::TypeInt32, Some(4)),
    (DType::I64, "INT64", DataType::TypeInt64, Some(8)),
    (DType::F16, "FP16", DataType::TypeFp16, Some(2)),
    (DType::BF16, "BF16", DataType::TypeBf16, Some(2)),
    (DType::F32, "FP32", DataType::TypeFp32, Some(4)),
    (DType::F64, "FP64", DataType::TypeFp64, Some(8)),
    (DType::Text, "BYTES", DataType::TypeString, None),
];

/// The type of this name.
pub(crate) fn dtype_of(name: &str) -> Option<DType> {
    TYPES.iter().find(|(_, known, ..)| *known == name).map(|(dtype, ..)| *dtype)
}

/// Its name.
pub(crate) fn name_of(dtype: DType) -> &'static str {
    TYPES.iter().find(|(known, ..)| *known == dtype).map_or("BYTES", |(_, name, ..)| name)
}

/// Its number in configurations.
pub(crate) fn number_of(dtype: DType) -> i32 {
    TYPES.iter().find(|(known, ..)| *known == dtype).map_or(DataType::TypeInvalid, |(_, _, number, _)| *number) as i32
}

/// Bytes of one element; none for text.
pub(crate) fn width_of(dtype: DType) -> Option<usize> {
    TYPES.iter().find(|(known, ..)| *known == dtype).and_then(|(.., width)| *width)
}

/// The type that a column has for callers.
pub(crate) const fn dtype_of_kind(kind: Kind) -> DType {
    match kind {
        Kind::Boolean => DType::Bool,
        Kind::Int64 | Kind::TimestampUs => DType::I64,
        Kind::Float32 => DType::F32,
        Kind::Float64 => DType::F64,
        Kind::Utf8 | Kind::Binary => DType::Text,
    }
}

/// Reads `count` values of the input `name`.
pub(crate) fn read(name: &str, dtype: DType, count: usize, raw: &[u8]) -> Result<Data, ApiError> {
    if let Some(width) = width_of(dtype)
        && count.checked_mul(width) != Some(raw.len())
    {
        let (sent, named) = (raw.len(), name_of(dtype));
        let message = format!("input `{name}`: {count} values of {named} are {width} bytes each, and {sent} were sent");
        return Err(ApiError::bad(message));
    }
    macro_rules! numbers {
        ($variant:ident, $number:ty) => {
            Data::$variant(raw.as_chunks().0.iter().map(|bytes| <$number>::from_le_bytes(*bytes)).collect())
        };
    }
    Ok(match dtype {
        DType::Bool => Data::Bool(raw.iter().map(|byte| *byte != 0).collect()),
        DType::U8 => Data::U8(raw.to_vec()),
        DType::I8 => numbers!(I8, i8),
        DType::U16 => numbers!(U16, u16),
        DType::I16 => numbers!(I16, i16),
        DType::F16 => numbers!(F16, u16),
        DType::BF16 => numbers!(BF16, u16),
        DType::U32 => numbers!(U32, u32),
        DType::I32 => numbers!(I32, i32),
        DType::F32 => numbers!(F32, f32),
        DType::U64 => numbers!(U64, u64),
        DType::I64 => numbers!(I64, i64),
        DType::F64 => numbers!(F64, f64),
        DType::Text => Data::Text(texts(name, count, raw)?),
    })
}

fn texts(name: &str, count: usize, mut raw: &[u8]) -> Result<Vec<String>, ApiError> {
    // Every text has a length before it: a shape alone gets no memory.
    let mut texts = Vec::with_capacity(count.min(raw.len() / 4));
    while let Some((length, rest)) = raw.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((text, after)) = rest.split_at_checked(length) else {
            let (element, left) = (texts.len(), rest.len());
            let message =
                format!("input `{name}`: element {element} says that it has {length} bytes, and {left} follow");
            return Err(ApiError::bad(message));
        };
        texts.push(text_of(name, texts.len(), text)?);
        raw = after;
    }
    if !raw.is_empty() || texts.len() != count {
        let (sent, left) = (texts.len(), raw.len());
        let message = format!(
            "input `{name}`: {count} BYTES elements are expected, and {sent} were sent, with {left} bytes left over"
        );
        return Err(ApiError::bad(message));
    }
    Ok(texts)
}

/// A BYTES element as the text that models take.
pub(crate) fn text_of(name: &str, element: usize, bytes: &[u8]) -> Result<String, ApiError> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|_| ApiError::bad(format!("input `{name}`: element {element} is not UTF-8")))
}

/// Appends the values of a tensor.
pub(crate) fn write(out: &mut Vec<u8>, data: &Data) {
    macro_rules! numbers {
        ($values:expr) => {
            out.extend($values.iter().flat_map(|value| value.to_le_bytes()))
        };
    }
    match data {
        Data::Bool(v) => out.extend(v.iter().map(|value| u8::from(*value))),
        Data::U8(v) => out.extend_from_slice(v),
        Data::I8(v) => numbers!(v),
        Data::F16(v) | Data::BF16(v) | Data::U16(v) => numbers!(v),
        Data::I16(v) => numbers!(v),
        Data::U32(v) => numbers!(v),
        Data::I32(v) => numbers!(v),
        Data::F32(v) => numbers!(v),
        Data::U64(v) => numbers!(v),
        Data::I64(v) => numbers!(v),
        Data::F64(v) => numbers!(v),
        Data::Text(v) => v.iter().for_each(|text| write_text(out, text.as_bytes())),
    }
}

/// Appends the values of a column. What is null is NaN, zero or empty: bytes have no other way to say so.
pub(crate) fn write_column(out: &mut Vec<u8>, batch: &Batch, index: usize) {
    use arrow_array::Array;
    macro_rules! cells {
        ($array:expr, $null:expr, |$value:ident| $bytes:expr) => {
            (0..$array.len()).for_each(|row| {
                let $value = if $array.is_null(row) { $null } else { $array.value(row) };
                out.extend_from_slice(&$bytes);
            })
        };
    }
    match View::of(batch, index) {
        View::Boolean(array) => cells!(array, false, |value| [u8::from(value)]),
        View::Int64(array) => cells!(array, 0, |value| value.to_le_bytes()),
        View::TimestampUs(array) => cells!(array, 0, |value| value.to_le_bytes()),
        View::Float32(array) => cells!(array, f32::NAN, |value| value.to_le_bytes()),
        View::Float64(array) => cells!(array, f64::NAN, |value| value.to_le_bytes()),
        View::Utf8(array) => (0..array.len())
            .for_each(|row| write_text(out, if array.is_null(row) { b"" } else { array.value(row).as_bytes() })),
        View::Binary(array) => {
            (0..array.len()).for_each(|row| write_text(out, if array.is_null(row) { b"" } else { array.value(row) }));
        }
    }
}

fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_laid_out() {
        for data in [
            Data::Bool(vec![true, false]),
            Data::I8(vec![-1, 127]),
            Data::U16(vec![0, 65_535]),
            Data::BF16(vec![0x3f80, 0]),
            Data::F32(vec![1.5, f32::NEG_INFINITY]),
            Data::U64(vec![u64::MAX, 0]),
            Data::Text(vec!["é".into(), String::new()]),
        ] {
            let mut bytes = Vec::new();
            write(&mut bytes, &data);
            assert_eq!(read("x", data.dtype(), 2, &bytes).unwrap(), data);
            assert!(read("x", data.dtype(), 3, &bytes).is_err());
            assert!(read("x", data.dtype(), 2, &bytes[1..]).is_err());
            assert!(read("x", data.dtype(), usize::MAX, &bytes).is_err());
            assert_eq!(dtype_of(name_of(data.dtype())), Some(data.dtype()));
        }
        let liar = [&9_u32.to_le_bytes()[..], b"short"].concat();
        let error = format!("{:?}", read("x", DType::Text, 1, &liar).unwrap_err());
        assert!(error.contains("says that it has 9 bytes, and 5 follow"), "{error}");
        assert!(read("x", DType::Text, 1, &[1, 0, 0, 0, 0xff]).is_err(), "not UTF-8");
    }
}
