//! One instance through calls of very different sizes. The runtimes of some languages keep a heap that they let shrink and
//! grow, and none of them may turn to the host for it while the host itself is asking for memory.

use std::{path::Path, process::Command, sync::Arc};

use arrow_array::{ArrayRef, Float64Array};
use plinth_core::PluginLimits;
use plinth_e2e::guests;
use plinth_ext::{Batch, Field, Kind, Schema, Step};
use plinth_plugin::{Grants, Host, HostConfig};

fn table(rows: usize) -> Batch {
    let schema = Schema::new(vec![Field::new("x", Kind::Float64, false)]).expect("a schema");
    let column = Float64Array::from_iter_values((0..rows).map(|row| (row % 1_000) as f64));
    Batch::new(schema, vec![Arc::new(column) as ArrayRef], rows).expect("rows")
}

/// Large calls, then so many small ones that the garbage of the large ones is forgotten, then larger ones.
fn lives_through(language: &str, small_calls: usize) {
    let host = Host::new(HostConfig {
        cache_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins"),
        // Each call is one block.
        limits: PluginLimits {
            block_bytes_target: 256 << 20,
            memory_bytes_max: 1 << 30,
            call_ms_max: 60_000,
            ..PluginLimits::default()
        },
        deterministic: false,
        compiler: Arc::new(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_plinth-soak"));
            command.arg("compile-worker");
            command
        }),
        progress: None,
    });
    let component = guests::example(language, "standard-scale");
    let transform =
        host.load_file(&component, &Grants::none()).and_then(|plugin| plugin.transform()).expect("a transform");
    let rows = table(1_000);
    let mut fitting = transform.start("standard-scale", rows.schema(), "{}").expect("a fit");
    let state = loop {
        fitting.update(&rows).expect("rows are learned of");
        if let Step::Done(state) = fitting.end_pass().expect("a pass ends") {
            break state;
        }
    };
    drop(fitting);
    let fitted = transform.load("standard-scale", &state, rows.schema()).expect("a fitted transform");
    for many in [200_000, 700_000] {
        for (rows, calls) in [(many, 12), (10, small_calls), (many * 2, 4)] {
            let rows = table(rows);
            for call in 0..calls {
                let found = fitted.apply(&rows).unwrap_or_else(|error| {
                    panic!("{language}: call {call} of {} rows: {error}", rows.num_rows());
                });
                assert_eq!(found.num_rows(), rows.num_rows());
            }
        }
    }
}

#[test]
fn c_lives_through_calls_of_every_size() {
    lives_through("c", 50_000);
}

#[test]
fn go_lives_through_calls_of_every_size() {
    // Enough for two collections.
    lives_through("go", 200_000);
}

#[test]
fn javascript_lives_through_calls_of_every_size() {
    lives_through("js", 20_000);
}

#[test]
fn python_lives_through_calls_of_every_size() {
    lives_through("python", 10_000);
}

#[test]
fn rust_lives_through_calls_of_every_size() {
    lives_through("rust", 50_000);
}
