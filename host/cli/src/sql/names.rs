//! What names mean in a statement: functions that the command line declared, installed plugins, and files.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use plinth_core::{ContentHash, codes};
use plinth_ext::{Batch, ExtError, Fitted, Schema};
use plinth_pipeline::StageFailure;
use plinth_score::Scorer;
use plinth_sql::{Function, Loaded, Names, Source, SqlError, Unfitted};
use plinth_tracking::CaptureKind;
use serde_json::{Map, Value};

use super::args::SqlArgs;
use crate::{
    components::Components,
    config::Settings,
    explained,
    host::Host,
    models,
    output::{Failure, read_failure},
    plugins::{self, PluginRef},
    rows::Format,
    scorer::{self, Use},
};

/// A function that the command line declared.
#[derive(Debug, Default)]
struct Declared {
    reference: String,
    /// Whether it predicts rather than transforms.
    model: bool,
    fit: Option<String>,
    state: Option<String>,
    columns: Option<Vec<String>>,
    options: Map<String, Value>,
}

/// What names mean.
pub(super) struct CommandNames {
    settings: Settings,
    components: Components,
    declared: BTreeMap<String, Declared>,
    /// The state directory, opened where a model version or a stored state is named.
    host: OnceLock<Host>,
}

impl CommandNames {
    /// Reads the declarations; nothing is looked up yet.
    pub(super) fn new(args: &SqlArgs, settings: &Settings) -> Result<Self, Failure> {
        let mut declared: BTreeMap<String, Declared> = BTreeMap::new();
        let functions = args.function.iter().map(|text| (text, false));
        for (text, model) in functions.chain(args.model.iter().map(|text| (text, true))) {
            let flag = if model { "--model" } else { "--function" };
            let (name, reference) = pair(flag, text)?;
            let name = name.to_lowercase();
            let fresh = Declared { reference: reference.to_owned(), model, ..Declared::default() };
            if declared.insert(name.clone(), fresh).is_some() {
                return Err(Failure::new(codes::USAGE, format!("function `{name}` is declared twice")));
            }
        }
        let mut of = |flag: &str, text: &str, set: &mut dyn FnMut(&mut Declared, &str)| -> Result<(), Failure> {
            let (name, value) = pair(flag, text)?;
            match declared.get_mut(&name.to_lowercase()) {
                Some(function) if !function.model => set(function, value),
                _ => {
                    let failure = Failure::new(codes::USAGE, format!("{flag}: no --function is named `{name}`"));
                    return Err(failure.hint(format!("add --function {name}=PLUGIN:ITEM")));
                }
            }
            Ok(())
        };
        for text in &args.fit {
            of("--fit", text, &mut |function, query| function.fit = Some(query.to_owned()))?;
        }
        for text in &args.state {
            of("--state", text, &mut |function, state| function.state = Some(state.to_owned()))?;
        }
        for text in &args.columns {
            of("--columns", text, &mut |function, columns| {
                function.columns = Some(columns.split(',').map(|column| column.trim().to_owned()).collect());
            })?;
        }
        for text in &args.option {
            let (name, rest) = text.split_once('.').ok_or_else(|| {
                Failure::new(codes::USAGE, format!("`{text}` is no option")).hint("write --option NAME.KEY=VALUE")
            })?;
            of("--option", &format!("{name}={rest}"), &mut |function, rest| {
                let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
                // A number, a list, true: whatever reads as JSON; everything else is text.
                let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
                function.options.insert(key.to_owned(), value);
            })?;
        }
        Ok(Self { settings: settings.clone(), components: Components::new(settings), declared, host: OnceLock::new() })
    }

