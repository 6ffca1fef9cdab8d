//! An inference request as it is written, before it is known what the model takes: named tensors, requested outputs and
//! parameters.

use std::{collections::BTreeMap, fmt, time::Duration};

use plinth_ext::{DType, Data};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{
    messages::{Contents, InferRequest, InputTensor, Parameter, ParameterChoice},
    wire,
};
use crate::{cells::Fault, error::ApiError};

/// Most dimensions of a tensor.
const RANK_MAX: usize = 32;
/// For how many values of the first tensor room is made because its shape says so: it may say more than the body holds.
const ROOM_MAX: usize = 4096;

/// What was asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) inputs: Vec<Named>,
    pub(crate) rest: Rest,
}

/// All but the inputs.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub(crate) id: Option<String>,
    /// None means all.
    pub(crate) outputs: Option<Vec<Wanted>>,
    pub(crate) parameters: Parameters,
}

/// One input tensor.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data,
}

/// One requested output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// Whether as bytes after the JSON; the whole answer's default if it does not say.
    pub(crate) binary: Option<bool>,
    /// The best so many classes, as text, rather than the values; 0 for the values.
    pub(crate) classes: usize,
}

/// What a request says of itself, as far as it means something here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Parameters {
    pub(crate) binary_output: bool,
    /// Within which the answer is wanted.
    pub(crate) timeout: Option<Duration>,
    /// Whether the last answer of a stream should be marked.
    pub(crate) final_response: bool,
    /// Whether the answer should say what took how long.
    pub(crate) timings: bool,
}

impl Parameters {
    pub(crate) fn of(given: &Map<String, Value>) -> Result<Self, ApiError> {
        let whole = |name: &str| match given.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => {
                let wrong = || ApiError::bad(format!("the parameter `{name}` is {value}, not a whole number from 0"));
                value.as_u64().ok_or_else(wrong)
            }
        };
        whole("priority")?;
        let timeout = Some(whole("timeout")?).filter(|timeout| *timeout > 0).map(Duration::from_micros);
        Ok(Self {
            binary_output: truth(given, "binary_data_output")?.unwrap_or(false),
            timeout,
            final_response: truth(given, "triton_enable_empty_final_response")?.unwrap_or(false),
            timings: truth(given, "timings")?.unwrap_or(false),
        })
    }
}

fn truth(given: &Map<String, Value>, name: &str) -> Result<Option<bool>, ApiError> {
    match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(value) => Err(ApiError::bad(format!("the parameter `{name}` is {value}, not true or false"))),
    }
}

fn no_shared_memory(what: &str, given: &Map<String, Value>) -> Result<(), ApiError> {
    match given.keys().any(|name| name.starts_with("shared_memory")) {
        true => Err(super::no_shared_memory(&format!("{what} is in shared memory"))),
        false => Ok(()),
    }
}

/// Refuses what says that the values of an input, which are there, are somewhere else.
pub(crate) fn nothing_elsewhere(name: &str, parameters: &Map<String, Value>) -> Result<(), ApiError> {
    no_shared_memory(&format!("input `{name}`"), parameters)?;
    if parameters.contains_key("binary_data_size") {
        let message = format!("input `{name}` has both `data` and `binary_data_size`; send its values once");
        return Err(ApiError::bad(message));
    }
    Ok(())
}

/// The error for numbers that JSON has no form for, as other servers of the protocol tell it.
pub(crate) fn no_halves(name: &str, datatype: &str) -> ApiError {
    ApiError::bad(format!("input `{name}`: {datatype} cannot be written as JSON; send it as binary data"))
}

impl Wanted {
    pub(crate) fn of(name: String, given: &Map<String, Value>) -> Result<Self, ApiError> {
        no_shared_memory(&format!("output `{name}`"), given)?;
        let classes = match given.get("classification") {
            None | Some(Value::Null) => 0,
            Some(value) => {
                let wrong = || ApiError::bad(format!("output `{name}`: `classification` is {value}, not a number"));
                usize::try_from(value.as_u64().ok_or_else(wrong)?).unwrap_or(usize::MAX)
            }
        };
        Ok(Self { binary: truth(given, "binary_data")?, name, classes })
    }
}

