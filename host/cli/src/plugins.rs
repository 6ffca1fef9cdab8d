//! Where plugins are found: by path, by the pipeline file's names, by `plinth.toml`, or by name in the plugin folders.

use std::path::{Path, PathBuf};

use plinth_core::{Code, Coded, ContentHash, codes, did_you_mean};
use plinth_ext::Item;
use plinth_pipeline::Pipeline;

use crate::config::Settings;

/// A plugin as a stage names it.
#[derive(Debug, Clone)]
pub(crate) struct PluginRef {
    /// The name, or the path as written.
    pub(crate) name: String,
    /// Where it is, if the reference says so itself.
    path: Option<PathBuf>,
}

/// A plugin's file.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What messages call it.
    pub(crate) name: String,
    /// The component.
    pub(crate) path: PathBuf,
    /// The only content that is accepted, if one is pinned.
    pub(crate) pinned: Option<ContentHash>,
    /// Whether it is `plinth.lock` that pins it, and not `plinth.toml`.
    pub(crate) only_locked: bool,
}

impl PluginRef {
    /// `name` is the name of a plugin, or the path of a component relative to the pipeline file.
    pub(crate) fn new(pipeline: &Pipeline, name: &str) -> Self {
        let target = pipeline.plugins.get(name).map_or(name, String::as_str);
        let path = is_path(target).then(|| pipeline.dir.join(target));
        Self { name: if path.is_some() { name.to_owned() } else { target.to_owned() }, path }
    }

    /// A plugin named on the command line; paths are relative to the current folder.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), path: is_path(name).then(|| PathBuf::from(name)) }
    }

    /// Finds its file.
    pub(crate) fn find(&self, settings: &Settings) -> Result<Found, PluginError> {
        let name = match &self.path {
            Some(path) if is_path(&self.name) => key(settings, &self.name, path),
            _ => self.name.clone(),
        };
        let config = settings.config.plugins.get(&name);
        // Of several lines for one file each may pin it.
        let pins = self.path.as_ref().map(|path| same_file(settings, path)).unwrap_or_default();
        let pinned = config.and_then(|config| config.hash);
        let pinned = pinned.or_else(|| pins.iter().find_map(|key| settings.config.plugins[*key].hash));
        let named = config.and_then(|config| config.path.as_deref()).map(|path| settings.project.join(path));
        if let Some(path) = self.path.clone().or(named) {
            if !path.is_file() {
                return Err(PluginError::NoFile { name, path });
            }
            return Ok(Found { name, path, pinned, only_locked: false });
        }
        let folders = folders(settings);
        let file = format!("{}.wasm", self.name);
        match folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file()) {
            Some(path) => {
                // What was pulled is what plinth.lock says that it is.
                let locked =
                    || plinth_registry::Lock::read(&settings.lock_file()).ok()?.plugins.get(&self.name)?.hash.into();
                let pulled = path.starts_with(settings.pulled_dir());
                let only_locked = pinned.is_none();
                let pinned = pinned.or_else(|| if pulled { locked() } else { None });
                Ok(Found { name: self.name.clone(), path, pinned, only_locked })
            }
            None => {
                let known = all(settings);
                let hint = if known.is_empty() {
                    let list: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
                    format!("build the first-party plugins with `cargo xtask plugins`; looked in {}", list.join(", "))
                } else {
                    did_you_mean(&self.name, known.iter().map(|found| found.name.as_str()))
                };
                Err(PluginError::Unknown { name: self.name.clone(), hint })
            }
        }
    }
}

