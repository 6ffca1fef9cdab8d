//! From a core module to a component that says who it is.

use std::borrow::Cow;

use wasm_encoder::{ComponentSection, CustomSection, Module, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::{
    files,
    manifest::{Manifest, ManifestError},
};

/// The custom section that holds the manifest; the host reads it without running anything.
const MANIFEST_SECTION: &str = "plinth-manifest";

/// A module does not become a component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// Its manifest is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is no module, or does not export what its manifest says.
    #[error("the module does not become a component: {0}")]
    Module(String),
}

/// Where a module imports WASI preview 1 from.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// Makes a component of a core module that `wit-bindgen` or the like made: describes its interfaces by the world of its
/// manifest unless it describes them itself, checks that it exports what it says, and appends the manifest. `adapter`
/// turns WASI preview 1, which some languages know, into the WASI 0.2 that the host offers closed; without one, a module
/// that imports preview 1, as C does once it prints, gets wasmtime's.
///
/// # Errors
/// [`ComponentError`].
pub fn componentize(core: &[u8], manifest: &[u8], adapter: Option<&[u8]>) -> Result<Vec<u8>, ComponentError> {
    let told = Manifest::read(manifest)?;
    let failed = |error: String| ComponentError::Module(error);
    let mut module = without_debugging(core).map_err(|error| failed(error.to_string()))?;
    if !describes_itself(core) {
        let mut resolve = Resolve::default();
        let packages = ["types", "host", "loader", "transform", "gate", "drift", "predict"];
        for package in packages {
            let (path, text) =
                (format!("wit/{package}/{package}.wit"), files::text(&format!("wit/{package}/{package}.wit")));
            resolve.push_str(&path, text).map_err(|error| failed(format!("{error:#}")))?;
        }
        let package = resolve.push_str("plugin.wit", &world(&told)).map_err(|error| failed(format!("{error:#}")))?;
        let world = resolve.select_world(&[package], Some("plugin")).map_err(|error| failed(format!("{error:#}")))?;
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(|error| failed(format!("{error:#}")))?;
    }
    let mut encoder =
        ComponentEncoder::default().validate(true).module(&module).map_err(|error| failed(format!("{error:#}")))?;
    // A module that imports none of it needs no adapter, and its component stays as small as it was.
    if let Some(adapter) = adapter.or_else(|| imports_preview_1(core).then(preview_1_adapter).flatten()) {
        encoder = encoder.adapter(PREVIEW_1, adapter).map_err(|error| failed(format!("{error:#}")))?;
    }
    let mut component = encoder.encode().map_err(|error| failed(format!("{error:#}")))?;
    CustomSection { name: MANIFEST_SECTION.into(), data: Cow::Borrowed(manifest) }.append_to_component(&mut component);
    Ok(component)
}

/// All that the host offers (what the module does not import is left out again) and what the plugin exports.
fn world(manifest: &Manifest) -> String {
    let version = wit_version();
    let mut text = String::from("package plinth:plugin;\nworld plugin {\n");
    for interface in host_interfaces() {
        text.push_str(&format!("  import plinth:host/{interface}@{version};\n"));
    }
    for kind in &manifest.kind {
        text.push_str(&format!("  export plinth:{kind}/{kind}@{version};\n"));
    }
    text.push_str("}\n");
    text
}

/// The version of the WIT packages, which is one for all of them.
fn wit_version() -> &'static str {
    let first = files::text("wit/types/types.wit").lines().find_map(|line| line.strip_prefix("package plinth:types@"));
    first.map_or("", |rest| rest.trim_end_matches(';'))
}

/// The names of the interfaces that the host offers.
fn host_interfaces() -> impl Iterator<Item = &'static str> {
    let lines = files::text("wit/host/host.wit").lines();
    lines.filter_map(|line| line.strip_prefix("interface ")?.split_whitespace().next())
}

/// Whether there is a section that says which world the module is of.
fn describes_itself(core: &[u8]) -> bool {
    Parser::new(0).parse_all(core).flatten().any(
        |payload| matches!(payload, Payload::CustomSection(section) if section.name().starts_with("component-type")),
    )
}

/// The module that turns WASI preview 1 into 0.2, the one that projects in Go get.
fn preview_1_adapter() -> Option<&'static [u8]> {
    let mut files = files::below("sdk/go/adapter");
    files.find(|(name, _)| *name == "wasi_snapshot_preview1.reactor.wasm").map(|(_, adapter)| adapter)
}

/// Whether the module imports something of WASI preview 1.
fn imports_preview_1(core: &[u8]) -> bool {
    Parser::new(0).parse_all(core).flatten().any(|payload| match payload {
        Payload::ImportSection(imports) => imports.into_imports().flatten().any(|import| import.module == PREVIEW_1),
        _ => false,
    })
}

/// The module without what only a debugger reads. Names stay, so that a trap says where it was.
fn without_debugging(core: &[u8]) -> Result<Vec<u8>, wasmparser::BinaryReaderError> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload?;
        if matches!(&payload, Payload::CustomSection(section) if section.name().starts_with(".debug")) {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &core[range] });
        }
    }
    Ok(module.finish())
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{EntityType, ImportSection, TypeSection};

    use super::*;

    const GATE: &[u8] = br#"{"name": "a", "version": "1.0.0", "kind": ["gate"], "capabilities": []}"#;

    #[test]
    fn every_world_resolves() {
        for kind in crate::manifest::KINDS {
            let manifest = format!(r#"{{"name": "a", "version": "1.0.0", "kind": ["{kind}"]}}"#);
            // An empty module exports nothing, and that is what it is refused for.
            let error = componentize(&Module::new().finish(), manifest.as_bytes(), None).unwrap_err().to_string();
            assert!(error.contains(&format!("plinth:{kind}/{kind}")), "{error}");
        }
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let error = componentize(b"hello", GATE, None).unwrap_err().to_string();
        assert!(error.contains("does not become a component"), "{error}");
        let error = componentize(&Module::new().finish(), b"{}", None).unwrap_err().to_string();
        assert!(error.contains("name"), "{error}");
    }

    #[test]
    fn only_what_imports_preview_1_is_adapted() {
        let importing = |name: &str| {
            let (mut types, mut imports, mut module) = (TypeSection::new(), ImportSection::new(), Module::new());
            types.ty().function([], []);
            imports.import(name, "sched_yield", EntityType::Function(0));
            module.section(&types).section(&imports);
            module.finish()
        };
        assert!(imports_preview_1(&importing("wasi_snapshot_preview1")));
        assert!(!imports_preview_1(&importing("plinth:host/log@0.2.0")));
        assert!(!imports_preview_1(&Module::new().finish()));
    }

    #[test]
    fn the_adapter_is_there() {
        assert!(preview_1_adapter().is_some_and(|adapter| adapter.starts_with(b"\0asm")));
    }
}