/// Reads a body: JSON, and after it the values of those tensors that say how many bytes they have there.
pub(crate) fn read(json: &[u8], raw: &[u8]) -> Result<Asked, ApiError> {
    let mut fault = Fault::default();
    let mut head = Head::default();
    let mut parser = serde_json::Deserializer::from_slice(json);
    let outcome = Body { head: &mut head, fault: &mut fault }.deserialize(&mut parser).and_then(|()| parser.end());
    if let Err(error) = outcome {
        return Err(fault.told(&error));
    }
    let Some(tensors) = head.tensors else { return Err(ApiError::bad("the body has no `inputs`")) };
    let mut left = raw;
    let inputs = tensors.into_iter().enumerate().map(|(position, tensor)| tensor.finish(position, &mut left));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    if !left.is_empty() {
        let message = format!("{} bytes follow the JSON, {} more than its inputs say", raw.len(), left.len());
        return Err(ApiError::bad(message));
    }
    Ok(Asked { inputs, rest: rest(head.id, head.outputs, &head.parameters)? })
}

pub(crate) fn rest(
    id: Option<String>,
    outputs: Option<Vec<Output>>,
    parameters: &Map<String, Value>,
) -> Result<Rest, ApiError> {
    // An empty list asks for all of them.
    let outputs = outputs.filter(|outputs| !outputs.is_empty());
    let outputs = outputs.map(|o| o.into_iter().map(|o| Wanted::of(o.name, &o.parameters)).collect::<Result<_, _>>());
    Ok(Rest { id, outputs: outputs.transpose()?, parameters: Parameters::of(parameters)? })
}

/// A requested output as it is written.
#[derive(Deserialize)]
pub(crate) struct Output {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Default)]
struct Head {
    id: Option<String>,
    outputs: Option<Vec<Output>>,
    parameters: Map<String, Value>,
    tensors: Option<Vec<Draft>>,
}

/// A tensor as it is written.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    shape: Option<Vec<i64>>,
    datatype: Option<String>,
    parameters: Map<String, Value>,
    data: Option<Written>,
}

enum Written {
    /// Read already, because its type came first.
    Typed(Data),
    Early(Value),
}

struct Body<'a> {
    head: &'a mut Head,
    fault: &'a mut Fault,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `inputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { head, fault } = self;
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "id" => head.id = entries.next_value()?,
                "outputs" => head.outputs = entries.next_value()?,
                "parameters" => head.parameters = entries.next_value::<Option<_>>()?.unwrap_or_default(),
                "inputs" if head.tensors.is_some() => {
                    return Err(fault.set(ApiError::bad("the body has `inputs` twice")));
                }
                "inputs" => {
                    let mut tensors = Vec::new();
                    entries.next_value_seed(Tensors { tensors: &mut tensors, fault })?;
                    head.tensors = Some(tensors);
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Tensors<'a> {
    tensors: &'a mut Vec<Draft>,
    fault: &'a mut Fault,
}

impl<'de> DeserializeSeed<'de> for Tensors<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Tensors<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        // Many tensors could promise much more together than the body holds.
        let mut room = ROOM_MAX;
        while let Some(draft) = items.next_element_seed(Tensor { fault: self.fault, room })? {
            self.tensors.push(draft);
            room = 0;
        }
        Ok(())
    }
}

struct Tensor<'a> {
    fault: &'a mut Fault,
    /// For how many values room is made at most because the shape says so.
    room: usize,
}