    /// Whether everything that was declared is there, also what no statement calls.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for declared in self.declared.values() {
            if declared.model || declared.reference.starts_with("models:/") {
                models::resolve(self.host()?, &declared.reference)?;
            } else {
                let plugin = PluginRef::named(plugin_and_item(&declared.reference).0);
                plugin.find(&self.settings).map_err(|error| Failure::of(&error))?;
            }
        }
        Ok(())
    }

    fn host(&self) -> Result<&Host, Failure> {
        if let Some(host) = self.host.get() {
            return Ok(host);
        }
        let host = Host::open(self.settings.clone(), None, None)?;
        Ok(self.host.get_or_init(|| host))
    }

    fn of_declared(&self, declared: &Declared) -> Result<Function, Failure> {
        if declared.model {
            let host = self.host()?;
            let version = models::resolve(host, &declared.reference)?;
            let scorer = scorer::of_version(host, &version, &host.sessions(1), Use::Batch)?;
            return Ok(Function::Fitted(Arc::new(Predictions(scorer))));
        }
        if declared.reference.starts_with("models:/") {
            let host = self.host()?;
            let version = models::resolve(host, &declared.reference)?;
            let spec = scorer::Spec::of(&version)?;
            let transform = spec.transform().ok_or_else(|| {
                Failure::new(codes::BAD_MODEL, format!("{} has no transform before its model", version.reference()))
                    .hint("for its predictions write --model NAME=REF")
            })?;
            return Ok(Function::Fitted(told(scorer::fitted(host, transform, Use::Batch))?));
        }
        let (plugin, item) = plugin_and_item(&declared.reference);
        let (transform, item, _) = told(self.components.transform(&PluginRef::named(plugin), item))?;
        let state = declared.state.as_deref().map(|state| self.state(state)).transpose()?;
        Ok(Function::Unfitted(Unfitted {
            transform,
            item,
            options: declared.options.clone(),
            fit: declared.fit.clone(),
            state,
            columns: declared.columns.clone(),
        }))
    }

    /// A state from a file, or from the blob store by its hash.
    fn state(&self, named: &str) -> Result<Vec<u8>, Failure> {
        match named.parse::<ContentHash>() {
            Ok(hash) if !Path::new(named).exists() => Ok(self.host()?.store().blobs().get(&hash)?),
            _ => std::fs::read(named).map_err(|error| read_failure(Path::new(named), &error)),
        }
    }

    /// The files of the requests to a model version that were captured, or of those that were explained.
    fn captured(&self, kind: CaptureKind, model: &str) -> Result<Vec<String>, Failure> {
        let host = self.host()?;
        let reference = if model.contains(['@', '/']) { format!("models:/{model}") } else { model.to_owned() };
        let version = models::resolve(host, &reference)?;
        let captures = match kind {
            CaptureKind::Requests => host.tracking().captures(&version.model, version.version, 0)?,
            CaptureKind::Attributions => explained::files(host, &version, None)?,
        };
        if captures.is_empty() {
            let message = format!("no request to {} was captured", version.reference());
            return Err(Failure::new(codes::EMPTY_INPUT, message).hint("they are kept by `plinth serve`"));
        }
        let files = captures.iter().map(|capture| Ok(host.store().blobs().checked_path(&capture.blob)?));
        let files = files.collect::<Result<Vec<_>, Failure>>()?;
        Ok(files.iter().map(|file| file.display().to_string()).collect())
    }

    /// An installed plugin by the name of a call: SQL's names have no hyphens.
    fn installed(&self, name: &str) -> Option<(String, Option<String>)> {
        let all = plugins::all(&self.settings);
        let find = |wanted: &str| all.iter().find(|found| spelled(&found.name) == spelled(wanted));
        if let Some(found) = find(name) {
            return Some((found.name.clone(), None));
        }
        let (plugin, item) = name.split_once('.')?;
        Some((find(plugin)?.name.clone(), Some(item.to_owned())))
    }
}

/// `PLUGIN:ITEM`, or a plugin alone.
fn plugin_and_item(reference: &str) -> (&str, Option<&str>) {
    match reference.rsplit_once(':') {
        Some((plugin, item)) if !item.contains('/') => (plugin, Some(item)),
        _ => (reference, None),
    }
}

/// A name as SQL spells it.
fn spelled(name: &str) -> String {
    name.replace('-', "_").to_lowercase()
}

fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let found = text.split_once('=').filter(|(name, value)| !name.trim().is_empty() && !value.trim().is_empty());
    found.map(|(name, value)| (name.trim(), value.trim())).ok_or_else(|| {
        Failure::new(codes::USAGE, format!("{flag}: `{text}` gives nothing a name"))
            .hint(format!("write {flag} NAME=VALUE"))
    })
}

fn told<T>(result: Result<T, StageFailure>) -> Result<T, Failure> {
    result.map_err(|failure| Failure::of(&*failure.error))
}

/// The same for the session.
pub(super) fn refused(failure: Failure) -> SqlError {
    SqlError::Refused { code: failure.code, message: failure.message, hint: failure.hint }
}

impl Names for CommandNames {
    fn declared(&self) -> Vec<String> {
        self.declared.keys().cloned().collect()
    }

    fn functions(&self) -> Vec<String> {
        let installed = plugins::all(&self.settings).into_iter().map(|found| spelled(&found.name));
        self.declared.keys().cloned().chain(installed).collect()
    }

    fn function(&self, name: &str) -> Result<Option<Function>, SqlError> {
        if let Some(declared) = self.declared.get(name) {
            return self.of_declared(declared).map(Some).map_err(refused);
        }
        let Some((plugin, item)) = self.installed(name) else { return Ok(None) };
        let plugin = PluginRef::named(&plugin);
        let with = |item: Option<&str>| self.components.transform(&plugin, item);
        let found = match &item {
            // An item's name may have hyphens, of which SQL knows nothing.
            Some(item) => with(Some(item.as_str())).or_else(|_| with(Some(item.replace('_', "-").as_str()))),
            None => with(None),
        };
        let (transform, item, _) = told(found).map_err(refused)?;
        let (options, fit, state, columns) = (Map::new(), None, None, None);
        Ok(Some(Function::Unfitted(Unfitted { transform, item, options, fit, state, columns })))
    }

    fn source(&self, name: &str) -> Result<Source, SqlError> {
        for (prefix, kind) in [("captures:/", CaptureKind::Requests), ("explanations:/", CaptureKind::Attributions)] {
            if let Some(model) = name.strip_prefix(prefix) {
                return self.captured(kind, model).map(Source::Parquet).map_err(refused);
            }
        }
        let path = Path::new(name);
        if let (Ok(hash), false) = (name.parse::<ContentHash>(), path.exists()) {
            let stored = self.host().and_then(|host| Ok(host.store().blobs().checked_path(&hash)?));
            return Ok(Source::Parquet(vec![stored.map_err(refused)?.display().to_string()]));
        }
        let format = Format::of(path).map_err(refused)?;
        if format == Format::Parquet {
            return Ok(Source::Parquet(vec![name.to_owned()]));
        }
        let found = std::fs::canonicalize(path).map_err(|error| {
            let failure = read_failure(path, &error);
            match failure.code == codes::FILE_NOT_FOUND {
                true => SqlError::new(codes::FILE_NOT_FOUND, format!("there is no file `{}`", path.display())),
                false => refused(failure),
            }
        })?;
        let loader = self.components.loader(&PluginRef::named(format.loader()), None, &found);
        let (loader, item) = told(loader).map_err(refused)?;
        Ok(Source::Loaded(Loaded { loader, item, source: found.display().to_string(), options: "{}".to_owned() }))
    }
}

/// A model version as a function: raw rows in, predictions out.
struct Predictions(Scorer);

impl Fitted for Predictions {
    fn input(&self) -> &Schema {
        self.0.signature().columns()
    }

    fn output(&self) -> &Schema {
        self.0.output()
    }

    fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
        self.0.score(rows).map_err(|error| {
            use plinth_core::Coded;
            let fault = ExtError::fault("model", error.code(), error.to_string());
            match error.hint() {
                Some(hint) => fault.with_hint(hint),
                None => fault,
            }
        })
    }
}
