//! From a core module to a component that says who it is.

use std::borrow::Cow;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasm_encoder::{ComponentSection, CustomSection};
use wit_component::ComponentEncoder;

use crate::repo::Package;

/// The custom section that holds the manifest; the host reads it without running anything.
pub(crate) const MANIFEST_SECTION: &str = "plinth-manifest";

/// Turns a core module that `wit-bindgen` described into a validated component with `manifest` in it.
pub(crate) fn encode(module: &[u8], manifest: &str) -> Result<Vec<u8>> {
    let mut component = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("the module does not describe its interfaces")?
        .encode()
        .context("the module is not what its interfaces say")?;
    let section = CustomSection { name: MANIFEST_SECTION.into(), data: Cow::Borrowed(manifest.as_bytes()) };
    section.append_to_component(&mut component);
    Ok(component)
}

/// What a plugin says of itself, from its Cargo.toml.
pub(crate) fn manifest(package: &Package) -> String {
    let plinth = package.plinth.clone().unwrap_or_default();
    let list = |key: &str| plinth.get(key).cloned().unwrap_or_else(|| json!([]));
    let summary = plinth.get("summary").and_then(Value::as_str).unwrap_or_default();
    let description = if package.description.is_empty() { summary } else { &package.description };
    json!({
        "name": plinth.get("name").cloned().unwrap_or_else(|| json!(package.name)),
        "version": package.version,
        "description": description,
        "license": package.license,
        "kind": list("kind"),
        "capabilities": list("capabilities"),
    })
    .to_string()
}
