//! What a component says of itself, read without running or compiling it.

use serde::{Deserialize, Serialize};
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

use crate::{
    fault::{PluginError, cut},
    version::{WitVersion, version_in},
};

/// The custom section of a component that holds its manifest.
pub const MANIFEST_SECTION: &str = "plinth-manifest";

/// Who a plugin is and what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Its name; without a manifest, the name of its file.
    pub name: String,
    /// Semver.
    pub version: String,
    /// One line.
    pub description: Option<String>,
    /// SPDX expression.
    pub license: Option<String>,
    /// Extension points, as its author sees them: `loader`, `transform`, `gate`, `drift`, `predict`.
    pub kind: Vec<String>,
    /// Capabilities that it asks for.
    pub capabilities: Vec<String>,
    /// Whether the component has no manifest at all; then whatever is granted counts as asked for.
    #[serde(skip)]
    pub absent: bool,
}

impl Manifest {
    /// Whether it asks for a capability.
    pub fn asks_for(&self, capability: &str) -> bool {
        self.absent || self.capabilities.iter().any(|asked| asked == capability)
    }
}

/// An extension point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtensionPoint {
    /// `plinth:loader`.
    Loader,
    /// `plinth:transform`.
    Transform,
    /// `plinth:gate`.
    Gate,
    /// `plinth:drift`.
    DriftTest,
    /// `plinth:predict`.
    Predict,
}

impl ExtensionPoint {
    /// Every extension point.
    pub const ALL: [Self; 5] = [Self::Loader, Self::Transform, Self::Gate, Self::DriftTest, Self::Predict];

    /// The interface that a component exports for it, in the newest version.
    pub fn interface(self) -> String {
        self.interface_in(WitVersion::LATEST)
    }

    /// The interface that a component exports for it in a version.
    pub(crate) fn interface_in(self, version: WitVersion) -> String {
        version.name(self.path())
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Loader => "plinth:loader/loader",
            Self::Transform => "plinth:transform/transform",
            Self::Gate => "plinth:gate/gate",
            Self::DriftTest => "plinth:drift/drift",
            Self::Predict => "plinth:predict/predict",
        }
    }

    /// One word for a person.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Transform => "transform",
            Self::Gate => "gate",
            Self::DriftTest => "drift",
            Self::Predict => "predict",
        }
    }

    /// The extension point that an exported name stands for, in a version that this host speaks.
    pub(crate) fn of_export(name: &str) -> Option<Self> {
        let (path, version) = name.split_once('@')?;
        WitVersion::of(version)?;
        Self::ALL.into_iter().find(|point| point.path() == path)
    }
}

/// The outside of a component.
#[derive(Debug, Clone)]
pub(crate) struct Anatomy {
    /// What the operator calls it, which for a path is the path: `plinth.toml` knows it by that. Its own name is no
    /// key to grants, or any component could take another's by taking its name.
    pub(crate) called: String,
    pub(crate) manifest: Manifest,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    pub(crate) points: Vec<ExtensionPoint>,
}

/// Components within components. Composing tools nest a few; a compiler takes memory for each level of each.
const DEPTH_MAX: u32 = 100;

const COMPONENTIZE: &str = "make a component of it: `wasm-tools component new FILE -o PLUGIN.wasm`, or `cargo xtask plugins` in this repository";

impl Anatomy {
    /// Reads a component's outside. `name` is what it is called if it does not say so itself.
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Self, PluginError> {
        let not = |found: String, hint: &str| PluginError::NotAComponent {
            plugin: name.to_owned(),
            found,
            hint: hint.to_owned(),
        };
        if !bytes.starts_with(b"\0asm") {
            let found = match bytes {
                [] => "it is empty".to_owned(),
                [b'(', ..] => "it is WebAssembly text".to_owned(),
                _ => "it does not begin as WebAssembly does".to_owned(),
            };
            return Err(not(found, "name a file that a component was written to"));
        }
        let broken = |error: wasmparser::BinaryReaderError| {
            not(format!("it is broken at byte {}: {}", error.offset(), error.message()), "build or copy it again")
        };
        let called = name.to_owned();
        let mut anatomy =
            Self { called, manifest: Manifest::default(), imports: vec![], exports: vec![], points: vec![] };
        let mut manifest = None;
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(broken)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(not("it is a core module".into(), COMPONENTIZE));
                }
                // Modules and components within it have sections of their own.
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } if depth == DEPTH_MAX => {
                    return Err(PluginError::CompileDepth { plugin: name.to_owned() });
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        anatomy.imports.push(cut(import.map_err(broken)?.name.name.to_owned(), 200));
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export.map_err(broken)?;
                        if export.kind == ComponentExternalKind::Instance {
                            anatomy.exports.push(cut(export.name.name.to_owned(), 200));
                        }
                    }
                }
                Payload::CustomSection(section) if depth == 0 && section.name() == MANIFEST_SECTION => {
                    let parsed = serde_json::from_slice::<Manifest>(section.data());
                    manifest = Some(parsed.map_err(|error| {
                        not(format!("its manifest does not read: {error}"), "build it again with a sound manifest")
                    })?);
                }
                _ => {}
            }
        }
        for point in anatomy.exports.iter().filter_map(|name| ExtensionPoint::of_export(name)) {
            // It may export one in several versions; the newest is used.
            if !anatomy.points.contains(&point) {
                anatomy.points.push(point);
            }
        }
        anatomy.manifest = match manifest {
            Some(mut manifest) => {
                if manifest.name.is_empty() {
                    manifest.name = name.to_owned();
                }
                manifest.name = cut(manifest.name, 200);
                manifest
            }
            None => Manifest { name: name.to_owned(), absent: true, ..Manifest::default() },
        };
        Ok(anatomy)
    }

    /// Whether it imports anything of ours in a version.
    pub(crate) fn imports_of(&self, version: WitVersion) -> bool {
        self.imports.iter().any(|name| version_in(name).and_then(WitVersion::of) == Some(version))
    }

    /// The versions of the WIT packages that it was built against, the oldest first: one, unless it mixes them.
    pub(crate) fn versions(&self) -> Vec<WitVersion> {
        let names = || self.exports.iter().chain(&self.imports).filter_map(|name| version_in(name));
        WitVersion::ALL.into_iter().filter(|own| names().any(|name| WitVersion::of(name) == Some(*own))).collect()
    }

    /// The error for an extension point that it does not export.
    pub(crate) fn wrong_world(&self, wanted: ExtensionPoint) -> PluginError {
        let exports = if self.exports.is_empty() {
            "nothing".to_owned()
        } else {
            self.exports.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        PluginError::WrongWorld { plugin: self.manifest.name.clone(), wanted: wanted.interface(), exports }
    }
}
