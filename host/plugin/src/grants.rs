//! What an operator allows a plugin, against what the plugin imports.

use std::collections::BTreeSet;

use crate::{fault::PluginError, manifest::Anatomy, services::Services};

/// What one plugin may use of the host. Messages to the log and the plugin's own settings are always granted.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    names: BTreeSet<String>,
    services: Services,
}

/// The capabilities that a host has.
const KNOWN: [&str; 10] = ["log", "config", "objects", "tables", "kv", "http", "nn", "clock", "random", "secrets"];
/// Those that need no grant.
const ALWAYS: [&str; 2] = ["log", "config"];

impl Grants {
    /// Nothing but the log.
    pub fn none() -> Self {
        Self::default()
    }

    /// The capabilities named, such as `objects`.
    pub fn of<S: Into<String>>(capabilities: impl IntoIterator<Item = S>) -> Self {
        Self { names: capabilities.into_iter().map(Into::into).collect(), services: Services::default() }
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, capability: &str) -> Self {
        self.names.insert(capability.to_owned());
        self
    }

    /// These, with what stands behind them.
    #[must_use]
    pub fn served_by(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// Whether a capability is granted.
    pub fn has(&self, capability: &str) -> bool {
        ALWAYS.contains(&capability) || self.names.contains(capability)
    }

    /// The capabilities that every host knows.
    pub fn known() -> &'static [&'static str] {
        &KNOWN
    }

    /// The capabilities that every plugin has.
    pub fn always() -> &'static [&'static str] {
        &ALWAYS
    }

    /// Checks every import of a component; the error names the first that cannot be.
    pub(crate) fn check(&self, anatomy: &Anatomy) -> Result<(), PluginError> {
        anatomy.imports.iter().try_for_each(|import| self.check_import(anatomy, import))
    }

    fn check_import(&self, anatomy: &Anatomy, import: &str) -> Result<(), PluginError> {
        let plugin = &anatomy.manifest.name;
        let (path, version) = import.split_once('@').unwrap_or((import, ""));
        let unknown =
            |hint: String| PluginError::UnknownImport { plugin: plugin.clone(), import: import.to_owned(), hint };
        let (package, interface) = path.split_once('/').unwrap_or((path, ""));
        match package {
            "plinth:types" => Ok(()),
            "plinth:host" if KNOWN.contains(&interface) => {
                if !self.has(interface) {
                    let mut granted = self.clone().with(interface).names;
                    granted.retain(|name| !ALWAYS.contains(&name.as_str()));
                    let list: Vec<String> = granted.iter().map(|name| format!("\"{name}\"")).collect();
                    return Err(PluginError::Denied {
                        plugin: plugin.clone(),
                        capability: interface.to_owned(),
                        line: format!("under [plugins.\"{}\"]: grant = [{}]", anatomy.called, list.join(", ")),
                    });
                }
                if !ALWAYS.contains(&interface) && !anatomy.manifest.asks_for(interface) {
                    return Err(PluginError::NotAsked { plugin: plugin.clone(), capability: interface.to_owned() });
                }
                Ok(())
            }
            "plinth:host" => Err(unknown(format!("the host has {}", KNOWN.join(", ")))),
            "wasi:io" | "wasi:clocks" | "wasi:random" | "wasi:cli" | "wasi:filesystem" | "wasi:sockets"
                if version.starts_with("0.2.") =>
            {
                Ok(())
            }
            _ if package.starts_with("wasi:") => Err(unknown(
                "plugins get WASI 0.2 without files, network and environment, and nothing else of it".into(),
            )),
            _ => Err(unknown("plugins may import plinth:host and WASI 0.2 only".into())),
        }
    }
}
