//! Models that are components: what comes back is believed only as far as it is checked, and a fault ends one instance.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, cast::AsArray, types::Float64Type};
use plinth_core::{Coded, PluginLimits, codes};
use plinth_ext::{Batch, ExtError, Field, Kind, Model, Schema};
use plinth_plugin::{ExtensionPoint, Grants};

use crate::common::{self, TestHost, host, plugin, table, told, without_wish};

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

/// No instance is left, and no memory of one.
fn gone(host: &TestHost) {
    let left = host.host.usage();
    assert_eq!((left.instances, left.memory_bytes), (0, 0));
}

#[test]
fn a_block_that_breaks_the_contract_is_refused_and_the_next_call_gets_a_fresh_instance() {
    let host = host(limits());
    let rows = table(10);
    for (deed, said) in [
        ("more-rows", "11 rows for 10 rows"),
        ("fewer-rows", "9 rows for 10 rows"),
        ("no-rows", "0 rows for 10 rows"),
        ("huge-rows", "4294967295 rows for 10 rows"),
        ("short-f64s", "`f64s` has 72 bytes where 1 columns of 10 rows have 80"),
        ("long-f64s", "`f64s` has 88 bytes where 1 columns of 10 rows have 80"),
        ("input-back", "`f64s` has 160 bytes where 1 columns of 10 rows have 80"),
        ("short-bitmap", "`validity` has 1 bytes where 1 columns of 10 rows have 2"),
        ("long-bitmap", "`validity` has 3 bytes where 1 columns of 10 rows have 2"),
        ("bad-utf8", "the text of column `prediction` is not UTF-8"),
        ("falling-offsets", "the text offsets of column `prediction` decrease"),
    ] {
        let model = load(&host, deed, &rows, "{}").unwrap();
        let expected =
            format!("plugin-output: evil-model/{deed}: `model.predict` returned a malformed result: {said}\n{DEFECT}");
        for _ in 0..2 {
            assert_eq!(told(&model.predict(&rows).unwrap_err()), expected);
            gone(&host);
        }
    }
    for (deed, said) in [
        ("same-names", "column `prediction` appears twice"),
        ("many-columns", "a schema of 100000 columns, more than the limit of 10000"),
        ("huge-name", "the name of column 1 has 1048576 bytes, more than the limit of 1024"),
    ] {
        assert_eq!(
            told(&load(&host, deed, &rows, "{}").err().expect(deed)),
            format!("plugin-output: evil-model/{deed}: `model.output` returned a malformed result: {said}\n{DEFECT}")
        );
        gone(&host);
    }
    let good = load(&host, "good", &rows, "{}").unwrap().predict(&rows).unwrap();
    assert_eq!(good.column(0).as_primitive::<Float64Type>().values()[9], 9.0);
}

#[test]
fn a_loop_a_bomb_and_a_panic_end_the_instance_and_nothing_else() {
    let host = host(limits());
    let patient = common::host(PluginLimits { online_call_ms_max: 60_000, ..limits() });
    let (bad, good) = (table(10).slice(3, 1), table(10).slice(4, 1));
    let words = "evil-model/src/../../evil/src/deeds.rs:62:5: evil panic on command";
    let panicked = common::panicked("evil-model/panic", "model.predict", "evil_model::deeds::give_up", words);
    for (deed, said) in [
        (
            "infinite-loop",
            "plugin-deadline: evil-model/infinite-loop: `model.predict` did not finish within 100 ms\nhint: if the \
             plugin needs it, raise [limits.plugin] online-call-ms-max in plinth.toml",
        ),
        (
            "memory-bomb",
            "plugin-memory: evil-model/memory-bomb: `model.predict` wanted some bytes of memory, more than the limit \
             of one instance, 100663296\nhint: if the plugin needs it, raise [limits.plugin] memory-bytes-max in plinth.toml",
        ),
        ("panic", &panicked),
        (
            "stack-overflow",
            "plugin-stack: evil-model/stack-overflow: `model.predict` overflowed its stack\n\
             hint: this is a defect of the plugin: report it to its author",
        ),
        ("problem", "plugin-problem: evil-model/problem: a problem on command (evil-problem)\nhint: "),
    ] {
        // Only the loop is to end by the clock: the others have as long as they need.
        let host = if deed == "infinite-loop" { &host } else { &patient };
        let model = load(host, deed, &good, r#"{"when": 3}"#).unwrap();
        for _ in 0..2 {
            assert_eq!(model.predict(&good).unwrap().num_rows(), 1, "{deed}");
            assert_eq!(without_wish(&told(&model.predict(&bad).unwrap_err())), said);
            if deed != "problem" {
                gone(host);
            }
        }
        assert_eq!(model.predict(&good).unwrap().num_rows(), 1, "{deed}");
        drop(model);
        gone(host);
    }
    // Loading has the deadline of batches, as artifacts may be large; it has one.
    assert_eq!(
        told(&load(&host, "infinite-loop", &good, r#"{"at": "load"}"#).err().unwrap()),
        "plugin-deadline: evil-model/infinite-loop: `model.load` did not finish within 2000 ms\n\
         hint: if the plugin needs it, raise [limits.plugin] call-ms-max in plinth.toml"
    );
    gone(&host);
    let panicked = common::panicked("evil-model/panic", "model.output", "evil_model::deeds::give_up", words);
    assert_eq!(told(&load(&host, "panic", &good, r#"{"at": "output"}"#).err().unwrap()), panicked);
    gone(&host);
}