/// Every plugin that can be named, sorted by name.
pub(crate) fn all(settings: &Settings) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let configured = settings.config.plugins.iter().filter_map(|(name, config)| {
        let path = settings.project.join(config.path.as_ref()?);
        Some(Found { name: name.clone(), path, pinned: config.hash, only_locked: false })
    });
    let in_folders = folders(settings).into_iter().flat_map(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ext| ext == "wasm"))
    });
    let in_folders = in_folders.map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let pinned = settings.config.plugins.get(&name).and_then(|config| config.hash);
        Found { name, path, pinned, only_locked: false }
    });
    for plugin in configured.chain(in_folders) {
        // The first folder that has a name wins, as in `find`.
        if !found.iter().any(|other| other.name == plugin.name) {
            found.push(plugin);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The folders that plugins are looked for in, first to last.
fn folders(settings: &Settings) -> Vec<PathBuf> {
    // What the project pulled, and says so in its lock file, comes before what happens to lie about.
    let mut folders = vec![settings.pulled_dir()];
    folders.extend(settings.config.plugin_dirs.iter().map(|dir| settings.project.join(dir)));
    if let Some(beside) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        folders.push(beside.join("plugins"));
        // In a checkout the binary is in target/PROFILE and the components are in target/plugins.
        folders.extend(beside.parent().map(|target| target.join("plugins")));
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")));
    folders.extend(data.map(|data| data.join("plinth/plugins")));
    folders
}

/// The name under which `plinth.toml` has a component that was named by its path: that of a line for the same file, or the path
/// from the project's folder, so that it does not matter how it was written and from where. It is never one that a plugin
/// has that is named by its name.
pub(crate) fn key(settings: &Settings, written: &str, path: &Path) -> String {
    let there = same_file(settings, path);
    if let Some(key) = there.iter().find(|key| **key == written).or(there.first()) {
        return (*key).clone();
    }
    let Some(file) = resolved(path) else { return written.to_owned() };
    let project = settings.project.canonicalize();
    let inside = project.ok().and_then(|project| file.strip_prefix(project).ok().map(Path::to_owned));
    let key = inside.unwrap_or(file).display().to_string();
    if is_path(&key) { key } else { format!("./{key}") }
}

/// The lines of `plinth.toml` for a file.
fn same_file<'a>(settings: &'a Settings, path: &Path) -> Vec<&'a String> {
    let Some(file) = resolved(path) else { return Vec::new() };
    let keys = settings.config.plugins.keys().filter(|key| is_path(key));
    keys.filter(|key| resolved(&settings.project.join(key)).is_some_and(|other| other == file)).collect()
}

/// A path without links and detours; of a file that is not there, that of its folder.
fn resolved(path: &Path) -> Option<PathBuf> {
    let whole = path.canonicalize().ok();
    whole.or_else(|| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    })
}

pub(crate) fn is_path(text: &str) -> bool {
    text.contains('/') || Path::new(text).extension().is_some_and(|ext| ext == "wasm")
}

/// The item that was asked for, or the only one.
pub(crate) fn pick<'a>(
    plugin: &str,
    items: impl IntoIterator<Item = &'a Item> + Clone,
    wanted: Option<&str>,
) -> Result<String, PluginError> {
    let names: Vec<&str> = items.into_iter().map(|item| item.name.as_str()).collect();
    match wanted {
        Some(wanted) if names.contains(&wanted) => Ok(wanted.to_owned()),
        Some(wanted) => Err(PluginError::NoItem {
            plugin: plugin.to_owned(),
            item: wanted.to_owned(),
            hint: did_you_mean(wanted, names),
        }),
        None if names.len() == 1 => Ok(names[0].to_owned()),
        None => Err(PluginError::WhichItem { plugin: plugin.to_owned(), known: names.join(", ") }),
    }
}

/// A plugin that cannot be found, or not told apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("no plugin is named `{name}`")]
    Unknown { name: String, hint: String },
    #[error("the file of plugin `{name}` does not exist: `{}`", path.display())]
    NoFile { name: String, path: PathBuf },
    #[error("plugin `{plugin}` offers no `{item}`")]
    NoItem { plugin: String, item: String, hint: String },
    #[error("plugin `{plugin}` offers several items and none was chosen")]
    WhichItem { plugin: String, known: String },
    #[error("plugin `{name}` is {found}, but plinth.toml pins {pinned}")]
    NotPinned { name: String, found: ContentHash, pinned: ContentHash },
    #[error("{message}")]
    Untrusted { message: String, hint: Option<String> },
}

impl Coded for PluginError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } | Self::NoFile { .. } => codes::PLUGIN_NOT_FOUND,
            Self::NoItem { .. } | Self::WhichItem { .. } => codes::PLUGIN_ITEM_NOT_FOUND,
            Self::NotPinned { .. } => codes::PLUGIN_CHANGED,
            Self::Untrusted { .. } => codes::PLUGIN_UNTRUSTED,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Untrusted { hint, .. } => return hint.clone(),
            Self::Unknown { hint, .. } | Self::NoItem { hint, .. } => hint.clone(),
            Self::NoFile { .. } => "paths are relative to the file that names the plugin".into(),
            Self::WhichItem { known, .. } => format!("write `item:` (or --item) with one of {known}"),
            Self::NotPinned { name, found, .. } => {
                format!("if the change is wanted, write hash = \"{found}\" under [plugins.\"{name}\"]")
            }
        })
    }
}
