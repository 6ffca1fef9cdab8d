//! The memory of a process that has a hundred different plugins loaded and none at work.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use plinth_plugin::{Grants, Host, HostConfig};

use crate::{
    Place,
    figures::{Figures, Target},
};

const PLUGINS: usize = 100;
/// Compiled code that nobody used for 10 to 20 s is given back.
const IDLE: Duration = Duration::from_secs(25);
/// Components that abuse what they are granted, so they want grants; the others load without any.
const WANTING: &str = "evil";

/// Asks a process of its own, whose memory holds nothing of other measurements; nor of compiling, which another does before.
pub(crate) fn measure(_: &Place, figures: &mut Figures) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let in_a_process = |rest: Duration| -> Result<Vec<f64>> {
        let mut command = Command::new(std::env::current_exe()?);
        let told = command.arg("many-plugins").arg(cache.path()).arg(rest.as_secs().to_string()).output()?;
        ensure!(told.status.success(), "a process with many plugins failed: {}", String::from_utf8_lossy(&told.stderr));
        Ok(serde_json::from_slice(&told.stdout)?)
    };
    in_a_process(Duration::ZERO)?;
    let told = in_a_process(IDLE)?;
    let [before, loaded, idle, anonymous, first, next] = told[..] else {
        anyhow::bail!("six figures expected, found {told:?}");
    };
    let all = format!("resident memory of a process with {PLUGINS} plugins loaded, idle for {} s", IDLE.as_secs());
    figures.add(all, idle, "MiB", Target::AtMost(190.7));
    figures.add("of that what no file backs", anonymous, "MiB", Target::None);
    figures.add("the same process when it had just loaded them", loaded, "MiB", Target::None);
    figures.add("the same before it loaded any", before, "MiB", Target::None);
    figures.add("an instance of each after that, in the mean", first, "µs", Target::None);
    figures.add("and once more", next, "µs", Target::None);
    Ok(())
}

/// Loads the plugins and prints the resident memory before, after, and after a rest, what of the latter no file backs, and
/// how long an instance then takes, twice.
pub(crate) fn load(place: &Place, arguments: &[String]) -> Result<()> {
    let [cache, rest] = arguments else { anyhow::bail!("a folder and seconds expected, found {arguments:?}") };
    let host = Host::new(HostConfig {
        cache_dir: cache.into(),
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
    let loaded_now = resident("VmRSS:")?;
    std::thread::sleep(Duration::from_secs(rest.parse()?));
    let mut figures = vec![before, loaded_now, resident("VmRSS:")?, resident("RssAnon:")?];
    for _ in 0..2 {
        let began = Instant::now();
        for plugin in &loaded {
            plugin.try_instance()?;
        }
        figures.push(began.elapsed().as_secs_f64() * 1e6 / PLUGINS as f64);
    }
    println!("{}", serde_json::to_string(&figures)?);
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
