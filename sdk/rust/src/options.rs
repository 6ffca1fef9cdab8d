//! Options: JSON text from the host, parsed once into a checked type.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Number, Value};

use crate::Problem;

/// JSON Schema of an item that takes no options.
pub const NO_OPTIONS: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;

/// The type of an item that takes no options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// Parses options. Give the type `#[serde(deny_unknown_fields)]`; an empty text stands for `{}`.
///
/// # Errors
/// `bad-options` says what is wrong and where.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| Problem::bad_input("bad-options", format!("bad options: {error}")))
}

/// An integer option, for `#[serde(deserialize_with = "plinth_sdk::options::integer")]`. JSON tells 3 from 3.0 only in
/// spelling, and so JSON Schema takes both as integers; serde would not.
///
/// # Errors
/// Where it is no integer, or none that the type holds.
pub fn integer<'de, D: Deserializer<'de>, T: TryFrom<i64>>(from: D) -> Result<T, D::Error> {
    // As far as every integer is a float of its own.
    const WHOLE: f64 = 9e15;
    let given = Number::deserialize(from)?;
    let float = given.as_f64().filter(|value| given.is_f64() && value.trunc() == *value && value.abs() <= WHOLE);
    let value = given.as_i64().or(float.map(|value| value as i64)).and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| D::Error::custom(format!("{given} is not an integer in range")))
}

/// Options taken one by one, for code that has no struct for them.
#[derive(Debug)]
pub struct Given {
    left: Map<String, Value>,
    asked: Vec<&'static str>,
}

impl Given {
    /// The options of a JSON object; an empty text stands for `{}`.
    ///
    /// # Errors
    /// `bad-options` where it is no object.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Ok(Self { left: parse(text)?, asked: Vec::new() })
    }

    /// Takes an option; an absent one reads as `null`, so an `Option<T>` may be absent.
    ///
    /// # Errors
    /// `bad-options` where it is missing or of another type.
    pub fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, Problem> {
        self.asked.push(name);
        let value = self.left.remove(name);
        let missing = value.is_none();
        serde_json::from_value(value.unwrap_or(Value::Null)).map_err(|error| {
            let why = if missing { "it is missing".to_owned() } else { error.to_string() };
            Problem::bad_input("bad-options", format!("option `{name}`: {why}"))
        })
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// `bad-options` where something was given that nobody asked for.
    pub fn finish(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => {
                let near = nearest(name, self.asked.iter().copied());
                Err(Problem::bad_input("bad-options", format!("unknown option `{name}`{near}")))
            }
        }
    }
}

/// A type that an option of [`crate::map_columns!`] may have.
pub trait OptionType: DeserializeOwned {
    /// Its JSON Schema.
    const SCHEMA: &'static str;
    /// Whether it must be given.
    const REQUIRED: bool = true;
}

impl OptionType for f64 {
    const SCHEMA: &'static str = r#"{"type":"number"}"#;
}

impl OptionType for i64 {
    const SCHEMA: &'static str = r#"{"type":"integer"}"#;
}

impl OptionType for bool {
    const SCHEMA: &'static str = r#"{"type":"boolean"}"#;
}

impl OptionType for String {
    const SCHEMA: &'static str = r#"{"type":"string"}"#;
}

impl<T: OptionType> OptionType for Option<T> {
    const SCHEMA: &'static str = T::SCHEMA;
    const REQUIRED: bool = false;
}

/// ", did you mean `X`?" for the nearest of `names`, or nothing where none is near.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let best = names.map(|candidate| (distance(name, candidate), candidate)).min();
    match best {
        Some((away, candidate)) if away <= name.chars().count().max(3) / 3 => {
            format!(", did you mean `{candidate}`?")
        }
        _ => String::new(),
    }
}

/// Edits from one name to another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_named_with_the_nearest_known_one() {
        let mut given = Given::parse(r#"{"min": 1, "maxx": 2}"#).unwrap();
        assert_eq!(given.take::<f64>("min"), Ok(1.0));
        assert_eq!(given.take::<Option<f64>>("max"), Ok(None));
        assert_eq!(given.finish().unwrap_err().message, "unknown option `maxx`, did you mean `max`?");
    }

    #[test]
    fn a_missing_option_is_told_from_a_wrong_one() {
        let mut given = Given::parse(r#"{"min": "low"}"#).unwrap();
        assert!(given.take::<f64>("min").unwrap_err().message.contains("invalid type: string"));
        assert_eq!(given.take::<f64>("max").unwrap_err().message, "option `max`: it is missing");
    }

    #[test]
    fn integers_may_be_written_as_floats() {
        #[derive(Debug, Deserialize)]
        struct Options {
            #[serde(deserialize_with = "integer")]
            n: u16,
        }
        let n = |text: &str| parse::<Options>(text).map(|options| options.n).map_err(|problem| problem.message);
        assert_eq!([n(r#"{"n": 3}"#), n(r#"{"n": 3.0}"#), n(r#"{"n": 3e2}"#)], [Ok(3), Ok(3), Ok(300)]);
        for bad in ["3.5", "-1", "65536", "1e300", "18446744073709551615", "\"3\"", "null"] {
            assert!(n(&format!(r#"{{"n": {bad}}}"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_text_means_no_options() {
        assert_eq!(parse::<NoOptions>(""), Ok(NoOptions {}));
        assert_eq!(parse::<NoOptions>(r#"{"a": 1}"#).unwrap_err().code, "bad-options");
    }

    #[test]
    fn distances_are_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("zzz", ["abc"].into_iter()), "");
    }
}
