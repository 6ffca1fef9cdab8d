//! Which of our crates may use which, and which single crate may name a heavy dependency.
//!
//! The tables here are the rule; `.config/deny.toml` is written from them.

use anyhow::Result;

use super::Findings;
use crate::repo::{DependencyKind, Package, Repo, Workspace};

/// What a crate of ours may use of ours.
pub(crate) struct Edge {
    name: &'static str,
    /// Names without the `plinth-`.
    may_use: &'static [&'static str],
    reason: &'static str,
}

/// A dependency that only its owners may name.
pub(crate) struct Heavy {
    /// The crate's name; a `*` at the end stands for any ending.
    pub(crate) pattern: &'static str,
    owners: &'static [&'static str],
    /// Whether no crate of others depends on it, so that cargo-deny, which cannot tell ours from others', holds it too.
    pub(crate) only_ours: bool,
    reason: &'static str,
}

/// Tests and measurements are not shipped: they may use every library of ours, and heavy crates as peers.
const UNSHIPPED: &[&str] = &["bench", "e2e", "soak", "test-objects"];

const EDGES: &[Edge] = &[
    Edge { name: "core", may_use: &[], reason: "everything stands on it, so it stands on nothing" },
    Edge { name: "ext", may_use: &["core"], reason: "the contract of all extension points knows no implementation" },
    Edge { name: "table", may_use: &["core", "ext"], reason: "files and tables know no catalog and no plugin" },
    Edge {
        name: "sql",
        may_use: &["core", "ext"],
        reason: "statements and transforms; which plugin or file a name means is told to it",
    },
    Edge { name: "store", may_use: &["core"], reason: "blobs and rows know nothing of what they mean" },
    Edge {
        name: "plugin",
        may_use: &["core", "ext"],
        reason: "a component is adapted to ext's traits and to nothing else",
    },
    Edge { name: "registry", may_use: &["core"], reason: "moves components, and does not look into them" },
    Edge {
        name: "author",
        may_use: &["core", "ext"],
        reason: "a component and Rust code are held to the same, so it sees traits only",
    },
    Edge { name: "tensor", may_use: &["core", "ext"], reason: "model execution does not know who asks" },
    Edge {
        name: "explain",
        may_use: &["core"],
        reason: "mathematics on numbers; what is explained, and where it runs, is told to it",
    },
    Edge { name: "train", may_use: &["core", "ext"], reason: "a trainer sees batches and options, not runs" },
    Edge { name: "tracking", may_use: &["core", "store"], reason: "records do not compute" },
    Edge {
        name: "pipeline",
        may_use: &["core", "ext", "store", "table"],
        reason: "stage handlers are registered by cli, so the engine knows none of them",
    },
    Edge { name: "monitor", may_use: &["core", "ext", "store", "table"], reason: "siblings do not import each other" },
    Edge {
        name: "score",
        may_use: &["core", "explain", "ext", "tensor"],
        reason: "the one scoring path: no network, no catalog",
    },
    Edge {
        name: "serve",
        may_use: &["core", "ext", "score", "store", "table"],
        reason: "routing and capture around score; siblings do not import each other",
    },
    Edge {
        name: "api",
        may_use: &["core", "ext", "monitor", "pipeline", "score", "serve", "store", "table", "tracking"],
        reason: "surfaces over domain crates; of the store it knows the blobs whose bytes it passes on, never a backend; of tables, how files that callers send are read",
    },
    Edge {
        name: "cli",
        may_use: &[
            "api", "author", "core", "ext", "monitor", "pipeline", "plugin", "registry", "score", "serve", "sql",
            "store", "table", "tensor", "tracking", "train",
        ],
        reason: "the composition root",
    },
    Edge { name: "test-catalog", may_use: &[], reason: "starts database servers for tests, and knows no more of us" },
    Edge { name: "test-objects", may_use: &[], reason: "starts an S3 server for tests, and knows no more of us" },
    Edge { name: "xtask", may_use: &["core"], reason: "built first on every machine" },
];