impl<'de> DeserializeSeed<'de> for Tensor<'_> {
    type Value = Draft;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Draft, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensor<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor with `name`, `shape`, `datatype` and `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Draft, A::Error> {
        let mut draft = Draft::default();
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "name" => draft.name = Some(entries.next_value()?),
                "shape" => draft.shape = Some(entries.next_value()?),
                "datatype" => draft.datatype = Some(entries.next_value()?),
                "parameters" => draft.parameters = entries.next_value::<Option<_>>()?.unwrap_or_default(),
                "data" if draft.data.is_some() => {
                    return Err(self.fault.set(ApiError::bad("a tensor has `data` twice")));
                }
                "data" => {
                    let dtype = draft.datatype.as_deref().and_then(wire::dtype_of);
                    draft.data = Some(match (dtype, &draft.name) {
                        (Some(dtype), Some(name)) => {
                            let told =
                                draft.shape.iter().flatten().try_fold(1_usize, |product, size| {
                                    product.checked_mul(usize::try_from(*size).ok()?)
                                });
                            let mut data = Data::with_capacity(dtype, told.unwrap_or(0).min(self.room));
                            entries.next_value_seed(Flat { data: &mut data, name, fault: self.fault })?;
                            Written::Typed(data)
                        }
                        _ => Written::Early(entries.next_value()?),
                    });
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(draft)
    }
}

impl Draft {
    fn finish(self, position: usize, raw: &mut &[u8]) -> Result<Named, ApiError> {
        let Some(name) = self.name else {
            return Err(ApiError::bad(format!("input {position} has no `name`")));
        };
        let lacks = |what: &str| ApiError::bad(format!("input `{name}` has no `{what}`"));
        let (shape, dtype) =
            head(&name, &self.shape.ok_or_else(|| lacks("shape"))?, &self.datatype.ok_or_else(|| lacks("datatype"))?)?;
        no_shared_memory(&format!("input `{name}`"), &self.parameters)?;
        if self.data.is_some() {
            nothing_elsewhere(&name, &self.parameters)?;
        }
        let count = count(&name, &shape)?;
        let data = match (self.data, self.parameters.get("binary_data_size")) {
            (None, None) => return Err(lacks("data")),
            (None, Some(size)) => {
                let wrong = || ApiError::bad(format!("input `{name}`: `binary_data_size` is {size}, not a number"));
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok()).ok_or_else(wrong)?;
                let Some((own, after)) = raw.split_at_checked(size) else {
                    let left = raw.len();
                    let message =
                        format!("input `{name}`: `binary_data_size` is {size}, and {left} bytes follow the JSON");
                    return Err(ApiError::bad(message));
                };
                *raw = after;
                wire::read(&name, dtype, count, own)?
            }
            (Some(_), _) if matches!(dtype, DType::F16 | DType::BF16) => {
                return Err(no_halves(&name, wire::name_of(dtype)));
            }
            (Some(Written::Typed(data)), _) => data,
            (Some(Written::Early(value)), _) => {
                let (mut data, mut fault) = (Data::with_capacity(dtype, 0), Fault::default());
                let read = Flat { data: &mut data, name: &name, fault: &mut fault }.deserialize(value);
                read.map_err(|error| fault.told(&error))?;
                data
            }
        };
        counted(&name, &shape, count, &data)?;
        Ok(Named { name, dtype, shape, data })
    }
}

/// A tensor's shape and type, if they are any.
fn head(name: &str, shape: &[i64], datatype: &str) -> Result<(Vec<usize>, DType), ApiError> {
    let sizes = shape.iter().map(|size| usize::try_from(*size)).collect::<Result<Vec<_>, _>>();
    let sizes = sizes.ok().filter(|sizes| sizes.len() <= RANK_MAX);
    let sizes =
        sizes.ok_or_else(|| ApiError::bad(format!("input `{name}` has the shape {shape:?}, which no tensor has")))?;
    let Some(dtype) = wire::dtype_of(datatype) else {
        return Err(ApiError::bad(format!("input `{name}` has the datatype `{datatype}`, which there is not")));
    };
    Ok((sizes, dtype))
}

fn count(name: &str, shape: &[usize]) -> Result<usize, ApiError> {
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    count.ok_or_else(|| ApiError::bad(format!("input `{name}` has the shape {shape:?}, which is too large")))
}

fn counted(name: &str, shape: &[usize], count: usize, data: &Data) -> Result<(), ApiError> {
    match data.len() == count {
        true => Ok(()),
        false => {
            let sent = data.len();
            Err(ApiError::bad(format!("input `{name}` has shape {shape:?} and {sent} values; that shape has {count}")))
        }
    }
}

/// Values, however deep they are nested: the shape says how they belong together.
struct Flat<'a> {
    data: &'a mut Data,
    name: &'a str,
    fault: &'a mut Fault,
}

impl Flat<'_> {
    fn wrong<E: Error>(self, value: impl fmt::Display) -> E {
        let (element, wanted) = (self.data.len(), wire::name_of(self.data.dtype()));
        let message = format!("input `{}`: element {element}: {value} is not {wanted}", self.name);
        self.fault.set(ApiError::bad(message))
    }

    fn whole<E: Error>(self, value: i128) -> Result<(), E> {
        macro_rules! fit {
            ($values:expr) => {
                match value.try_into() {
                    Ok(value) => $values.push(value),
                    Err(_) => return Err(self.wrong(value)),
                }
            };
        }
        match self.data {
            Data::F32(v) => v.push(value as f32),
            Data::F64(v) => v.push(value as f64),
            Data::I8(v) => fit!(v),
            Data::I16(v) => fit!(v),
            Data::I32(v) => fit!(v),
            Data::I64(v) => fit!(v),
            Data::U8(v) => fit!(v),
            Data::U16(v) => fit!(v),
            Data::U32(v) => fit!(v),
            Data::U64(v) => fit!(v),
            Data::Bool(v) if value == 0 || value == 1 => v.push(value == 1),
            // Told once it is known that the values are not binary.
            Data::F16(v) | Data::BF16(v) => v.push(0),
            Data::Bool(_) | Data::Text(_) => return Err(self.wrong(value)),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Flat<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a tensor")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.data {
            Data::Bool(v) => v.push(value),
            _ => return Err(self.wrong(value)),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.whole(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.data {
            Data::F32(v) if (value as f32).is_finite() => v.push(value as f32),
            Data::F64(v) => v.push(value),
            Data::F16(v) | Data::BF16(v) => v.push(0),
            _ => return Err(self.wrong(value)),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.data {
            Data::Text(v) => v.push(value.to_owned()),
            _ => return Err(self.wrong(format_args!("{:?}", value.chars().take(50).collect::<String>()))),
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Err(self.wrong("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(Flat { data: self.data, name: self.name, fault: self.fault })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.wrong("an object"))
    }
}

/// The same from a message: values in fields of their own, or raw, one for each input.
pub(crate) fn of_message(request: InferRequest) -> Result<Asked, ApiError> {
    let InferRequest { id, parameters, inputs, outputs, raw_input_contents: raw, .. } = request;
    if !raw.is_empty() && raw.len() != inputs.len() {
        let (inputs, raw) = (inputs.len(), raw.len());
        return Err(ApiError::bad(format!(
            "there are {inputs} inputs and {raw} raw_input_contents; send one for each"
        )));
    }
    let mut raw = raw.into_iter();
    let inputs = inputs.into_iter().enumerate().map(|(position, input)| {
        let InputTensor { name, datatype, shape, parameters, contents } = input;
        if name.is_empty() {
            return Err(ApiError::bad(format!("input {position} has no `name`")));
        }
        no_shared_memory(&format!("input `{name}`"), &values(&parameters))?;
        let (shape, dtype) = head(&name, &shape, &datatype)?;
        let count = count(&name, &shape)?;
        let data = match (raw.next(), contents) {
            (Some(_), Some(contents)) if contents != Contents::default() => {
                let message =
                    format!("input `{name}` has both `contents` and raw_input_contents; send its values once");
                return Err(ApiError::bad(message));
            }
            (Some(raw), _) => wire::read(&name, dtype, count, &raw)?,
            (None, contents) => typed(&name, dtype, contents.unwrap_or_default())?,
        };
        counted(&name, &shape, count, &data)?;
        Ok(Named { name, dtype, shape, data })
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let outputs = outputs.into_iter().map(|output| Wanted::of(output.name, &values(&output.parameters)));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let rest = Rest {
        id: Some(id).filter(|id| !id.is_empty()),
        outputs: Some(outputs).filter(|outputs| !outputs.is_empty()),
        parameters: Parameters::of(&values(&parameters))?,
    };
    Ok(Asked { inputs, rest })
}

fn values(parameters: &BTreeMap<String, Parameter>) -> Map<String, Value> {
    let value = |parameter: &Parameter| match &parameter.choice {
        None => Value::Null,
        Some(ParameterChoice::Bool(value)) => Value::from(*value),
        Some(ParameterChoice::Int64(value)) => Value::from(*value),
        Some(ParameterChoice::Uint64(value)) => Value::from(*value),
        Some(ParameterChoice::Double(value)) => Value::from(*value),
        Some(ParameterChoice::Text(value)) => Value::from(value.as_str()),
    };
    parameters.iter().map(|(name, parameter)| (name.clone(), value(parameter))).collect()
}

/// The field of the type that is asked for; those of other types have to be empty.
fn typed(name: &str, dtype: DType, contents: Contents) -> Result<Data, ApiError> {
    let Contents { bools, ints, int64s, uints, uint64s, fp32s, fp64s, bytes } = contents;
    let lengths = [
        ("bool_contents", bools.len()),
        ("int_contents", ints.len()),
        ("int64_contents", int64s.len()),
        ("uint_contents", uints.len()),
        ("uint64_contents", uint64s.len()),
        ("fp32_contents", fp32s.len()),
        ("fp64_contents", fp64s.len()),
        ("bytes_contents", bytes.len()),
    ];
    let own = match dtype {
        DType::Bool => "bool_contents",
        DType::I8 | DType::I16 | DType::I32 => "int_contents",
        DType::I64 => "int64_contents",
        DType::U8 | DType::U16 | DType::U32 => "uint_contents",
        DType::U64 => "uint64_contents",
        DType::F32 => "fp32_contents",
        DType::F64 => "fp64_contents",
        DType::Text => "bytes_contents",
        DType::F16 | DType::BF16 => {
            let message = format!("input `{name}`: {} is sent in raw_input_contents", wire::name_of(dtype));
            return Err(ApiError::bad(message));
        }
    };
    if let Some((other, _)) = lengths.into_iter().find(|(field, length)| *length > 0 && *field != own) {
        let named = wire::name_of(dtype);
        return Err(ApiError::bad(format!("input `{name}` is {named}, whose values are in `{own}`, not in `{other}`")));
    }
    macro_rules! narrow {
        ($variant:ident, $number:ty, $values:expr) => {{
            let narrowed = $values.iter().map(|value| {
                let wrong = |_| ApiError::bad(format!("input `{name}`: {value} is not {}", wire::name_of(dtype)));
                <$number>::try_from(*value).map_err(wrong)
            });
            Data::$variant(narrowed.collect::<Result<Vec<_>, ApiError>>()?)
        }};
    }
    Ok(match dtype {
        DType::Bool => Data::Bool(bools),
        DType::I8 => narrow!(I8, i8, ints),
        DType::I16 => narrow!(I16, i16, ints),
        DType::I32 => Data::I32(ints),
        DType::I64 => Data::I64(int64s),
        DType::U8 => narrow!(U8, u8, uints),
        DType::U16 => narrow!(U16, u16, uints),
        DType::U32 => Data::U32(uints),
        DType::U64 => Data::U64(uint64s),
        DType::F32 => Data::F32(fp32s),
        DType::F64 => Data::F64(fp64s),
        DType::Text | DType::F16 | DType::BF16 => {
            let texts = bytes.iter().enumerate().map(|(element, bytes)| wire::text_of(name, element, bytes));
            Data::Text(texts.collect::<Result<_, _>>()?)
        }
    })
}
