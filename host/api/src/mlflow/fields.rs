//! The fields of a request, whether they came as JSON, in the query or in the path, read as MLflow reads them: unknown
//! ones are ignored, numbers may stand in quotes, and what is missing or of the wrong type is named.

use plinth_tracking::Batch;
use serde_json::{Map, Value};

use super::{batch, error::MlflowError};

/// The endpoint whose bodies are long, and mostly of one form.
pub(super) const LOG_BATCH: &str = "/mlflow/runs/log-batch";

/// What MLflow adds to what it says of a field.
pub(super) const SEE: &str = " See the API docs for more information about request parameters.";

/// The fields of a request.
#[derive(Debug, Default)]
pub(super) struct Fields {
    map: Map<String, Value>,
    /// In a query, a list of one looks like a text.
    query: bool,
    /// What a run logged at once, where it was read straight from the body.
    batch: Option<Batch>,
}

type Answer<T> = Result<T, MlflowError>;

impl Fields {
    /// From a JSON body; an empty one has no fields. Old clients send the JSON in a JSON string.
    pub(super) fn from_json(body: &[u8]) -> Answer<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let bad = |reason: String| {
            MlflowError::new(
                axum::http::StatusCode::BAD_REQUEST,
                "BAD_REQUEST",
                format!("the body is not JSON: {reason}"),
            )
        };
        let mut value = parse(body).map_err(|error| bad(error.to_string()))?;
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        }
        match value {
            Value::Object(map) => Ok(Self { map, query: false, batch: None }),
            Value::Null => Ok(Self::default()),
            _ => Err(bad("it is no object".to_owned())),
        }
    }

    /// From the JSON body of an endpoint.
    pub(super) fn from_json_of(path: &str, body: &[u8]) -> Answer<Self> {
        match (path == LOG_BATCH).then(|| batch::read(body)).flatten() {
            Some((run_id, batch)) => {
                let mut fields = Self { batch: Some(batch), ..Self::default() };
                fields.set("run_id", &run_id);
                Ok(fields)
            }
            None => Self::from_json(body),
        }
    }

    /// What a run logged at once, if it was read straight from the body.
    pub(super) fn batch(&self) -> Option<&Batch> {
        self.batch.as_ref()
    }

    /// From an object that was read already.
    pub(super) fn of(map: Map<String, Value>) -> Self {
        Self { map, query: false, batch: None }
    }

    /// From a query, in which a name may stand more than once.
    pub(super) fn from_query(query: &str) -> Self {
        let mut map = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = Value::String(value.into_owned());
            match map.get_mut(&*name) {
                None => drop(map.insert(name.into_owned(), value)),
                Some(Value::Array(list)) => list.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Self { map, query: true, batch: None }
    }

    /// Whether the fields came in a query, where everything is text.
    pub(super) fn is_query(&self) -> bool {
        self.query
    }

    /// Adds a field from the path, which wins over one of the same name.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.map.insert(name.to_owned(), Value::String(value.to_owned()));
    }

    /// The field as it came; nothing for null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether the request has the field, be it empty.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Text, if it is there.
    pub(super) fn text(&self, name: &str) -> Answer<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// Text, or the empty one.
    pub(super) fn text_or_empty(&self, name: &str) -> Answer<&str> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// Text that is not empty.
    pub(super) fn required(&self, name: &str) -> Answer<&str> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
    }

    /// `run_id`, which old clients call `run_uuid`.
    pub(super) fn run_id(&self) -> Answer<&str> {
        match self.text("run_id")?.filter(|text| !text.is_empty()) {
            Some(id) => Ok(id),
            None => self.text("run_uuid")?.filter(|text| !text.is_empty()).ok_or_else(|| missing("run_id")),
        }
    }

    /// `trace_id`, which MLflow 2 calls `request_id`.
    pub(super) fn trace_id(&self) -> Answer<&str> {
        match self.text("trace_id")?.filter(|text| !text.is_empty()) {
            Some(id) => Ok(id),
            None => self.required("request_id"),
        }
    }

    /// A whole number, if it is there; in quotes or not.
    pub(super) fn int(&self, name: &str) -> Answer<Option<i64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        int(value).map(Some).ok_or_else(|| wrong_type(name, value))
    }

    /// A whole number.
    pub(super) fn required_int(&self, name: &str) -> Answer<i64> {
        self.int(name)?.ok_or_else(|| missing(name))
    }

    /// A number, if it is there; also as text, `NaN` and `Infinity` among them.
    pub(super) fn float(&self, name: &str) -> Answer<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        float(value).map(Some).ok_or_else(|| wrong_type(name, value))
    }

    /// True or false, if it is there; in a query, as a word.
    pub(super) fn flag(&self, name: &str) -> Answer<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if self.query && text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if self.query && text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(Value::String(text)) if self.query => {
                Err(MlflowError::invalid(format!("Invalid boolean value: {text}, must be 'true' or 'false'.")))
            }
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list; empty if it is not there. In a query one value is a list of one.
    pub(super) fn list(&self, name: &str) -> Answer<&[Value]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(text @ Value::String(_)) if self.query => Ok(std::slice::from_ref(text)),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Answer<Vec<String>> {
        let list = self.list(name)?;
        list.iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.clone()),
                // Experiment ids are numbers to some clients.
                Value::Number(number) => Ok(number.to_string()),
                _ => Err(wrong_type(name, &Value::Array(list.to_vec()))),
            })
            .collect()
    }

    /// `[{"key": …, "value": …}, …]`; each has a key.
    pub(super) fn pairs(&self, name: &str) -> Answer<Vec<(String, String)>> {
        let pairs = self.loose_pairs(name)?;
        match pairs.iter().position(|(key, _)| key.is_empty()) {
            Some(at) => Err(missing(&format!("{name}[{at}].key"))),
            None => Ok(pairs),
        }
    }

    /// The same where the domain says what a key may be.
    pub(super) fn loose_pairs(&self, name: &str) -> Answer<Vec<(String, String)>> {
        self.list(name)?
            .iter()
            .enumerate()
            .map(|(at, item)| {
                let part = |part: &str| match item.get(part) {
                    Some(Value::String(text)) => Ok(text.clone()),
                    None | Some(Value::Null) => Ok(String::new()),
                    Some(other) => Err(wrong_type(&format!("{name}[{at}].{part}"), other)),
                };
                Ok((part("key")?, part("value")?))
            })
            .collect()
    }

    /// Fields of a field.
    pub(super) fn object(&self, name: &str) -> Answer<Option<Fields>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self { map: map.clone(), query: false, batch: None })),
            Some(other) => Err(wrong_type(name, other)),
        }
    }
}

