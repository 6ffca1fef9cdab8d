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

/// The same without how much memory was wanted, which is an allocator's affair: a little more than the limit.
pub(crate) fn without_wish(told: &str) -> String {
    let Some((before, after)) = told.split_once(" wanted ") else { return told.to_owned() };
    let (wish, rest) = after.split_once(' ').unwrap();
    let number = |text: &str| text.parse::<u64>().unwrap();
    let limit = rest.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert!((1..64 << 20).contains(&(number(wish) - number(limit))), "{told}");
    format!("{before} wanted some {rest}")
}

/// Lets something be done that ends badly, and sees that nothing is left of it: no instance, no guest's memory, and no
/// memory of this process where it does nothing else ([`alone`]).
#[track_caller]
pub(crate) fn leaves_nothing(host: &Host, mut misdeed: impl FnMut() -> String) -> String {
    let usage = || (host.usage().instances, host.usage().memory_bytes);
    let before = usage();
    // What is made once, such as slots of memory and an allocator's arenas, is made by the first.
    let told = misdeed();
    assert_eq!(misdeed(), told);
    assert_eq!(usage(), before);
    if std::env::var_os(ALONE).is_some() {
        let resident_before = resident();
        for _ in 0..TIMES_ALONE {
            assert_eq!(misdeed(), told);
        }
        let more = resident().saturating_sub(resident_before);
        assert!(more <= KEPT_BYTES_MAX, "{more} bytes were kept after {TIMES_ALONE} times {told}");
    }
    told
}

/// How often a misdeed is repeated where memory is compared, and what an allocator may keep of all of them.
const TIMES_ALONE: u32 = 3;
const KEPT_BYTES_MAX: u64 = 4 << 20;

/// Set in a process that runs one test at a time, so that what it has is what this test has.
const ALONE: &str = "PLINTH_TESTS_ALONE";

/// Memory of this process that is in use, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// Runs the tests of some modules once more, one at a time in a process of their own, where memory is compared.
pub(crate) fn alone(modules: &[&str], tests: usize) {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(modules).args(["--test-threads", "1", "--skip", "as_who_is_alone_sees"]).env(ALONE, "1");
    // The allocator is to give back what is freed at once.
    for (name, value) in
        [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")]
    {
        again.env(name, value);
    }
    let done = again.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let passed = said.lines().filter(|line| line.ends_with(" ... ok")).count();
    assert_eq!(passed, tests, "{said}");
}

/// The words of a Rust guest's panic of `evil` in a function.
pub(crate) fn panicked(who: &str, func: &str, place: &str, words: &str) -> String {
    format!(
        "plugin-trap: {who}: `{func}` trapped: wasm trap: wasm `unreachable` instruction executed in `{place}`; its last \
         message: panicked at {words}\nhint: this is a defect of the plugin: report it to its author"
    )
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
