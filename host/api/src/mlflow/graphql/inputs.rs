//! Variables and arguments: whether they are what the schema wants, and as plain JSON.

use async_graphql_parser::{
    Positioned,
    types::{BaseType, Type, VariableDefinition},
};
use async_graphql_value::{ConstValue, Value as Literal};
use serde_json::{Map, Value};

use super::schema::{INPUTS, InputKind, VIEW_TYPE};

/// Values of the variables that an operation defines.
#[derive(Debug, Default)]
pub(super) struct Variables {
    defined: Vec<String>,
    values: Map<String, Value>,
}

impl Variables {
    /// Reads what was given for each variable; what was given for none is ignored.
    pub(super) fn read(
        definitions: &[Positioned<VariableDefinition>],
        given: &Map<String, Value>,
    ) -> Result<Self, Vec<String>> {
        let (mut variables, mut errors) = (Self::default(), Vec::new());
        for definition in definitions.iter().map(|definition| &definition.node) {
            let name = definition.name.node.as_str();
            variables.defined.push(name.to_owned());
            let default = definition.default_value.as_ref().map(|value| &value.node);
            match variable(name, &definition.var_type.node, default, given.get(name)) {
                Ok(None) => {}
                Ok(Some(value)) => drop(variables.values.insert(name.to_owned(), value)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(variables) } else { Err(errors) }
    }

    /// A literal with its variables filled in; nothing where it is a variable without a value.
    pub(super) fn fill(&self, literal: &Literal) -> Result<Option<Value>, String> {
        Ok(Some(match literal {
            Literal::Variable(name) if !self.defined.iter().any(|defined| name == defined) => {
                return Err(format!("Variable '${name}' is not defined."));
            }
            Literal::Variable(name) => return Ok(self.values.get(name.as_str()).cloned()),
            Literal::List(items) => {
                let items: Result<Vec<_>, String> = items.iter().map(|item| self.fill(item)).collect();
                items?.into_iter().map(Option::unwrap_or_default).collect()
            }
            Literal::Object(members) => {
                let mut object = Map::new();
                for (name, member) in members {
                    if let Some(member) = self.fill(member)? {
                        object.insert(name.to_string(), member);
                    }
                }
                Value::Object(object)
            }
            plain => plain.clone().into_json().map_err(|error| error.to_string())?,
        }))
    }
}

fn variable(
    name: &str,
    wanted: &Type,
    default: Option<&ConstValue>,
    given: Option<&Value>,
) -> Result<Option<Value>, String> {
    let kind = kind_of(&wanted.base).ok_or_else(|| format!("Unknown type '{}'.", wanted.base))?;
    let value = match given {
        Some(value) => value.clone(),
        None => match default {
            Some(default) => default.clone().into_json().map_err(|error| error.to_string())?,
            None if wanted.nullable => return Ok(None),
            None => return Err(format!("Variable '${name}' of required type '{wanted}' was not provided.")),
        },
    };
    if value.is_null() {
        return match wanted.nullable {
            true => Ok(Some(value)),
            false => Err(format!("Variable '${name}' of non-null type '{wanted}' must not be null.")),
        };
    }
    coerce(kind, value, name).map(Some).map_err(|wrong| {
        let place = if wrong.path == name { String::new() } else { format!(" at '{}'", wrong.path) };
        format!("Variable '${name}' got invalid value {}{place}; {}", wrong.shown, wrong.message)
    })
}

fn kind_of(base: &BaseType) -> Option<InputKind> {
    match base {
        BaseType::List(inner) => matches!(kind_of(&inner.base)?, InputKind::Text).then_some(InputKind::Texts),
        BaseType::Named(name) => match name.as_str() {
            "String" => Some(InputKind::Text),
            "Int" => Some(InputKind::Int),
            "LongString" => Some(InputKind::Long),
            "Boolean" => Some(InputKind::Flag),
            "MlflowViewType" => Some(VIEW_TYPE),
            name => INPUTS.iter().find(|input| input.name == name).map(|input| InputKind::Object(input)),
        },
    }
}

/// Why a value is not what it should be.
#[derive(Debug)]
pub(super) struct Wrong {
    path: String,
    shown: String,
    pub(super) message: String,
}

/// A value as the kind wants it. Nulls are left to whoever reads them.
pub(super) fn coerce(kind: InputKind, value: Value, path: &str) -> Result<Value, Wrong> {
    let wrong = |value: &Value, message: String| {
        let shown: String = value.to_string().chars().take(200).collect();
        Wrong { path: path.to_owned(), shown, message }
    };
    let not = |what: &str, value: &Value| {
        let article = if what == "Int" { "non-integer" } else { "a non string" };
        let shown: String = value.to_string().chars().take(200).collect();
        wrong(value, format!("{what} cannot represent {article} value: {shown}"))
    };
    match (kind, value) {
        (_, Value::Null) => Ok(Value::Null),
        (InputKind::Text, text @ Value::String(_)) => Ok(text),
        (InputKind::Text, other) => Err(not("String", &other)),
        (InputKind::Texts, Value::Array(items)) => {
            let items = items.into_iter().filter(|item| !item.is_null()).enumerate();
            items.map(|(at, item)| coerce(InputKind::Text, item, &format!("{path}[{at}]"))).collect()
        }
        // One is as good as a list of one.
        (InputKind::Texts, one) => Ok(Value::Array(vec![coerce(InputKind::Text, one, path)?])),
        (InputKind::Int, Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64));
            let fits = whole.and_then(|whole| i32::try_from(whole).ok());
            fits.map(Value::from).ok_or_else(|| not("Int", &Value::Number(number)))
        }
        (InputKind::Int, other) => Err(not("Int", &other)),
        (InputKind::Long, value) => match super::super::fields::int(&value) {
            Some(whole) => Ok(whole.into()),
            None => Err(not("LongString", &value)),
        },
        (InputKind::Flag, flag @ Value::Bool(_)) => Ok(flag),
        (InputKind::Flag, other) => {
            let message = format!("Boolean cannot represent a non boolean value: {other}");
            Err(wrong(&other, message))
        }
        (InputKind::Word { words, .. }, Value::String(word)) if words.contains(&word.as_str()) => Ok(word.into()),
        (InputKind::Word { name, .. }, Value::String(word)) => {
            let message = format!("Value '{word}' does not exist in '{name}' enum.");
            Err(wrong(&word.into(), message))
        }
        (InputKind::Word { name, .. }, other) => {
            let message = format!("Enum '{name}' cannot represent non-string value: {other}.");
            Err(wrong(&other, message))
        }
        (InputKind::Object(input), Value::Object(members)) => {
            let mut object = Map::new();
            for (member, value) in members {
                let Some((_, kind)) = input.fields.iter().find(|(name, _)| *name == member) else {
                    let message = format!("Field '{member}' is not defined by type '{}'.", input.name);
                    return Err(wrong(&value, message));
                };
                let value = coerce(*kind, value, &format!("{path}.{member}"))?;
                object.insert(member, value);
            }
            Ok(Value::Object(object))
        }
        (InputKind::Object(input), other) => {
            let message = format!("Expected type '{}' to be a mapping.", input.name);
            Err(wrong(&other, message))
        }
    }
}
