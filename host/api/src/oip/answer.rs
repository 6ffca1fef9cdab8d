//! Answers to inference requests: as JSON, as JSON with bytes after it, or as a message.

use std::{borrow::Cow, collections::BTreeMap, io::Write};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use plinth_ext::{Batch, Data, Tensor};
use plinth_serve::Output;
use prost::Message;

use super::{
    HEADER_LENGTH,
    asked::{Rest, Wanted},
    messages::{InferResponse, OutputTensor, Parameter, ParameterChoice},
    wire,
};
use crate::{
    encode::{View, json, list},
    error::ApiError,
    request::{Call, Written},
};

/// What fits into one packet gains nothing by being made smaller.
const COMPRESSED_BYTES_MIN: usize = 1_400;

/// One output of an answer.
struct Out<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<usize>,
    values: Values<'a>,
    binary: bool,
}

enum Values<'a> {
    Column(&'a Batch, usize),
    Tensor(Cow<'a, Data>),
}

/// The outputs that are wanted, by where they stand, and how.
pub(crate) type Chosen = Vec<(usize, Option<Wanted>)>;

fn outs<'a>(call: &'a Call, scored: &'a Output, chosen: &'a Chosen, binary: bool) -> Result<Vec<Out<'a>>, ApiError> {
    let one = |(index, wanted): &'a (usize, Option<Wanted>)| {
        let binary = wanted.as_ref().and_then(|wanted| wanted.binary).unwrap_or(binary);
        let classes = wanted.as_ref().map_or(0, |wanted| wanted.classes);
        match scored {
            Output::Rows(scored) => {
                let rows = &scored.predictions;
                let field = &rows.schema().fields()[*index];
                if classes > 0 {
                    let message =
                        format!("output `{}` is one value for each row, of which no classes can be told", field.name);
                    return Err(ApiError::bad(message));
                }
                let datatype = wire::name_of(wire::dtype_of_kind(field.kind));
                let values = Values::Column(rows, *index);
                Ok(Out { name: &field.name, datatype, shape: vec![rows.num_rows()], values, binary })
            }
            Output::Tensors { tensors, .. } => {
                let slots = call.deployment().tensors().map_or(&[][..], |model| model.outputs());
                let name = slots.get(*index).map_or("", |slot| slot.name.as_str());
                let Some(tensor) = tensors.get(*index) else {
                    return Err(ApiError::bad(format!("the model gave no output `{name}`")));
                };
                let (shape, data) = match classes {
                    0 => (tensor.shape().to_vec(), Cow::Borrowed(tensor.data())),
                    classes => best(name, tensor, classes)?,
                };
                let datatype = wire::name_of(data.dtype());
                Ok(Out { name, datatype, shape, values: Values::Tensor(data), binary })
            }
        }
    };
    chosen.iter().map(one).collect()
}

/// The best classes of each row as `value:index`.
fn best<'a>(name: &str, tensor: &Tensor, classes: usize) -> Result<(Vec<usize>, Cow<'a, Data>), ApiError> {
    let values: Vec<f64> = match tensor.data() {
        Data::F32(v) => v.iter().map(|value| f64::from(*value)).collect(),
        Data::F64(v) => v.clone(),
        Data::I32(v) => v.iter().map(|value| f64::from(*value)).collect(),
        Data::I64(v) => v.iter().map(|value| *value as f64).collect(),
        other => {
            let named = wire::name_of(other.dtype());
            return Err(ApiError::bad(format!("output `{name}` is {named}, of which no classes can be told")));
        }
    };
    let rows = if tensor.shape().len() > 1 { tensor.shape()[0] } else { 1 };
    let width = values.len() / rows.max(1);
    let classes = classes.min(width);
    let mut told = Vec::with_capacity(rows * classes);
    for row in values.chunks(width.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        told.extend(order[..classes].iter().map(|index| format!("{:.6}:{index}", row[*index])));
    }
    let shape = if tensor.shape().len() > 1 { vec![rows, classes] } else { vec![classes] };
    Ok((shape, Cow::Owned(Data::Text(told))))
}

impl Out<'_> {
    fn len(&self) -> usize {
        match &self.values {
            Values::Column(rows, _) => rows.num_rows(),
            Values::Tensor(data) => data.len(),
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        macro_rules! numbers {
            ($values:expr) => {
                list(out, b'[', b']', $values, |out, value| json(out, value))
            };
        }
        match &self.values {
            Values::Column(rows, index) => {
                let view = View::of(rows, *index);
                list(out, b'[', b']', 0..rows.num_rows(), |out, row| view.write(out, row));
            }
            Values::Tensor(data) => match &**data {
                Data::F16(_) | Data::BF16(_) => {
                    let (name, datatype) = (self.name, self.datatype);
                    let message = format!("output `{name}` is {datatype}, which JSON cannot say; ask for binary data");
                    return Err(ApiError::bad(message));
                }
                Data::F32(v) => numbers!(v),
                Data::F64(v) => numbers!(v),
                Data::I8(v) => numbers!(v),
                Data::I16(v) => numbers!(v),
                Data::I32(v) => numbers!(v),
                Data::I64(v) => numbers!(v),
                Data::U8(v) => numbers!(v),
                Data::U16(v) => numbers!(v),
                Data::U32(v) => numbers!(v),
                Data::U64(v) => numbers!(v),
                Data::Bool(v) => numbers!(v),
                Data::Text(v) => numbers!(v),
            },
        }
        Ok(())
    }

    fn write_raw(&self, out: &mut Vec<u8>) {
        match &self.values {
            Values::Column(rows, index) => wire::write_column(out, rows, *index),
            Values::Tensor(data) => wire::write(out, data),
        }
    }
}

