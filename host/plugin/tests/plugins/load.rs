//! What a file must be to become a plugin, and what the cache of compiled components believes.

use std::{fs, path::PathBuf};

use plinth_core::{Coded, PluginLimits, codes};
use plinth_ext::Transform;
use plinth_plugin::{ExtensionPoint, Grants, Host, HostConfig, MANIFEST_SECTION, PluginError};

use crate::common::{self, component, host, host_with_own_cache, plugin, table, told};

fn load(text: &str, grants: &Grants) -> Result<plinth_plugin::Plugin, PluginError> {
    host(PluginLimits::default()).host.load("sample", wat::parse_str(text).unwrap(), grants)
}

fn refused(text: &str) -> String {
    told(&load(text, &Grants::none()).unwrap_err())
}

#[test]
fn what_is_no_component_is_told_from_what_is() {
    let host = host(PluginLimits::default());
    let not = |bytes: &[u8]| told(&host.host.load("x", bytes.to_vec(), &Grants::none()).unwrap_err());
    let start = "not-a-component: plugin `x` is not a WebAssembly component: ";
    assert_eq!(
        not(&wat::parse_str("(module)").unwrap()),
        format!(
            "{start}it is a core module\nhint: make a component of it: `wasm-tools component new FILE -o PLUGIN.wasm`, \
             or `cargo xtask plugins` in this repository"
        )
    );
    let is = |bytes: &[u8], what: &str| {
        assert_eq!(not(bytes), format!("{start}{what}\nhint: name a file that a component was written to"));
    };
    is(b"", "it is empty");
    is(b"#!/bin/sh", "it does not begin as WebAssembly does");
    is(b"(component)", "it is WebAssembly text");
    let mut cut = wat::parse_str("(component (core module (memory 1)))").unwrap();
    cut.truncate(cut.len() - 3);
    assert_eq!(
        not(&cut),
        format!("{start}it is broken at byte 20: unexpected end-of-file\nhint: build or copy it again")
    );
    let missing = host.host.load_file(&PathBuf::from("/no/such.wasm"), &Grants::none()).unwrap_err();
    assert_eq!(missing.to_string(), "the plugin file `/no/such.wasm` does not exist");
}

#[test]
fn a_component_past_the_size_limit_is_not_even_read() {
    let host = host(PluginLimits { component_bytes_max: 1_000, ..PluginLimits::default() });
    let error = host.host.load_file(&component("tabular"), &Grants::none()).unwrap_err();
    assert_eq!(error.code(), codes::PLUGIN_TOO_LARGE);
    assert!(error.to_string().ends_with("bytes, more than the limit of 1000"), "{error}");
}

#[test]
fn imports_beyond_what_was_granted_are_denied_with_the_line_that_allows_them() {
    let wants = |import: &str| format!("(component (import \"{import}\" (instance)))");
    assert_eq!(
        refused(&wants("plinth:host/objects@0.1.0")),
        "plugin-denied: plugin `sample` wants the capability `objects`, which it was not granted\n\
         hint: if that is wanted, write in plinth.toml under [plugins.\"sample\"]: grant = [\"objects\"]"
    );
    let error = load(&wants("plinth:host/tables@0.1.4"), &Grants::of(["objects"])).unwrap_err();
    assert!(error.hint().unwrap().ends_with("[plugins.\"sample\"]: grant = [\"objects\", \"tables\"]"));
    let name = "(component (@custom \"plinth-manifest\" \"{\\\"name\\\": \\\"other\\\"}\") (import \"plinth:host/kv@0.1.0\" (instance)))";
    let error = load(name, &Grants::of(["http"])).unwrap_err();
    assert_eq!(error.to_string(), "plugin `other` wants the capability `kv`, which it was not granted");
    // `plinth.toml` knows it by what the operator calls it.
    assert!(error.hint().unwrap().ends_with("under [plugins.\"sample\"]: grant = [\"http\", \"kv\"]"));
    for fine in ["plinth:host/log@0.1.0", "plinth:host/log@0.1.7", "plinth:types/types@0.1.0", "wasi:cli/stderr@0.2.3"]
    {
        assert!(load(&wants(fine), &Grants::none()).is_ok(), "{fine}");
    }
    for (import, hint) in [
        (
            "plinth:host/sockets@0.2.0",
            "the host has log, config, objects, tables, kv, http, nn, clock, random, secrets",
        ),
        (
            "wasi:http/types@0.2.3",
            "plugins get WASI 0.2 without files, network and environment, and nothing else of it",
        ),
        ("acme:db/query@1.0.0", "plugins may import plinth:host and WASI 0.2 only"),
    ] {
        assert_eq!(
            refused(&wants(import)),
            format!(
                "plugin-wrong-world: plugin `sample` imports `{import}`, which this host does not offer\nhint: {hint}"
            )
        );
    }
}

