//! Plugins as extensions: finds a component, decides what it is granted, and hands out what it exports.
//!
//! Grants are what its manifest asks for, as far as the operator allows it. Naming a source in a stage allows the
//! stage's loader to read exactly that source; a gate gets the tables of its call. Anything else needs a line in
//! `plinth.toml`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use plinth_core::{ContentHash, Limits, codes};
use plinth_ext::{DriftTest, Gate, Item, Loader, Models, Transform};
use plinth_pipeline::{Cache, StageFailure};
use plinth_plugin::{Compiling, ExtensionPoint, FileObjects, Grants, Host, HostConfig, Plugin, Progress};
use serde::Serialize;

use crate::{
    config::Settings,
    output::{Failure, bars},
    plugins::{Found, PluginError, PluginRef, pick},
    scorer::Use,
    services,
};

/// The plugins of a process. Cheap to make: nothing is read or compiled before it is used.
pub(crate) struct Components {
    host: Host,
    settings: Settings,
    loaded: Mutex<HashMap<(PathBuf, Vec<String>), Plugin>>,
}

/// Who a component is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) hash: ContentHash,
    pub(crate) path: PathBuf,
}

/// What `plinth plugin inspect` tells.
#[derive(Debug, Serialize)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) path: String,
    pub(crate) hash: ContentHash,
    pub(crate) asks: Vec<String>,
    pub(crate) granted: Vec<String>,
    /// Extension point and item.
    pub(crate) items: Vec<(String, Item)>,
}

/// This program, also after its file was replaced by another version: that would compile for itself.
fn own_program() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() { running.to_owned() } else { std::env::current_exe().unwrap_or_else(|_| "plinth".into()) }
}

/// Shows what is compiled for longer than the eye takes to see it: a component of Python takes seconds, once.
fn progress() -> Progress {
    const SHOWN_AFTER: Duration = Duration::from_millis(200);
    let shown: Mutex<HashMap<String, ProgressBar>> = Mutex::default();
    Arc::new(move |compiling: &Compiling<'_>| {
        let Compiling { plugin, bytes, elapsed, ended } = *compiling;
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            None if elapsed >= SHOWN_AFTER && !shown.contains_key(plugin) => {
                let bar = bars().add(ProgressBar::new_spinner().with_elapsed(elapsed));
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                    bar.set_style(style);
                }
                let size = indicatif::DecimalBytes(bytes as u64);
                bar.set_message(format!("compiling {plugin} ({size}); this is done once"));
                bar.enable_steady_tick(Duration::from_millis(100));
                shown.insert(plugin.to_owned(), bar);
            }
            None => {}
            Some(compiled) => {
                if let Some(bar) = shown.remove(plugin) {
                    bar.finish_and_clear();
                    bars().remove(&bar);
                }
                if compiled {
                    let ms = elapsed.as_millis() as u64;
                    tracing::info!(plugin, ms, "compiled; the next process finds it compiled");
                }
            }
        }
    })
}

impl Components {
    pub(crate) fn new(settings: &Settings) -> Self {
        let config = HostConfig {
            cache_dir: cache_dir(settings),
            limits: settings.config.limits.plugin.clone(),
            deterministic: settings.config.deterministic,
            compiler: Arc::new(|| {
                let mut command = Command::new(own_program());
                command.args(["plugin", "compile-worker"]);
                command
            }),
            progress: Some(progress()),
        };
        Self { host: Host::new(config), settings: settings.clone(), loaded: Mutex::default() }
    }

