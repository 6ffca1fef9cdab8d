//! The bodies of `infer`: one tensor for each raw column in, one for each output column out.

use std::fmt;

use plinth_ext::{Batch, Kind};
use plinth_score::Scorer;
use plinth_serve::Deployment;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::datatype;
use crate::{
    cells::{Cell, Reading},
    encode::{View, json, list},
    error::ApiError,
};

/// What was asked.
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    pub(crate) rows: Batch,
    /// Columns of the answer, by where they stand in the model's output; none means all.
    pub(crate) outputs: Option<Vec<usize>>,
}

/// Reads a body.
pub(crate) fn read(scorer: &Scorer, body: &[u8], rows_max: usize) -> Result<Asked, ApiError> {
    let mut reading = Reading::new(scorer.signature(), rows_max);
    let mut head = Head::default();
    let mut parser = serde_json::Deserializer::from_slice(body);
    let outcome = Body { reading: &mut reading, head: &mut head }.deserialize(&mut parser);
    if let Err(error) = outcome.and_then(|()| parser.end()) {
        return Err(reading.fault.told(&error));
    }
    if let Some(missing) = head.seen.iter().position(|seen| !seen) {
        let name = &scorer.signature().columns().fields()[missing].name;
        return Err(scorer.signature().missing(name, []).into());
    }
    // Asking for more outputs than there are repeats some: the answer would be as long as the client likes.
    if let Some(names) = &head.outputs
        && names.len() > scorer.output().len()
    {
        let (asked, known) = (names.len(), scorer.output().len());
        return Err(ApiError::bad(format!("{asked} outputs are asked for, but the model has {known}")));
    }
    let outputs = head.outputs.map(|names| {
        let found = names.iter().map(|output| scorer.output().require(&output.name).map_err(ApiError::from));
        found.collect::<Result<Vec<_>, _>>()
    });
    let rows = rows_of(reading)?;
    Ok(Asked { id: head.id, rows, outputs: outputs.transpose()? })
}

/// Writes an answer.
pub(crate) fn write(
    deployment: &Deployment,
    request_id: &str,
    asked_id: Option<&str>,
    scored: &Batch,
    outputs: Option<&[usize]>,
) -> Vec<u8> {
    let all: Vec<usize>;
    let wanted = match outputs {
        Some(wanted) => wanted,
        None => {
            all = (0..scored.num_columns()).collect();
            &all
        }
    };
    let mut out = Vec::with_capacity(128 + wanted.len() * (96 + scored.num_rows() * 20));
    out.extend_from_slice(b"{\"model_name\":");
    json(&mut out, &**deployment.model());
    out.extend_from_slice(b",\"model_version\":");
    json(&mut out, &**deployment.version());
    out.extend_from_slice(b",\"id\":");
    json(&mut out, asked_id.unwrap_or(request_id));
    out.extend_from_slice(b",\"outputs\":");
    list(&mut out, b'[', b']', wanted, |out, &index| {
        let field = &scored.schema().fields()[index];
        out.extend_from_slice(b"{\"name\":");
        json(out, &field.name);
        out.extend_from_slice(b",\"datatype\":");
        json(out, datatype(field.kind));
        out.extend_from_slice(b",\"shape\":[");
        json(out, &scored.num_rows());
        out.extend_from_slice(b"],\"data\":");
        let view = View::of(scored, index);
        list(out, b'[', b']', 0..scored.num_rows(), |out, row| view.write(out, row));
        out.push(b'}');
    });
    out.push(b'}');
    out
}

/// The rows, after a check that all tensors are equally long.
fn rows_of(mut reading: Reading<'_>) -> Result<Batch, ApiError> {
    let lengths: Vec<(&str, usize)> = reading.rows.columns().iter().map(|c| (c.name(), c.len())).collect();
    if let Some(pair) = lengths.windows(2).find(|pair| pair[0].1 != pair[1].1) {
        let [(first, n), (second, m)] = [pair[0], pair[1]];
        let message = format!("input `{first}` has {n} rows and input `{second}` has {m}");
        return Err(ApiError::bad(message));
    }
    Ok(reading.rows.finish()?)
}

#[derive(Default)]
struct Head {
    id: Option<String>,
    outputs: Option<Vec<Output>>,
    /// For each column of the signature, whether its tensor came.
    seen: Vec<bool>,
}

/// What is known of a requested output; parameters, such as whether it should be binary, are ignored.
#[derive(Deserialize)]
struct Output {
    name: String,
}

/// The whole body.
struct Body<'a, 's> {
    reading: &'a mut Reading<'s>,
    head: &'a mut Head,
}

