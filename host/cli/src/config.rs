//! Configuration: flag over environment over `plinth.toml` over default, each value with its origin.
//!
//! Every leaf of [`Config`] can be set by an environment variable: `limits.plugin.call-ms-max` is
//! `PLINTH_LIMITS_PLUGIN_CALL_MS_MAX`. The tables that are keyed by names of plugins can only be set in the file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use plinth_core::{Code, Coded, Limits, closest, codes};
use plinth_plugin::Grants;
use plinth_store::{Access, Setup, Store, StoreError};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::args::Global;

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The one setting that may hold a password.
const CATALOG: &str = "catalog.url";

/// All settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Where runs, models and blobs are kept; relative to the project.
    pub(crate) state_dir: String,
    /// Where models are scored: `auto`, `cpu` or `cuda:N`.
    pub(crate) device: String,
    /// The ONNX Runtime library; `auto` looks where `cargo xtask` and the system put it.
    pub(crate) onnxruntime: String,
    /// Folders that hold plugins, before the usual ones; relative to the project.
    pub(crate) plugin_dirs: Vec<String>,
    /// Whether plugins see fixed clocks, seeded random numbers and canonical NaNs. Slows floating-point loops down.
    pub(crate) deterministic: bool,
    /// `text` or `json`.
    pub(crate) log_format: String,
    /// How servers are reached unless their flags say otherwise.
    pub(crate) server: ServerConfig,
    /// Where rows are kept.
    pub(crate) catalog: CatalogConfig,
    /// Where artifacts are kept.
    pub(crate) artifacts: ArtifactsConfig,
    /// What `plinth serve` does unless its flags say otherwise.
    pub(crate) serve: ServeConfig,
    /// Where webhooks of `plinth up` may lead.
    pub(crate) webhooks: WebhooksConfig,
    /// How a drift check decides.
    pub(crate) monitor: plinth_monitor::Config,
    /// Every bound.
    pub(crate) limits: Limits,
    /// Whose plugins may run.
    pub(crate) trust: TrustConfig,
    /// Plugins by name.
    pub(crate) plugins: BTreeMap<String, PluginConfig>,
}

/// Whose plugins may run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TrustConfig {
    /// Keys whose signatures count, `ed25519:…`.
    pub(crate) keys: Vec<plinth_registry::PublicKey>,
    /// Whether a plugin has to be signed by one of them, or pinned by `hash`.
    pub(crate) required: bool,
}

/// How servers are reached unless their flags say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ServerConfig {
    /// A file with the certificate for TLS; relative to the project. Empty for no TLS.
    pub(crate) tls_cert: String,
    /// The file with its private key.
    pub(crate) tls_key: String,
}

/// Where rows are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CatalogConfig {
    /// A PostgreSQL database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; empty for SQLite in the state directory.
    pub(crate) url: String,
}

/// Where artifacts are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ArtifactsConfig {
    /// A bucket, `s3://BUCKET/PREFIX`, or a folder, `file:///FOLDER`; empty for the state directory.
    pub(crate) store: String,
    /// Folders of buckets whose files the server may list and read for clients that put them there themselves.
    pub(crate) allow: Vec<String>,
    /// Whether clients are told to download artifacts from the bucket itself, by URLs that the server signs.
    pub(crate) direct_downloads: bool,
}

/// What `plinth serve` does unless its flags say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ServeConfig {
    /// Address to listen on.
    pub(crate) host: String,
    /// Port to listen on; 0 takes a free one.
    pub(crate) port: u16,
    /// Whether requests are kept, for drift checks and replays.
    pub(crate) capture: bool,
    /// The part of the requests that is kept, from 0 to 1.
    pub(crate) capture_part: f64,
    /// The part of the requests, from 0 to 1, that is explained while a thread has nothing to do, and kept.
    pub(crate) explain_part: f64,
    /// Columns, of inputs and of outputs, that are never kept.
    pub(crate) redact: Vec<String>,
    /// How long what is kept stays, such as `30days`; empty for ever.
    pub(crate) capture_kept: String,
    /// A file that gets a line of JSON for each request, or `-` for stderr; empty for none.
    pub(crate) access_log: String,
    /// Whether callers are told only that something is wrong with their rows, not what the model takes.
    pub(crate) hide_schema: bool,
    /// Sites whose pages may ask for predictions, such as `https://example.org`; `*` for any.
    pub(crate) cors_origins: Vec<String>,
    /// A collector of OpenTelemetry that is told of requests, `http://HOST:4318`; empty for none.
    pub(crate) otlp_endpoint: String,
    /// The part of the requests that it is told of, from 0 to 1, where the caller is not traced already.
    pub(crate) trace_share: f64,
}

