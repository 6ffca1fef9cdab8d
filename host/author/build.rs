//! Puts what a new plugin project is made of into the binary: the SDKs with their examples, the WIT packages and a few
//! of the cases that all languages answer alike.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// What is taken along, relative to the repository.
const ROOTS: [&str; 9] = [
    "sdk/c",
    "sdk/go",
    "sdk/js",
    "sdk/python",
    "sdk/rust",
    "sdk/componentize.sh",
    "sdk/conformance/cases",
    "plugins/Cargo.toml",
    "wit",
];

/// What a build or a test leaves behind, what only the SDKs' own tests need, and older versions of the WIT packages.
const LEFT_OUT: [&str; 6] = ["node_modules", "target", "__pycache__", "tests", ".gitignore", "frozen"];

fn main() -> Result<(), Box<dyn Error>> {
    let repository = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
    let mut files = Vec::new();
    for root in ROOTS {
        let path = repository.join(root);
        println!("cargo::rerun-if-changed={}", path.display());
        if path.exists() {
            collect(&path, root, &mut files)?;
        }
    }
    files.sort();
    let mut code = String::from("&[\n");
    for (name, path) in &files {
        writeln!(code, "    ({name:?}, include_bytes!({:?})),", path.canonicalize()?)?;
    }
    code.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("files.rs"), code)?;
    Ok(())
}

fn collect(path: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), Box<dyn Error>> {
    if path.is_file() {
        if path.extension().is_none_or(|extension| extension != "wasm") || name.contains("/adapter/") {
            files.push((name.to_owned(), path.to_owned()));
        }
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let own = entry.file_name().to_string_lossy().into_owned();
        if !LEFT_OUT.contains(&own.as_str()) {
            collect(&entry.path(), &format!("{name}/{own}"), files)?;
        }
    }
    Ok(())
}
