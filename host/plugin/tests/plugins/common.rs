//! Where the components are, and small tables.

use std::{path::PathBuf, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, StringArray};
use plinth_core::{Coded, PluginLimits};
use plinth_ext::{Batch, Field, Fitted, Kind, Schema, Step, Transform};
use plinth_plugin::{CompilerCommand, Grants, Host, HostConfig, Plugin};

/// A host, and a folder for what a test writes.
pub(crate) struct TestHost {
    pub(crate) host: Host,
    pub(crate) dir: tempfile::TempDir,
}

/// Starts the process that compiles.
pub(crate) fn compiler() -> CompilerCommand {
    Arc::new(|| std::process::Command::new(env!("CARGO_BIN_EXE_compile-worker")))
}

/// A host with the cache that tests share: a component is compiled once for all of them.
pub(crate) fn host(limits: PluginLimits) -> TestHost {
    host_with(limits, false)
}

pub(crate) fn host_with(limits: PluginLimits, deterministic: bool) -> TestHost {
    let cache_dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins");
    let host = Host::new(HostConfig { cache_dir, limits, deterministic, compiler: compiler(), progress: None });
    TestHost { host, dir: tempfile::tempdir().unwrap() }
}

/// A host with a cache of its own, `cache` in its folder.
pub(crate) fn host_with_own_cache(limits: PluginLimits) -> TestHost {
    let dir = tempfile::tempdir().unwrap();
    let cache_dir = dir.path().join("cache");
    let host = Host::new(HostConfig { cache_dir, limits, deterministic: false, compiler: compiler(), progress: None });
    TestHost { host, dir }
}

/// The file of a first-party component.
pub(crate) fn component(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `cargo xtask plugins` first", path.display());
    path
}

pub(crate) fn plugin(host: &TestHost, name: &str, grants: &Grants) -> Plugin {
    host.host.load_file(&component(name), grants).unwrap()
}

/// The component that misbehaves, granted all that it asks for.
pub(crate) fn evil(host: &TestHost) -> Plugin {
    plugin(host, "evil", &evil_grants())
}

pub(crate) fn evil_grants() -> Grants {
    Grants::of(["objects", "tables"])
}

/// `code: message` and the hint, as a snapshot.
pub(crate) fn told(error: &dyn Coded) -> String {
    format!("{}: {error}\nhint: {}", error.code(), error.hint().unwrap_or_default())
}

/// Rows of `x` (float64, with a null), `y` (float64) and `s` (text).
pub(crate) fn table(rows: usize) -> Batch {
    let schema = Schema::new(vec![
        Field::new("x", Kind::Float64, true),
        Field::new("y", Kind::Float64, false),
        Field::new("s", Kind::Utf8, false),
    ])
    .unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from_iter((0..rows).map(|row| (row != 1).then_some(row as f64)))),
        Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64 * 0.5))),
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| ["red", "green", "blé"][row % 3]))),
    ];
    Batch::new(schema, columns, rows).unwrap()
}

/// Fits an item on a table in as many passes as it wants.
pub(crate) fn fit(transform: &dyn Transform, item: &str, rows: &Batch, options: &str) -> Vec<u8> {
    let mut fitting = transform.start(item, rows.schema(), options).unwrap();
    loop {
        fitting.update(rows).unwrap();
        if let Step::Done(state) = fitting.end_pass().unwrap() {
            return state;
        }
    }
}

pub(crate) fn fitted(transform: &dyn Transform, item: &str, rows: &Batch, options: &str) -> Arc<dyn Fitted> {
    let state = fit(transform, item, rows, options);
    transform.load(item, &state, rows.schema()).unwrap()
}