/// The answer over HTTP.
pub(crate) fn http(call: &Call, rest: &Rest, scored: &Output, chosen: &Chosen) -> Result<Written, ApiError> {
    let outs = outs(call, scored, chosen, rest.parameters.binary_output)?;
    let values: usize = outs.iter().filter(|one| !one.binary).map(Out::len).sum();
    let mut out = Vec::with_capacity(192 + outs.len() * 96 + values * 12);
    let mut raw = Vec::new();
    out.extend_from_slice(b"{\"model_name\":");
    json(&mut out, call.endpoint());
    out.extend_from_slice(b",\"model_version\":");
    json(&mut out, &**call.deployment().version());
    out.extend_from_slice(b",\"id\":");
    json(&mut out, rest.id.as_deref().unwrap_or_else(|| call.request_id()));
    if rest.parameters.timings {
        out.extend_from_slice(b",\"parameters\":");
        list(&mut out, b'{', b'}', call.timings(scored), |out, (name, nanoseconds)| {
            json(out, name);
            out.push(b':');
            json(out, &nanoseconds);
        });
    }
    out.extend_from_slice(b",\"outputs\":");
    let mut outcome = Ok(());
    list(&mut out, b'[', b']', &outs, |out, one| {
        out.extend_from_slice(b"{\"name\":");
        json(out, one.name);
        out.extend_from_slice(b",\"datatype\":");
        json(out, one.datatype);
        out.extend_from_slice(b",\"shape\":");
        json(out, &one.shape);
        if one.binary {
            let before = raw.len();
            one.write_raw(&mut raw);
            out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            json(out, &(raw.len() - before));
            out.extend_from_slice(b"}");
        } else {
            out.extend_from_slice(b",\"data\":");
            let written = one.write_json(out);
            if outcome.is_ok() {
                outcome = written;
            }
        }
        out.push(b'}');
    });
    outcome?;
    out.push(b'}');
    if !outs.iter().any(|one| one.binary) {
        return Ok(out.into());
    }
    let length = out.len();
    out.extend_from_slice(&raw);
    let mut written = Written::from(out);
    written.content_type = Some("application/octet-stream");
    written.headers.push((HEADER_LENGTH.clone(), HeaderValue::from(length)));
    Ok(written)
}

/// The answer as a message.
pub(crate) fn message(call: &Call, rest: &Rest, scored: &Output, chosen: &Chosen) -> Result<InferResponse, ApiError> {
    let outs = outs(call, scored, chosen, true)?;
    let raw = outs.iter().map(|one| {
        let mut raw = Vec::new();
        one.write_raw(&mut raw);
        raw
    });
    let raw_output_contents = raw.collect();
    let output = |one: &Out<'_>| OutputTensor {
        name: one.name.to_owned(),
        datatype: one.datatype.to_owned(),
        shape: one.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect(),
    };
    Ok(InferResponse {
        model_name: call.endpoint().to_owned(),
        model_version: call.deployment().version().to_string(),
        id: rest.id.clone().unwrap_or_default(),
        parameters: if rest.parameters.timings { timed(call, scored) } else { BTreeMap::new() },
        outputs: outs.iter().map(output).collect(),
        raw_output_contents,
    })
}

fn timed(call: &Call, scored: &Output) -> BTreeMap<String, Parameter> {
    let parameter = |(name, nanoseconds): (&str, i64)| {
        (name.to_owned(), Parameter { choice: Some(ParameterChoice::Int64(nanoseconds)) })
    };
    call.timings(scored).into_iter().map(parameter).collect()
}

/// The same, encoded.
pub(crate) fn encoded(message: &InferResponse) -> Written {
    message.encode_to_vec().into()
}

/// The answer made smaller, if the caller asked for that.
pub(crate) fn compressed(mut written: Written, headers: &HeaderMap) -> Written {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepts = |name: &str| accepted.split(',').any(|one| one.split(';').next().is_some_and(|o| o.trim() == name));
    if written.body.len() < COMPRESSED_BYTES_MIN {
        return written;
    }
    let room = || Vec::with_capacity(written.body.len() / 2);
    let (name, smaller) = if accepts("gzip") {
        let mut encoder = GzEncoder::new(room(), Compression::fast());
        ("gzip", encoder.write_all(&written.body).and_then(|()| encoder.finish()))
    } else if accepts("deflate") {
        let mut encoder = ZlibEncoder::new(room(), Compression::fast());
        ("deflate", encoder.write_all(&written.body).and_then(|()| encoder.finish()))
    } else {
        return written;
    };
    // Writing to memory does not fail; were it to, the answer is sent as it is.
    if let Ok(smaller) = smaller {
        written.body = smaller;
        let name: (HeaderName, HeaderValue) = (header::CONTENT_ENCODING, HeaderValue::from_static(name));
        written.headers.push(name);
    }
    written
}
