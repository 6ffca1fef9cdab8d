//! The memory of a process that has a hundred different plugins loaded and none at work.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use plinth_plugin::{Grants, Host, HostConfig};

use crate::{
    Place,
    figures::{Figures, Target},
};

const PLUGINS: usize = 100;
/// Components that abuse what they are granted, so they want grants; the others load without any.
const WANTING: &str = "evil";

/// Asks a process of its own, whose memory holds nothing of other measurements.
pub(crate) fn measure(_: &Place, figures: &mut Figures) -> Result<()> {
    let told = Command::new(std::env::current_exe()?).arg("many-plugins").output()?;
    ensure!(told.status.success(), "a process with many plugins failed: {}", String::from_utf8_lossy(&told.stderr));
    let told: Vec<f64> = serde_json::from_slice(&told.stdout)?;
    let [before, after, anonymous] = told[..] else { anyhow::bail!("three figures expected, found {told:?}") };
    // Pages of mapped files can be dropped whenever somebody else needs the memory.
    let own = format!("memory of a process with {PLUGINS} plugins loaded, idle");
    figures.add(own, anonymous, "MiB", Target::AtMost(190.7));
    figures.add("the same with the pages of compiled code that were touched", after, "MiB", Target::None);
    figures.add("the same before it loaded any", before, "MiB", Target::None);
    Ok(())
}

/// Loads the plugins and prints the resident memory before, after, and what of the latter no file backs.
pub(crate) fn load(place: &Place) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let host = Host::new(HostConfig {
        cache_dir: folder.path().join("cache"),
        limits: plinth_core::PluginLimits::default(),
        deterministic: false,
        compiler: place.compiler(),
        progress: None,
    });
    let mut components = components(&place.plugins)?;
    components.extend(components_of_other_languages(&place.root)?);
    ensure!(!components.is_empty(), "no components in {}", place.plugins.display());
    let before = resident("VmRSS:")?;
    let mut loaded = Vec::new();
    for number in 0..PLUGINS {
        let path = &components[number % components.len()];
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let plugin =
            host.load(&format!("{name}-{number}"), told_apart(path, number)?, &Grants::of(["objects", "tables"]))?;
        plugin.try_instance().with_context(|| format!("an instance of {name}"))?;
        loaded.push(plugin);
    }
    let figures = [before, resident("VmRSS:")?, resident("RssAnon:")?];
    println!("{}", serde_json::to_string(&figures)?);
    drop(loaded);
    Ok(())
}

fn components(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wasm")
            && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WANTING))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Those that `cargo xtask bench --languages` built, if it was run.
fn components_of_other_languages(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("target/language-bench");
    if folder.exists() { components(&folder) } else { Ok(Vec::new()) }
}

/// The component with a section of its own that means nothing, so that its hash and compiled code are its own.
fn told_apart(path: &Path, number: usize) -> Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    let content = format!("\u{6}number{number}");
    bytes.extend([0, u8::try_from(content.len())?]);
    bytes.extend_from_slice(content.as_bytes());
    Ok(bytes)
}

/// A figure of this process in MiB.
fn resident(line: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|l| l.strip_prefix(line)).and_then(|l| l.split_whitespace().next()?.parse().ok());
    kib.map(|kib: f64| kib / 1024.0).with_context(|| format!("no {line} in /proc/self/status"))
}
