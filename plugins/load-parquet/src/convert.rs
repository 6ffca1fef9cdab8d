//! Parquet's types as ours, and decoded columns as columns of a block.

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::schema::types::ColumnDescriptor;
use plinth_sdk::{BlockBuilder, Field, Kind, Problem};

const DAY_US: i64 = 86_400_000_000;

/// What the values of a column stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Meaning {
    Flag,
    Signed,
    Unsigned,
    /// Days since 1970-01-01.
    Date,
    /// Units since 1970-01-01, so many to a microsecond, or so many microseconds to one.
    Stamp(Unit),
    /// Day and nanoseconds, as old writers have it.
    Int96,
    Float,
    Double,
    Half,
    /// An integer over this power of ten.
    Decimal(i32),
    Text,
    Bytes,
}

/// The unit of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Meaning {
    /// What a column holds; otherwise its type as a person would call it.
    pub(crate) fn of(column: &ColumnDescriptor) -> Result<Self, String> {
        let physical = column.physical_type();
        let converted = column.converted_type();
        let meaning = match column.logical_type_ref() {
            Some(logical) => Self::of_logical(physical, logical),
            None => Self::of_converted(physical, converted, column.type_scale()),
        };
        meaning.ok_or_else(|| match column.logical_type_ref() {
            Some(logical) => format!("{logical:?}"),
            None => format!("{converted} of {physical}"),
        })
    }

    fn of_logical(physical: Type, logical: &LogicalType) -> Option<Self> {
        Some(match (logical, physical) {
            (LogicalType::String | LogicalType::Enum | LogicalType::Json, Type::BYTE_ARRAY) => Self::Text,
            (
                LogicalType::Decimal(decimal),
                Type::INT32 | Type::INT64 | Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY,
            ) => Self::Decimal(decimal.scale),
            (LogicalType::Date, Type::INT32) => Self::Date,
            (LogicalType::Timestamp(stamp), Type::INT64) => Self::Stamp(match stamp.unit {
                TimeUnit::MILLIS => Unit::Millis,
                TimeUnit::MICROS => Unit::Micros,
                TimeUnit::NANOS => Unit::Nanos,
            }),
            (LogicalType::Integer(int), Type::INT32 | Type::INT64) => {
                if int.is_signed {
                    Self::Signed
                } else {
                    Self::Unsigned
                }
            }
            (LogicalType::Float16, Type::FIXED_LEN_BYTE_ARRAY) => Self::Half,
            (LogicalType::Uuid, Type::FIXED_LEN_BYTE_ARRAY) | (LogicalType::Bson, Type::BYTE_ARRAY) => Self::Bytes,
            // A column of nothing but nulls.
            (LogicalType::Unknown, physical) => Self::of_converted(physical, ConvertedType::NONE, 0)?,
            _ => return None,
        })
    }

    /// Files of old writers have no logical types.
    fn of_converted(physical: Type, converted: ConvertedType, scale: i32) -> Option<Self> {
        Some(match (converted, physical) {
            (ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, Type::BYTE_ARRAY) => Self::Text,
            (ConvertedType::DECIMAL, Type::INT32 | Type::INT64 | Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY) => {
                Self::Decimal(scale)
            }
            (ConvertedType::DATE, Type::INT32) => Self::Date,
            (ConvertedType::TIMESTAMP_MILLIS, Type::INT64) => Self::Stamp(Unit::Millis),
            (ConvertedType::TIMESTAMP_MICROS, Type::INT64) => Self::Stamp(Unit::Micros),
            (
                ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64,
                Type::INT32 | Type::INT64,
            ) => Self::Unsigned,
            (
                ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64
                | ConvertedType::NONE,
                Type::INT32 | Type::INT64,
            ) => Self::Signed,
            (ConvertedType::NONE, Type::BOOLEAN) => Self::Flag,
            (ConvertedType::NONE, Type::INT96) => Self::Int96,
            (ConvertedType::NONE, Type::FLOAT) => Self::Float,
            (ConvertedType::NONE, Type::DOUBLE) => Self::Double,
            (ConvertedType::NONE | ConvertedType::BSON, Type::BYTE_ARRAY) => Self::Bytes,
            (ConvertedType::NONE, Type::FIXED_LEN_BYTE_ARRAY) => Self::Bytes,
            _ => return None,
        })
    }

    /// Our type for it.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Flag => Kind::Boolean,
            Self::Signed | Self::Unsigned => Kind::Int64,
            Self::Date | Self::Stamp(_) | Self::Int96 => Kind::TimestampUs,
            Self::Float | Self::Half => Kind::Float32,
            Self::Double | Self::Decimal(_) => Kind::Float64,
            Self::Text => Kind::Utf8,
            Self::Bytes => Kind::Binary,
        }
    }
}