impl<'de> DeserializeSeed<'de> for Body<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `inputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { reading, head } = self;
        let mut inputs = false;
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "id" => head.id = entries.next_value()?,
                "outputs" => head.outputs = entries.next_value()?,
                "inputs" if inputs => return Err(reading.fault.set(ApiError::bad("the body has `inputs` twice"))),
                "inputs" => {
                    inputs = true;
                    head.seen = vec![false; reading.signature.columns().len()];
                    entries.next_value_seed(Tensors { reading, seen: &mut head.seen })?;
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !inputs {
            return Err(reading.fault.set(ApiError::bad("the body has no `inputs`")));
        }
        // An empty list of outputs asks for all of them.
        head.outputs = head.outputs.take().filter(|outputs| !outputs.is_empty());
        Ok(())
    }
}

/// The list of input tensors.
struct Tensors<'a, 's> {
    reading: &'a mut Reading<'s>,
    seen: &'a mut Vec<bool>,
}

impl<'de> DeserializeSeed<'de> for Tensors<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Tensors<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tensors: A) -> Result<(), A::Error> {
        let mut position = 0;
        while tensors.next_element_seed(Tensor { reading: self.reading, seen: self.seen, position })?.is_some() {
            position += 1;
        }
        Ok(())
    }
}

/// One input tensor.
struct Tensor<'a, 's> {
    reading: &'a mut Reading<'s>,
    seen: &'a mut Vec<bool>,
    position: usize,
}

impl<'de> DeserializeSeed<'de> for Tensor<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor with `name`, `shape`, `datatype` and `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { reading, seen, position } = self;
        let (mut index, mut shape, mut given) = (None, None::<Vec<i64>>, None::<String>);
        let (mut early, mut data) = (None::<serde_json::Value>, false);
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "name" => {
                    let name: String = entries.next_value()?;
                    let found = name_of(reading, seen, &name, position);
                    index = Some(reading.fault.check(found)?);
                }
                "shape" => shape = Some(entries.next_value()?),
                "datatype" => given = Some(entries.next_value()?),
                "data" if data => return Err(reading.fault.set(ApiError::bad("a tensor has `data` twice"))),
                "data" => {
                    data = true;
                    match index {
                        Some(index) => entries.next_value_seed(values(reading, index))?,
                        None => early = Some(entries.next_value()?),
                    }
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        let Some(index) = index else {
            return Err(reading.fault.set(ApiError::bad(format!("input {position} has no `name`"))));
        };
        if let Some(value) = early
            && let Err(error) = values(reading, index).deserialize(value)
        {
            return Err(reading.fault.set(ApiError::bad(error.to_string())));
        }
        let checked = check(reading, index, data, shape.as_deref(), given.as_deref());
        reading.fault.check(checked)
    }
}

fn values<'a>(reading: &'a mut Reading<'_>, index: usize) -> Cell<'a> {
    let rows_max = reading.rows_max;
    Cell { column: &mut reading.rows.columns()[index], fault: &mut reading.fault, flatten: true, rows_max }
}

fn name_of(reading: &Reading<'_>, seen: &mut [bool], name: &str, position: usize) -> Result<usize, ApiError> {
    let Some(index) = reading.names.find(name, position) else {
        return Err(reading.signature.unknown(name).into());
    };
    if std::mem::replace(&mut seen[index], true) {
        return Err(ApiError::bad(format!("input `{name}` is given twice")));
    }
    Ok(index)
}

/// Whether a tensor's head says what its data and its column say.
fn check(
    reading: &mut Reading<'_>,
    index: usize,
    data: bool,
    shape: Option<&[i64]>,
    given: Option<&str>,
) -> Result<(), ApiError> {
    let column = &reading.rows.columns()[index];
    let (name, len) = (column.name(), column.len());
    if !data {
        return Err(ApiError::bad(format!("input `{name}` has no `data`")));
    }
    let Some(shape) = shape else {
        return Err(ApiError::bad(format!("input `{name}` has no `shape`")));
    };
    if !matches!(shape, [_] | [_, 1]) || shape[0] != len as i64 {
        let message = format!("input `{name}` has shape {shape:?} and {len} values; its shape is [{len}] or [{len},1]");
        return Err(ApiError::bad(message));
    }
    let Some(given) = given else {
        return Err(ApiError::bad(format!("input `{name}` has no `datatype`")));
    };
    let number = matches!(
        given,
        "INT8" | "INT16" | "INT32" | "INT64" | "UINT8" | "UINT16" | "UINT32" | "UINT64" | "FP16" | "FP32" | "FP64"
    );
    let fits = match column.kind() {
        Kind::Boolean => given == "BOOL",
        Kind::Int64 | Kind::Float32 | Kind::Float64 => number,
        Kind::TimestampUs => given == "INT64" || given == "BYTES",
        Kind::Utf8 | Kind::Binary => given == "BYTES",
    };
    if fits {
        return Ok(());
    }
    let wanted = datatype(column.kind());
    Err(ApiError::bad(format!("input `{name}` has datatype {given} where {wanted} is expected")))
}
