//! Tables of many blocks, on one instance and on several.

use std::sync::Arc;

use arrow_array::{StringArray, cast::AsArray, types::Float64Type};
use plinth_core::PluginLimits;
use plinth_ext::{Batch, ExtError, Fitted};
use plinth_plugin::Grants;

use crate::common::{TestHost, evil, fitted, host, host_with, plugin, table, told};

/// Blocks of 4 KiB: a table of thousands of rows is dozens of them.
fn limits(table_threads_max: u32) -> PluginLimits {
    PluginLimits { block_bytes_target: 4 << 10, table_threads_max, ..PluginLimits::default() }
}

fn misdeed(host: &TestHost, name: &str, rows: &Batch) -> Arc<dyn Fitted> {
    evil(host).transform().unwrap().load(name, b"", rows.schema()).unwrap()
}

#[test]
fn a_table_is_the_same_whatever_the_number_of_threads() {
    let rows = table(20_000);
    let scaled = [1, 2, 8].map(|threads| {
        let host = host(limits(threads));
        let transform = plugin(&host, "tabular", &Grants::none()).transform().unwrap();
        let fitted = fitted(&*transform, "standard-scale", &rows, r#"{"columns": ["x", "y"]}"#);
        let first = fitted.apply(&rows).unwrap();
        (0..10).for_each(|_| assert_eq!(fitted.apply(&rows).unwrap(), first));
        let spares = host.host.usage().instances - 1;
        assert!(spares <= 2 * threads, "{spares} wait for the next table");
        drop(fitted);
        assert_eq!(host.host.usage().instances, 0, "the spares go with their pool");
        first
    });
    assert_eq!(scaled[0], scaled[1]);
    assert_eq!(scaled[0], scaled[2]);
}

#[test]
fn several_instances_share_a_table_unless_it_is_to_be_the_same_every_time() {
    let rows = table(20_000);
    // It adds to each number how often its instance was called.
    let called = |host: &TestHost| -> Vec<u64> {
        let added = misdeed(host, "impure", &rows).apply(&rows).unwrap();
        let [before, after] = [&rows, &added].map(|rows| rows.column(1).as_primitive::<Float64Type>().clone());
        before.values().iter().zip(after.values()).map(|(before, after)| (after - before) as u64).collect()
    };
    let in_order = |called: &[u64]| called.is_sorted() && called.last().is_some_and(|last| *last > 100);
    assert!(in_order(&called(&host(limits(1)))));
    assert!(in_order(&called(&host_with(limits(8), true))), "deterministic");
    // Who is late finds nothing to do.
    assert!((0..100).any(|_| !in_order(&called(&host(limits(8))))), "nobody helped");
}

#[test]
fn what_is_wrong_is_told_as_on_one_thread_and_is_one_fault() {
    let rows = table(20_000);
    for name in ["panic", "problem", "fewer-rows", "bad-utf8", "split-utf8"] {
        let one = told(&misdeed(&host(limits(1)), name, &rows).apply(&rows).unwrap_err());
        // Ten in a row are ten faults, and the next makes it rest; who says no is sound.
        let host = host(PluginLimits { breaker_faults_max: 10, ..limits(8) });
        let fitted = misdeed(&host, name, &rows);
        (0..10).for_each(|_| assert_eq!(told(&fitted.apply(&rows).unwrap_err()), one));
        let after = told(&fitted.apply(&rows).unwrap_err());
        assert_eq!(after.starts_with("plugin-unavailable: "), name != "problem", "{name}: {after}");
    }
}

#[test]
fn the_first_bad_row_is_counted_from_the_start_of_the_table() {
    let rows = table(20_000);
    let texts = |bad: [usize; 2]| (0..20_000).map(move |row| if bad.contains(&row) { "x" } else { "1" });
    let with = |bad| {
        let columns = [rows.column(0), rows.column(1)].map(Arc::clone).into_iter();
        let columns = columns.chain([Arc::new(StringArray::from_iter_values(texts(bad))) as _]).collect();
        Batch::new(rows.schema().clone(), columns, 20_000).unwrap()
    };
    let host = host(limits(8));
    let transform = plugin(&host, "tabular", &Grants::none()).transform().unwrap();
    let sound = with([20_000; 2]);
    let fitted = fitted(&*transform, "cast", &sound, r#"{"columns": ["s"], "to": "float64"}"#);
    for (bad, first) in [([0, 19_999], 0), ([7_001, 19_000], 7_001), ([19_999, 12_345], 12_345)] {
        for _ in 0..20 {
            let Err(ExtError::Problem { problem, .. }) = fitted.apply(&with(bad)) else { panic!("{bad:?} was taken") };
            assert_eq!((problem.row, problem.column.as_deref()), (Some(first), Some("s")), "{}", problem.message);
        }
    }
    assert_eq!(fitted.apply(&sound).unwrap().num_rows(), 20_000);
}

#[test]
fn no_call_fails_for_want_of_memory_or_places_for_those_that_help() {
    let rows = table(20_000);
    let alone = host(limits(1));
    let fitted = misdeed(&alone, "good", &rows);
    assert_eq!(fitted.apply(&rows).unwrap(), rows);
    let memory = alone.host.usage().memory_bytes;
    for scarce in [
        // Room for two instances, which is not enough for one that only helps.
        PluginLimits { memory_total_bytes_max: memory * 2 + 1, ..limits(8) },
        PluginLimits { instances_max: 3, ..limits(8) },
        PluginLimits { warm_instances_max: 1, ..limits(8) },
        PluginLimits { warm_instances_max: 2, ..limits(u32::MAX) },
        PluginLimits { output_rows_max: 10, ..limits(8) },
    ] {
        let host = host(PluginLimits { breaker_faults_max: 1, ..scarce });
        let fitted = misdeed(&host, "good", &rows);
        (0..10).for_each(|_| assert_eq!(fitted.apply(&rows).unwrap(), rows));
    }
    // What waits for the next table gives way to other plugins.
    let host = host(PluginLimits { instances_max: 8, ..limits(4) });
    let all: Vec<_> = (0..8)
        .map(|_| {
            let fitted = misdeed(&host, "good", &rows);
            assert_eq!(fitted.apply(&rows).unwrap(), rows);
            fitted
        })
        .collect();
    assert_eq!(host.host.usage().instances, 8);
    assert_eq!(all[0].apply(&rows).unwrap(), rows);
}
