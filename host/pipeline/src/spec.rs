//! The pipeline file: what was written, with parameters put in and overrides applied, not yet understood.
//!
//! What a stage's own keys mean is known to its handler alone; here they are a JSON object.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use plinth_core::did_you_mean;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{PipelineError, Place, place::locate};

/// Largest pipeline file, in bytes. A hundred stages of ten lines are 40 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The keys of a stage that every kind has.
const COMMON_KEYS: [&str; 2] = ["kind", "after"];

/// A pipeline as it was written.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// The experiment that its runs belong to; the name of the pipeline unless the file says otherwise.
    pub experiment: String,
    /// Parameters after overrides, by name.
    pub params: Map<String, Value>,
    /// Plugins that the file binds to a path, relative to the file, or to another name.
    pub plugins: BTreeMap<String, String>,
    /// How it is run on new data after drift, if it says.
    pub retrain: Option<Retrain>,
    /// `STAGE.KEY=VALUE` as given in [`Overrides::settings`].
    pub settings: Vec<String>,
    /// Stages in the order of the file.
    pub stages: Vec<StageSpec>,
    /// The folder of the file; relative paths start there.
    pub dir: PathBuf,
    source: Source,
}

/// One stage as it was written, parameters put in.
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Its name.
    pub name: String,
    /// Which handler runs it.
    pub kind: String,
    /// Stages that must come first although none of their outputs is read.
    pub after: Vec<String>,
    /// Its other keys.
    pub config: Map<String, Value>,
    source: Source,
}

/// How a pipeline is run on new data after drift.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retrain {
    /// The parameter that names the source of the rows.
    pub source: String,
    /// Other parameters to change, such as the way to split.
    #[serde(default)]
    pub params: Map<String, Value>,
}

/// What messages need to name a place.
#[derive(Debug, Clone, Default)]
struct Source {
    path: String,
    text: std::sync::Arc<str>,
    /// Paths of keys that the command line set, with the argument as it was given.
    arguments: std::sync::Arc<BTreeMap<Vec<String>, String>>,
}

/// Changes that a command line makes to a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `NAME=VALUE`: parameters. The value is read as YAML: `3` is a number, `"3"` a text.
    pub params: Vec<String>,
    /// `STAGE.KEY=VALUE`: keys of stages; deeper keys are separated by more dots.
    pub settings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "a description is for people who read the file")]
    description: Option<String>,
    #[serde(default)]
    experiment: Option<String>,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    plugins: BTreeMap<String, String>,
    #[serde(default)]
    retrain: Option<Retrain>,
    stages: Map<String, Value>,
}

impl Pipeline {
    /// Reads a pipeline file and applies `overrides`.
    ///
    /// # Errors
    /// [`PipelineError`] with the line and the column, or the argument, that is wrong.
    pub fn read(path: &Path, overrides: &Overrides) -> Result<Self, PipelineError> {
        let unreadable = |message: String| PipelineError::Unreadable { path: path.to_owned(), message };
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(PipelineError::NotFound { path: path.to_owned() });
            }
            Err(error) => return Err(unreadable(error.to_string())),
            Ok(meta) if meta.is_dir() => return Err(unreadable("it is a folder".into())),
            Ok(meta) if meta.len() > FILE_BYTES_MAX => {
                return Err(unreadable(format!("{} bytes are more than the {FILE_BYTES_MAX} allowed", meta.len())));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::parse(&text, &path.display().to_string(), dir, overrides)
    }

    /// Reads a pipeline from text; `path` is how messages name it.
    ///
    /// # Errors
    /// [`PipelineError`], as [`Pipeline::read`].
    pub fn parse(text: &str, path: &str, dir: PathBuf, overrides: &Overrides) -> Result<Self, PipelineError> {
        let mut source = Source { path: path.to_owned(), text: text.into(), ..Source::default() };
        // The generic value refuses duplicate keys, which the typed form would silently merge.
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|error| source.syntax(&error))?;
        if value.is_null() {
            return Err(source.invalid(&[], "the file is empty", Some("a pipeline has a `name` and `stages`".into())));
        }
        let mut document: Document = serde_yaml_ng::from_str(text).map_err(|error| source.syntax(&error))?;