#[test]
fn a_real_loader_needs_the_grant() {
    let host = host(PluginLimits::default());
    let error = host.host.load_file(&component("load-csv"), &Grants::none()).unwrap_err();
    assert_eq!(
        told(&error),
        "plugin-denied: plugin `load-csv` wants the capability `objects`, which it was not granted\n\
         hint: if that is wanted, write in plinth.toml under [plugins.\"load-csv\"]: grant = [\"objects\"]"
    );
}

#[test]
fn the_manifest_names_the_plugin_and_bounds_what_it_may_use() {
    let with = |manifest: &str, import: &str| {
        let manifest = manifest.replace('"', "\\\"");
        format!("(component (@custom \"{MANIFEST_SECTION}\" \"{manifest}\") (import \"{import}\" (instance)))")
    };
    let manifest = r#"{"name": "reader", "version": "1.2.3", "kind": ["loader"], "capabilities": []}"#;
    let read = load(&with(manifest, "plinth:host/log@0.1.0"), &Grants::none()).unwrap();
    assert_eq!((read.name(), read.manifest().version.as_str()), ("reader", "1.2.3"));
    let error = load(&with(manifest, "plinth:host/objects@0.1.0"), &Grants::of(["objects"])).unwrap_err();
    assert_eq!(
        told(&error),
        "plugin-denied: plugin `reader` uses the capability `objects`, which its manifest does not ask for\n\
         hint: its author must add \"objects\" to `capabilities` in the plugin's manifest"
    );
    let broken = |why: &str| {
        format!(
            "not-a-component: plugin `sample` is not a WebAssembly component: its manifest does not read: {why}\n\
             hint: build it again with a sound manifest"
        )
    };
    let error = load(&with("{", "plinth:host/log@0.1.0"), &Grants::none()).unwrap_err();
    assert_eq!(told(&error), broken("EOF while parsing an object at line 1 column 1"));
    // What is not known is skipped, however deep it is; what is known has to be what it should be.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(load(&with(&format!("{{\"x\": {deep}}}"), "plinth:host/log@0.1.0"), &Grants::none()).is_ok());
    let error = load(&with(&format!("{{\"name\": {deep}}}"), "plinth:host/log@0.1.0"), &Grants::none()).unwrap_err();
    assert_eq!(told(&error), broken("invalid type: sequence, expected a string at line 1 column 9"));
}

#[test]
fn a_plugin_without_the_extension_point_says_what_it_has() {
    let host = host(PluginLimits::default());
    let tabular = plugin(&host, "tabular", &Grants::none());
    assert_eq!(tabular.exports(), [ExtensionPoint::Transform]);
    assert_eq!(
        told(&tabular.gate().err().unwrap()),
        "plugin-wrong-world: plugin `tabular` does not export `plinth:gate/gate@0.2.0`; it exports \
         `plinth:transform/transform@0.2.0`\nhint: name a plugin that offers what the stage needs"
    );
    let nothing = load("(component)", &Grants::none()).unwrap();
    assert!(nothing.transform().err().unwrap().to_string().ends_with("it exports nothing"));
}

