//! The quick way for a model over columns that is asked in JSON: one tensor for each raw column, its values straight into
//! the column.

use std::fmt;

use plinth_ext::{Batch, DType};
use plinth_score::Scorer;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{
    asked::{self, Output, Rest, rest},
    feed::{check_column, even},
    wire,
};
use crate::{
    cells::{Cell, Reading},
    error::ApiError,
};

/// Why a body was not read in the quick way.
pub(crate) enum Unread {
    /// It is wrong.
    Wrong(ApiError),
    /// A tensor is not named after a column: it is wrong, or it is the one matrix. What it may have meant takes long to
    /// find, and a matrix meant nothing else.
    Unknown(String),
}

impl Unread {
    /// The error to tell, of this one and of the one that reading the body in the other way ended with.
    pub(crate) fn told(self, scorer: &Scorer, body: &[u8], other: ApiError) -> ApiError {
        match self {
            Self::Wrong(error) => error,
            Self::Unknown(_) if is_shaped_as_matrix(scorer, body) => other,
            Self::Unknown(name) => scorer.signature().unknown(&name).into(),
        }
    }
}

/// Whether it is one tensor that is as wide as the rows, or nothing that could be told from.
fn is_shaped_as_matrix(scorer: &Scorer, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Shapes {
        inputs: Vec<Shape>,
    }
    #[derive(Deserialize)]
    struct Shape {
        shape: Vec<i64>,
    }
    let width = scorer.signature().columns().len();
    match serde_json::from_slice(body) {
        Ok(Shapes { inputs }) => {
            matches!(&inputs[..], [only] if matches!(only.shape[..], [_, wide] if usize::try_from(wide) == Ok(width)))
        }
        Err(error) => !error.is_data(),
    }
}

impl From<ApiError> for Unread {
    fn from(error: ApiError) -> Self {
        Self::Wrong(error)
    }
}

/// How much of a body a glance takes in.
const GLANCE_BYTES: usize = 1 << 10;

/// Whether what seems to be the first tensor of a body has the name of a column. It is only a glance: the first name may be
/// another one's, or escaped.
pub(crate) fn begins_with_column(scorer: &Scorer, body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"name\"";
    let start = &body[..body.len().min(GLANCE_BYTES)];
    let name = start.windows(KEY.len()).position(|part| part == KEY).and_then(|at| {
        let value = start[at + KEY.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        value.strip_prefix(b"\"")?.split(|byte| *byte == b'"').next()
    });
    let columns = scorer.signature().columns().fields();
    name.is_none_or(|name| columns.iter().any(|field| field.name.as_bytes() == name))
}

/// Reads a body.
pub(crate) fn read(scorer: &Scorer, body: &[u8], rows_max: usize) -> Result<(Batch, Rest), Unread> {
    let mut reading = Reading::new(scorer.signature(), rows_max);
    let mut head = Head::default();
    let mut parser = serde_json::Deserializer::from_slice(body);
    let outcome = Body { reading: &mut reading, head: &mut head }.deserialize(&mut parser);
    if let Err(error) = outcome.and_then(|()| parser.end()) {
        return Err(match head.unknown {
            Some(name) => Unread::Unknown(name),
            None => reading.fault.told(&error).into(),
        });
    }
    if let Some(missing) = head.seen.iter().position(|seen| !seen) {
        let name = &scorer.signature().columns().fields()[missing].name;
        return Err(ApiError::from(scorer.signature().missing(name, [])).into());
    }
    even(&mut reading.rows)?;
    let rows = reading.rows.finish().map_err(ApiError::from)?;
    Ok((rows, rest(head.id, head.outputs, &head.parameters)?))
}

#[derive(Default)]
struct Head {
    id: Option<String>,
    outputs: Option<Vec<Output>>,
    parameters: Map<String, Value>,
    /// For each column of the signature, whether its tensor came.
    seen: Vec<bool>,
    /// The name of a tensor that is no column; then nothing more is read.
    unknown: Option<String>,
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
                "parameters" => head.parameters = entries.next_value::<Option<_>>()?.unwrap_or_default(),
                "inputs" if inputs => return Err(reading.fault.set(ApiError::bad("the body has `inputs` twice"))),
                "inputs" => {
                    inputs = true;
                    head.seen = vec![false; reading.signature.columns().len()];
                    entries.next_value_seed(Tensors { reading, seen: &mut head.seen, unknown: &mut head.unknown })?;
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !inputs {
            return Err(reading.fault.set(ApiError::bad("the body has no `inputs`")));
        }
        Ok(())
    }
}

/// The list of input tensors.
struct Tensors<'a, 's> {
    reading: &'a mut Reading<'s>,
    seen: &'a mut Vec<bool>,
    unknown: &'a mut Option<String>,
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
        let Self { reading, seen, unknown } = self;
        let mut position = 0;
        while tensors.next_element_seed(Tensor { reading, seen, unknown, position })?.is_some() {
            position += 1;
        }
        Ok(())
    }
}

