//! Checks an operation against the schema, and answers it out of what the REST routes answer.

use std::collections::{HashMap, HashSet};

use async_graphql_parser::{
    Positioned,
    types::{Directive, Field as Asked, FragmentDefinition, Selection, SelectionSet},
};
use async_graphql_value::Name;
use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{
    super::{Call, MlflowError, ROUTES, access, fields::Fields, schema as rules},
    inputs::{Variables, coerce},
    schema::{Field, Kind, Object, Source},
};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// One operation on its way.
pub(super) struct Execution<'a> {
    call: &'a Call<'a>,
    fragments: &'a Fragments,
    variables: Variables,
    /// Answers of routes that more than one run asks for, such as their experiment.
    known: HashMap<(&'static str, String), Value>,
    errors: Vec<String>,
    /// Fragments that need no second look: one fits one type only.
    checked: HashSet<Name>,
}

impl<'a> Execution<'a> {
    pub(super) fn new(call: &'a Call<'a>, fragments: &'a Fragments, variables: Variables) -> Self {
        Self { call, fragments, variables, known: HashMap::new(), errors: Vec::new(), checked: HashSet::new() }
    }

    /// The data, and what went wrong on the way to it.
    pub(super) fn run(mut self, root: &Object, set: &'a SelectionSet) -> (Value, Vec<String>) {
        self.check(root, set, &mut Vec::new());
        if !self.errors.is_empty() {
            return (Value::Null, self.errors);
        }
        let data = self.object(root, &Value::Null, &[set]);
        (data, self.errors)
    }