    /// What the configuration allows.
    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.config.limits
    }

    /// The most memory that one instance of a plugin has had.
    pub(crate) fn largest_bytes(&self) -> u64 {
        self.host.usage().largest_bytes
    }

    /// A component with everything granted, to be looked at.
    pub(crate) fn whole(&self, found: &Found) -> Result<Plugin, Failure> {
        Ok(self.host.load_file(&found.path, &Grants::of(Grants::known().iter().copied()))?)
    }

    /// A component that was read already, with everything granted, to be looked at.
    pub(crate) fn read_bytes(&self, name: &str, bytes: Vec<u8>) -> Result<Plugin, Failure> {
        Ok(self.host.load(name, bytes, &Grants::of(Grants::known().iter().copied()))?)
    }

    /// The extension point of a plugin, or of its item where it has several.
    pub(crate) fn point(&self, plugin: &PluginRef, item: Option<&str>) -> Result<ExtensionPoint, Failure> {
        let found = plugin.find(&self.settings).map_err(|error| Failure::of(&error))?;
        let whole = self.whole(&found)?;
        if let [point] = whole.exports() {
            return Ok(*point);
        }
        let about = self.inspect(&found)?;
        let named = about.items.iter().find(|(_, offered)| item == Some(offered.name.as_str()));
        let point = named.and_then(|(point, _)| whole.exports().iter().find(|export| export.name() == point));
        point.copied().ok_or_else(|| {
            let known: Vec<&str> = about.items.iter().map(|(_, item)| item.name.as_str()).collect();
            let message = match whole.exports().is_empty() {
                true => format!("`{}` offers nothing that can be run", found.name),
                false => format!("`{}` has several extension points, and no item was chosen", found.name),
            };
            Failure::new(codes::PLUGIN_ITEM_NOT_FOUND, message)
                .hint(format!("add --item with one of {}", known.join(", ")))
        })
    }

    /// The content hash of a plugin's file, which must be the pinned one if one is pinned.
    pub(crate) fn hash(&self, cache: &Cache, plugin: &PluginRef) -> Result<ContentHash, StageFailure> {
        let found = plugin.find(&self.settings)?;
        let hash = cache.file_hash(&found.path)?;
        check_pin(&found, hash)?;
        // The deterministic profile may give other bytes, so it is another plugin as far as keys go.
        let deterministic = self.settings.config.deterministic;
        Ok(if deterministic { ContentHash::of_parts([&hash.as_bytes()[..], b"deterministic"]) } else { hash })
    }

    /// A loader that may read `source`.
    pub(crate) fn loader(
        &self,
        plugin: &PluginRef,
        item: Option<&str>,
        source: &Path,
    ) -> Result<(Arc<dyn Loader>, String), StageFailure> {
        let found = plugin.find(&self.settings)?;
        let loaded = self.load(&found, ExtensionPoint::Loader, Some("objects"))?;
        let read = self.settings.config.plugins.get(&found.name).into_iter().flat_map(|plugin| &plugin.read);
        let granted = read.map(|folder| self.settings.project.join(folder)).chain([source.to_owned()]);
        let loader = loaded.loader(Arc::new(FileObjects::new(granted)))?;
        let item = pick(&found.name, loader.items(), item)?;
        Ok((loader, item))
    }

    /// A gate, which gets the tables of each call.
    pub(crate) fn gate(&self, plugin: &PluginRef, item: Option<&str>) -> Result<(Arc<dyn Gate>, String), StageFailure> {
        let found = plugin.find(&self.settings)?;
        let gate = self.load(&found, ExtensionPoint::Gate, Some("tables"))?.gate()?;
        let item = pick(&found.name, gate.items(), item)?;
        Ok((gate, item))
    }

    /// A transform.
    pub(crate) fn transform(
        &self,
        plugin: &PluginRef,
        item: Option<&str>,
    ) -> Result<(Arc<dyn Transform>, String, Identity), StageFailure> {
        let found = plugin.find(&self.settings)?;
        let loaded = self.load(&found, ExtensionPoint::Transform, None)?;
        let transform = loaded.transform()?;
        let item = pick(&found.name, transform.items(), item)?;
        let version = loaded.manifest().version.clone();
        Ok((transform, item, Identity { name: found.name, version, hash: loaded.hash(), path: found.path }))
    }

    /// A transform from the blob store, where its file is named by its hash.
    pub(crate) fn stored_transform(
        &self,
        name: &str,
        path: &Path,
        expected: ContentHash,
        what: Use,
    ) -> Result<Arc<dyn Transform>, StageFailure> {
        let found = Found { name: name.to_owned(), path: path.to_owned(), pinned: Some(expected), only_locked: false };
        let loaded = self.load(&found, ExtensionPoint::Transform, None)?;
        Ok(match what {
            Use::Batch => loaded.transform()?,
            Use::Online => loaded.online_transform()?,
        })
    }

    /// A plugin's kinds of model.
    pub(crate) fn models(
        &self,
        plugin: &PluginRef,
        item: Option<&str>,
    ) -> Result<(Arc<dyn Models>, String, Identity), StageFailure> {
        let found = plugin.find(&self.settings)?;
        let loaded = self.load(&found, ExtensionPoint::Predict, None)?;
        let models = loaded.models()?;
        let item = pick(&found.name, models.items(), item)?;
        let version = loaded.manifest().version.clone();
        Ok((models, item, Identity { name: found.name, version, hash: loaded.hash(), path: found.path }))
    }

    /// Kinds of model from the blob store, where the component's file is named by its hash.
    pub(crate) fn stored_models(
        &self,
        name: &str,
        path: &Path,
        expected: ContentHash,
        what: Use,
    ) -> Result<Arc<dyn Models>, StageFailure> {
        let found = Found { name: name.to_owned(), path: path.to_owned(), pinned: Some(expected), only_locked: false };
        let loaded = self.load(&found, ExtensionPoint::Predict, None)?;
        Ok(match what {
            Use::Batch => loaded.models()?,
            Use::Online => loaded.online_models()?,
        })
    }

    /// A plugin's drift tests.
    pub(crate) fn drift_tests(&self, plugin: &PluginRef) -> Result<Arc<dyn DriftTest>, StageFailure> {
        let found = plugin.find(&self.settings)?;
        Ok(self.load(&found, ExtensionPoint::DriftTest, None)?.drift_test()?)
    }

    /// What a component offers, asks for and is granted.
    pub(crate) fn inspect(&self, found: &Found) -> Result<About, Failure> {
        // Looked at with everything granted: nothing is run but `describe`.
        let plugin = self.whole(found)?;
        let mut items = Vec::new();
        for point in plugin.exports() {
            let mut add = |list: &[Item]| items.extend(list.iter().map(|i| (point.name().to_owned(), i.clone())));
            match point {
                ExtensionPoint::Loader => add(plugin.loader(Arc::new(FileObjects::default()))?.items()),
                ExtensionPoint::Transform => add(plugin.transform()?.items()),
                ExtensionPoint::Gate => add(plugin.gate()?.items()),
                ExtensionPoint::Predict => add(plugin.models()?.items()),
                ExtensionPoint::DriftTest => {
                    let tests = plugin.drift_test()?;
                    add(&tests.items().iter().map(|test| test.item.clone()).collect::<Vec<_>>());
                }
            }
        }
        Ok(About {
            name: plugin.name().to_owned(),
            version: plugin.manifest().version.clone(),
            path: found.path.display().to_string(),
            hash: plugin.hash(),
            asks: plugin.manifest().capabilities.clone(),
            granted: self.settings.config.plugins.get(&found.name).map(|p| p.grant.clone()).unwrap_or_default(),
            items,
        })
    }

    /// Reads a component with what the operator allows it, and what the kind of its stage allows.
    fn load(&self, found: &Found, wanted: ExtensionPoint, by_stage: Option<&str>) -> Result<Plugin, StageFailure> {
        let mut allowed: Vec<String> =
            self.settings.config.plugins.get(&found.name).map(|plugin| plugin.grant.clone()).unwrap_or_default();
        allowed.extend(by_stage.map(str::to_owned));
        allowed.sort();
        allowed.dedup();
        let key = (found.path.clone(), allowed.clone());
        let known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let plugin = match known {
            Some(plugin) => plugin,
            None => {
                let plugin = {
                    self.trust(found)?;
                    let services = services::of_plugin(&self.settings, &found.name)?;
                    self.read(found, &Grants::of(allowed).served_by(services), wanted)?
                };
                self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(key, plugin.clone());
                plugin
            }
        };
        check_pin(found, plugin.hash())?;
        Ok(plugin)
    }
}

