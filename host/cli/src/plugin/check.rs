//! `plinth plugin check`: what is sound about a component, and what would keep it from running somewhere.

use std::{collections::BTreeSet, process::ExitCode};

use plinth_core::codes;
use plinth_plugin::{ExtensionPoint, Grants, Plugin, WitVersion};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    components::{About, Components},
    config::Settings,
    output::{Failure, Output, io_failure, table},
    plugins::PluginRef,
};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    what: &'static str,
    found: String,
}

/// `plinth plugin check`
pub(super) fn check(
    name: &str,
    components: &Components,
    settings: &Settings,
    output: Output,
) -> Result<ExitCode, Failure> {
    let found = PluginRef::named(name).find(settings).map_err(|error| Failure::of(&error))?;
    let mut findings = Vec::new();
    // Reading it checks that it is a component, its size, its manifest's form and the versions of what it imports.
    let loaded = components.whole(&found);
    match &loaded {
        Err(failure) => findings.push(Finding {
            level: Level::Fail,
            what: "component",
            found: [Some(failure.message.clone()), failure.hint.clone()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        }),
        Ok(plugin) => {
            let most = settings.config.limits.plugin.component_bytes_max;
            let size = format!("{} of at most {most} bytes, blake3 {}", plugin.size(), plugin.hash());
            findings.push(Finding { level: Level::Ok, what: "component", found: size });
            exports(plugin, &mut findings);
            versions(plugin, &mut findings);
            manifest(plugin, &mut findings);
            capabilities(plugin, &mut findings);
            match components.inspect(&found) {
                Ok(about) => items(&about, &mut findings),
                Err(failure) => findings.push(Finding { level: Level::Fail, what: "items", found: failure.message }),
            }
        }
    }
    let fails = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    output
        .data(&json!({"plugin": name, "path": found.path, "sound": fails == 0, "findings": findings}), || {
            let rows = findings.iter().map(|finding| {
                let level = match finding.level {
                    Level::Ok => "ok",
                    Level::Warn => "warn",
                    Level::Fail => "FAIL",
                };
                vec![level.to_owned(), finding.what.to_owned(), finding.found.clone()]
            });
            table(["", "looked at", "found"], rows)
        })
        .map_err(|error| io_failure("stdout", &error))?;
    if fails == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(codes::NOT_A_COMPONENT.class().exit_code()))
}

fn exports(plugin: &Plugin, findings: &mut Vec<Finding>) {
    let points: Vec<&str> = plugin.interfaces().collect();
    findings.push(match points.is_empty() {
        false => Finding { level: Level::Ok, what: "extension points", found: points.join(", ") },
        true => {
            let known = ExtensionPoint::ALL.map(ExtensionPoint::interface);
            let found = format!("it exports none of {}", known.join(", "));
            Finding { level: Level::Fail, what: "extension points", found }
        }
    });
}

/// Which version of the WIT packages it was built against. An older one is no worse: it lacks what is new.
fn versions(plugin: &Plugin, findings: &mut Vec<Finding>) {
    let (found, newest) = (plugin.wit_versions(), WitVersion::LATEST);
    let list = found.iter().map(|version| version.full()).collect::<Vec<_>>().join(" and ");
    let found = match found.as_slice() {
        [] => "it names no interface of Plinth's".to_owned(),
        [only] if *only == newest => format!("built against {list}, the newest that this host speaks"),
        _ => format!("built against {list}; this host speaks that and newer, up to {}", newest.full()),
    };
    findings.push(Finding { level: Level::Ok, what: "WIT packages", found });
}

fn manifest(plugin: &Plugin, findings: &mut Vec<Finding>) {
    let manifest = plugin.manifest();
    let mut add = |level, found: String| findings.push(Finding { level, what: "manifest", found });
    if manifest.absent {
        return add(
            Level::Warn,
            "there is none: nobody can tell its name and version; whatever is granted is taken as asked for".into(),
        );
    }
    match kebab(&manifest.name) {
        true => add(Level::Ok, format!("{} {}", manifest.name, manifest.version)),
        false => add(
            Level::Fail,
            format!(
                "the name `{}` is not kebab-case of at most {NAME_BYTES_MAX} bytes, such as `fixed-width`",
                manifest.name
            ),
        ),
    }
    if !is_semver(&manifest.version) {
        add(Level::Fail, format!("the version `{}` is not semantic, such as `1.4.0`", manifest.version));
    }
    let declared: BTreeSet<&str> = manifest.kind.iter().map(String::as_str).collect();
    let exported: BTreeSet<&str> = plugin.exports().iter().map(|point| point.name()).collect();
    if declared != exported {
        let list = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(", ");
        add(Level::Fail, format!("it says that it is [{}], and exports [{}]", list(&declared), list(&exported)));
    }
}

