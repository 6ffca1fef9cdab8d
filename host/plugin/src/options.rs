//! Options of an item, checked against the JSON Schema that the plugin declares before the plugin sees them.

use std::{collections::HashMap, sync::Arc, sync::Mutex, sync::PoisonError};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind as Kind};
use plinth_core::{codes, did_you_mean};
use plinth_ext::{ExtError, Item};
use serde_json::Value;

use crate::fault::{Call, cut};

/// The schemas of one extension point's items. Each is compiled when it is first needed.
#[derive(Default)]
pub(crate) struct OptionsCheck {
    compiled: Mutex<HashMap<String, Arc<Compiled>>>,
}

struct Compiled {
    schema: Value,
    validator: Validator,
}

impl OptionsCheck {
    /// Checks options; gives them as the guest gets them, `{}` for none.
    pub(crate) fn check<'a>(&self, call: Call<'_>, item: &Item, options: &'a str) -> Result<&'a str, ExtError> {
        let options = if options.trim().is_empty() { "{}" } else { options };
        let bad = |message: String, hint: Option<String>| ExtError::Fault {
            who: call.who(),
            code: codes::BAD_OPTIONS,
            message,
            hint,
        };
        let value: Value =
            serde_json::from_str(options).map_err(|error| bad(format!("the options are not JSON: {error}"), None))?;
        let compiled = self.compiled(call, item)?;
        match compiled.validator.iter_errors(&value).next() {
            None => Ok(options),
            Some(error) => {
                let (message, hint) = explain(&error, &compiled.schema);
                Err(bad(message, hint))
            }
        }
    }

    fn compiled(&self, call: Call<'_>, item: &Item) -> Result<Arc<Compiled>, ExtError> {
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = all.get(&item.name) {
            return Ok(compiled.clone());
        }
        let broken = |reason: String| {
            let call = Call { func: "describe", ..call };
            call.output_fault(&format!("the options schema of `{}` {}", item.name, cut(reason, 300)))
        };
        let text = if item.options_schema.trim().is_empty() { "{}" } else { &item.options_schema };
        let schema: Value = serde_json::from_str(text).map_err(|error| broken(format!("is not JSON: {error}")))?;
        let mut parts = PARTS_MAX;
        expand(&schema, &schema, &mut parts, 0).map_err(broken)?;
        let validator =
            jsonschema::validator_for(&schema).map_err(|error| broken(format!("is not a JSON Schema: {error}")))?;
        let compiled = Arc::new(Compiled { schema, validator });
        all.insert(item.name.clone(), compiled.clone());
        Ok(compiled)
    }
}

/// Parts of a schema, each reference counted as what it leads to. Checking options costs a step for each.
const PARTS_MAX: usize = 20_000;
/// How deep a schema may be nested, references followed.
const DEPTH_MAX: usize = 100;

/// Walks a schema as checking does: one that refers to itself would take the host's stack, and one that doubles at each
/// reference its time.
fn expand(part: &Value, schema: &Value, left: &mut usize, depth: usize) -> Result<(), String> {
    if *left == 0 || depth > DEPTH_MAX {
        return Err("refers to itself, or is too large".into());
    }
    *left -= 1;
    match part {
        Value::Array(parts) => parts.iter().try_for_each(|part| expand(part, schema, left, depth + 1)),
        Value::Object(parts) => parts.iter().try_for_each(|(key, part)| match (key.as_str(), part) {
            ("$ref", Value::String(to)) => {
                let target = to.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
                let target = target.ok_or_else(|| format!("refers to `{to}`, which is no place in it"))?;
                expand(target, schema, left, depth + 1)
            }
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => Err(format!("has a `{key}`")),
            _ => expand(part, schema, left, depth + 1),
        }),
        _ => Ok(()),
    }
}