pub(crate) const HEAVY: &[Heavy] = &[
    Heavy {
        pattern: "wasmtime*",
        owners: &["plugin"],
        only_ours: false,
        reason: "slow to build, and the sandbox has one border",
    },
    Heavy { pattern: "ort", owners: &["tensor"], only_ours: true, reason: "a pre-release that loads a native library" },
    Heavy { pattern: "rusqlite", owners: &["store"], only_ours: true, reason: "all SQL is in one place" },
    Heavy { pattern: "tokio-postgres", owners: &["store"], only_ours: true, reason: "all SQL is in one place" },
    Heavy {
        pattern: "object_store",
        owners: &["store"],
        only_ours: false,
        reason: "where bytes lie is known in one place",
    },
    Heavy { pattern: "linfa*", owners: &["train"], only_ours: false, reason: "pins an older ndarray" },
    Heavy { pattern: "forust-ml", owners: &["train"], only_ours: true, reason: "one trainer's implementation" },
    Heavy {
        pattern: "prost",
        owners: &["api", "explain", "train"],
        only_ours: false,
        reason: "the ONNX export writes protobuf, trees are read out of it, OpenTelemetry's spans and gRPC's messages arrive in it",
    },
    Heavy { pattern: "parquet", owners: &["table"], only_ours: false, reason: "file formats are known in one place" },
    Heavy { pattern: "datafusion*", owners: &["sql"], only_ours: false, reason: "the heaviest of all" },
    Heavy { pattern: "statrs", owners: &["monitor"], only_ours: true, reason: "statistics are the monitor's" },
    Heavy { pattern: "axum*", owners: &["api"], only_ours: false, reason: "domain crates know no HTTP" },
    Heavy { pattern: "hyper*", owners: &["api"], only_ours: false, reason: "domain crates know no HTTP" },
    Heavy { pattern: "tonic*", owners: &["api"], only_ours: false, reason: "domain crates know no gRPC" },
    Heavy { pattern: "tower*", owners: &["api"], only_ours: false, reason: "domain crates know no HTTP" },
    Heavy {
        pattern: "reqwest",
        owners: &["api", "cli", "store"],
        only_ours: false,
        reason: "domain crates know no HTTP; store names it so that object stores are reached over TLS, cli to watch a server",
    },
    Heavy {
        pattern: "rustls",
        owners: &["api", "registry", "store"],
        only_ours: false,
        reason: "connections are secured in one place; store's, to object stores, are reqwest's, which asks for a provider",
    },
    Heavy {
        pattern: "opentelemetry*",
        owners: &["api"],
        only_ours: false,
        reason: "spans are made where requests are answered, out of times that everything else measures without it",
    },
    Heavy { pattern: "oci-client", owners: &["registry"], only_ours: true, reason: "one way to registries" },
    Heavy {
        pattern: "wit-component",
        owners: &["author", "xtask"],
        only_ours: false,
        reason: "components are made in one place; xtask is built before it",
    },
    Heavy { pattern: "clap*", owners: &["cli"], only_ours: false, reason: "only the command line parses arguments" },
    Heavy {
        pattern: "anyhow",
        owners: &["cli", "xtask"],
        only_ours: false,
        reason: "libraries have error types of their own",
    },
];

/// Checks both workspaces.
pub(super) fn check(repo: &Repo) -> Result<Findings> {
    let host = repo.packages(Workspace::Host)?;
    let plugins = repo.packages(Workspace::Plugins)?;
    let mut findings: Findings = host.iter().flat_map(broken).collect();
    findings.extend(plugins.iter().flat_map(|package| {
        let ours = package.dependencies.iter().filter(|(name, _)| host.iter().any(|host| host.name == *name));
        ours.map(|(name, _)| format!("{} uses {name}: a guest knows the host only by its WIT contract", package.name))
    }));
    Ok(findings)
}

