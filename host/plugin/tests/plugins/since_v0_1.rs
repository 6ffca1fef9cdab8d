//! Components built against version 0.1 of the WIT packages: they load, and answer as those of today do.

use std::{fs, path::PathBuf, sync::Arc};

use arrow_array::{ArrayRef, Float64Array};
use plinth_core::{Coded, PluginLimits, codes};
use plinth_ext::{Batch, Evidence, Field, Kind, Metric, NoTables, Schema, Subject};
use plinth_plugin::{FileObjects, Grants, Plugin, WitVersion};

use crate::common::{TestHost, fit, host, plugin, table, told};

fn frozen(host: &TestHost, name: &str, grants: &Grants) -> Plugin {
    let plugin = host.host.load_file(&wit().join(format!("frozen/0.1.0/components/{name}.wasm")), grants).unwrap();
    assert_eq!(plugin.wit_versions(), [WitVersion::V0_1], "{name}");
    plugin
}

/// The same plugin built against the newest version.
fn newest(host: &TestHost, name: &str, grants: &Grants) -> Plugin {
    let plugin = plugin(host, &format!("{name}-rust"), grants);
    assert_eq!(plugin.wit_versions(), [WitVersion::LATEST], "{name}");
    plugin
}

fn wit() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

#[test]
fn the_host_speaks_every_frozen_version_and_that_of_the_packages() {
    let mut versions: Vec<String> = fs::read_dir(wit().join("frozen"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    versions.sort();
    let types = fs::read_to_string(wit().join("types/types.wit")).unwrap();
    let current = types.lines().find_map(|line| line.strip_prefix("package plinth:types@")).unwrap();
    assert_eq!(current.trim_end_matches(';'), WitVersion::LATEST.full());
    versions.push(WitVersion::LATEST.full().to_owned());
    assert_eq!(versions, WitVersion::ALL.map(WitVersion::full));
}

#[test]
fn a_transform_fits_the_same_state_and_gives_the_same_rows() {
    let host = host(PluginLimits::default());
    let rows = table(500);
    let options = r#"{"columns": ["x", "y"]}"#;
    let run = |plugin: Plugin| {
        let transform = plugin.transform().unwrap();
        let state = fit(&*transform, "standard-scale", &rows, options);
        let applied = transform.load("standard-scale", &state, rows.schema()).unwrap().apply(&rows).unwrap();
        (state, applied)
    };
    let grants = Grants::none();
    assert_eq!(run(frozen(&host, "standard-scale", &grants)), run(newest(&host, "standard-scale", &grants)));
}

#[test]
fn a_loader_reads_the_same_rows() {
    let host = host(PluginLimits::default());
    let path = host.dir.path().join("people.txt");
    fs::write(&path, "     11.5\n     2 -2\n     3   \n").unwrap();
    let options =
        r#"{"columns": [{"name": "id", "width": 6, "kind": "int64"}, {"name": "x", "width": 3, "kind": "float64"}]}"#;
    let source = path.to_str().unwrap();
    let run = |plugin: Plugin| {
        let loader = plugin.loader(Arc::new(FileObjects::new([path.clone()]))).unwrap();
        let plan = loader.plan("fixed-width", source, options).unwrap();
        let mut rows = Vec::new();
        for part in &plan.partitions {
            let mut reader = loader.open("fixed-width", source, options, &plan.schema, &part.token).unwrap();
            while let Some(batch) = reader.next(2).unwrap() {
                rows.push(batch);
            }
        }
        (plan.schema.clone(), rows)
    };
    let grants = Grants::of(["objects"]);
    let old = run(frozen(&host, "fixed-width", &grants));
    assert_eq!(old.1.iter().map(Batch::num_rows).sum::<usize>(), 3);
    assert_eq!(old, run(newest(&host, "fixed-width", &grants)));
}

#[test]
fn a_gate_makes_the_same_checks() {
    let host = host(PluginLimits::default());
    let metric = |name: &str, value| Metric { name: name.into(), value, slice: None, n: Some(10) };
    let metrics = vec![metric("f1", 0.7), metric("loss", f64::NAN)];
    let candidate = Subject { reference: "m".into(), metrics, tags: vec![("a".into(), "é".into())] };
    let evidence = Evidence { baseline: Some(candidate.clone()), candidate };
    let options = r#"{"thresholds": [{"metric": "f1", "min": 0.8}, {"metric": "loss", "max": 1}]}"#;
    let run = |plugin: Plugin| {
        let gate = plugin.gate().unwrap();
        gate.evaluate("threshold", &evidence, options, Arc::new(NoTables)).unwrap()
    };
    let grants = Grants::of(["tables"]);
    let old = run(frozen(&host, "threshold-gate", &grants));
    assert_eq!(old.len(), 2);
    assert_eq!(old, run(newest(&host, "threshold-gate", &grants)));
}

#[test]
fn a_drift_test_has_the_same_outcome_and_need_not_name_its_effect() {
    let host = host(PluginLimits::default());
    let rows = table(2_000).project(&[1]);
    let (low, high) = (rows.slice(0, 900), rows.slice(700, 900));
    let run = |plugin: Plugin| {
        let tests = plugin.drift_test().unwrap();
        let item = tests.items()[0].clone();
        (tests.test("psi", &low, &high, "{}").unwrap(), item)
    };
    let (old, old_item) = run(frozen(&host, "psi", &Grants::none()));
    let (new, new_item) = run(newest(&host, "psi", &Grants::none()));
    assert_eq!(old, new);
    assert_eq!((old_item.item.name, old_item.kinds), (new_item.item.name, new_item.kinds));
    assert_eq!((old_item.effect.as_deref(), new_item.effect.as_deref()), (None, Some("the index itself")));
}

#[test]
fn a_model_predicts_the_same() {
    let host = host(PluginLimits::default());
    let schema = Schema::new(vec![Field::new("x", Kind::Float64, true)]).unwrap();
    let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-2.0)]));
    let rows = Batch::new(schema, vec![values], 3).unwrap();
    let artifact = br#"{"intercept": 0.5, "coefficients": [{"column": "x", "value": 2}]}"#;
    let run = |plugin: Plugin| {
        let models = plugin.models().unwrap();
        models.load("linear-model", artifact, rows.schema(), "{}").unwrap().predict(&rows).unwrap()
    };
    assert_eq!(
        run(frozen(&host, "linear-model", &Grants::none())),
        run(newest(&host, "linear-model", &Grants::none()))
    );
}