/// Where webhooks of `plinth up` may lead.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WebhooksConfig {
    /// Receivers that are allowed whatever their address: `HOST`, `HOST:PORT`, or `*` for any.
    pub(crate) allow: Vec<String>,
}

/// What the operator says about one plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PluginConfig {
    /// Its file; by default the name is looked up in the plugin folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The only content hash that is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hash: Option<plinth_core::ContentHash>,
    /// Capabilities that it may use although no pipeline stage grants them.
    pub(crate) grant: Vec<String>,
    /// Folders whose files it may read, besides the source that a stage names.
    pub(crate) read: Vec<String>,
    /// Its own settings, which it reads through `config`.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    pub(crate) config: toml::Table,
    /// What `kv` is granted for.
    pub(crate) kv: PluginKv,
    /// What `http` is granted for.
    pub(crate) http: PluginHttp,
    /// What `nn` is granted for.
    pub(crate) nn: PluginNn,
    /// What `secrets` is granted for: `env:NAME` or `file:PATH`, by the name that the plugin asks for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) secrets: BTreeMap<String, String>,
}

/// What a plugin may keep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PluginKv {
    /// Bytes of all its keys and values; by default `kv-bytes-max` of `[limits.plugin]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// Where a plugin's requests may go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PluginHttp {
    /// `api.example.com`, `*.example.com` for names below it, or either with a port.
    pub(crate) hosts: Vec<String>,
    /// The same, for hosts that may be at private addresses.
    pub(crate) private: Vec<String>,
    /// Methods beside GET and HEAD.
    pub(crate) methods: Vec<String>,
}

/// What models a plugin may run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PluginNn {
    /// ONNX files by the name that the plugin asks for.
    pub(crate) models: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: ".plinth".into(),
            device: "auto".into(),
            onnxruntime: "auto".into(),
            plugin_dirs: Vec::new(),
            deterministic: false,
            log_format: "text".into(),
            server: ServerConfig::default(),
            catalog: CatalogConfig::default(),
            artifacts: ArtifactsConfig::default(),
            serve: ServeConfig::default(),
            webhooks: WebhooksConfig::default(),
            monitor: plinth_monitor::Config::default(),
            limits: Limits::default(),
            trust: TrustConfig::default(),
            plugins: BTreeMap::new(),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            capture: true,
            capture_part: 1.0,
            explain_part: 0.0,
            redact: Vec::new(),
            capture_kept: String::new(),
            access_log: String::new(),
            hide_schema: false,
            cors_origins: Vec::new(),
            otlp_endpoint: String::new(),
            trace_share: 1.0,
        }
    }
}

/// Configuration with its origins and the paths that follow from it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The settings.
    pub(crate) config: Config,
    /// The folder that relative paths of the configuration start from.
    pub(crate) project: PathBuf,
    /// Where each leaf that is not a default comes from.
    origins: BTreeMap<String, String>,
    values: Table,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file that a flag names does not exist.
    #[error("there is no configuration file `{}`", .0.display())]
    NotFound(PathBuf),
    /// The file cannot be read.
    #[error("cannot read `{}`: {message}", path.display())]
    Unreadable { path: PathBuf, message: String },
    /// The file is no TOML, or has a key or a value that does not belong.
    #[error("{place}: {message}")]
    Invalid { place: String, message: String, hint: Option<String> },
}

impl Coded for ConfigError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => codes::FILE_NOT_FOUND,
            Self::Unreadable { .. } => codes::FILE_UNREADABLE,
            Self::Invalid { .. } => codes::BAD_CONFIG,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

