//! Named tensors become what a deployment takes: the tensors of its model in their order, or rows of its signature.

use plinth_core::did_you_mean;
use plinth_ext::{Batch, DType, Data, Kind, Numbers, Schema, Slot, Tensor, transposed};
use plinth_score::{Column, Rows, ScoreError, Scorer};
use plinth_serve::TensorModel;

use super::{
    asked::{Named, Wanted},
    wire,
};
use crate::{cells::too_many_rows, error::ApiError};

/// The tensors of a model in its order; each input once, and nothing else.
pub(crate) fn tensors(model: &TensorModel, given: Vec<Named>) -> Result<Vec<Tensor>, ApiError> {
    let slots = model.inputs();
    let mut ordered: Vec<Option<Tensor>> = vec![None; slots.len()];
    for named in given {
        let Some(index) = slots.iter().position(|slot| slot.name == named.name) else {
            let hint = did_you_mean(&named.name, slots.iter().map(|slot| slot.name.as_str()));
            return Err(ApiError::bad(format!("the model has no input `{}`; {hint}", named.name)));
        };
        let name = named.name.clone();
        if ordered[index].replace(fitting(&slots[index], named)?).is_some() {
            return Err(ApiError::bad(format!("input `{name}` is given twice")));
        }
    }
    let found = ordered.into_iter().zip(slots).map(|(tensor, slot)| {
        tensor.ok_or_else(|| {
            let all: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
            ApiError::bad(format!("input `{}` is missing; send all of: {}", slot.name, all.join(", ")))
        })
    });
    found.collect()
}

fn fitting(slot: &Slot, named: Named) -> Result<Tensor, ApiError> {
    let Named { name, dtype, shape, data } = named;
    if let Some(wanted) = slot.dtype.filter(|wanted| *wanted != dtype) {
        let (found, wanted) = (wire::name_of(dtype), wire::name_of(wanted));
        return Err(ApiError::bad(format!("input `{name}` has datatype {found} where {wanted} is expected")));
    }
    if !slot.accepts(&shape) {
        let wanted = shape_of(slot);
        return Err(ApiError::bad(format!("input `{name}` has shape {shape:?} where {wanted:?} is expected")));
    }
    if data.is_empty() {
        return Err(ApiError::bad(format!("input `{name}` has shape {shape:?}, which holds no values")));
    }
    Tensor::new(shape, data).map_err(|error| ApiError::bad(format!("input `{name}`: {error}")))
}

/// A shape as the protocol writes it: -1 is any size.
pub(crate) fn shape_of(slot: &Slot) -> Vec<i64> {
    slot.shape.iter().map(|size| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1)).collect()
}

/// Rows of a signature: one tensor for each column, or a single matrix that holds all of them where they are numbers.
pub(crate) fn rows(scorer: &Scorer, given: &[Named], rows_max: usize) -> Result<Batch, ApiError> {
    let signature = scorer.signature();
    let columns = signature.columns();
    if let Some(named) = lone_matrix(columns, given) {
        return matrix(columns, named, rows_max);
    }
    let mut rows = Rows::new(columns, given.first().map_or(0, |named| named.data.len().min(rows_max)));
    let mut seen = vec![false; columns.len()];
    for named in given {
        let Some(index) = columns.index_of(&named.name) else {
            return Err(signature.unknown(&named.name).into());
        };
        if std::mem::replace(&mut seen[index], true) {
            return Err(ApiError::bad(format!("input `{}` is given twice", named.name)));
        }
        let length = named.data.len();
        let shape: Vec<i64> = named.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        check_column(columns.fields()[index].kind, &named.name, &shape, length, wire::name_of(named.dtype))?;
        if length > rows_max {
            return Err(too_many_rows(rows_max));
        }
        fill(&mut rows.columns()[index], &named.data, 0, 1)?;
    }
    if let Some(missing) = seen.iter().position(|seen| !seen) {
        return Err(signature.missing(&columns.fields()[missing].name, []).into());
    }
    even(&mut rows)?;
    Ok(rows.finish()?)
}

/// Whether all tensors are equally long.
pub(crate) fn even(rows: &mut Rows) -> Result<(), ApiError> {
    let lengths: Vec<(&str, usize)> = rows.columns().iter().map(|c| (c.name(), c.len())).collect();
    match lengths.windows(2).find(|pair| pair[0].1 != pair[1].1) {
        None => Ok(()),
        Some(pair) => {
            let [(first, n), (second, m)] = [pair[0], pair[1]];
            Err(ApiError::bad(format!("input `{first}` has {n} rows and input `{second}` has {m}")))
        }
    }
}