fn capabilities(plugin: &Plugin, findings: &mut Vec<Finding>) {
    let mut add = |level, found: String| findings.push(Finding { level, what: "capabilities", found });
    // What everyone has, such as the log, needs no grant.
    let used = plugin.imports().iter().filter_map(|import| capability(import));
    let used: BTreeSet<&str> = used.filter(|name| !Grants::always().contains(name)).collect();
    let asked: BTreeSet<&str> = plugin.manifest().capabilities.iter().map(String::as_str).collect();
    let absent = plugin.manifest().absent;
    for name in &used {
        match absent || asked.contains(name) {
            true => add(Level::Ok, format!("`{name}` has to be granted")),
            false => {
                add(Level::Fail, format!("it imports `{name}`, which its manifest does not ask for: it never starts"));
            }
        }
    }
    for name in asked.difference(&used) {
        add(Level::Warn, format!("it asks for `{name}` and does not import it: ask for no more than is used"));
    }
    let others: Vec<&str> =
        plugin.imports().iter().map(String::as_str).filter(|import| !import.starts_with("plinth:")).collect();
    if !others.is_empty() {
        add(Level::Ok, format!("closed for it, whatever it tries: {}", others.join(", ")));
    }
    if used.is_empty() && others.is_empty() {
        add(Level::Ok, "none: it sees what is handed to it".into());
    }
}

/// `objects` of `plinth:host/objects@0.2.0`.
fn capability(import: &str) -> Option<&str> {
    let name = import.strip_prefix("plinth:host/")?;
    Some(name.split_once('@').map_or(name, |(name, _)| name))
}

fn items(about: &About, findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for (point, item) in &about.items {
        let mut add = |level, found: String| findings.push(Finding { level, what: "items", found });
        if !kebab(&item.name) {
            add(Level::Fail, format!("the {point} `{}` is not kebab-case", item.name));
        }
        if !seen.insert((point, &item.name)) {
            add(Level::Fail, format!("there are two {point}s called `{}`", item.name));
        }
        if item.summary.trim().is_empty() || item.summary.contains('\n') {
            add(Level::Warn, format!("the {point} `{}` has no summary of one line", item.name));
        }
        match serde_json::from_str::<Value>(&item.options_schema) {
            Ok(Value::Object(_)) => add(Level::Ok, format!("{point} `{}`: {}", item.name, item.summary)),
            Ok(_) => add(Level::Fail, format!("the options of `{}` are described by no JSON Schema object", item.name)),
            Err(error) => add(Level::Fail, format!("the options of `{}` are described by no JSON: {error}", item.name)),
        }
    }
    if about.items.is_empty() {
        findings.push(Finding { level: Level::Fail, what: "items", found: "it offers nothing".into() });
    }
}

/// Longest name of a plugin: it becomes names of folders, files and packages.
const NAME_BYTES_MAX: usize = 64;

/// Lower-case words of letters and digits with single dashes in between, at most [`NAME_BYTES_MAX`] of them.
pub(super) fn kebab(name: &str) -> bool {
    if name.len() > NAME_BYTES_MAX {
        return false;
    }
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(word)
}

/// `MAJOR.MINOR.PATCH`, and perhaps `-PRE` or `+BUILD`.
fn is_semver(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let number = |part: &str| {
        part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() && (part == "0" || !part.starts_with('0'))
    };
    core.split('.').count() == 3 && core.split('.').all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_told_from_others() {
        for name in ["a", "fixed-width", "psi2"] {
            assert!(kebab(name), "{name}");
        }
        for name in ["", "-a", "a-", "a--b", "A", "2a", "a_b", "ä"] {
            assert!(!kebab(name), "{name}");
        }
        for version in ["0.1.0", "1.2.3-rc.1", "1.0.0+5"] {
            assert!(is_semver(version), "{version}");
        }
        for version in ["", "1", "1.2", "01.2.3", "1.2.x", "v1.2.3"] {
            assert!(!is_semver(version), "{version}");
        }
        assert_eq!(capability("plinth:host/objects@0.1.0"), Some("objects"));
        assert_eq!(capability("wasi:cli/environment@0.2.0"), None);
    }
}