#[test]
fn an_export_that_has_the_name_and_not_the_functions_is_refused() {
    let text = "(component (instance $i) (export \"plinth:gate/gate@0.1.0\" (instance $i)))";
    let error = load(text, &Grants::none()).unwrap().gate().err().unwrap();
    assert_eq!(
        error.to_string(),
        "plugin `sample` does not export `plinth:gate/gate@0.1.0.describe`; it exports an interface of that name without it"
    );
}

fn cached_files(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_cache_keeps_what_was_loaded_of_late() {
    let dir = tempfile::tempdir().unwrap();
    let cache_dir = dir.path().join("cache");
    let load = |name: &str, compiled_cache_bytes_max: u64| {
        let limits = PluginLimits { compiled_cache_bytes_max, ..PluginLimits::default() };
        let compiler = common::compiler();
        let host = Host::new(HostConfig {
            cache_dir: cache_dir.clone(),
            limits,
            deterministic: false,
            compiler,
            progress: None,
        });
        let plugin = host.load_file(&component(name), &common::evil_grants()).unwrap();
        plugin.try_instance().unwrap();
        cached_files(&cache_dir)
    };
    let [clip] = &load("clip", u64::MAX)[..] else { panic!("one file") };
    let two = load("psi-rust", u64::MAX);
    let psi = two.iter().find(|file| *file != clip).unwrap();
    // Long ago, and then again.
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    for file in [clip, psi] {
        fs::File::open(file).unwrap().set_modified(long_ago).unwrap();
    }
    load("clip", u64::MAX);
    assert!(fs::metadata(clip).unwrap().modified().unwrap() > long_ago);
    // There is room for two.
    let room = fs::metadata(clip).unwrap().len() * 5 / 2;
    let left = load("threshold-gate-rust", room);
    assert!(left.contains(clip) && !left.contains(psi) && left.len() == 2, "{left:?}");
    // What was loaded of late stays, however much it is.
    let left = load("psi-rust", 1);
    assert!(left.len() == 3 && left.contains(psi), "{left:?}");
}

#[test]
fn a_tampered_cache_is_compiled_again_and_never_run() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let compiled = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let works = || {
        let count = compiled.clone();
        let host = Host::new(HostConfig {
            cache_dir: cache.clone(),
            limits: PluginLimits::default(),
            deterministic: false,
            compiler: common::compiler(),
            progress: Some(std::sync::Arc::new(move |compiling| {
                if compiling.ended == Some(true) {
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            })),
        });
        let evil = host.load_file(&component("evil"), &common::evil_grants()).unwrap();
        let rows = table(2);
        let good = evil.transform().unwrap().load("good", b"", rows.schema()).unwrap();
        assert_eq!(good.apply(&rows).unwrap(), rows);
        drop(good);
        assert_eq!((host.usage().instances, host.usage().memory_bytes), (0, 0));
    };
    let compiled_so_far = || compiled.load(std::sync::atomic::Ordering::Relaxed);
    works();
    works();
    assert_eq!(compiled_so_far(), 1, "the second host finds it in the cache");
    let files = cached_files(&cache);
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let sound = fs::read(file).unwrap();
    let mut changed = sound.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    // What belongs under other names: another component's code, and the same component's for another engine.
    let others = {
        let dir = tempfile::tempdir().unwrap();
        let other = |deterministic, name: &str, grants: &Grants| {
            let cache_dir = dir.path().join(format!("{name}-{deterministic}"));
            let limits = PluginLimits::default();
            let compiler = common::compiler();
            let host =
                Host::new(HostConfig { cache_dir: cache_dir.clone(), limits, deterministic, compiler, progress: None });
            assert!(host.load_file(&component(name), grants).unwrap().transform().is_ok());
            let files = cached_files(&cache_dir);
            assert_ne!(files[0].file_name(), file.file_name());
            fs::read(&files[0]).unwrap()
        };
        [other(false, "tabular", &Grants::none()), other(true, "evil", &common::evil_grants())]
    };
    let [another, of_another_engine] = others;
    for broken in [changed, sound[..100].to_vec(), Vec::new(), vec![0; 64], another, of_another_engine] {
        fs::write(file, broken).unwrap();
        let before = compiled_so_far();
        works();
        assert_eq!(compiled_so_far(), before + 1);
        assert_eq!(fs::read(file).unwrap(), sound, "the same component compiles to the same bytes");
    }
}

#[cfg(unix)]
#[test]
fn a_cache_that_others_can_write_to_is_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let host = host_with_own_cache(PluginLimits::default());
    let cache = host.dir.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(common::evil(&host).transform().is_ok());
    assert!(cached_files(&cache).is_empty());
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    let again = crate::common::TestHost {
        host: Host::new(HostConfig {
            cache_dir: cache.clone(),
            limits: PluginLimits::default(),
            deterministic: false,
            compiler: common::compiler(),
            progress: None,
        }),
        dir: tempfile::tempdir().unwrap(),
    };
    assert!(common::evil(&again).transform().is_ok());
    assert_eq!(cached_files(&cache).len(), 1);
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn compiling_past_its_deadline_is_told() {
    let host = host_with_own_cache(PluginLimits { compile_ms_max: 0, ..PluginLimits::default() });
    let error = plugin(&host, "tabular", &Grants::none()).transform().err().unwrap();
    assert_eq!(error.to_string(), "plugin `tabular` did not compile within 0 ms");
    assert_eq!(error.code(), codes::PLUGIN_TOO_LARGE);
}

#[test]
fn a_component_that_does_not_validate_is_told() {
    // The module's function promises a number and returns nothing.
    let text = r#"(component
        (core module (func (export "f") (result i32)))
        (instance $i) (export "plinth:gate/gate@0.1.0" (instance $i)))"#;
    let error = load(text, &Grants::none()).unwrap().gate().err().unwrap();
    assert_eq!(
        told(&error),
        "not-a-component: plugin `sample` is not a WebAssembly component: it is not valid: failed to compile: \
         wasm[0]::function[0]: WebAssembly translation error: Invalid input WebAssembly code at offset 41: type mismatch: \
         expected i32 but nothing on stack\nhint: build it again with tools of the component model 1.0"
    );
}

