//! Columns of the engine as columns of our seven kinds, by the rules that a scorer turns values by: integers may stand
//! for floats, floats without a fraction for integers, 0 and 1 for booleans; text is never a number.

use std::sync::Arc;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Float64Type, TimeUnit},
};
use plinth_core::codes;
use plinth_ext::{Field, Kind};

use crate::SqlError;

/// The kind that holds a type without loss, if one does.
pub(crate) fn kind_of(data_type: &DataType) -> Option<Kind> {
    use DataType as T;
    Some(match data_type {
        T::Boolean => Kind::Boolean,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => Kind::Int64,
        T::Float16 | T::Float32 => Kind::Float32,
        T::Float64 | T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) | T::Null => {
            Kind::Float64
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => Kind::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Kind::Binary,
        T::Timestamp(..) | T::Date32 | T::Date64 => Kind::TimestampUs,
        T::Dictionary(_, values) => return kind_of(values),
        T::RunEndEncoded(_, values) => return kind_of(values.data_type()),
        _ => return None,
    })
}

/// Whether a column of that type may stand for the kind; single values of it may still not.
pub(crate) fn suits(from: &DataType, to: Kind) -> bool {
    if *from == DataType::Null {
        return true;
    }
    let Some(kind) = kind_of(from) else { return false };
    match to {
        Kind::Boolean | Kind::Int64 => kind == to || matches!(kind, Kind::Int64 | Kind::Float32 | Kind::Float64),
        Kind::Float32 | Kind::Float64 => matches!(kind, Kind::Int64 | Kind::Float32 | Kind::Float64),
        Kind::TimestampUs => matches!(kind, Kind::TimestampUs | Kind::Int64 | Kind::Utf8),
        Kind::Utf8 => kind == Kind::Utf8,
        Kind::Binary => matches!(kind, Kind::Binary | Kind::Utf8),
    }
}

/// A column as the field wants it.
///
/// # Errors
/// [`SqlError`]: names the column, the row and the value that does not fit.
pub(crate) fn column(from: &ArrayRef, to: &Field) -> Result<ArrayRef, SqlError> {
    let wanted = to.kind.to_arrow();
    if *from.data_type() == wanted {
        return Ok(Arc::clone(from));
    }
    if *from.data_type() == DataType::Null {
        return Ok(new_null_array(&wanted, from.len()));
    }
    let fractions = matches!(kind_of(from.data_type()), Some(Kind::Float32 | Kind::Float64));
    match to.kind {
        Kind::Int64 | Kind::Boolean if fractions => {
            let floats = cast(from, &DataType::Float64, to)?;
            // 2^63 is the first float past the range.
            let bad = floats.as_primitive::<Float64Type>().iter().position(|value| {
                value.is_some_and(|value| value.fract() != 0.0 || value.abs() >= 9_223_372_036_854_775_808.0)
            });
            if let Some(row) = bad {
                return Err(bad_value(&floats, row, to));
            }
            column(&cast(&floats, &DataType::Int64, to)?, to)
        }
        Kind::Boolean => {
            let numbers = cast(from, &DataType::Int64, to)?;
            let bad = numbers
                .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
                .iter()
                .position(|value| value.is_some_and(|value| !matches!(value, 0 | 1)));
            match bad {
                Some(row) => Err(bad_value(&numbers, row, to)),
                None => cast(&numbers, &wanted, to),
            }
        }
        Kind::TimestampUs if matches!(from.data_type(), DataType::Timestamp(_, None)) => {
            // A time without a zone is UTC.
            let plain = cast(from, &DataType::Timestamp(TimeUnit::Microsecond, None), to)?;
            cast(&plain, &wanted, to)
        }
        _ => cast(from, &wanted, to),
    }
}

fn cast(from: &ArrayRef, wanted: &DataType, to: &Field) -> Result<ArrayRef, SqlError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    if let Ok(done) = cast_with_options(from, wanted, &strict) {
        return Ok(done);
    }
    // Which value it was is found by doing it again leniently.
    let lenient = CastOptions { safe: true, ..CastOptions::default() };
    let row = cast_with_options(from, wanted, &lenient)
        .ok()
        .and_then(|done| (0..from.len()).find(|&row| done.is_null(row) && from.is_valid(row)));
    Err(bad_value(from, row.unwrap_or(0), to))
}

fn bad_value(from: &ArrayRef, row: usize, to: &Field) -> SqlError {
    let value = datafusion::arrow::util::display::array_value_to_string(from, row).unwrap_or_default();
    let short: String = value.chars().take(80).collect();
    SqlError::new(codes::BAD_VALUE, format!("row {row}, column `{}`: {short:?} is not {}", to.name, to.kind))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Date32Array, Float64Array, Int32Array, Int64Array, StringArray, UInt64Array};
    use plinth_core::Coded;

    use super::*;

    fn to(kind: Kind) -> Field {
        Field::new("c", kind, true)
    }

    #[test]
    fn numbers_stand_for_each_other_where_nothing_is_lost() {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        assert_eq!(
            &column(&ints, &to(Kind::Float64)).unwrap(),
            &(Arc::new(Float64Array::from(vec![Some(1.0), None])) as ArrayRef)
        );
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![2.0, 3.0]));
        assert_eq!(&column(&floats, &to(Kind::Int64)).unwrap(), &(Arc::new(Int64Array::from(vec![2, 3])) as ArrayRef));
        let bits: ArrayRef = Arc::new(Int64Array::from(vec![0, 1]));
        assert!(column(&bits, &to(Kind::Boolean)).unwrap().as_boolean().value(1));
        let day: ArrayRef = Arc::new(Date32Array::from(vec![1]));
        let time = column(&day, &to(Kind::TimestampUs)).unwrap();
        assert_eq!(time.data_type(), &Kind::TimestampUs.to_arrow());
        assert_eq!(
            time.as_primitive::<datafusion::arrow::datatypes::TimestampMicrosecondType>().value(0),
            86_400_000_000
        );
    }

    #[test]
    fn a_value_that_would_change_is_an_error_that_names_it() {
        for (from, kind, said) in [
            (
                Arc::new(Float64Array::from(vec![1.0, 2.5])) as ArrayRef,
                Kind::Int64,
                "row 1, column `c`: \"2.5\" is not int64",
            ),
            (Arc::new(Int64Array::from(vec![0, 2])), Kind::Boolean, "row 1, column `c`: \"2\" is not boolean"),
            (
                Arc::new(UInt64Array::from(vec![1, u64::MAX])),
                Kind::Int64,
                "row 1, column `c`: \"18446744073709551615\" is not int64",
            ),
            (
                Arc::new(StringArray::from(vec!["2024-01-01T00:00:00Z", "soon"])),
                Kind::TimestampUs,
                "row 1, column `c`: \"soon\" is not timestamp-us",
            ),
        ] {
            let error = column(&from, &to(kind)).unwrap_err();
            assert_eq!(error.to_string(), said);
            assert_eq!(error.code(), codes::BAD_VALUE);
        }
    }

    #[test]
    fn text_is_no_number_and_a_list_is_nothing() {
        assert!(!suits(&DataType::Utf8, Kind::Float64));
        assert!(!suits(&DataType::Int64, Kind::Utf8));
        assert!(!suits(&DataType::new_list(DataType::Int64, true), Kind::Int64));
        assert!(suits(&DataType::Utf8View, Kind::Utf8));
        assert!(suits(&DataType::Null, Kind::Utf8));
    }
}
