//! The WIT contract: every package parses together with the others, and every item says what it means.

use std::path::Path;

use anyhow::{Context, Result};
use wit_parser::{Docs, Resolve, TypeDefKind, UnresolvedPackageGroup};

use super::Findings;

/// The folder of the versions that never change again, below that of the packages.
pub(crate) const FROZEN: &str = "frozen";

/// Checks the packages in the folders below `folder`.
pub(super) fn check(folder: &Path) -> Result<Findings> {
    let (mut resolve, main, groups) = parse(folder, &[FROZEN])?;
    if let Err(error) = resolve.push_groups(main, groups) {
        return Ok(vec![error.render(&resolve.source_map)]);
    }
    Ok(undocumented(&resolve))
}

/// The packages in the folders below `folder`, resolved against each other.
pub(crate) fn resolve(folder: &Path) -> Result<Resolve> {
    resolve_without(folder, &[FROZEN])
}

/// The same, but for folders of other things.
pub(super) fn resolve_without(folder: &Path, others: &[&str]) -> Result<Resolve> {
    let (mut resolve, main, groups) = parse(folder, others)?;
    if let Err(error) = resolve.push_groups(main, groups) {
        anyhow::bail!(error.render(&resolve.source_map));
    }
    Ok(resolve)
}

fn parse(folder: &Path, others: &[&str]) -> Result<(Resolve, UnresolvedPackageGroup, Vec<UnresolvedPackageGroup>)> {
    let mut folders: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    let other = |path: &Path| path.file_name().is_some_and(|name| others.iter().any(|other| name == *other));
    folders.retain(|path| path.is_dir() && !other(path));
    folders.sort();
    let mut groups = folders.iter().map(UnresolvedPackageGroup::parse_dir).collect::<Result<Vec<_>>>()?;
    let main = groups.pop().context("there is no WIT package")?;
    Ok((Resolve::default(), main, groups))
}

/// The items that have no documentation, by their full names.
fn undocumented(resolve: &Resolve) -> Findings {
    let mut findings = Vec::new();
    let mut look = |docs: &Docs, name: &dyn Fn() -> String| {
        if docs.contents.as_ref().is_none_or(|text| text.trim().is_empty()) {
            findings.push(format!("{} has no documentation", name()));
        }
    };
    for (id, interface) in &resolve.interfaces {
        let within = resolve.id_of(id).unwrap_or_else(|| "an interface".into());
        look(&interface.docs, &|| within.clone());
        for (name, function) in &interface.functions {
            look(&function.docs, &|| format!("{within} {name}"));
        }
        for (name, id) in &interface.types {
            let ty = &resolve.types[*id];
            // A `use` of another interface's type is documented where the type is.
            if matches!(ty.kind, TypeDefKind::Type(wit_parser::Type::Id(_))) {
                continue;
            }
            look(&ty.docs, &|| format!("{within} {name}"));
            let parts: Vec<(&str, &Docs)> = match &ty.kind {
                TypeDefKind::Record(record) => record.fields.iter().map(|field| (&*field.name, &field.docs)).collect(),
                TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| (&*case.name, &case.docs)).collect(),
                TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| (&*case.name, &case.docs)).collect(),
                TypeDefKind::Flags(flags) => flags.flags.iter().map(|flag| (&*flag.name, &flag.docs)).collect(),
                _ => Vec::new(),
            };
            for (part, docs) in parts {
                look(docs, &|| format!("{within} {name}.{part}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Findings {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/a.wit"), text).unwrap();
        check(folder.path()).unwrap_or_else(|error| vec![format!("{error:#}")])
    }

    #[test]
    fn an_undocumented_field_is_named() {
        let found = check_text("package a:a@0.1.0;\n/// I.\ninterface i {\n/// R.\nrecord r { n: u8 }\n}");
        assert_eq!(found, ["a:a/i@0.1.0 r.n has no documentation"]);
    }

    #[test]
    fn a_package_that_does_not_resolve_is_told_with_its_line() {
        let found = check_text("package a:a@0.1.0;\ninterface i {\nuse b:b/c@0.1.0.{d};\n}");
        assert!(found.len() == 1 && found[0].contains("a.wit:3"), "{found:?}");
    }
}
