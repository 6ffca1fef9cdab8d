//! One line taken apart: its values by path, without a tree in between.

use std::fmt;

use plinth_sdk::Problem;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A value that is not an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above the largest `i64`.
    Large(u64),
    Float(f64),
    Text(&'a str),
    /// A list, as JSON.
    List(String),
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Large(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::List(value) => f.write_str(value),
        }
    }
}

/// Takes the values of a line.
pub(crate) trait Sink {
    /// One value; `path` is its key, behind the keys of the objects around it and dots.
    ///
    /// # Errors
    /// A problem, which ends the line.
    fn take(&mut self, path: &str, cell: Cell<'_>) -> Result<(), Problem>;
}

/// Why a line could not be read.
#[derive(Debug)]
pub(crate) enum LineError {
    /// What the sink said.
    Problem(Problem),
    /// It is not a JSON object; why.
    Json(String),
}

/// Reads one line into a sink.
///
/// # Errors
/// [`LineError`].
pub(crate) fn read(line: &[u8], sink: &mut impl Sink, path: &mut String) -> Result<(), LineError> {
    path.clear();
    let mut problem = None;
    let mut json = serde_json::Deserializer::from_slice(line);
    let visit = Visit { sink, path, problem: &mut problem, top: true };
    let read = visit.deserialize(&mut json).and_then(|()| json.end());
    match (problem, read) {
        (Some(problem), _) => Err(LineError::Problem(problem)),
        (None, Err(error)) => {
            // The decoder counts lines, too; ours is line 1 to it.
            let text = error.to_string();
            let text = text.split(" at line 1").next().unwrap_or(&text);
            Err(LineError::Json(format!("{text}, at byte {} of the line", error.column())))
        }
        (None, Ok(())) => Ok(()),
    }
}

/// Where the decoder is.
struct Visit<'a, S> {
    sink: &'a mut S,
    path: &'a mut String,
    problem: &'a mut Option<Problem>,
    top: bool,
}

impl<S: Sink> Visit<'_, S> {
    fn take<E: serde::de::Error>(self, cell: Cell<'_>) -> Result<(), E> {
        if self.top {
            return Err(E::custom("the line is not an object"));
        }
        self.sink.take(self.path, cell).map_err(|problem| {
            *self.problem = Some(problem);
            E::custom("refused")
        })
    }
}

impl<'de, S: Sink> DeserializeSeed<'de> for Visit<'_, S> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Visit<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.take(Cell::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.take(Cell::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.take(Cell::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.take(i64::try_from(value).map_or(Cell::Large(value), Cell::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.take(Cell::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.take(Cell::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element::<Value>()? {
            values.push(value);
        }
        self.take(Cell::List(Value::Array(values).to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Visit { sink, path, problem, top } = self;
        let outer = path.len();
        // The key is appended to the path in place; the value then is visited with that path.
        while map.next_key_seed(AppendKey { path: &mut *path, top })?.is_some() {
            if path.len() == outer {
                return Err(A::Error::custom("a key is empty"));
            }
            map.next_value_seed(Visit { sink: &mut *sink, path: &mut *path, problem: &mut *problem, top: false })?;
            path.truncate(outer);
        }
        Ok(())
    }
}

/// Appends a key to a path.
struct AppendKey<'a> {
    path: &'a mut String,
    top: bool,
}

impl<'de> DeserializeSeed<'de> for AppendKey<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for AppendKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        if key.is_empty() {
            return Ok(());
        }
        if !self.top {
            self.path.push('.');
        }
        self.path.push_str(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen(Vec<String>);

    impl Sink for Seen {
        fn take(&mut self, path: &str, cell: Cell<'_>) -> Result<(), Problem> {
            self.0.push(format!("{path}={cell:?}"));
            Ok(())
        }
    }

    fn seen(line: &str) -> Result<Vec<String>, LineError> {
        let mut seen = Seen(Vec::new());
        read(line.as_bytes(), &mut seen, &mut String::new()).map(|()| seen.0)
    }

    #[test]
    fn values_are_named_by_their_path() {
        let line = r#"{"a": 1, "b": {"c": "x", "d": {"e": null}}, "f": [1, {"g": 2}], "h": 18446744073709551615, "i\n": -0.5}"#;
        assert_eq!(
            seen(line).unwrap(),
            [
                "a=Int(1)",
                r#"b.c=Text("x")"#,
                "b.d.e=Null",
                r#"f=List("[1,{\"g\":2}]")"#,
                "h=Large(18446744073709551615)",
                "i\n=Float(-0.5)"
            ]
        );
    }

    #[test]
    fn what_is_no_object_is_told_with_its_place() {
        for (line, expected) in [
            ("[1]", "not an object"),
            ("{\"a\": }", "expected value, at byte 7"),
            ("{\"a\": 1} x", "trailing characters"),
            ("{\"\": 1}", "a key is empty"),
            ("{\"a\": 1", "EOF"),
        ] {
            let Err(LineError::Json(message)) = seen(line) else { panic!("{line}") };
            assert!(message.contains(expected), "{line}: {message}");
        }
    }
}