    /// Finds what the schema does not have.
    fn check(&mut self, object: &Object, set: &SelectionSet, inside: &mut Vec<Name>) {
        for selection in set.items.iter().map(|item| &item.node) {
            self.check_directives(selection.directives());
            match selection {
                Selection::Field(field) => self.check_field(object, &field.node, inside),
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map(|condition| &condition.node.on.node);
                    self.check_condition(on, object, "Fragment");
                    self.check(object, &fragment.node.selection_set.node, inside);
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let Some(fragment) = self.fragments.get(name) else {
                        self.errors.push(format!("Unknown fragment '{name}'."));
                        continue;
                    };
                    if inside.contains(name) {
                        self.errors.push(format!("Cannot spread fragment '{name}' within itself."));
                        continue;
                    }
                    let on = &fragment.node.type_condition.node.on.node;
                    self.check_condition(Some(on), object, &format!("Fragment '{name}'"));
                    if !self.checked.insert(name.clone()) {
                        continue;
                    }
                    inside.push(name.clone());
                    self.check(object, &fragment.node.selection_set.node, inside);
                    inside.pop();
                }
            }
        }
    }

    fn check_condition(&mut self, on: Option<&Name>, object: &Object, what: &str) {
        if let Some(on) = on.filter(|on| on.as_str() != object.name) {
            let name = object.name;
            let message =
                format!("{what} cannot be spread here as objects of type '{name}' can never be of type '{on}'.");
            self.errors.push(message);
        }
    }

    fn check_field(&mut self, object: &Object, asked: &Asked, inside: &mut Vec<Name>) {
        let (name, set) = (asked.name.node.as_str(), &asked.selection_set.node);
        if name == "__typename" {
            return;
        }
        let Some(field) = object.field(name) else {
            self.errors.push(format!("Cannot query field '{name}' on type '{}'.", object.name));
            return;
        };
        for (argument, _) in &asked.arguments {
            let argument = argument.node.as_str();
            if field.argument.is_none_or(|known| known.name != argument) {
                let message = format!("Unknown argument '{argument}' on field '{}.{name}'.", object.name);
                self.errors.push(message);
            }
        }
        if let Err(error) = self.argument(field, asked) {
            self.errors.push(error);
        }
        match field.kind {
            Kind::Object(inner) if set.items.is_empty() => self.errors.push(format!(
                "Field '{name}' of type '{}' must have a selection of subfields. Did you mean '{name} {{ ... }}'?",
                inner.name
            )),
            Kind::Object(inner) => self.check(inner, set, inside),
            leaf if !set.items.is_empty() => self.errors.push(format!(
                "Field '{name}' must not have a selection since type '{}' has no subfields.",
                leaf.name()
            )),
            _ => {}
        }
    }

    fn check_directives(&mut self, directives: &[Positioned<Directive>]) {
        for directive in directives.iter().map(|directive| &directive.node) {
            let name = directive.name.node.as_str();
            let found = match name {
                "include" | "skip" => self.flag(directive).map(drop),
                _ => Err(format!("Unknown directive '@{name}'.")),
            };
            self.errors.extend(found.err());
        }
    }

    /// What `@include` or `@skip` says.
    fn flag(&self, directive: &Directive) -> Result<bool, String> {
        let name = directive.name.node.as_str();
        let given = directive.get_argument("if").map(|literal| self.variables.fill(&literal.node)).transpose()?;
        match given.flatten() {
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(format!("Boolean cannot represent a non boolean value: {other}")),
            None => Err(format!(
                "Directive '@{name}' argument 'if' of type 'Boolean!' is required, but it was not provided."
            )),
        }
    }

    /// Whether a selection is wanted at all.
    fn wanted(&self, selection: &Selection) -> bool {
        selection.directives().iter().all(|directive| {
            // Checked before, so there is no error left.
            let flag = self.flag(&directive.node).unwrap_or_default();
            flag == (directive.node.name.node.as_str() == "include")
        })
    }

    /// The argument that a field was given, if it takes one.
    fn argument(&self, field: &Field, asked: &Asked) -> Result<Option<Value>, String> {
        let Some(argument) = field.argument else { return Ok(None) };
        let Some(literal) = asked.get_argument(argument.name) else { return Ok(None) };
        let value = self.variables.fill(&literal.node)?;
        value.map(|value| coerce(argument.kind, value, argument.name).map_err(|wrong| wrong.message)).transpose()
    }

    /// The fields that were asked of an object, those of the same name together.
    fn fields(&self, sets: &[&'a SelectionSet]) -> Vec<(&'a str, Vec<&'a Asked>)> {
        let (mut fields, mut seen): (Vec<(&str, Vec<&Asked>)>, _) = (Vec::new(), HashSet::new());
        let mut left: Vec<&Selection> = Vec::new();
        let push = |left: &mut Vec<&'a Selection>, set: &'a SelectionSet| {
            left.extend(set.items.iter().rev().map(|item| &item.node));
        };
        sets.iter().rev().for_each(|set| push(&mut left, set));
        while let Some(selection) = left.pop() {
            if !self.wanted(selection) {
                continue;
            }
            match selection {
                Selection::Field(field) => {
                    let key = field.node.response_key().node.as_str();
                    match fields.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, same)) => same.push(&field.node),
                        None => fields.push((key, vec![&field.node])),
                    }
                }
                Selection::InlineFragment(fragment) => push(&mut left, &fragment.node.selection_set.node),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = self.fragments.get(name).filter(|_| seen.insert(name)) {
                        push(&mut left, &fragment.node.selection_set.node);
                    }
                }
            }
        }
        fields
    }

    fn object(&mut self, object: &Object, value: &Value, sets: &[&'a SelectionSet]) -> Value {
        let mut answer = Map::new();
        for (key, same) in self.fields(sets) {
            let Some(asked) = same.first() else { continue };
            let name = asked.name.node.as_str();
            let found = match object.field(name) {
                _ if same.iter().any(|other| other.name.node != asked.name.node) => {
                    self.errors.push(format!("Fields '{key}' conflict because they are different fields."));
                    Value::Null
                }
                Some(field) => {
                    let deeper: Vec<_> = same.iter().map(|asked| &asked.selection_set.node).collect();
                    self.field(field, asked, value, &deeper)
                }
                None => object.name.into(),
            };
            answer.insert(key.to_owned(), found);
        }
        Value::Object(answer)
    }

    fn field(&mut self, field: &Field, asked: &Asked, value: &Value, sets: &[&'a SelectionSet]) -> Value {
        let info = |name: &str| value["info"][name].as_str().unwrap_or_default().to_owned();
        let found = match field.source {
            Source::Nothing => return Value::Null,
            Source::Member => return self.complete(field, value.get(snake(field.name)), sets),
            Source::Echo => self.argument(field, asked).ok().flatten().map_or_else(
                || Err(MlflowError::invalid("argument 'inputString' is missing")),
                |text| Ok(json!({"output": text})),
            ),
            Source::Route { post, path } => {
                let given = self.argument(field, asked).ok().flatten();
                let mut map = Map::new();
                if let Some(Value::Object(members)) = given {
                    map.extend(members.into_iter().map(|(name, value)| (snake(&name), value)));
                }
                self.ask(if post { &Method::POST } else { &Method::GET }, path, map)
            }
            Source::ExperimentOfRun => {
                self.once("/mlflow/experiments/get", "experiment_id", info("experiment_id"), "experiment")
            }
            Source::VersionsOfRun => {
                let filter = format!("run_id='{}'", info("run_id"));
                self.once("/mlflow/model-versions/search", "filter", filter, "model_versions")
            }
        };
        match found {
            Ok(found) => self.complete(field, Some(&found), sets),
            Err(error) => {
                self.errors.push(error.message);
                Value::Null
            }
        }
    }

    /// A member of a route's answer that is asked for once and then remembered.
    fn once(&mut self, path: &'static str, field: &str, asked: String, member: &str) -> Result<Value, MlflowError> {
        let key = (path, asked);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let map = Map::from_iter([(field.to_owned(), Value::from(key.1.as_str()))]);
        let found = self.ask(&Method::GET, path, map)?.get_mut(member).map(Value::take).unwrap_or_default();
        self.known.insert(key, found.clone());
        Ok(found)
    }

    /// What a route answers the caller, who needs the same rights as there.
    fn ask(&self, method: &Method, path: &str, map: Map<String, Value>) -> Result<Value, MlflowError> {
        let route = ROUTES.iter().copied().flatten().find(|route| route.method == *method && route.path == path);
        let route = route.ok_or_else(|| MlflowError::not_found(format!("there is nothing at {path}")))?;
        let fields = Fields::of(map);
        let Call { tracking, principal, webhooks, .. } = *self.call;
        rules::check(rules::of(&route.method, route.path), &fields)?;
        access::authorize(tracking, principal, route.need, &fields)?;
        let answer = (route.handler)(&Call { tracking, fields, principal, webhooks })?;
        serde_json::from_slice(&answer.0).map_err(|error| MlflowError::invalid(error.to_string()))
    }

    /// A value as the schema has it. What REST leaves out is the empty value of its kind, as in MLflow.
    fn complete(&mut self, field: &Field, value: Option<&Value>, sets: &[&'a SelectionSet]) -> Value {
        if !field.many {
            return self.item(field.kind, value.unwrap_or(&Value::Null), sets);
        }
        let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| self.item(field.kind, item, sets)).collect()
    }

    fn item(&mut self, kind: Kind, value: &Value, sets: &[&'a SelectionSet]) -> Value {
        match (kind, value) {
            (Kind::Object(inner), value) => self.object(inner, value, sets),
            (Kind::Text, Value::Null) => "".into(),
            (Kind::Long, Value::Null) => "0".into(),
            (Kind::Text | Kind::Long, Value::Number(number)) => number.to_string().into(),
            (Kind::Float, Value::Null) => 0.0.into(),
            // NaN and infinities are text in JSON, and no number of GraphQL's.
            (Kind::Float, Value::String(_)) => Value::Null,
            (Kind::Flag, Value::Null) => false.into(),
            (_, value) => value.clone(),
        }
    }
}

/// A name of the schema as the REST API has it.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
