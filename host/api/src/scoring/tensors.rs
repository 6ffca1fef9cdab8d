//! The same bodies for a model of tensors: nested lists, whose shape is how they are nested.

use plinth_ext::{DType, Data, Slot, Tensor};
use plinth_serve::TensorModel;
use serde_json::{Map, Value};

use crate::{
    cells::too_many_rows,
    encode::{json, list},
    error::ApiError,
};

/// Most dimensions of a tensor.
const RANK_MAX: usize = 32;

/// The tensors of a body, in the model's order.
pub(super) fn read(model: &TensorModel, body: &[u8], rows_max: usize) -> Result<Vec<Tensor>, ApiError> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad(format!("the body is not the JSON that was expected: {error}")))?;
    let Value::Object(mut body) = body else { return Err(ApiError::bad("the body is no JSON object")) };
    let forms = ["inputs", "instances", "dataframe_split", "dataframe_records"];
    let given: Vec<&str> = forms.into_iter().filter(|form| body.contains_key(*form)).collect();
    let form = match given[..] {
        [form] => form,
        [] => return Err(ApiError::bad(format!("the body has none of {}", forms.join(", ")))),
        _ => return Err(ApiError::bad(format!("the body has {}; send exactly one", given.join(" and ")))),
    };
    let sent = body.remove(form).unwrap_or_default();
    let slots = model.inputs();
    let columns = match form {
        "inputs" => columns_of(slots, sent)?,
        "dataframe_split" => split(slots, &sent)?,
        _ => rows(slots, sent)?,
    };
    let tensors = slots.iter().map(|slot| {
        let value = columns.get(&slot.name).ok_or_else(|| {
            let all: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
            ApiError::bad(format!("input `{}` is missing; send all of: {}", slot.name, all.join(", ")))
        })?;
        tensor(slot, value)
    });
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    if model.is_rowwise() && tensors.iter().any(|tensor| tensor.rows() > Some(rows_max)) {
        return Err(too_many_rows(rows_max));
    }
    Ok(tensors)
}

/// `inputs`: a tensor for each name, or the only tensor there is.
fn columns_of(slots: &[Slot], sent: Value) -> Result<Map<String, Value>, ApiError> {
    match (sent, slots) {
        (Value::Object(columns), _) => Ok(columns),
        (value @ Value::Array(_), [only]) => Ok(Map::from_iter([(only.name.clone(), value)])),
        _ => Err(ApiError::bad(format!("the model has {} inputs: send an object with one list for each", slots.len()))),
    }
}