        for text in &overrides.params {
            let (name, value) = assignment(text, "NAME=VALUE")?;
            if !document.params.contains_key(name) {
                return Err(PipelineError::UnknownParameter {
                    place: Place::Argument(format!("-p {text}")),
                    name: name.to_owned(),
                    hint: did_you_mean(name, document.params.keys().map(String::as_str)),
                });
            }
            document.params.insert(name.to_owned(), value);
        }
        let mut arguments = BTreeMap::new();
        for text in &overrides.settings {
            let (target, value) = assignment(text, "STAGE.KEY=VALUE")?;
            let path: Vec<String> = target.split('.').map(str::to_owned).collect();
            if path.len() < 2 || path.iter().any(String::is_empty) {
                return Err(PipelineError::BadOverride { text: text.clone(), form: "STAGE.KEY=VALUE" });
            }
            let names: Vec<&str> = document.stages.keys().map(String::as_str).collect();
            let hint = did_you_mean(&path[0], names);
            let stage = document.stages.get_mut(&path[0]).ok_or_else(|| PipelineError::UnknownStage {
                place: Place::Argument(format!("--set {text}")),
                user: String::new(),
                name: path[0].clone(),
                hint,
            })?;
            set(stage, &path[1..], value)
                .ok_or_else(|| PipelineError::BadOverride { text: text.clone(), form: "a key below a mapping" })?;
            arguments.insert(path, format!("--set {text}"));
        }
        source.arguments = arguments.into();

        if let Some(retrain) = &document.retrain {
            let named = std::iter::once(&retrain.source).chain(retrain.params.keys());
            if let Some(name) = named.into_iter().find(|name| !document.params.contains_key(name.as_str())) {
                return Err(PipelineError::UnknownParameter {
                    place: source.place(&["retrain"]),
                    name: name.clone(),
                    hint: did_you_mean(name, document.params.keys().map(String::as_str)),
                });
            }
        }
        let mut stages = Vec::with_capacity(document.stages.len());
        for (name, mut value) in document.stages {
            source.check_stage_name(&name)?;
            interpolate(&mut value, &document.params, &source, &mut vec!["stages".into(), name.clone()])?;
            stages.push(source.stage(name, value)?);
        }
        if stages.is_empty() {
            return Err(source.invalid(&["stages"], "a pipeline needs at least one stage", None));
        }
        Ok(Self {
            experiment: document.experiment.unwrap_or_else(|| document.name.clone()),
            name: document.name,
            params: document.params,
            plugins: document.plugins,
            retrain: document.retrain,
            settings: overrides.settings.clone(),
            stages,
            dir,
            source,
        })
    }

    /// A stage by name.
    pub fn stage(&self, name: &str) -> Option<&StageSpec> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Where a plugin of the `plugins` section is written.
    pub fn plugin_place(&self, name: &str) -> Place {
        self.source.place(&["plugins", name])
    }

    /// The file as the user named it.
    pub fn path(&self) -> &str {
        &self.source.path
    }
}

impl StageSpec {
    /// Reads the stage's own keys into a type that denies unknown fields.
    ///
    /// # Errors
    /// [`PipelineError::UnknownKey`] with a did-you-mean, or [`PipelineError::Invalid`].
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, PipelineError> {
        serde_json::from_value(Value::Object(self.config.clone())).map_err(|error| {
            let message = error.to_string();
            match unknown_field(&message) {
                Some((key, mut known)) => {
                    known.extend(COMMON_KEYS);
                    PipelineError::UnknownKey {
                        place: self.place(&[key]),
                        key: key.to_owned(),
                        owner: format!("stage `{}` ({})", self.name, self.kind),
                        hint: did_you_mean(key, known),
                    }
                }
                None => self.invalid(&[], &message),
            }
        })
    }

    /// An error about one of the stage's keys; an empty path means the stage itself.
    pub fn invalid(&self, path: &[&str], message: &str) -> PipelineError {
        PipelineError::Invalid {
            place: self.place(path),
            message: format!("stage `{}` ({}): {message}", self.name, self.kind),
            hint: None,
        }
    }

    /// Where one of the stage's keys is written; an empty path means the stage itself.
    pub fn place(&self, path: &[&str]) -> Place {
        let mut full = vec!["stages", self.name.as_str()];
        full.extend(path);
        self.source.place(&full)
    }
}

impl Source {
    fn place(&self, path: &[&str]) -> Place {
        let argument = (1..=path.len()).rev().find_map(|n| {
            let key: Vec<String> = path.get(1..n)?.iter().map(|part| (*part).to_owned()).collect();
            self.arguments.get(&key)
        });
        match argument {
            Some(argument) => Place::Argument(argument.clone()),
            None => Place::File { path: self.path.clone(), position: locate(&self.text, path) },
        }
    }

    fn invalid(&self, path: &[&str], message: &str, hint: Option<String>) -> PipelineError {
        PipelineError::Invalid { place: self.place(path), message: message.to_owned(), hint }
    }