/// JSON, and what Python writes for it: bare `NaN` and `Infinity`, and numbers beyond a float's range.
fn parse(body: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(body).or_else(|error| match python_numbers(body) {
        Some(quoted) => serde_json::from_slice(&quoted),
        None => Err(error),
    })
}

/// The same text with such numbers in quotes, as protobuf's JSON has them; nothing if there are none.
fn python_numbers(body: &[u8]) -> Option<Vec<u8>> {
    let mut quoted = Vec::with_capacity(body.len() + 64);
    let (mut rest, mut found) = (body, false);
    while let Some(&byte) = rest.first() {
        let length = match byte {
            b'"' => {
                let mut escaped = false;
                let end = rest[1..].iter().position(|&c| {
                    let ends = c == b'"' && !escaped;
                    escaped = c == b'\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                let word = |c: &u8| !matches!(c, b'-' | b'+' | b'.') && !c.is_ascii_alphanumeric();
                rest.iter().position(word).unwrap_or(rest.len())
            }
            _ => 1,
        };
        let (token, after) = rest.split_at(length);
        let name = match token {
            b"NaN" | b"Infinity" | b"-Infinity" => Some(token),
            [b'-' | b'0'..=b'9', ..] => match std::str::from_utf8(token).ok().and_then(|text| text.parse::<f64>().ok())
            {
                Some(f64::INFINITY) => Some(&b"Infinity"[..]),
                Some(f64::NEG_INFINITY) => Some(&b"-Infinity"[..]),
                _ => None,
            },
            _ => None,
        };
        match name {
            Some(name) => {
                found = true;
                quoted.push(b'"');
                quoted.extend_from_slice(name);
                quoted.push(b'"');
            }
            None => quoted.extend_from_slice(token),
        }
        rest = after;
    }
    found.then_some(quoted)
}

/// A whole number, in quotes or not.
pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9.2e18).map(|f| f as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A number, in quotes or not.
pub(super) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" | "nan" => Some(f64::NAN),
            "Infinity" | "inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    }
}

/// A required field that is not there, or empty.
pub(super) fn missing(name: &str) -> MlflowError {
    MlflowError::invalid(format!("Missing value for required parameter '{name}'.{SEE}"))
}

/// A field of the wrong type.
pub(super) fn wrong_type(name: &str, value: &Value) -> MlflowError {
    let kind = match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    let mut shown = value.to_string();
    if shown.len() > 1_000 {
        shown = shown.chars().take(1_000).collect();
    }
    MlflowError::invalid(format!(
        "Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type '{kind}'.{SEE}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_bodies_read_alike() {
        let query = Fields::from_query("run_ids=a&run_ids=b&max_results=5&flag=True&name=x%2Fy");
        assert_eq!(query.texts("run_ids").unwrap(), ["a", "b"]);
        assert_eq!(query.int("max_results").unwrap(), Some(5));
        assert_eq!(query.flag("flag").unwrap(), Some(true));
        assert_eq!(query.texts("name").unwrap(), ["x/y"]);
        let body = Fields::from_json(br#""{\"run_id\": null, \"run_uuid\": \"r\", \"step\": \"7\"}""#).unwrap();
        assert_eq!((body.run_id().unwrap(), body.int("step").unwrap()), ("r", Some(7)));
    }

    #[test]
    fn numbers_as_python_writes_them() {
        let body = br#"{"a": NaN, "b": [-Infinity, 1e400], "c": "NaN \" Infinity", "d": 1.5}"#;
        let fields = Fields::from_json(body).unwrap();
        assert!(fields.float("a").unwrap().unwrap().is_nan());
        assert_eq!(
            fields.list("b").unwrap().iter().filter_map(float).collect::<Vec<_>>(),
            [f64::NEG_INFINITY, f64::INFINITY]
        );
        assert_eq!((fields.text("c").unwrap(), fields.float("d").unwrap()), (Some("NaN \" Infinity"), Some(1.5)));
        for body in [&b"{\"a\": NaNs}"[..], b"{\"a\": NaN", b"\"\\", b"Infinity", b"{NaN: 1"] {
            assert!(Fields::from_json(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let fields = Fields::from_json(br#"{"a": 1, "b": "", "c": [1.5], "d": "x"}"#).unwrap();
        let told = |error: MlflowError| error.message;
        assert_eq!(
            told(fields.text("a").unwrap_err()),
            "Invalid value 1 for parameter 'a' supplied:  Hint: Value was of type 'int'. \
             See the API docs for more information about request parameters."
        );
        assert!(told(fields.required("b").unwrap_err()).starts_with("Missing value for required parameter 'b'."));
        assert!(fields.int("c").is_err() && fields.int("d").is_err());
        assert!(Fields::from_json(b"[1]").is_err() && Fields::from_json(b"{").is_err());
    }
}