/// Whether a tensor's head says what its column says.
pub(crate) fn check_column(kind: Kind, name: &str, shape: &[i64], len: usize, given: &str) -> Result<(), ApiError> {
    if !matches!(shape, [_] | [_, 1]) || usize::try_from(shape[0]) != Ok(len) {
        let message = format!("input `{name}` has shape {shape:?} and {len} values; its shape is [{len}] or [{len},1]");
        return Err(ApiError::bad(message));
    }
    let number = !matches!(given, "BOOL" | "BYTES") && wire::dtype_of(given).is_some();
    let fits = match kind {
        Kind::Boolean => given == "BOOL",
        Kind::Int64 | Kind::Float32 | Kind::Float64 => number,
        Kind::TimestampUs => given == "INT64" || given == "BYTES",
        Kind::Utf8 | Kind::Binary => given == "BYTES",
    };
    if fits {
        return Ok(());
    }
    let wanted = wire::name_of(wire::dtype_of_kind(kind));
    Err(ApiError::bad(format!("input `{name}` has datatype {given} where {wanted} is expected")))
}

/// The matrix of all columns, if that is all that is given.
pub(crate) fn lone_matrix<'a>(columns: &Schema, given: &'a [Named]) -> Option<&'a Named> {
    let [named] = given else { return None };
    is_matrix(columns, named).then_some(named)
}

/// A model that is known by its columns may still be asked as other servers serve it: by the matrix it was made for.
fn is_matrix(columns: &Schema, named: &Named) -> bool {
    let numbers = columns.fields().iter().all(|field| field.kind.is_numeric());
    numbers
        && columns.index_of(&named.name).is_none()
        && matches!(named.shape[..], [_, width] if width == columns.len())
        && !matches!(named.dtype, DType::Text | DType::Bool)
}

fn matrix(columns: &Schema, named: &Named, rows_max: usize) -> Result<Batch, ApiError> {
    if named.shape[0] > rows_max {
        return Err(too_many_rows(rows_max));
    }
    if let Some(rows) = plain(columns, named) {
        return Ok(rows);
    }
    let mut rows = Rows::new(columns, named.shape[0]);
    for (index, column) in rows.columns().iter_mut().enumerate() {
        fill(column, &named.data, index, columns.len())?;
    }
    Ok(rows.finish()?)
}

/// Rows whose values are just what their columns hold, in one piece of memory.
fn plain(columns: &Schema, named: &Named) -> Option<Batch> {
    let (rows, Data::F32(values)) = (named.shape[0], &named.data) else { return None };
    let narrow = columns.fields().iter().all(|field| field.kind == Kind::Float32);
    // What is not finite is a null or an error, which is told in the other way.
    if !narrow || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let numbers = if rows == 1 { values.clone() } else { transposed(values, columns.len()) };
    Batch::of_numbers(columns.clone(), Numbers::F32(numbers.into()), rows).ok()
}

/// Every `step`-th value from `start` into a column, by the rules of values in JSON.
fn fill(column: &mut Column, data: &Data, start: usize, step: usize) -> Result<(), ScoreError> {
    macro_rules! each {
        ($values:expr, $value:ident => $add:expr) => {
            $values.iter().skip(start).step_by(step).try_for_each(|$value| $add)
        };
    }
    match data {
        Data::Bool(v) => each!(v, value => column.boolean(*value)),
        Data::F32(v) => each!(v, value => column.float(f64::from(*value))),
        Data::F64(v) => each!(v, value => column.float(*value)),
        Data::F16(v) => each!(v, bits => column.float(half(*bits))),
        Data::BF16(v) => each!(v, bits => column.float(f64::from(f32::from_bits(u32::from(*bits) << 16)))),
        Data::I8(v) => each!(v, value => column.integer(i64::from(*value))),
        Data::I16(v) => each!(v, value => column.integer(i64::from(*value))),
        Data::I32(v) => each!(v, value => column.integer(i64::from(*value))),
        Data::I64(v) => each!(v, value => column.integer(*value)),
        Data::U8(v) => each!(v, value => column.integer(i64::from(*value))),
        Data::U16(v) => each!(v, value => column.integer(i64::from(*value))),
        Data::U32(v) => each!(v, value => column.integer(i64::from(*value))),
        Data::U64(v) => each!(v, value => match i64::try_from(*value) {
            Ok(value) => column.integer(value),
            Err(_) => column.float(*value as f64),
        }),
        Data::Text(v) => each!(v, value => column.text(value)),
    }
}

/// The value of a 16-bit float.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// Where requested outputs stand among those there are, with how they are wanted; all of them if none is named.
pub(crate) fn outputs<'a>(
    known: impl Iterator<Item = &'a str> + Clone,
    wanted: Option<Vec<Wanted>>,
) -> Result<Vec<(usize, Option<Wanted>)>, ApiError> {
    let Some(wanted) = wanted else { return Ok((0..known.count()).map(|index| (index, None)).collect()) };
    // Asking for more outputs than there are repeats some: the answer would be as long as the client likes.
    let (asked, count) = (wanted.len(), known.clone().count());
    if asked > count {
        return Err(ApiError::bad(format!("{asked} outputs are asked for, but the model has {count}")));
    }
    let found = wanted.into_iter().map(|output| match known.clone().position(|name| name == output.name) {
        Some(index) => Ok((index, Some(output))),
        None => {
            let hint = did_you_mean(&output.name, known.clone());
            Err(ApiError::bad(format!("the model has no output `{}`; {hint}", output.name)))
        }
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_what_ieee_says() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2_f64.powi(-24)), (0x7bff, 65_504.0), (0x7c00, f64::INFINITY)]
        {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }
}