    fn syntax(&self, error: &serde_yaml_ng::Error) -> PipelineError {
        let position = error.location().map(|at| (at.line(), at.column()));
        let place = Place::File { path: self.path.clone(), position };
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        match unknown_field(message) {
            Some((key, known)) => PipelineError::UnknownKey {
                place,
                key: key.to_owned(),
                owner: String::new(),
                hint: did_you_mean(key, known),
            },
            None => {
                // YAML takes the brace of `${...}` inside `{...}` for its own.
                let line = position.and_then(|(line, _)| self.text.lines().nth(line - 1));
                let hint = line
                    .filter(|line| line.contains("${"))
                    .map(|_| "inside { } a reference such as ${params.NAME} needs quotes: put it in quotes".to_owned());
                PipelineError::Invalid { place, message: message.to_owned(), hint }
            }
        }
    }

    fn check_stage_name(&self, name: &str) -> Result<(), PipelineError> {
        let good = !name.is_empty()
            && name.len() <= 100
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if good {
            return Ok(());
        }
        let hint = Some("use letters, digits, - and _, at most 100 of them".into());
        Err(self.invalid(&["stages", name], &format!("`{name}` cannot be the name of a stage"), hint))
    }

    fn stage(&self, name: String, value: Value) -> Result<StageSpec, PipelineError> {
        let path = ["stages", name.as_str()];
        let Value::Object(mut config) = value else {
            let hint = Some("write `kind: ...` and the stage's keys below its name".into());
            return Err(self.invalid(&path, &format!("stage `{name}` is not a mapping"), hint));
        };
        let kind = match config.shift_remove("kind") {
            Some(Value::String(kind)) => kind,
            _ => {
                let hint = Some("for example `kind: load`".into());
                return Err(self.invalid(&path, &format!("stage `{name}` needs a `kind`"), hint));
            }
        };
        let after = match config.shift_remove("after") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) if many.iter().all(Value::is_string) => {
                many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
            }
            Some(_) => {
                let message = format!("stage `{name}`: `after` is not a list of stage names");
                return Err(self.invalid(&["stages", &name, "after"], &message, None));
            }
        };
        Ok(StageSpec { name, kind, after, config, source: self.clone() })
    }
}

/// Splits `NAME=VALUE` and reads the value as YAML.
fn assignment<'a>(text: &'a str, form: &'static str) -> Result<(&'a str, Value), PipelineError> {
    let bad = || PipelineError::BadOverride { text: text.to_owned(), form };
    let (name, value) = text.split_once('=').ok_or_else(bad)?;
    if name.is_empty() {
        return Err(bad());
    }
    // Text that is no YAML, such as `a: b: c` or `*`, is meant as it stands.
    Ok((name, serde_yaml_ng::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))))
}

/// Sets a key below a mapping; none if something on the way is not a mapping.
fn set(value: &mut Value, path: &[String], new: Value) -> Option<()> {
    let mut at = value.as_object_mut()?;
    let (last, way) = path.split_last()?;
    for part in way {
        at = at.entry(part.clone()).or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
    }
    at.insert(last.clone(), new);
    Some(())
}

/// Puts parameters in place of `${params.NAME}`. A text that is nothing but one reference takes the parameter's
/// type; within a longer text the parameter is spelled out.
fn interpolate(
    value: &mut Value,
    params: &Map<String, Value>,
    source: &Source,
    path: &mut Vec<String>,
) -> Result<(), PipelineError> {
    match value {
        Value::String(text) if text.contains("${") => *value = replace(text, params, source, path)?,
        Value::Array(items) => {
            for item in items {
                interpolate(item, params, source, path)?;
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                path.push(key.clone());
                interpolate(item, params, source, path)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

fn replace(text: &str, params: &Map<String, Value>, source: &Source, path: &[String]) -> Result<Value, PipelineError> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let hint = || Some("write ${params.NAME}".to_owned());
        let end = rest[start..]
            .find('}')
            .ok_or_else(|| source.invalid(&path, &format!("`{text}` opens ${{ and does not close it"), hint()))?;
        let reference = &rest[start + 2..start + end];
        let name = reference
            .strip_prefix("params.")
            .ok_or_else(|| source.invalid(&path, &format!("`${{{reference}}}` is not a parameter"), hint()))?;
        let value = params.get(name).ok_or_else(|| PipelineError::UnknownParameter {
            place: source.place(&path),
            name: name.to_owned(),
            hint: did_you_mean(name, params.keys().map(String::as_str)),
        })?;
        if text.len() == reference.len() + 3 {
            return Ok(value.clone());
        }
        match value {
            Value::String(value) => out.push_str(value),
            other => out.push_str(&other.to_string()),
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    Ok(Value::String(out))
}

/// The key and the known keys in serde's message about an unknown field.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let at = message.find("unknown field `")?;
    let mut quoted = message[at..].split('`').skip(1).step_by(2);
    let key = quoted.next()?;
    Some((key, quoted.collect()))
}
