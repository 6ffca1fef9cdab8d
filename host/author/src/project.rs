//! A new plugin project: an example of the extension point, renamed, with the SDK, the WIT packages and a few cases
//! beside it, so that it builds and passes as it is, on any machine.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::Table;

use crate::{files, manifest::ManifestError, table};

/// Where a project keeps what is Plinth's. Laid out as in Plinth's repository, so that paths between its parts hold.
pub const SHELF: &str = "third_party/plinth";

/// A language that there is an SDK for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// By cargo, for `wasm32-unknown-unknown`.
    Rust,
    /// By componentize-py.
    Python,
    /// By componentize-qjs.
    Js,
    /// By the Go compiler, for `wasip1`.
    Go,
    /// By zig or wasi-sdk.
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rust, Self::Python, Self::Js, Self::Go, Self::C];

    /// Its name, and the name of its SDK's folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Js => "js",
            Self::Go => "go",
            Self::C => "c",
        }
    }

    /// The language of a project by the names of the files in its folder.
    pub fn of<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<Self> {
        names.find_map(|name| match name {
            "Cargo.toml" => Some(Self::Rust),
            "plugin.py" => Some(Self::Python),
            "plugin.js" => Some(Self::Js),
            "go.mod" => Some(Self::Go),
            name if name.ends_with(".c") => Some(Self::C),
            _ => None,
        })
    }
}