#[test]
fn the_trait_objects_outlive_their_host() {
    let transform: std::sync::Arc<dyn Transform> = {
        let host = host(PluginLimits::default());
        common::evil(&host).transform().unwrap()
    };
    assert!(transform.items().iter().any(|item| item.name == "good"));
}

/// Sleeps for an hour while it is instantiated.
const SLEEPER: &str = r#"(component
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $p (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $p))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $p (eq $outer)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
    (core func $sleep (canon lower (func $clock "subscribe-duration")))
    (core func $block (canon lower (func $poll "[method]pollable.block")))
    (core module $m
        (import "h" "sleep" (func $sleep (param i64) (result i32)))
        (import "h" "block" (func $block (param i32)))
        (func (export "f"))
        (func $start (call $block (call $sleep (i64.const 3600000000000))))
        (start $start))
    (core instance $c (instantiate $m (with "h" (instance
        (export "sleep" (func $sleep))
        (export "block" (func $block))))))
    (func $f (canon lift (core func $c "f")))
    (instance $i (export "describe" (func $f)) (export "evaluate" (func $f)))
    (export "plinth:gate/gate@0.1.0" (instance $i)))"#;

#[test]
fn a_sleep_in_the_closed_wasi_is_over_at_once() {
    // Past the sleep it turns out that its functions are not those of a gate.
    let error = load(SLEEPER, &Grants::none()).unwrap().gate().err().unwrap();
    assert_eq!(error.code(), codes::PLUGIN_WRONG_WORLD);
    assert!(error.to_string().starts_with("sample: `describe` is not the function that this host calls: "), "{error}");
}