impl Settings {
    /// Settings for a process that was started in `cwd` with these flags and this environment.
    pub(crate) fn load(global: &Global, cwd: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let file = match global.config.clone().or_else(|| env("PLINTH_CONFIG").map(PathBuf::from)) {
            Some(file) if !file.is_file() => return Err(ConfigError::NotFound(file)),
            Some(file) => Some(cwd.join(file)),
            None => cwd.ancestors().map(|dir| dir.join("plinth.toml")).find(|file| file.is_file()),
        };
        let project = match &file {
            Some(file) => file.parent().unwrap_or(cwd).to_owned(),
            // Without a file, the nearest folder that was worked in before.
            None => cwd.ancestors().find(|dir| dir.join(".plinth").is_dir()).unwrap_or(cwd).to_owned(),
        };
        let mut values = as_table(&Config::default());
        let mut origins = BTreeMap::new();
        if let Some(file) = &file {
            let table = read_file(file)?;
            merge(&mut values, table, "", &file.display().to_string(), &mut origins);
        }
        for (path, variable) in leaves(&as_table(&Config::default()), "")
            .into_iter()
            .map(|path| (path.clone(), format!("PLINTH_{}", path.replace(['.', '-'], "_").to_uppercase())))
            .chain(
                [
                    ("plugin-dirs", "PLINTH_PLUGINS"),
                    ("catalog.url", "PLINTH_CATALOG"),
                    ("artifacts.store", "PLINTH_ARTIFACT_STORE"),
                    ("serve.otlp-endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
                ]
                .map(|(path, name)| (path.to_owned(), name.to_owned())),
            )
        {
            if let Some(text) = env(&variable).filter(|text| !text.is_empty()) {
                set_from_text(&mut values, &path, &text, &variable)?;
                origins.insert(path, format!("environment {variable}"));
            }
        }
        let mut flag = |path: &str, value: Option<String>| {
            if let Some(value) = value {
                origins.insert(path.to_owned(), format!("flag --{path}"));
                values.insert(path.to_owned(), Value::String(value));
            }
        };
        flag("state-dir", global.state_dir.as_ref().map(|dir| cwd.join(dir).display().to_string()));
        flag("log-format", global.log_format.map(|format| format!("{format:?}").to_lowercase()));
        if let Some(url) = &global.catalog {
            set_from_text(&mut values, CATALOG, url, "--catalog")?;
            origins.insert(CATALOG.to_owned(), "flag --catalog".to_owned());
        }
        let config: Config = values.clone().try_into().map_err(|error: toml::de::Error| ConfigError::Invalid {
            place: "environment".into(),
            message: error.message().to_owned(),
            hint: None,
        })?;
        if !matches!(config.log_format.as_str(), "text" | "json") {
            let place = origins.get("log-format").cloned().unwrap_or_default();
            let message = format!("`{}` is not a log format", config.log_format);
            return Err(ConfigError::Invalid { place, message, hint: Some("write text or json".into()) });
        }
        for (plugin, PluginConfig { grant, .. }) in &config.plugins {
            let known = Grants::known();
            if let Some(unknown) = grant.iter().find(|name| !known.contains(&name.as_str())) {
                let file = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
                let message = format!("plugins.{plugin}.grant: there is no capability `{unknown}`");
                let hint = closest(unknown, known.iter().copied())
                    .map_or_else(|| format!("known: {}", known.join(", ")), |known| format!("did you mean `{known}`?"));
                return Err(ConfigError::Invalid { place: file, message, hint: Some(hint) });
            }
        }
        Ok(Self { config, project, origins, values })
    }

    /// The state directory.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.project.join(&self.config.state_dir)
    }

    /// What says which plugins were pulled.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.project.join("plinth.lock")
    }

    /// Where plugins are that were pulled.
    pub(crate) fn pulled_dir(&self) -> PathBuf {
        self.state_dir().join("plugins")
    }

    /// The database of the catalog, if it is not in the state directory.
    pub(crate) fn catalog(&self) -> Option<&str> {
        Some(self.config.catalog.url.as_str()).filter(|url| !url.is_empty())
    }

    /// Opens a state directory with the catalog and the place for artifacts that are configured.
    pub(crate) fn open_store(&self, dir: &Path, access: Access) -> Result<Store, StoreError> {
        let setup = self.setup()?;
        if !self.config.artifacts.store.is_empty() {
            Store::put_blobs_in(dir, &self.config.artifacts.store.parse()?, &setup)?;
        }
        Store::open_set(dir, &setup, access)
    }

    /// What opening a state directory needs to know.
    pub(crate) fn setup(&self) -> Result<Setup, StoreError> {
        let allowed = self.config.artifacts.allow.iter().filter(|url| !url.is_empty());
        Ok(Setup {
            allowed: allowed.map(|url| url.parse()).collect::<Result<_, _>>()?,
            catalog: self.catalog().map(str::to_owned),
            artifacts: self.config.limits.artifacts.clone(),
            ..Setup::default()
        })
    }

    /// Whether a flag, the environment or the file sets a leaf.
    pub(crate) fn is_set(&self, path: &str) -> bool {
        self.origins.contains_key(path)
    }

    /// Every leaf: its path, its value as TOML, its origin.
    pub(crate) fn rows(&self) -> Vec<(String, String, String)> {
        leaves(&self.values, "")
            .into_iter()
            .map(|path| {
                let value = match (path.as_str(), self.catalog()) {
                    // Never its password.
                    (CATALOG, Some(url)) => Value::String(plinth_store::catalog_name(url)).to_string(),
                    _ => get(&self.values, &path).map(ToString::to_string).unwrap_or_default(),
                };
                let origin = self.origins.get(&path).map_or("default", String::as_str).to_owned();
                (path, value, origin)
            })
            .collect()
    }
}