/// One input tensor.
struct Tensor<'a, 's> {
    reading: &'a mut Reading<'s>,
    seen: &'a mut Vec<bool>,
    unknown: &'a mut Option<String>,
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
        let Self { reading, seen, unknown, position } = self;
        let (mut index, mut shape, mut given) = (None, None::<Vec<i64>>, None::<String>);
        let mut parameters = Map::new();
        let (mut early, mut data) = (None::<Value>, false);
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "name" => {
                    let name: String = entries.next_value()?;
                    let Some(found) = reading.names.find(&name, position) else {
                        *unknown = Some(name);
                        return Err(A::Error::custom("told elsewhere"));
                    };
                    if std::mem::replace(&mut seen[found], true) {
                        return Err(reading.fault.set(ApiError::bad(format!("input `{name}` is given twice"))));
                    }
                    index = Some(found);
                }
                "shape" => shape = Some(entries.next_value()?),
                "datatype" => given = Some(entries.next_value()?),
                "data" if data => return Err(reading.fault.set(ApiError::bad("a tensor has `data` twice"))),
                "data" => {
                    data = true;
                    match (index, &given) {
                        (Some(index), Some(given)) => entries.next_value_seed(values(reading, index, given))?,
                        _ => early = Some(entries.next_value()?),
                    }
                }
                "parameters" => parameters = entries.next_value::<Option<_>>()?.unwrap_or_default(),
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        let Some(index) = index else {
            return Err(reading.fault.set(ApiError::bad(format!("input {position} has no `name`"))));
        };
        let declared = given.as_deref().unwrap_or_default();
        if let Some(value) = early
            && let Err(error) = values(reading, index, declared).deserialize(value)
        {
            return Err(reading.fault.set(ApiError::bad(error.to_string())));
        }
        if !parameters.is_empty() {
            let elsewhere = asked::nothing_elsewhere(reading.rows.columns()[index].name(), &parameters);
            reading.fault.check(elsewhere)?;
        }
        let checked = check(reading, index, data, shape.as_deref(), given.as_deref());
        reading.fault.check(checked)
    }
}

fn values<'a>(reading: &'a mut Reading<'_>, index: usize, datatype: &str) -> Cell<'a> {
    // Whether texts and truth values may be there at all is looked at when all of the head is known.
    let number = |dtype: &DType| !matches!(dtype, DType::Text | DType::Bool);
    let (rows_max, declared) = (reading.rows_max, wire::dtype_of(datatype).filter(number));
    Cell { column: &mut reading.rows.columns()[index], fault: &mut reading.fault, flatten: true, rows_max, declared }
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
    let Some(given) = given else {
        return Err(ApiError::bad(format!("input `{name}` has no `datatype`")));
    };
    if matches!(given, "FP16" | "BF16") {
        return Err(asked::no_halves(name, given));
    }
    check_column(column.kind(), name, shape, len, given)
}