/// Decoded values of a column, those that are not null.
pub(crate) enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int96(Vec<Int96>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

impl Values {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bool(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Int96(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Fixed(values) => values.len(),
        }
    }
}

/// Writes a column into a block. `present` says which rows have a value; none stands for all.
///
/// # Errors
/// `bad-value`, `invalid-utf8`, with row and column; `bad-parquet` where the values are of another type than the file
/// said.
pub(crate) fn push(
    builder: &mut BlockBuilder<'_>,
    values: Values,
    present: Option<&[bool]>,
    meaning: Meaning,
    field: &Field,
) -> Result<(), Problem> {
    let valid = present.map(|present| plinth_sdk::bitmap(present.iter().copied()));
    let valid = valid.as_deref();
    // The row of the nth value.
    let row_of = |nth: usize| match present {
        None => nth,
        Some(present) => present.iter().enumerate().filter(|(_, here)| **here).nth(nth).map_or(0, |(row, _)| row),
    };
    let bad = |code: &str, nth: usize, why: &str| {
        let message = format!("column `{}`: {why}", field.name);
        Problem::bad_input(code, message).in_column(&field.name).at_row(row_of(nth) as u64)
    };
    let large = |nth: usize| bad("bad-value", nth, &format!("a value is too large for {}", field.kind));
    match (meaning, values) {
        (Meaning::Flag, Values::Bool(values)) => builder.bools(&spread(values, present), valid),
        (Meaning::Signed, Values::Int64(values)) => builder.s64s(spread(values, present), valid),
        (Meaning::Signed, Values::Int32(values)) => builder.s64s(spread(to_i64(values), present), valid),
        (Meaning::Unsigned, Values::Int32(values)) => {
            builder.s64s(spread(values.into_iter().map(|value| i64::from(value as u32)).collect(), present), valid)
        }
        (Meaning::Unsigned, Values::Int64(values)) => {
            if let Some(nth) = values.iter().position(|&value| value < 0) {
                return Err(large(nth));
            }
            builder.s64s(spread(values, present), valid)
        }
        (Meaning::Date, Values::Int32(days)) => {
            let stamps = days.into_iter().map(|day| i64::from(day) * DAY_US).collect();
            builder.s64s(spread(stamps, present), valid)
        }
        (Meaning::Stamp(unit), Values::Int64(mut stamps)) => {
            for (nth, stamp) in stamps.iter_mut().enumerate() {
                *stamp = match unit {
                    Unit::Millis => stamp.checked_mul(1_000).ok_or_else(|| large(nth))?,
                    Unit::Micros => *stamp,
                    Unit::Nanos => stamp.div_euclid(1_000),
                };
            }
            builder.s64s(spread(stamps, present), valid)
        }
        (Meaning::Int96, Values::Int96(stamps)) => {
            builder.s64s(spread(stamps.iter().map(Int96::to_micros).collect(), present), valid)
        }
        (Meaning::Float, Values::Float(values)) => builder.f32s(spread(values, present), valid),
        (Meaning::Double, Values::Double(values)) => builder.f64s(spread(values, present), valid),
        (Meaning::Half, Values::Fixed(values)) => {
            builder.f32s(spread(values.iter().map(|half| half_to_f32(half.data())).collect(), present), valid)
        }
        (Meaning::Decimal(scale), values) => {
            let divisor = 10_f64.powi(scale);
            let unscaled: Vec<f64> = match values {
                Values::Int32(values) => values.into_iter().map(f64::from).collect(),
                Values::Int64(values) => values.into_iter().map(|value| value as f64).collect(),
                Values::Bytes(values) => values.iter().map(|value| big_endian(value.data())).collect(),
                Values::Fixed(values) => values.iter().map(|value| big_endian(value.data())).collect(),
                _ => return Err(bad("bad-parquet", 0, "its values are of another type than the file says")),
            };
            let numbers = unscaled.into_iter().map(|value| value / divisor).collect();
            builder.f64s(spread(numbers, present), valid)
        }
        (Meaning::Text, Values::Bytes(values)) => {
            let wrong = |value: &ByteArray| std::str::from_utf8(value.data()).is_err();
            if let Some(nth) = values.iter().position(wrong) {
                return Err(bad("invalid-utf8", nth, "a text is not valid UTF-8"));
            }
            builder.texts(bytes(values.iter().map(ByteArray::data), present).into_iter(), valid)
        }
        (Meaning::Bytes, Values::Bytes(values)) => {
            builder.texts(bytes(values.iter().map(ByteArray::data), present).into_iter(), valid)
        }
        (Meaning::Bytes, Values::Fixed(values)) => {
            builder.texts(bytes(values.iter().map(|value| value.data()), present).into_iter(), valid)
        }
        _ => return Err(bad("bad-parquet", 0, "its values are of another type than the file says")),
    }?;
    Ok(())
}

/// Puts values where their rows are, and zeros between.
fn spread<T: Copy + Default>(values: Vec<T>, present: Option<&[bool]>) -> Vec<T> {
    let Some(present) = present else { return values };
    let mut values = values.into_iter();
    present.iter().map(|&here| if here { values.next().unwrap_or_default() } else { T::default() }).collect()
}

fn bytes<'a>(mut values: impl Iterator<Item = &'a [u8]>, present: Option<&[bool]>) -> Vec<&'a [u8]> {
    let Some(present) = present else { return values.collect() };
    present.iter().map(|&here| if here { values.next().unwrap_or_default() } else { &[] }).collect()
}