#[test]
fn a_component_of_an_unknown_version_names_both() {
    let load = |text: &str| {
        let host = host(PluginLimits::default());
        host.host.load("sample", wat::parse_str(text).unwrap(), &Grants::none())
    };
    let newer = "(component (import \"plinth:host/log@0.3.0\" (instance)))";
    assert_eq!(
        told(&load(newer).unwrap_err()),
        "plugin-version: plugin `sample` was built against 0.3.0 of Plinth's WIT packages (`plinth:host/log@0.3.0`); this \
         host speaks 0.1 and 0.2\nhint: update Plinth, or build the plugin with this version's SDK: 0.2.0"
    );
    let exported = "(component (instance $i) (export \"plinth:gate/gate@1.0.0\" (instance $i)))";
    assert_eq!(load(exported).unwrap_err().code(), codes::PLUGIN_VERSION);
    // An extension point that this host does not know, of a version that it does, says nothing of versions.
    let none = "(component (instance $i) (export \"plinth:other/other@0.2.0\" (instance $i)))";
    assert!(load(none).unwrap().exports().is_empty());
    let older = "(component (import \"plinth:host/log@0.0.9\" (instance)))";
    assert!(told(&load(older).unwrap_err()).ends_with("hint: build the plugin with an SDK of this version: 0.2.0"));
    let mixed =
        "(component (import \"plinth:host/log@0.1.3\" (instance)) (import \"plinth:host/config@0.2.0\" (instance)))";
    assert_eq!(load(mixed).unwrap().wit_versions(), WitVersion::ALL);
}
