//! Arrow's types as ours.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use plinth_sdk::{BlockBuilder, Field, Kind, Problem};

const DAY_US: i64 = 86_400_000_000;

/// Our type for one of Arrow's; `None` where there is none.
pub(crate) fn kind_of(data_type: &DataType) -> Option<Kind> {
    Some(match data_type {
        DataType::Boolean => Kind::Boolean,
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => Kind::Int64,
        DataType::Float16 | DataType::Float32 => Kind::Float32,
        DataType::Float64 | DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            Kind::Float64
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Kind::TimestampUs,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Kind::Binary,
        DataType::Dictionary(_, values) => kind_of(values)?,
        _ => return None,
    })
}

/// Writes a column into a block.
///
/// # Errors
/// `bad-value` with row and column, where a value does not fit our type.
pub(crate) fn push(builder: &mut BlockBuilder<'_>, array: &ArrayRef, field: &Field) -> Result<(), Problem> {
    let valid = validity(array);
    let valid = valid.as_deref();
    let too_large = |row: usize| {
        let message = format!("column `{}`: a value is too large for {}", field.name, field.kind);
        Problem::bad_input("bad-value", message).in_column(&field.name).at_row(row as u64)
    };
    macro_rules! ints {
        ($type:ty) => {
            builder.s64s(values::<$type>(array).iter().map(|&value| i64::from(value)).collect(), valid)
        };
    }
    macro_rules! stamps {
        ($type:ty, $convert:expr) => {{
            let convert: fn(i64) -> Option<i64> = $convert;
            let stamps = checked(array, values::<$type>(array).iter().map(|&value| convert(i64::from(value))));
            builder.s64s(stamps.map_err(too_large)?, valid)
        }};
    }
    macro_rules! decimals {
        ($type:ty, $scale:expr) => {{
            let divisor = 10_f64.powi(i32::from(*$scale));
            builder.f64s(values::<$type>(array).iter().map(|&value| value as f64 / divisor).collect(), valid)
        }};
    }
    match array.data_type() {
        DataType::Boolean => {
            let flags: Vec<bool> = array.as_boolean().values().iter().collect();
            builder.bools(&flags, valid)
        }
        DataType::Int8 => ints!(Int8Type),
        DataType::Int16 => ints!(Int16Type),
        DataType::Int32 => ints!(Int32Type),
        DataType::Int64 => builder.s64s(values::<Int64Type>(array).to_vec(), valid),
        DataType::UInt8 => ints!(UInt8Type),
        DataType::UInt16 => ints!(UInt16Type),
        DataType::UInt32 => ints!(UInt32Type),
        DataType::UInt64 => {
            let ints = checked(array, values::<UInt64Type>(array).iter().map(|&value| i64::try_from(value).ok()));
            builder.s64s(ints.map_err(too_large)?, valid)
        }
        DataType::Float16 => {
            builder.f32s(values::<Float16Type>(array).iter().map(|value| value.to_f32()).collect(), valid)
        }
        DataType::Float32 => builder.f32s(values::<Float32Type>(array).to_vec(), valid),
        DataType::Float64 => builder.f64s(values::<Float64Type>(array).to_vec(), valid),
        DataType::Decimal32(_, scale) => decimals!(Decimal32Type, scale),
        DataType::Decimal64(_, scale) => decimals!(Decimal64Type, scale),
        DataType::Decimal128(_, scale) => decimals!(Decimal128Type, scale),
        DataType::Timestamp(TimeUnit::Second, _) => stamps!(TimestampSecondType, |s| s.checked_mul(1_000_000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => stamps!(TimestampMillisecondType, |ms| ms.checked_mul(1_000)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            builder.s64s(values::<TimestampMicrosecondType>(array).to_vec(), valid)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            stamps!(TimestampNanosecondType, |ns| Some(ns.div_euclid(1_000)))
        }
        DataType::Date32 => stamps!(Date32Type, |days| days.checked_mul(DAY_US)),
        DataType::Date64 => stamps!(Date64Type, |ms| ms.checked_mul(1_000)),
        DataType::Utf8 => bytes(builder, array.as_string::<i32>().iter().map(|text| text.map(str::as_bytes)), valid),
        DataType::LargeUtf8 => {
            bytes(builder, array.as_string::<i64>().iter().map(|text| text.map(str::as_bytes)), valid)
        }
        DataType::Utf8View => bytes(builder, array.as_string_view().iter().map(|text| text.map(str::as_bytes)), valid),
        DataType::Binary => bytes(builder, array.as_binary::<i32>().iter(), valid),
        DataType::LargeBinary => bytes(builder, array.as_binary::<i64>().iter(), valid),
        DataType::BinaryView => bytes(builder, array.as_binary_view().iter(), valid),
        DataType::FixedSizeBinary(_) => bytes(builder, array.as_fixed_size_binary().iter(), valid),
        other => {
            let message = format!("column `{}` came as {other}, which the plan did not allow", field.name);
            return Err(Problem::bad_input("unsupported-type", message).in_column(&field.name));
        }
    }?;
    Ok(())
}

fn values<T: ArrowPrimitiveType>(array: &ArrayRef) -> &[T::Native] {
    array.as_primitive::<T>().values()
}

/// The values, zero for nulls; the row of the first that has none although it is not null.
fn checked(array: &ArrayRef, values: impl Iterator<Item = Option<i64>>) -> Result<Vec<i64>, usize> {
    values
        .enumerate()
        .map(|(row, value)| match value {
            Some(value) => Ok(value),
            None if array.is_null(row) => Ok(0),
            None => Err(row),
        })
        .collect()
}

fn bytes<'a, 'b, 's>(
    builder: &'b mut BlockBuilder<'s>,
    values: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
    valid: Option<&[u8]>,
) -> Result<&'b mut BlockBuilder<'s>, Problem> {
    builder.texts(values.map(Option::unwrap_or_default), valid)
}

/// One bit a row, 1 = present; none where nothing is null.
fn validity(array: &ArrayRef) -> Option<Vec<u8>> {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0)?;
    let mut bits = nulls.inner().sliced().as_slice().to_vec();
    bits.truncate(array.len().div_ceil(8));
    // Bits behind the last row are not part of it.
    if let (Some(last), used @ 1..) = (bits.last_mut(), array.len() % 8) {
        *last &= (1 << used) - 1;
    }
    Some(bits)
}