/// The example of an extension point, the item that it offers, and cases worth a newcomer's look.
fn example(kind: &str) -> Option<(&'static str, &'static str, [&'static str; 3])> {
    Some(match kind {
        "loader" => ("fixed-width", "fixed-width", ["good", "several-bad", "half-a-record"]),
        "transform" => ("standard-scale", "standard-scale", ["nulls-and-nan", "chosen-columns", "unknown-column"]),
        "gate" => ("threshold-gate", "threshold", ["bounds", "not-measured", "no-bound"]),
        "drift" => ("psi", "psi", ["drifted", "same", "few-reference-rows"]),
        "predict" => ("linear-model", "linear-model", ["plain", "nulls", "bad-artifact"]),
        _ => return None,
    })
}

/// The files of a new project, by their paths in it.
///
/// # Errors
/// There is no example of that extension point.
pub fn files(name: &str, kind: &str, language: Language) -> Result<BTreeMap<String, Vec<u8>>, ManifestError> {
    let none = || ManifestError::new(format!("there is no example of `{kind}` in {}", language.name()));
    let (example, item, cases) = example(kind).ok_or_else(none)?;
    let mut project = BTreeMap::new();
    let sdk = format!("sdk/{}", language.name());
    let place = format!("{sdk}/examples/{example}");
    for (path, bytes) in files::below(&place) {
        project.insert(path.to_owned(), bytes.to_vec());
    }
    if project.is_empty() {
        return Err(none());
    }
    for (path, bytes) in files::below(&sdk).filter(|(path, _)| !path.starts_with("examples/")) {
        project.insert(format!("{SHELF}/{sdk}/{path}"), bytes.to_vec());
    }
    for (path, bytes) in files::below("wit") {
        project.insert(format!("{SHELF}/wit/{path}"), bytes.to_vec());
    }
    for case in cases {
        let text = files::text(&format!("sdk/conformance/cases/{item}/{case}.json"));
        project.insert(format!("cases/{case}.json"), text.into());
    }
    if let Some(manifest) = project.get_mut("plugin.json") {
        let mut told: Value = serde_json::from_slice(manifest).unwrap_or_default();
        told["name"] = name.into();
        *manifest = table::pretty(&told).into_bytes();
    }
    let mut ignored = vec!["*.wasm", ".plinth/"];
    match language {
        Language::Rust => {
            ignored.push("target/");
            cargo(name, &mut project)?;
        }
        Language::Go => {
            if let Some(module) = project.get_mut("go.mod") {
                let text = String::from_utf8_lossy(module).replacen("=> ../..", &format!("=> ./{SHELF}/sdk/go"), 1);
                let (_, rest) = text.split_once('\n').unwrap_or_default();
                *module = format!("module {name}\n{rest}").into_bytes();
            }
        }
        Language::Js => {
            ignored.push("node_modules/");
            // The project is the package; the SDK's folder is a part of it.
            for file in ["package.json", "package-lock.json"] {
                if let Some(text) = project.remove(&format!("{SHELF}/{sdk}/{file}")) {
                    let text =
                        String::from_utf8_lossy(&text).replace("\"./plinth/", &format!("\"./{SHELF}/{sdk}/plinth/"));
                    project.insert(file.into(), text.replace("\"plinth-plugin\"", &format!("\"{name}\"")).into_bytes());
                }
            }
        }
        Language::Python => ignored.push("__pycache__/"),
        Language::C => {}
    }
    if matches!(language, Language::Go | Language::C) {
        project.insert(format!("{SHELF}/sdk/componentize.sh"), files::text("sdk/componentize.sh").into());
    }
    project.insert(".gitignore".into(), ignored.iter().flat_map(|line| [line, "\n"]).collect::<String>().into_bytes());
    project.insert("README.md".into(), readme(name, kind, item, language).into_bytes());
    Ok(project)
}

/// One `Cargo.toml` for the plugin and the workspace that it and the SDK are members of.
fn cargo(name: &str, project: &mut BTreeMap<String, Vec<u8>>) -> Result<(), ManifestError> {
    let read = |text: &str| text.parse::<Table>().map_err(|error| ManifestError::new(error.to_string()));
    let own = project.get("Cargo.toml").map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let (mut own, mut shared) = (read(&own)?, read(files::text("plugins/Cargo.toml"))?);
    if let Some(package) = own.get_mut("package").and_then(toml::Value::as_table_mut) {
        package.insert("name".into(), name.into());
        package.remove("workspace");
    }
    shared.remove("patch");
    if let Some(workspace) = shared.get_mut("workspace").and_then(toml::Value::as_table_mut) {
        workspace.insert("members".into(), toml::Value::Array(vec![format!("{SHELF}/sdk/rust").into()]));
        if let Some(dependencies) = workspace.get_mut("dependencies").and_then(toml::Value::as_table_mut) {
            dependencies.retain(|_, value| value.get("path").is_none());
            let sdk = Table::from_iter([("path".to_owned(), format!("{SHELF}/sdk/rust").into())]);
            dependencies.insert("plinth-sdk".into(), sdk.into());
        }
    }
    own.extend(shared);
    let text = toml::to_string_pretty(&own).map_err(|error| ManifestError::new(error.to_string()))?;
    project.insert("Cargo.toml".into(), text.into_bytes());
    // The SDK finds its workspace by itself: it lies inside.
    if let Some(sdk) = project.get_mut(&format!("{SHELF}/sdk/rust/Cargo.toml")) {
        *sdk = String::from_utf8_lossy(sdk).replace("workspace = \"../../plugins\"\n", "").into_bytes();
    }
    // Tests name the crate.
    for (path, bytes) in project.iter_mut().filter(|(path, _)| path.starts_with("tests/")) {
        debug_assert!(path.ends_with(".rs"));
        let text = String::from_utf8_lossy(bytes);
        let renamed =
            ["standard_scale_rust", "psi_rust", "threshold_gate_rust", "fixed_width_rust", "linear_model_rust"]
                .iter()
                .fold(text.into_owned(), |text, old| text.replace(old, &name.replace('-', "_")));
        *bytes = renamed.into_bytes();
    }
    Ok(())
}

fn readme(name: &str, kind: &str, item: &str, language: Language) -> String {
    let language = language.name();
    let tried = match kind {
        "transform" => format!("plinth plugin run {name}.wasm rows.csv --item {item}"),
        "drift" => format!("plinth plugin run {name}.wasm january.csv --current february.csv --item {item}"),
        "predict" => format!("plinth plugin run {name}.wasm rows.csv --artifact model.json"),
        "gate" => format!("plinth plugin run {name}.wasm evidence.json --item {item} --options '{{…}}'"),
        _ => format!("plinth plugin run {name}.wasm rows.txt --item {item} --options '{{…}}'"),
    };
    format!(
        "# {name}\n\n\
         A Plinth plugin ({kind}) in {language}. It begins as the example `{item}`: change it to what you need.\n\n\
         ```sh\n\
         plinth plugin build          # {name}.wasm\n\
         plinth plugin test           # the promises of its extension point, and the cases in cases/\n\
         {tried}\n\
         plinth plugin dev            # build and test again whenever a file changes\n\
         ```\n\n\
         Who the plugin is stands in {manifest}; what it may be granted has to be named there, under `capabilities`. \
         The SDK is in {SHELF}/sdk/{language}, with a README of its own, and the interfaces are in {SHELF}/wit.\n",
        manifest = if language == "rust" { "Cargo.toml, under `[package.metadata.plinth]`" } else { "plugin.json" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_example() {
        for language in Language::ALL {
            for kind in crate::manifest::KINDS {
                let project = files("my-plugin", kind, language).unwrap();
                for file in ["README.md", ".gitignore", "third_party/plinth/wit/types/types.wit"] {
                    assert!(project.contains_key(file), "{} {kind}: {file}", language.name());
                }
                assert_eq!(project.keys().filter(|path| path.starts_with("cases/")).count(), 3);
                assert!(project.iter().all(|(path, bytes)| !bytes.is_empty() || path.ends_with("py.typed")));
                let names = project.keys().filter(|path| !path.contains('/')).map(String::as_str);
                assert_eq!(Language::of(names), Some(language), "{kind}");
                let manifest = match project.get("plugin.json") {
                    Some(json) => json.clone(),
                    None => {
                        let all: Table = String::from_utf8_lossy(&project["Cargo.toml"]).parse().unwrap();
                        let mut package = serde_json::to_value(&all["package"]).unwrap();
                        package["version"] = "0.1.0".into();
                        crate::manifest::Manifest::of_package(&package).unwrap().into_bytes()
                    }
                };
                let manifest = crate::manifest::Manifest::read(&manifest).unwrap();
                assert_eq!((manifest.name.as_str(), &manifest.kind[..]), ("my-plugin", &[kind.to_owned()][..]));
            }
        }
        assert!(files("a", "predictor", Language::C).is_err());
    }
}
