//! `plugin.json`: who a plugin is. It becomes the manifest in the component.

use serde::Deserialize;

/// The extension points, as a manifest names them.
pub const KINDS: [&str; 5] = ["loader", "transform", "gate", "drift", "predict"];

/// A manifest does not read as one.
#[derive(Debug, thiserror::Error)]
#[error("plugin.json: {0}")]
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

    /// The manifest of a Rust plugin, whose `Cargo.toml` says it: `[package]` and `[package.metadata.plinth]`.
    ///
    /// # Errors
    /// [`ManifestError`] says what is missing.
    pub fn of_cargo(toml: &str) -> Result<String, ManifestError> {
        let failed = |message: String| ManifestError(format!("Cargo.toml: {message}"));
        let all: toml::Table = toml.parse().map_err(|error: toml::de::Error| failed(error.message().to_owned()))?;
        let package =
            all.get("package").and_then(toml::Value::as_table).ok_or_else(|| failed("no [package]".into()))?;
        let plinth = package.get("metadata").and_then(|metadata| metadata.get("plinth"));
        let plinth = plinth.ok_or_else(|| failed("no [package.metadata.plinth]".into()))?;
        // What a workspace says for all its members is looked up there.
        let shared = all.get("workspace").and_then(|workspace| workspace.get("package"));
        let text = |key: &str| {
            let own = package.get(key);
            let own = own.filter(|value| value.is_str()).or_else(|| shared.and_then(|shared| shared.get(key)));
            own.and_then(toml::Value::as_str).unwrap_or_default()
        };
        let list = |key: &str| serde_json::to_value(plinth.get(key).cloned().unwrap_or(toml::Value::Array(Vec::new())));
        let bad = |error: serde_json::Error| failed(error.to_string());
        let json = serde_json::json!({
            "name": text("name"),
            "version": text("version"),
            "description": text("description"),
            "license": text("license"),
            "kind": list("kind").map_err(bad)?,
            "capabilities": list("capabilities").map_err(bad)?,
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
        let toml = "[workspace.package]\nversion = \"2.0.0\"\n[package]\nname = \"a\"\nversion.workspace = true\n\
                    [package.metadata.plinth]\nkind = [\"gate\"]\n";
        let manifest = Manifest::read(Manifest::of_cargo(toml).unwrap().as_bytes()).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("a", "2.0.0"));
        assert!(Manifest::of_cargo("[package]\nname = \"a\"").unwrap_err().to_string().contains("metadata.plinth"));
    }
}