fn to_i64(values: Vec<i32>) -> Vec<i64> {
    values.into_iter().map(i64::from).collect()
}

/// A two's complement integer of any width, to the nearest float that sums of its bytes lead to.
fn big_endian(bytes: &[u8]) -> f64 {
    let negative = bytes.first().is_some_and(|&first| first & 0x80 != 0);
    if bytes.len() <= 16 {
        let start = if negative { -1_i128 } else { 0 };
        return bytes.iter().fold(start, |all, &byte| (all << 8) | i128::from(byte)) as f64;
    }
    // The complement of all bits is the magnitude less one.
    let magnitude = |byte: u8| if negative { !byte } else { byte };
    let value = bytes.iter().fold(0.0, |all, &byte| all * 256.0 + f64::from(magnitude(byte)));
    if negative { -value - 1.0 } else { value }
}

/// An IEEE half, little-endian; every one is a float.
fn half_to_f32(bytes: &[u8]) -> f32 {
    let &[low, high] = bytes else { return f32::NAN };
    let bits = u16::from_le_bytes([low, high]);
    let (exponent, fraction) = ((bits >> 10) & 0x1f, f32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2_f32.powi(i32::from(exponent) - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_width_are_numbers() {
        assert_eq!(big_endian(&[0x04, 0xd2]), 1234.0);
        assert_eq!(big_endian(&[0xff]), -1.0);
        let mut wide = [0xff_u8; 20];
        wide[19] = 0xfe;
        assert_eq!(big_endian(&wide), -2.0);
        assert_eq!(big_endian(&[]), 0.0);
    }

    #[test]
    fn halves_are_floats() {
        for (bits, expected) in [(0x3c00_u16, 1.0), (0xc000, -2.0), (0x0001, 2_f32.powi(-24)), (0x7bff, 65504.0)] {
            assert_eq!(half_to_f32(&bits.to_le_bytes()), expected);
        }
        assert!(half_to_f32(&0x7e00_u16.to_le_bytes()).is_nan());
    }
}