/// Whether a text is a configuration.
pub(crate) fn check_text(text: &str) -> Result<(), String> {
    toml::from_str::<Config>(text).map(drop).map_err(|error| error.message().trim().to_owned())
}

/// Reads a file strictly: a key that nothing reads is an error with its line.
fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let unreadable = |message: String| ConfigError::Unreadable { path: path.to_owned(), message };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("{size} bytes are more than the {FILE_BYTES_MAX} allowed")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let invalid = |error: &toml::de::Error| {
        let at = error.span().map(|span| {
            let before = &text[..span.start.min(text.len())];
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            format!(":{}:{column}", before.matches('\n').count() + 1)
        });
        let message = error.message().trim().to_owned();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let unknown = quoted.next().filter(|_| message.starts_with("unknown field"));
        ConfigError::Invalid {
            place: format!("{}{}", path.display(), at.unwrap_or_default()),
            hint: unknown.and_then(|key| closest(key, quoted)).map(|known| format!("did you mean `{known}`?")),
            message,
        }
    };
    toml::from_str::<Config>(&text).map_err(|error| invalid(&error))?;
    toml::from_str(&text).map_err(|error| invalid(&error))
}

fn as_table(config: &Config) -> Table {
    Table::try_from(config).expect("settings are a TOML table")
}

/// Lays `new` over `old` and notes where each leaf comes from.
fn merge(old: &mut Table, new: Table, prefix: &str, origin: &str, origins: &mut BTreeMap<String, String>) {
    for (key, value) in new {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (old.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new, &path, origin, origins),
            (_, Value::Table(new)) => {
                let mut table = Table::new();
                merge(&mut table, new, &path, origin, origins);
                old.insert(key, Value::Table(table));
            }
            (_, value) => {
                origins.insert(path, origin.to_owned());
                old.insert(key, value);
            }
        }
    }
}

/// Dotted paths of everything that is not a table.
fn leaves(table: &Table, prefix: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(table) => paths.extend(leaves(table, &path)),
            _ => paths.push(path),
        }
    }
    paths
}

fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((head, rest)) => get(table.get(head)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// Sets a leaf from an environment variable, read as the type that the default has.
fn set_from_text(table: &mut Table, path: &str, text: &str, variable: &str) -> Result<(), ConfigError> {
    let bad = |expected: &str| ConfigError::Invalid {
        place: format!("environment {variable}"),
        message: format!("`{text}` is not {expected}"),
        hint: None,
    };
    let (way, last) = path.rsplit_once('.').map_or((None, path), |(way, last)| (Some(way), last));
    let mut at = table;
    for part in way.iter().flat_map(|way| way.split('.')) {
        at = at.get_mut(part).and_then(Value::as_table_mut).expect("paths come from the default's tables");
    }
    let value = match at.get(last) {
        Some(Value::Integer(_)) => Value::Integer(text.parse().map_err(|_| bad("a whole number"))?),
        Some(Value::Float(_)) => Value::Float(text.parse().map_err(|_| bad("a number"))?),
        Some(Value::Boolean(_)) => Value::Boolean(text.parse().map_err(|_| bad("true or false"))?),
        Some(Value::Array(_)) => {
            // Folders are set apart as the system does it; everything else may have colons of its own.
            let parts: Vec<String> = if path == "plugin-dirs" {
                std::env::split_paths(text).map(|path| path.display().to_string()).collect()
            } else {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            };
            Value::Array(parts.into_iter().map(Value::String).collect())
        }
        _ => Value::String(text.to_owned()),
    };
    at.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn global() -> Global {
        Global {
            state_dir: None,
            catalog: None,
            config: None,
            json: false,
            log_format: None,
            verbose: 0,
            color: crate::args::When::Never,
        }
    }

    fn told(error: &ConfigError) -> String {
        format!("[{}] {error} / {}", error.code(), error.hint().unwrap_or_default())
    }

    #[test]
    fn flags_win_over_environment_over_file_over_default() {
        let dir = tempfile::tempdir().unwrap();
        let text = "device = \"cpu\"\nstate-dir = \"file\"\n[limits.plugin]\ncall-ms-max = 1\n[plugins.x]\ngrant = [\"objects\"]\n";
        std::fs::write(dir.path().join("plinth.toml"), text).unwrap();
        let below = dir.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        let env = |name: &str| match name {
            "PLINTH_LIMITS_PLUGIN_CALL_MS_MAX" => Some("7".to_owned()),
            "PLINTH_STATE_DIR" => Some("env".to_owned()),
            _ => None,
        };
        let settings = Settings::load(&global(), &below, env).unwrap();
        assert_eq!(settings.config.limits.plugin.call_ms_max, 7);
        assert_eq!(settings.config.device, "cpu");
        assert_eq!(settings.config.plugins["x"].grant, ["objects"]);
        assert_eq!(settings.state_dir(), dir.path().join("env"));
        let rows = settings.rows();
        let origin = |path: &str| rows.iter().find(|row| row.0 == path).unwrap().2.clone();
        assert_eq!(origin("state-dir"), "environment PLINTH_STATE_DIR");
        assert!(origin("device").ends_with("plinth.toml"));
        assert_eq!(origin("serve.port"), "default");
        let flags = Global { state_dir: Some("flag".into()), ..global() };
        assert_eq!(Settings::load(&flags, &below, env).unwrap().state_dir(), below.join("flag"));
    }

    #[test]
    fn the_catalog_is_where_flag_environment_or_file_say_and_its_password_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::load(&global(), dir.path(), |_| None).unwrap();
        assert_eq!(settings.catalog(), None);
        std::fs::write(dir.path().join("plinth.toml"), "[catalog]\nurl = \"postgres://ann:s3cret@db/file\"\n").unwrap();
        let catalog = |global: &Global, variable: &str| {
            let env = |name: &str| (name == variable).then(|| "postgres://ann:s3cret@db/env".to_owned());
            let settings = Settings::load(global, dir.path(), env).unwrap();
            let rows = settings.rows();
            assert!(!format!("{rows:?}").contains("s3cret"), "{rows:?}");
            let row = rows.into_iter().find(|row| row.0 == "catalog.url").unwrap();
            (settings.catalog().unwrap().to_owned(), row.1)
        };
        let of = |name: &str| (format!("postgres://ann:s3cret@db/{name}"), format!("\"postgres://db:5432/{name}\""));
        assert_eq!(catalog(&global(), ""), of("file"));
        assert_eq!(catalog(&global(), "PLINTH_CATALOG"), of("env"));
        let flags = Global { catalog: Some("postgres://ann:s3cret@db/flag".into()), ..global() };
        assert_eq!(catalog(&flags, "PLINTH_CATALOG"), of("flag"));
    }

    #[test]
    fn artifacts_are_where_environment_or_file_say() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[artifacts]\nstore = \"s3://file/x\"\nallow = [\"s3://data/team\"]\n";
        std::fs::write(dir.path().join("plinth.toml"), text).unwrap();
        let settings = Settings::load(&global(), dir.path(), |_| None).unwrap();
        assert_eq!(settings.config.artifacts.store, "s3://file/x");
        assert_eq!(settings.setup().unwrap().allowed, ["s3://data/team".parse().unwrap()]);
        let env = |name: &str| match name {
            "PLINTH_ARTIFACT_STORE" => Some("s3://env/x".to_owned()),
            "PLINTH_ARTIFACTS_ALLOW" => Some("s3://a,gs://b".to_owned()),
            _ => None,
        };
        let settings = Settings::load(&global(), dir.path(), env).unwrap();
        assert_eq!(settings.config.artifacts.store, "s3://env/x");
        assert!(settings.setup().unwrap_err().to_string().contains("gs://b"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_likely_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plinth.toml"), "device = \"cpu\"\n[serve]\nprot = 1\n").unwrap();
        let error = Settings::load(&global(), dir.path(), |_| None).unwrap_err();
        let text = told(&error);
        assert!(text.contains("plinth.toml:3:1: unknown field `prot`"), "{text}");
        assert!(text.ends_with("did you mean `port`?"), "{text}");
    }

    #[test]
    fn a_grant_that_no_host_knows_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plinth.toml"), "[plugins.x]\ngrant = [\"object\"]\n").unwrap();
        let text = told(&Settings::load(&global(), dir.path(), |_| None).unwrap_err());
        assert!(text.contains("plinth.toml: plugins.x.grant: there is no capability `object`"), "{text}");
        assert!(text.ends_with("did you mean `objects`?"), "{text}");
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_variable() {
        let dir = tempfile::tempdir().unwrap();
        let env = |name: &str| (name == "PLINTH_SERVE_PORT").then(|| "http".to_owned());
        let error = Settings::load(&global(), dir.path(), env).unwrap_err();
        assert_eq!(told(&error), "[bad-config] environment PLINTH_SERVE_PORT: `http` is not a whole number / ");
    }
}