impl Components {
    /// Where only signed plugins may run, whether this one is, or is pinned by more than a lock file, which tells what was
    /// pulled and not whom to trust.
    fn trust(&self, found: &Found) -> Result<(), PluginError> {
        let trust = &self.settings.config.trust;
        if !trust.required || (found.pinned.is_some() && !found.only_locked) {
            return Ok(());
        }
        let bytes = std::fs::read(&found.path).unwrap_or_default();
        match crate::plugin::check_signature(&found.path, &bytes, &trust.keys) {
            Ok(_) => Ok(()),
            Err(failure) => Err(PluginError::Untrusted { message: failure.message, hint: failure.hint }),
        }
    }

    /// Reads a component under the name that the user knows it by, which for a path is the path.
    fn read(
        &self,
        found: &Found,
        grants: &Grants,
        wanted: ExtensionPoint,
    ) -> Result<Plugin, plinth_plugin::PluginError> {
        let small = std::fs::metadata(&found.path)
            .is_ok_and(|meta| meta.len() <= self.settings.config.limits.plugin.component_bytes_max);
        match small.then(|| std::fs::read(&found.path)) {
            Some(Ok(bytes)) => self.host.load_for(&found.name, bytes, grants, Some(wanted)),
            // It tells what is wrong with the file.
            _ => self.host.load_file(&found.path, grants),
        }
    }
}

fn check_pin(found: &Found, hash: ContentHash) -> Result<(), PluginError> {
    match found.pinned {
        Some(pinned) if pinned != hash => Err(PluginError::NotPinned { name: found.name.clone(), found: hash, pinned }),
        _ => Ok(()),
    }
}

/// Compiled components: per user, as they depend on nothing of a project.
fn cache_dir(settings: &Settings) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    match cache.or_else(|| set("HOME").map(|home| home.join(".cache"))) {
        Some(cache) => cache.join("plinth/components"),
        None => settings.state_dir().join("components"),
    }
}
