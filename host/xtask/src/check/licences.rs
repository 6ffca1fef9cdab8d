//! Licences and origins of everything that is compiled into the product or its plugins.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Findings;
use crate::{
    repo::{Repo, Workspace, list, text},
    toolchain::host_triple,
};

/// The licences that a dependency may be used under: none of them asks more of a user than a notice.
pub(crate) const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that name a file in place of an expression, and what the file is.
const READ: &[(&str, &str)] = &[("forust-ml", "Apache-2.0")];

/// Crates that are used under another licence, unchanged: the Mozilla one asks for the source of their own files alone,
/// which crates.io offers to everyone.
pub(crate) const UNCHANGED: &[(&str, &str)] = &[("colored", "MPL-2.0")]; // textplots draws with it

/// Crates of which a second version costs minutes of building or a conversion at every call.
pub(crate) const ONCE: &[&str] = &[
    "arrow-array",
    "arrow-buffer",
    "arrow-schema",
    "axum",
    "blake3",
    "cranelift-codegen",
    "hyper",
    "ort",
    "parquet",
    "prost",
    "rusqlite",
    "rustls",
    "serde_json",
    "tokio",
    "wasmparser",
    "wasmtime",
    "wit-component",
    "wit-parser",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks both workspaces.
pub(super) fn check(repo: &Repo) -> Result<Findings> {
    let host = host_triple(repo)?;
    let mut findings = Vec::new();
    for workspace in [Workspace::Host, Workspace::Plugins] {
        let graph = repo.graph(workspace, &host)?;
        let used: Vec<String> = list(&graph["resolve"], "nodes").iter().map(|node| text(node, "id")).collect();
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for package in list(&graph, "packages").iter().filter(|package| used.contains(&text(package, "id"))) {
            let (name, version) = (text(package, "name"), text(package, "version"));
            let read = READ.iter().find(|(read, _)| *read == name && package["license"].is_null());
            let licence = read.map_or_else(|| text(package, "license"), |(_, licence)| (*licence).to_owned());
            let unchanged = UNCHANGED.contains(&(name.as_str(), licence.as_str()));
            match permits(&licence, ALLOWED).map(|permitted| permitted || unchanged) {
                Some(true) => {}
                Some(false) => {
                    findings.push(format!("{name} {version}: its licence, {licence}, is not among the allowed ones"));
                }
                None => findings.push(format!("{name} {version}: its licence, `{licence}`, is not an SPDX expression")),
            }
            let source = text(package, "source");
            if !source.is_empty() && source != REGISTRY {
                findings.push(format!("{name} {version} comes from {source}: only crates.io is a source"));
            }
            versions.entry(name).or_default().push(version);
        }
        for (name, versions) in versions {
            if versions.len() > 1 && ONCE.contains(&name.as_str()) {
                findings.push(format!("{name} is there more than once: {}", versions.join(", ")));
            }
        }
    }
    findings.dedup();
    Ok(findings)
}

/// Whether an SPDX expression can be met with licences of `allowed`; none if it does not read as one.
///
/// The old form `MIT/Apache-2.0` means `OR`.
fn permits(expression: &str, allowed: &[&str]) -> Option<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let permitted = any(&mut rest, allowed)?;
    rest.is_empty().then_some(permitted)
}

/// Alternatives; `AND` binds tighter than `OR`.
fn any(words: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut permitted = all(words, allowed)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        permitted |= all(words, allowed)?;
    }
    Some(permitted)
}

fn all(words: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut permitted = one(words, allowed)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        permitted &= one(words, allowed)?;
    }
    Some(permitted)
}

fn one(words: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let (permitted, rest) = match *words {
        ["(", inner @ ..] => {
            let mut inner = inner;
            let permitted = any(&mut inner, allowed)?;
            (permitted, inner.strip_prefix(&[")"])?)
        }
        [")" | "OR" | "AND" | "WITH", ..] | [] => return None,
        [licence, "WITH", exception, rest @ ..] => {
            (allowed.contains(&format!("{licence} WITH {exception}").as_str()), rest)
        }
        [licence, rest @ ..] => (allowed.contains(licence), rest),
    };
    *words = rest;
    Some(permitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_has_them() {
        let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"];
        let rows = [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("GPL-3.0/MIT", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", Some(true)),
            ("GPL-3.0 OR MIT AND GPL-3.0", Some(false)),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", Some(true)),
            ("Apache-2.0", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT )", None),
        ];
        for (expression, expected) in rows {
            assert_eq!(permits(expression, &allowed), expected, "{expression}");
        }
    }
}