/// `instances`, `dataframe_records`: a list of rows, each an object, or the row of the only input.
fn rows(slots: &[Slot], sent: Value) -> Result<Map<String, Value>, ApiError> {
    let Value::Array(rows) = sent else { return Err(ApiError::bad("the rows are no list")) };
    if !rows.iter().all(Value::is_object) {
        let [only] = slots else {
            return Err(ApiError::bad(format!("the model has {} inputs: send each row as an object", slots.len())));
        };
        return Ok(Map::from_iter([(only.name.clone(), Value::Array(rows))]));
    }
    let mut columns: Map<String, Value> = Map::new();
    // A table whose columns are the features of the only input there is, in the order of the first row.
    let features = match (rows.first(), slots) {
        (Some(Value::Object(first)), [only]) if !first.contains_key(&only.name) => {
            Some((only, first.keys().cloned().collect::<Vec<_>>()))
        }
        _ => None,
    };
    for (index, row) in rows.into_iter().enumerate() {
        let Value::Object(mut row) = row else { continue };
        let cells = match &features {
            Some((only, names)) => {
                let mut take = |name: &String| {
                    let missing =
                        || ApiError::bad(format!("row {index} has no value for `{name}`, as the first row has"));
                    row.remove(name).ok_or_else(missing)
                };
                let values = names.iter().map(&mut take).collect::<Result<Vec<_>, _>>()?;
                if let Some(other) = row.keys().next() {
                    return Err(ApiError::bad(format!("row {index} has `{other}`, which the first row has not")));
                }
                Map::from_iter([(only.name.clone(), Value::Array(values))])
            }
            None => row,
        };
        for slot in slots {
            let Some(cell) = cells.get(&slot.name) else {
                return Err(ApiError::bad(format!("row {index} has no value for input `{}`", slot.name)));
            };
            let column = columns.entry(slot.name.clone()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(column) = column {
                column.push(cell.clone());
            }
        }
    }
    Ok(columns)
}

/// `dataframe_split`: names of columns, and rows of values.
fn split(slots: &[Slot], sent: &Value) -> Result<Map<String, Value>, ApiError> {
    let parts = (sent.get("columns").and_then(Value::as_array), sent.get("data").and_then(Value::as_array));
    let (Some(names), Some(data)) = parts else {
        return Err(ApiError::bad("dataframe_split needs `columns` and `data`"));
    };
    let row = |(index, row): (usize, &Value)| {
        let cells = row.as_array().filter(|cells| cells.len() == names.len());
        let cells = cells.ok_or_else(|| ApiError::bad(format!("row {index} has not {} values", names.len())))?;
        let name = |name: &Value| name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        Ok(Value::Object(names.iter().map(name).zip(cells.iter().cloned()).collect()))
    };
    let records = data.iter().enumerate().map(row).collect::<Result<Vec<_>, ApiError>>()?;
    rows(slots, Value::Array(records))
}

fn tensor(slot: &Slot, value: &Value) -> Result<Tensor, ApiError> {
    let name = &slot.name;
    let dtype = slot.dtype.unwrap_or(DType::F32);
    let mut shape = Vec::new();
    let mut inner = value;
    while let Value::Array(values) = inner {
        shape.push(values.len());
        if shape.len() > RANK_MAX {
            return Err(ApiError::bad(format!("input `{name}` is nested too deep")));
        }
        let Some(first) = values.first() else { break };
        inner = first;
    }
    let mut data = Data::zeros(dtype, 0);
    flatten(name, value, &shape, &mut data)?;
    // A column of single values is a matrix of one column.
    if slot.shape.len() == shape.len() + 1 && matches!(slot.shape.last(), Some(Some(1) | None)) {
        shape.push(1);
    }
    if !slot.accepts(&shape) || data.is_empty() {
        let wanted: Vec<String> = slot.shape.iter().map(|size| size.map_or("-1".into(), |s| s.to_string())).collect();
        let wanted = wanted.join(", ");
        return Err(ApiError::bad(format!("input `{name}` has shape {shape:?} where [{wanted}] is expected")));
    }
    Tensor::new(shape, data).map_err(|error| ApiError::bad(format!("input `{name}`: {error}")))
}

fn flatten(name: &str, value: &Value, shape: &[usize], into: &mut Data) -> Result<(), ApiError> {
    match (value, shape) {
        (Value::Array(values), [size, inner @ ..]) if values.len() == *size => {
            values.iter().try_for_each(|value| flatten(name, value, inner, into))
        }
        (Value::Array(_), _) | (_, [_, ..]) => {
            Err(ApiError::bad(format!("input `{name}` has lists of different sizes")))
        }
        (value, []) => {
            let wrong = |dtype: DType| ApiError::bad(format!("input `{name}`: {value} is not {dtype}"));
            let dtype = into.dtype();
            push(value, into).ok_or_else(|| wrong(dtype))
        }
    }
}

fn push(value: &Value, into: &mut Data) -> Option<()> {
    // What has no fraction is a whole number, however it is written.
    let whole =
        || value.as_i64().or_else(|| value.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < 9e15).map(|v| v as i64));
    match into {
        Data::F32(v) => v.push(value.as_f64().map(|v| v as f32)?),
        Data::F64(v) => v.push(value.as_f64()?),
        Data::I8(v) => v.push(whole()?.try_into().ok()?),
        Data::I16(v) => v.push(whole()?.try_into().ok()?),
        Data::I32(v) => v.push(whole()?.try_into().ok()?),
        Data::I64(v) => v.push(whole()?),
        Data::U8(v) => v.push(whole()?.try_into().ok()?),
        Data::U16(v) => v.push(whole()?.try_into().ok()?),
        Data::U32(v) => v.push(whole()?.try_into().ok()?),
        Data::U64(v) => v.push(value.as_u64().or_else(|| whole()?.try_into().ok())?),
        Data::Bool(v) => v.push(value.as_bool()?),
        Data::Text(v) => v.push(value.as_str()?.to_owned()),
        Data::F16(_) | Data::BF16(_) => return None,
    }
    Some(())
}

/// `{"predictions": …}`: the only output, or an object of outputs by name; nested as they are shaped.
pub(super) fn write(model: &TensorModel, outputs: &[Tensor]) -> Result<Vec<u8>, ApiError> {
    let mut out = b"{\"predictions\":".to_vec();
    match outputs {
        [only] => nested(&mut out, only.data(), only.shape(), 0)?,
        several => {
            let mut outcome = Ok(());
            list(&mut out, b'{', b'}', model.outputs().iter().zip(several), |out, (slot, tensor)| {
                json(out, &slot.name);
                out.push(b':');
                let written = nested(out, tensor.data(), tensor.shape(), 0);
                if outcome.is_ok() {
                    outcome = written;
                }
            });
            outcome?;
        }
    }
    out.push(b'}');
    Ok(out)
}

fn nested(out: &mut Vec<u8>, data: &Data, shape: &[usize], start: usize) -> Result<(), ApiError> {
    let [size, inner @ ..] = shape else {
        match data {
            Data::F32(v) => json(out, &v[start]),
            Data::F64(v) => json(out, &v[start]),
            Data::I8(v) => json(out, &v[start]),
            Data::I16(v) => json(out, &v[start]),
            Data::I32(v) => json(out, &v[start]),
            Data::I64(v) => json(out, &v[start]),
            Data::U8(v) => json(out, &v[start]),
            Data::U16(v) => json(out, &v[start]),
            Data::U32(v) => json(out, &v[start]),
            Data::U64(v) => json(out, &v[start]),
            Data::Bool(v) => json(out, &v[start]),
            Data::Text(v) => json(out, &v[start]),
            Data::F16(_) | Data::BF16(_) => {
                return Err(ApiError::bad("the model returns 16-bit floats, which JSON cannot say"));
            }
        }
        return Ok(());
    };
    let width: usize = inner.iter().product();
    let mut outcome = Ok(());
    list(out, b'[', b']', 0..*size, |out, index| {
        if outcome.is_ok() {
            outcome = nested(out, data, inner, start + index * width);
        }
    });
    outcome
}
