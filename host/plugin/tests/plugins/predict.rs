//! Models that are components: what comes back is believed only as far as it is checked, and a fault ends one instance.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, cast::AsArray, types::Float64Type};
use plinth_core::{Coded, PluginLimits, codes};
use plinth_ext::{Batch, ExtError, Field, Kind, Model, Schema};
use plinth_plugin::{ExtensionPoint, Grants};

use crate::common::{self, TestHost, host, plugin, table, told};

/// Small enough that every misdeed meets its limit quickly, and no rest between misdeeds.
fn limits() -> PluginLimits {
    PluginLimits {
        call_ms_max: 2_000,
        online_call_ms_max: 100,
        memory_bytes_max: 96 << 20,
        state_bytes_max: 32 << 20,
        breaker_faults_max: 1_000,
        warm_instances_max: 1,
        ..PluginLimits::default()
    }
}

fn load(host: &TestHost, item: &str, rows: &Batch, options: &str) -> Result<Arc<dyn Model>, ExtError> {
    plugin(host, "evil-model", &Grants::default()).online_models().unwrap().load(item, b"any", rows.schema(), options)
}

const DEFECT: &str = "hint: this is a defect of the plugin: report it to its author";

const ARTIFACT: &[u8] =
    br#"{"intercept": 0.5, "coefficients": [{"column": "x", "value": 2}, {"column": "n", "value": -1}]}"#;

fn rows(rows: usize) -> Batch {
    let schema = Schema::new(vec![Field::new("x", Kind::Float64, true), Field::new("n", Kind::Int64, false)]).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from_iter((0..rows).map(|row| (row != 1).then_some(row as f64)))),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row as i64 % 7))),
    ];
    Batch::new(schema, columns, rows).unwrap()
}

#[test]
fn a_component_is_a_model_whatever_the_number_of_rows_and_callers() {
    let host = host(PluginLimits { block_bytes_target: 4_096, ..PluginLimits::default() });
    let linear = plugin(&host, "linear-model-rust", &Grants::default());
    assert_eq!(linear.exports(), [ExtensionPoint::Predict]);
    let models = linear.models().unwrap();
    assert_eq!(models.items()[0].name, "linear-model");
    let all = rows(2_000);
    let model = models.load("linear-model", ARTIFACT, all.schema(), r#"{"output": "price"}"#).unwrap();
    assert_eq!((model.input(), model.output().fields()[0].name.as_str()), (all.schema(), "price"));
    let expected: Vec<Option<f64>> =
        (0..2_000).map(|row| (row != 1).then_some(0.5 + 2.0 * row as f64 - (row % 7) as f64)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let predicted = model.predict(&all).unwrap();
                assert!(predicted.column(0).as_primitive::<Float64Type>().iter().eq(expected.iter().copied()));
            });
        }
    });
    assert_eq!(model.predict(&rows(0)).unwrap().num_rows(), 0);
    assert_eq!(model.predict(&table(1)).unwrap_err().code(), codes::SCHEMA_MISMATCH);
}

#[test]
fn what_cannot_be_loaded_says_why() {
    let host = host(limits());
    let models = plugin(&host, "linear-model-rust", &Grants::default()).models().unwrap();
    let refused = |item: &str, artifact: &[u8], options: &str| {
        models.load(item, artifact, rows(0).schema(), options).err().unwrap()
    };
    assert_eq!(refused("linear", ARTIFACT, "{}").code(), codes::PLUGIN_ITEM_NOT_FOUND);
    assert_eq!(
        told(&refused("linear-model", ARTIFACT, r#"{"outptu": "p"}"#)),
        "bad-options: linear-model-rust/linear-model: unknown option `outptu`\nhint: did you mean `output`?"
    );
    let ExtError::Problem { problem, .. } = refused("linear-model", b"\xff\xfe", "{}") else { panic!("no problem") };
    assert_eq!(problem.code, "bad-artifact");
    let other = plugin(&host, "tabular", &Grants::default()).models().err().unwrap();
    assert_eq!(other.code(), codes::PLUGIN_WRONG_WORLD);
}

#[test]
fn a_block_that_breaks_the_contract_is_refused_and_the_next_call_gets_a_fresh_instance() {
    let host = host(limits());
    let rows = table(10);
    for (deed, said) in [
        ("more-rows", "11 rows"),
        ("fewer-rows", "9 rows"),
        ("no-rows", "0 rows"),
        ("huge-rows", "4294967295 rows"),
        ("short-f64s", "f64s"),
        ("long-f64s", "f64s"),
        ("input-back", "f64s"),
        ("short-bitmap", "validity"),
        ("long-bitmap", "validity"),
        ("bad-utf8", "UTF-8"),
        ("falling-offsets", "offset"),
    ] {
        let model = load(&host, deed, &rows, "{}").unwrap();
        let first = told(&model.predict(&rows).unwrap_err());
        let start = format!("plugin-output: evil-model/{deed}: `model.predict` returned a malformed result: ");
        assert!(first.starts_with(&start) && first.ends_with(DEFECT) && first.contains(said), "{first}");
        assert_eq!(told(&model.predict(&rows).unwrap_err()), first);
    }
    for deed in ["same-names", "many-columns", "huge-name"] {
        let told = told(&load(&host, deed, &rows, "{}").err().expect(deed));
        let start = format!("plugin-output: evil-model/{deed}: `model.output` returned a malformed result: ");
        assert!(told.starts_with(&start) && told.len() < 1_000, "{told}");
    }
    let good = load(&host, "good", &rows, "{}").unwrap().predict(&rows).unwrap();
    assert_eq!(good.column(0).as_primitive::<Float64Type>().values()[9], 9.0);
}

#[test]
fn a_loop_a_bomb_and_a_panic_end_the_instance_and_nothing_else() {
    let host = host(limits());
    let patient = common::host(PluginLimits { online_call_ms_max: 60_000, ..limits() });
    let (bad, good) = (table(10).slice(3, 1), table(10).slice(4, 1));
    for (deed, said) in [
        (
            "infinite-loop",
            "plugin-deadline: evil-model/infinite-loop: `model.predict` did not finish within 100 ms\nhint: if the \
             plugin needs it, raise [limits.plugin] online-call-ms-max in plinth.toml",
        ),
        ("memory-bomb", "plugin-memory: evil-model/memory-bomb: "),
        ("panic", "plugin-trap: evil-model/panic: `model.predict` trapped"),
        ("stack-overflow", "plugin-"),
        ("problem", "plugin-problem: "),
    ] {
        // Only the loop is to end by the clock: the others have as long as they need.
        let host = if deed == "infinite-loop" { &host } else { &patient };
        let model = load(host, deed, &good, r#"{"when": 3}"#).unwrap();
        for _ in 0..2 {
            assert_eq!(model.predict(&good).unwrap().num_rows(), 1, "{deed}");
            let told = told(&model.predict(&bad).unwrap_err());
            assert!(told.starts_with(said), "{deed}: {told}");
        }
        assert_eq!(model.predict(&good).unwrap().num_rows(), 1, "{deed}");
    }
    // Loading has the deadline of batches, as artifacts may be large; it has one.
    let told = told(&load(&host, "infinite-loop", &good, r#"{"at": "load"}"#).err().unwrap());
    assert!(
        told.starts_with("plugin-deadline: evil-model/infinite-loop: `model.load` did not finish within 2000 ms"),
        "{told}"
    );
    assert!(load(&host, "panic", &good, r#"{"at": "output"}"#).is_err());
}
