//! The plugins that come with Plinth, through the traits that the rest of the product calls.

use std::{io::Write, sync::Arc};

use arrow_array::{Array, cast::AsArray, types::Float64Type};
use plinth_core::PluginLimits;
use plinth_ext::{Evidence, ExtError, LentTable, Metric, Step, Subject, Tables, Verdict};
use plinth_plugin::{ExtensionPoint, FileObjects, Grants};

use crate::common::{fit, fitted, host, plugin, table, told};

#[test]
fn scaling_agrees_with_arithmetic_across_many_blocks() {
    // Blocks of 4 KiB: the table crosses in dozens of them, and one has the null.
    let host = host(PluginLimits { block_bytes_target: 4 << 10, ..PluginLimits::default() });
    let transform = plugin(&host, "tabular", &Grants::none()).transform().unwrap();
    let rows = table(10_000);
    let fitted = fitted(&*transform, "standard-scale", &rows, r#"{"columns": ["x", "y"]}"#);
    let scaled = fitted.apply(&rows).unwrap();
    assert_eq!(scaled.num_rows(), 10_000);
    assert_eq!(scaled.schema(), fitted.output());
    let y = scaled.column(scaled.schema().require("y").unwrap()).as_primitive::<Float64Type>();
    let mean = 9_999.0 * 0.5 / 2.0;
    let variance = (0..10_000).map(|row| (f64::from(row) * 0.5 - mean).powi(2)).sum::<f64>() / 10_000.0;
    for row in [0, 1, 4_999, 9_999] {
        let wanted = (row as f64 * 0.5 - mean) / variance.sqrt();
        assert!((y.value(row) - wanted).abs() < 1e-9, "{row}: {} {wanted}", y.value(row));
    }
    let x = scaled.column(scaled.schema().require("x").unwrap());
    assert_eq!((x.null_count(), x.is_null(1)), (1, true));
    let s = scaled.column(scaled.schema().require("s").unwrap()).as_string::<i32>();
    assert_eq!((s.value(2), s.value(9_998)), ("blé", "blé"));
    // The same rows one at a time are the same.
    for row in [0, 1, 2, 9_999] {
        assert_eq!(fitted.apply(&rows.slice(row, 1)).unwrap(), scaled.slice(row, 1));
    }
    assert_eq!(fitted.apply(&rows.slice(0, 0)).unwrap().num_rows(), 0);
}

#[test]
fn parts_fitted_apart_and_merged_give_the_state_of_the_whole() {
    let host = host(PluginLimits::default());
    let transform = plugin(&host, "tabular", &Grants::none()).transform().unwrap();
    let rows = table(1_000);
    let options = r#"{"columns": ["x", "y"]}"#;
    let whole = fit(&*transform, "standard-scale", &rows, options);
    let start = || transform.start("standard-scale", rows.schema(), options).unwrap();
    let (mut first, mut second) = (start(), start());
    first.update(&rows.slice(0, 300)).unwrap();
    second.update(&rows.slice(300, 700)).unwrap();
    let mut merged = start();
    merged.merge(&second.partial().unwrap()).unwrap();
    merged.merge(&first.partial().unwrap()).unwrap();
    assert_eq!(merged.end_pass().unwrap(), Step::Done(whole));
}

#[test]
fn options_are_checked_before_the_guest_sees_them() {
    let host = host(PluginLimits::default());
    let transform = plugin(&host, "tabular", &Grants::none()).transform().unwrap();
    let rows = table(3);
    let start = |item: &str, options: &str| told(&transform.start(item, rows.schema(), options).err().unwrap());
    let unknown = start("chain", r#"{"steps": [{"impute": {"stratgy": "mean", "columns": ["x"]}}]}"#);
    assert!(unknown.starts_with("bad-options: tabular/chain: "), "{unknown}");
    assert!(unknown.contains("stratgy") && unknown.ends_with("hint: did you mean `strategy`?"), "{unknown}");
    assert_eq!(
        start("standard-scael", "{}"),
        "plugin-item-not-found: tabular: plugin `tabular` offers no `standard-scael`\nhint: did you mean `standard-scale`?"
    );
    let error = transform.start("standard-scale", rows.schema(), r#"{"columns": ["z"]}"#);
    match error.err() {
        Some(ExtError::Problem { problem, .. }) => assert_eq!(problem.code, "unknown-column"),
        None => {
            // Some transforms look at columns only when rows come.
            let mut fitting = transform.start("standard-scale", rows.schema(), r#"{"columns": ["z"]}"#).unwrap();
            assert!(fitting.update(&rows).is_err());
        }
        Some(other) => panic!("{other}"),
    }
}

#[test]
fn rows_of_another_schema_are_refused_before_the_call() {
    let host = host(PluginLimits::default());
    let transform = plugin(&host, "tabular", &Grants::none()).transform().unwrap();
    let rows = table(3);
    let fitted = fitted(&*transform, "standard-scale", &rows, r#"{"columns": ["x", "y"]}"#);
    let error = fitted.apply(&rows.project(&[1, 0, 2])).unwrap_err();
    assert_eq!(
        told(&error),
        "schema-mismatch: column 1 is `y float64` where `x float64 nullable` was expected\nhint: "
    );
}

#[test]
fn a_csv_is_read_through_the_granted_file_alone() {
    let host = host(PluginLimits::default());
    let path = host.dir.path().join("people.csv");
    let mut file = std::fs::File::create(&path).unwrap();
    writeln!(file, "name,age,height").unwrap();
    for row in 0..1_000 {
        writeln!(file, "p{row},{},{}", 20 + row % 50, 1.5 + f64::from(row) / 1_000.0).unwrap();
    }
    drop(file);
    let csv = plugin(&host, "load-csv", &Grants::of(["objects"]));
    assert_eq!(csv.exports(), [ExtensionPoint::Loader]);
    let loader = csv.loader(Arc::new(FileObjects::new([path.clone()]))).unwrap();
    let item = loader.items()[0].name.clone();
    let source = path.to_str().unwrap();
    let plan = loader.plan(&item, source, "{}").unwrap();
    let names: Vec<&str> = plan.schema.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["name", "age", "height"]);
    let mut rows = 0;
    for part in &plan.partitions {
        let mut reader = loader.open(&item, source, "{}", &plan.schema, &part.token).unwrap();
        while let Some(batch) = reader.next(300).unwrap() {
            assert!(batch.num_rows() <= 300);
            rows += batch.num_rows();
        }
    }
    assert_eq!(rows, 1_000);
    let other = host.dir.path().join("other.csv");
    std::fs::write(&other, "a\n1\n").unwrap();
    let error = loader.plan(&item, other.to_str().unwrap(), "{}").unwrap_err();
    assert!(error.to_string().contains("is not among the sources that were granted"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = told(&loader.plan(&item, source, "{}").unwrap_err());
    assert!(error.starts_with("file-not-found: load-csv"), "{error}");
}

struct OneTable(plinth_ext::Batch);

impl Tables for OneTable {
    fn names(&self) -> Vec<String> {
        vec!["data".into()]
    }

    fn open(&self, name: &str) -> Result<Option<LentTable>, ExtError> {
        let rows = self.0.clone();
        Ok((name == "data").then(|| {
            let parts = vec![Ok(rows.slice(0, 2)), Ok(rows.slice(2, rows.num_rows() - 2))];
            (rows.schema().clone(), Box::new(parts.into_iter()) as Box<_>)
        }))
    }
}

#[test]
fn a_gate_judges_metrics_and_rows_that_it_is_lent() {
    let host = host(PluginLimits::default());
    let gate = plugin(&host, "quality-gate", &Grants::of(["tables"])).gate().unwrap();
    assert!(!gate.items().is_empty());
    let metric = |name: &str, value| Metric { name: name.into(), value, slice: None, n: Some(10) };
    let evidence = Evidence {
        candidate: Subject { reference: "m".into(), metrics: vec![metric("f1", 0.7)], tags: vec![] },
        baseline: None,
    };
    for item in gate.items() {
        // Whatever the options of an item are, it answers in an orderly way.
        match gate.evaluate(&item.name, &evidence, "{}", Arc::new(OneTable(table(50)))) {
            Ok(checks) => assert!(!checks.is_empty()),
            Err(ExtError::Problem { .. }) => {}
            Err(error) => assert_eq!(plinth_core::Coded::code(&error).name(), "bad-options", "{error}"),
        }
    }
}

#[test]
fn drift_is_found_where_it_is_and_not_where_it_is_not() {
    let host = host(PluginLimits::default());
    let drift = plugin(&host, "drift-tests", &Grants::none()).drift_test().unwrap();
    assert!(drift.items().iter().any(|test| test.item.name == "ks"));
    let rows = table(2_000).project(&[1]);
    let (low, high) = (rows.slice(0, 500), rows.slice(1_500, 500));
    assert_eq!(drift.test("ks", &low, &low, "{}").unwrap().verdict, Verdict::NoDrift);
    assert_eq!(drift.test("ks", &low, &high, "{}").unwrap().verdict, Verdict::Drift);
    let text = table(10).project(&[2]);
    let error = told(&drift.test("ks", &text, &text, "{}").unwrap_err());
    assert!(error.starts_with("schema-mismatch: drift-tests/ks: column `s` is utf8, and it compares"), "{error}");
}
