//! Versions of the WIT packages: which ones this host speaks, and which ones a component was built against.
//!
//! All packages have one version. An interface that did not change between two of them is the same code under both
//! names; what did change is in a module `since_vMAJOR_MINOR` of the older one.

use std::fmt;

use crate::{fault::PluginError, manifest::Anatomy};

/// A version of the WIT packages that this host speaks. Those before 1.0 are compatible within a minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WitVersion {
    /// 0.1, frozen.
    V0_1,
    /// 0.2, the one that the SDKs are built against.
    V0_2,
}

impl WitVersion {
    /// Every version that this host speaks, the oldest first.
    pub const ALL: [Self; 2] = [Self::V0_1, Self::V0_2];

    /// The newest, which the SDKs are built against.
    pub const LATEST: Self = Self::V0_2;

    /// The version that `0.1.0` and what is compatible with it belong to; none where this host does not speak it.
    pub(crate) fn of(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| {
            let patch = version.strip_prefix(own.series()).and_then(|rest| rest.strip_prefix('.'));
            patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
        })
    }

    /// As it stands in the names of packages: `0.1.0`.
    pub const fn full(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
        }
    }

    const fn series(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1",
            Self::V0_2 => "0.2",
        }
    }

    /// The name of an interface in this version: `plinth:host/log@0.1.0`.
    pub(crate) fn name(self, interface: &str) -> String {
        format!("{interface}@{}", self.full())
    }
}

impl fmt::Display for WitVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.series())
    }
}

/// The version that a component's import or export `plinth:PACKAGE/INTERFACE@VERSION` has; none for those of others.
pub(crate) fn version_in(name: &str) -> Option<&str> {
    name.starts_with("plinth:").then(|| name.split_once('@').map_or("", |(_, version)| version))
}

/// Checks that every interface of ours that a component names is of a version that this host speaks. One component
/// may mix them: each import and export is linked as its own version has it.
pub(crate) fn check(anatomy: &Anatomy) -> Result<(), PluginError> {
    let mut names = anatomy.exports.iter().chain(&anatomy.imports);
    let unknown = names.find(|name| version_in(name).is_some_and(|version| WitVersion::of(version).is_none()));
    unknown.map_or(Ok(()), |name| {
        let version = version_in(name).unwrap_or_default();
        Err(PluginError::Version {
            plugin: anatomy.manifest.name.clone(),
            interface: name.clone(),
            wanted: if version.is_empty() { "no version" } else { version }.to_owned(),
            newer: is_newer(version),
        })
    })
}

/// Whether a version comes after all that this host speaks.
fn is_newer(version: &str) -> bool {
    let numbers = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    };
    numbers(version) > numbers(WitVersion::LATEST.full())
}

/// The versions that this host speaks, for a person: `0.1 and 0.2`.
pub(crate) fn spoken() -> String {
    WitVersion::ALL.map(|version| version.to_string()).join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_covers_its_patches_and_nothing_else() {
        assert_eq!(WitVersion::of("0.1.0"), Some(WitVersion::V0_1));
        assert_eq!(WitVersion::of("0.2.17"), Some(WitVersion::V0_2));
        for other in ["", "0.1", "0.1.", "0.1.x", "0.1.0-rc.1", "0.10.0", "0.3.0", "1.0.0"] {
            assert_eq!(WitVersion::of(other), None, "{other}");
        }
        assert_eq!(WitVersion::ALL.last(), Some(&WitVersion::LATEST));
    }

    #[test]
    fn newer_versions_are_told_from_those_that_never_were() {
        for (version, newer) in [("0.3.0", true), ("1.0.0", true), ("0.10.0", true), ("0.0.9", false), ("x", false)] {
            assert_eq!(is_newer(version), newer, "{version}");
        }
    }
}