/// What `package` uses although it may not.
fn broken(package: &Package) -> Findings {
    let name = short(&package.name);
    let mut findings = Vec::new();
    let unshipped = UNSHIPPED.contains(&name);
    let edge = EDGES.iter().find(|edge| edge.name == name);
    if edge.is_none() && !unshipped {
        findings.push(format!("{} has no line in the table of edges (host/xtask/src/check/edges.rs)", package.name));
    }
    for (dependency, kind) in &package.dependencies {
        if let (Some(used), Some(edge)) = (dependency.strip_prefix("plinth-"), edge) {
            // A test may stand on what the crate itself does not know, short of the surfaces above all crates.
            let tested_with = *kind == DependencyKind::Dev && !matches!(used, "api" | "cli");
            if used != name && !edge.may_use.contains(&used) && !tested_with {
                let may = if edge.may_use.is_empty() { "nothing".into() } else { edge.may_use.join(", ") };
                findings.push(format!("{} uses {dependency}; of ours it may use {may}: {}", package.name, edge.reason));
            }
        }
        if let Some(heavy) = HEAVY.iter().find(|heavy| matches(heavy.pattern, dependency)) {
            // A test may use a heavy crate as a peer to compare with.
            if !heavy.owners.contains(&name) && !unshipped && *kind != DependencyKind::Dev {
                findings.push(format!(
                    "{} names {dependency}, which belongs to {}: {}",
                    package.name,
                    heavy.owners.join(", "),
                    heavy.reason
                ));
            }
        }
    }
    findings
}

impl Heavy {
    /// The packages that may name it, for cargo-deny's `wrappers`.
    pub(crate) fn wrappers(&self) -> impl Iterator<Item = String> {
        self.owners.iter().chain(UNSHIPPED).map(|owner| format!("plinth-{owner}"))
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("plinth-").unwrap_or(name)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, DependencyKind)]) -> Package {
        Package {
            name: name.into(),
            version: "0.1.0".into(),
            description: String::new(),
            license: String::new(),
            manifest: "Cargo.toml".into(),
            dependencies: dependencies.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
            plinth: None,
        }
    }

    #[test]
    fn a_sibling_and_a_foreign_heavy_crate_are_both_told_with_the_reason() {
        let found = broken(&package(
            "plinth-serve",
            &[("plinth-monitor", DependencyKind::Normal), ("wasmtime-wasi", DependencyKind::Normal)],
        ));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("plinth-monitor") && found[0].contains("siblings"), "{found:?}");
        assert!(found[1].contains("wasmtime-wasi") && found[1].contains("plugin"), "{found:?}");
    }

    #[test]
    fn owners_tests_and_benchmarks_may_name_heavy_crates() {
        let rows = [
            ("plinth-table", DependencyKind::Normal),
            ("plinth-bench", DependencyKind::Normal),
            ("plinth-ext", DependencyKind::Dev),
        ];
        for (name, kind) in rows {
            assert_eq!(broken(&package(name, &[("parquet", kind)])), Findings::new(), "{name}");
        }
    }

    #[test]
    fn a_test_may_stand_on_what_its_crate_does_not_know() {
        let uses = |kind| broken(&package("plinth-train", &[("plinth-tensor", kind)])).len();
        assert_eq!((uses(DependencyKind::Normal), uses(DependencyKind::Dev)), (1, 0));
    }

    #[test]
    fn a_crate_without_a_line_in_the_table_is_refused() {
        assert_eq!(broken(&package("plinth-extra", &[])).len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        // Every crate may use only crates that can be placed before it.
        let mut placed: Vec<&str> = Vec::new();
        while placed.len() < EDGES.len() {
            let next = EDGES
                .iter()
                .find(|edge| !placed.contains(&edge.name) && edge.may_use.iter().all(|used| placed.contains(used)));
            placed.push(next.expect("no circle").name);
        }
    }
}
