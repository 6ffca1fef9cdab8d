//! `plugin.json`: who a plugin is. It becomes the manifest in the component.

use serde::Deserialize;
use serde_json::{Value, json};

/// The extension points, as a manifest names them.
pub const KINDS: [&str; 5] = ["loader", "transform", "gate", "drift", "predict"];

/// A manifest does not read as one.
#[derive(Debug, thiserror::Error)]
#[error("the manifest: {0}")]
pub struct ManifestError(String);

impl ManifestError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// Kebab-case.
    pub name: String,
    /// Semantic.
    pub version: String,
    /// The extension points that it exports.
    pub kind: Vec<String>,
    /// What it asks to be granted.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// [`ManifestError`] says what is missing.
    pub fn read(json: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(json).map_err(|error| ManifestError(error.to_string()))?;
        if manifest.kind.is_empty() {
            return Err(ManifestError(format!("`kind` names no extension point; there are {}", KINDS.join(", "))));
        }
        match manifest.kind.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            Some(kind) => {
                Err(ManifestError(format!("there is no extension point `{kind}`; there are {}", KINDS.join(", "))))
            }
            None => Ok(manifest),
        }
    }

    /// The manifest of a Rust plugin, whose `Cargo.toml` says it, from its package in `cargo metadata`.
    ///
    /// # Errors
    /// [`ManifestError`]: there is no `[package.metadata.plinth]`, or it lacks something.
    pub fn of_package(package: &Value) -> Result<String, ManifestError> {
        let plinth = &package["metadata"]["plinth"];
        if plinth.is_null() {
            let message = "Cargo.toml has no [package.metadata.plinth], such as `kind = [\"transform\"]`";
            return Err(ManifestError(message.into()));
        }
        let list = |key: &str| if plinth[key].is_null() { json!([]) } else { plinth[key].clone() };
        let json = json!({
            "name": package["name"],
            "version": package["version"],
            "description": package["description"],
            "license": package["license"],
            "kind": list("kind"),
            "capabilities": list("capabilities"),
        })
        .to_string();
        Self::read(json.as_bytes())?;
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_lacks_is_named() {
        for (json, said) in [
            ("{}", "name"),
            (r#"{"name": "a", "version": "1.0.0", "kind": []}"#, "no extension point"),
            (r#"{"name": "a", "version": "1.0.0", "kind": ["transfrom"]}"#, "`transfrom`"),
        ] {
            assert!(Manifest::read(json.as_bytes()).unwrap_err().to_string().contains(said), "{json}");
        }
    }

    #[test]
    fn a_cargo_manifest_says_the_same() {
        let package = json!({"name": "a", "version": "2.0.0", "metadata": {"plinth": {"kind": ["gate"]}}});
        let manifest = Manifest::read(Manifest::of_package(&package).unwrap().as_bytes()).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("a", "2.0.0"));
        assert!(Manifest::of_package(&json!({"name": "a"})).unwrap_err().to_string().contains("metadata.plinth"));
    }
}