/// A message that names the place and the value, and a hint.
fn explain(error: &ValidationError<'_>, schema: &Value) -> (String, Option<String>) {
    let path = error.instance_path.to_string();
    let at = |path: &str| if path.is_empty() { String::new() } else { format!(" at `{path}`") };
    let place = if path.is_empty() { "the options".to_owned() } else { format!("option `{path}`") };
    let value = cut(error.instance.to_string(), 80);
    match &error.kind {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let name = unexpected.first().map_or("", String::as_str);
            let known = siblings(schema, error.schema_path.as_str());
            let hint = did_you_mean(name, known.iter().map(String::as_str));
            (format!("unknown option `{}`{}", cut(name.to_owned(), 80), at(&path)), Some(hint))
        }
        Kind::Required { property } => {
            let name = property.as_str().map_or_else(|| property.to_string(), str::to_owned);
            (format!("option `{name}` is missing{}", at(&path)), None)
        }
        Kind::Enum { options } => {
            let known: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let hint = error.instance.as_str().map(|found| did_you_mean(found, known.iter().copied()));
            (format!("{place} is {value}, which is not one of {}", cut(options.to_string(), 200)), hint)
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => match likely(context, &error.instance) {
            Some(inner) => explain(inner, schema),
            None => (format!("{place} is {value}, which is none of the forms that are allowed"), None),
        },
        _ => {
            let text = error.masked_with(value.as_str()).to_string();
            (format!("{place}: {}", cut(text, 300)), None)
        }
    }
}

/// Of the forms that a value could have, the error of the one that was most likely meant: not a form of another type,
/// and of the rest the one that fails deepest.
fn likely<'a>(context: &'a [Vec<ValidationError<'static>>], instance: &Value) -> Option<&'a ValidationError<'static>> {
    let another = |error: &&ValidationError<'static>| {
        matches!(error.kind, Kind::Type { .. } | Kind::Constant { .. }) && *error.instance == *instance
    };
    context
        .iter()
        .filter_map(|errors| errors.first())
        .filter(|error| !another(error))
        .max_by_key(|error| error.instance_path.as_str().matches('/').count())
}

/// The keys that a schema knows beside the keyword that failed.
fn siblings(schema: &Value, path: &str) -> Vec<String> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema.pointer(parent).and_then(|parent| parent.get("properties")).and_then(Value::as_object);
    properties.map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &str) -> (String, Option<String>) {
        let schema = r#"{"type": "object", "additionalProperties": false, "required": ["columns"], "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "strategy": {"enum": ["mean", "median"]},
            "bins": {"type": "integer", "minimum": 2},
            "step": {"anyOf": [{"type": "array"}, {"type": "object", "additionalProperties": false,
                "properties": {"range": {"type": "number"}}}]}}}"#;
        let item = Item { name: "x".into(), summary: String::new(), options_schema: schema.into() };
        let call = Call { plugin: "p", item: "x", func: "start" };
        match OptionsCheck::default().check(call, &item, options) {
            Ok(_) => ("fine".into(), None),
            Err(ExtError::Fault { message, hint, .. }) => (message, hint),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_slip_names_its_place_and_value() {
        assert_eq!(refused(r#"{"columns": ["a"], "bins": 5, "step": {"range": 1}}"#).0, "fine");
        assert_eq!(refused(""), ("option `columns` is missing".into(), None));
        assert_eq!(
            refused(r#"{"columns": [], "stratgy": "mean"}"#),
            ("unknown option `stratgy`".into(), Some("did you mean `strategy`?".into()))
        );
        assert_eq!(
            refused(r#"{"columns": [], "strategy": "meen"}"#),
            (
                "option `/strategy` is \"meen\", which is not one of [\"mean\",\"median\"]".into(),
                Some("did you mean `mean`?".into())
            )
        );
        assert_eq!(
            refused(r#"{"columns": [], "step": {"rnge": 1}}"#),
            ("unknown option `rnge` at `/step`".into(), Some("did you mean `range`?".into()))
        );
        assert_eq!(refused(r#"{"columns": [], "bins": 1}"#).0, "option `/bins`: 1 is less than the minimum of 2");
        assert_eq!(refused(r#"{"columns": [1]}"#).0, "option `/columns/0`: 1 is not of type \"string\"");
        assert!(refused("{").0.starts_with("the options are not JSON: EOF"));
    }
}
