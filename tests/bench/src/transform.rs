//! Standard scaling through a component, copies and checks included, against native Rust that makes a new batch.

use std::{hint::black_box, sync::Arc};

use anyhow::{Context, Result};
use arrow_array::{Array, ArrayRef, Float64Array};
use plinth_ext::{Batch, Field, Fitted, Kind, Schema, Step, Transform};
use plinth_plugin::{Grants, Host, HostConfig};

use crate::{
    Place,
    figures::{Figures, Target, median},
};

const ROWS: usize = 100_000;
const COLUMNS: usize = 20;
const ITEM: &str = "standard-scale";
const OPTIONS: &str = r#"{"columns": "all"}"#;

/// Batches, single rows, instantiation and loading from the cache of compiled components.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let host_with = |table_threads_max| {
        Host::new(HostConfig {
            cache_dir: cache.path().to_owned(),
            limits: plinth_core::PluginLimits { table_threads_max, ..plinth_core::PluginLimits::default() },
            deterministic: false,
            compiler: place.compiler(),
            progress: None,
        })
    };
    let host = || host_with(0);
    let component = place.plugins.join("tabular.wasm");
    let (first, one_thread) = (host(), host_with(1));
    let transform = first.load_file(&component, &Grants::none())?.transform()?;
    let table = table(ROWS)?;
    let state = fit(transform.as_ref(), OPTIONS, &table)?;
    let fitted = transform.load(ITEM, &state, table.schema())?;

    let scales = scales(&table);
    let expected = native(&table, &scales);
    let found = fitted.apply(&table)?;
    anyhow::ensure!(close(&expected, &found)?, "the component and native Rust disagree");

    // Native code gains more than a component from pages that are used again, as the binary has them for whole tables; into
    // fresh ones, which a program gets as it comes, both wait for the system.
    for (fresh, into) in [(false, "pages used again"), (true, "fresh pages")] {
        pages(fresh);
        let (ours, theirs) = in_turns(fitted.as_ref(), &table, || native(&table, &scales));
        figures.add(format!("scale 100k x 20 into {into}, native Rust"), theirs * 1e3, "ms", Target::None);
        figures.add(format!("scale 100k x 20 into {into}, component"), ours * 1e3, "ms", Target::None);
        figures.add(format!("component / native speed, {into}"), theirs / ours, "x", Target::AtLeast(0.5));
        // What a call costs on a busy machine, where no other processor is free.
        let transform = one_thread.load_file(&component, &Grants::none())?.transform()?;
        let (ours, theirs) =
            in_turns(transform.load(ITEM, &state, table.schema())?.as_ref(), &table, || native(&table, &scales));
        figures.add(format!("the same on one thread, {into}"), theirs / ours, "x", Target::None);
        // The same written against the SDKs. Those in other languages are there once `bench --languages` has built them.
        for (language, file, least) in [
            ("Rust", "plugins/standard-scale-rust.wasm", 0.5),
            ("C", "language-bench/standard-scale-c.wasm", 0.5),
            ("Go", "language-bench/standard-scale-go.wasm", 0.2),
        ] {
            let file = place.root.join("target").join(file);
            if !file.exists() {
                continue;
            }
            let transform = first.load_file(&file, &Grants::none())?.transform()?;
            let state = fit(transform.as_ref(), "{}", &table)?;
            let fitted = transform.load(ITEM, &state, table.schema())?;
            // They divide where the built-in one multiplies.
            let (ours, theirs) = in_turns(fitted.as_ref(), &table, || dividing(&table, &scales));
            let what = format!("the SDK's example in {language} / native speed, {into}");
            figures.add(what, theirs / ours, "x", Target::AtLeast(least));
        }
    }
    pages(false);

    // As a server makes it: columns of its own, and the schema that the transform was loaded with.
    let one = self::table(1)?;
    let row = Batch::new(table.schema().clone(), one.columns().to_vec(), 1)?;
    one_row(fitted.as_ref(), &row, figures)?;

    let plugin = first.load_file(&component, &Grants::none())?;
    plugin.try_instance()?;
    let instance = median(1_000, || drop(black_box(plugin.try_instance())));
    figures.add("a fresh instance, made and dropped", instance.as_secs_f64() * 1e6, "us", Target::AtMost(30.0));
    let loaded = median(500, || drop(black_box(transform.load(ITEM, &state, table.schema()))));
    figures.add("the same with a fitted state loaded", loaded.as_secs_f64() * 1e6, "us", Target::None);

    let mut loads = Vec::new();
    for _ in 0..11 {
        let host = host();
        // The engine is made once in a process, whatever the number of plugins.
        host.load_file(&place.plugins.join("drift-tests.wasm"), &Grants::none())?.drift_test()?;
        let plugin = host.load_file(&component, &Grants::none())?;
        loads.push(median(1, || drop(black_box(plugin.transform()))));
    }
    loads.sort_unstable();
    figures.add("load a compiled component from the cache", loads[5].as_secs_f64() * 1e3, "ms", Target::AtMost(5.0));
    Ok(())
}

/// Whether large pieces of memory are given back to the system at once and come from it anew, or are used again.
fn pages(fresh: bool) {
    // SAFETY: both only set a number that the allocator looks at.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the system's allocator is told by a call of C")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, if fresh { 128 << 10 } else { 4 << 20 });
        libc::mallopt(libc::M_TRIM_THRESHOLD, if fresh { 128 << 10 } else { 64 << 20 });
    }
}

/// The state that a table leads to.
fn fit(transform: &dyn Transform, options: &str, table: &Batch) -> Result<Vec<u8>> {
    let mut fitting = transform.start(ITEM, table.schema(), options)?;
    loop {
        fitting.update(table)?;
        if let Step::Done(state) = fitting.end_pass()? {
            return Ok(state);
        }
    }
}

/// How long a component takes for a table, and how long native code, in seconds. In turns, so that a change of the
/// machine's pace hits both.
fn in_turns(fitted: &dyn Fitted, table: &Batch, native: impl Fn() -> Vec<ArrayRef>) -> (f64, f64) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..31 {
        theirs.push(median(1, || drop(black_box(native()))));
        ours.push(median(1, || drop(black_box(fitted.apply(table)))));
    }
    ours.sort_unstable();
    theirs.sort_unstable();
    (ours[15].as_secs_f64(), theirs[15].as_secs_f64())
}

fn one_row(fitted: &dyn Fitted, row: &Batch, figures: &mut Figures) -> Result<()> {
    fitted.apply(row)?;
    const CALLS: u32 = 2_000;
    let in_us = |call: &dyn Fn()| median(51, || (0..CALLS).for_each(|_| call())).as_secs_f64() * 1e6 / f64::from(CALLS);
    let piece = in_us(&|| drop(black_box(fitted.apply(black_box(row)))));
    let arrays = in_us(&|| drop(black_box(fitted.apply(black_box(row)).map(|found| found.arrow().num_rows()))));
    figures.add("one row x 20, warm instance, the result in one piece", piece, "us", Target::AtMost(2.0));
    // What nobody pays who scores the row; who wants Arrow's columns does.
    figures.add("the same and an array for each column", arrays, "us", Target::None);
    Ok(())
}

fn table(rows: usize) -> Result<Batch> {
    let fields = (0..COLUMNS).map(|i| Field::new(format!("x{i}"), Kind::Float64, false)).collect();
    let columns = (0..COLUMNS)
        .map(|c| {
            Arc::new(Float64Array::from_iter_values((0..rows).map(|r| ((r * 31 + c * 7) % 1009) as f64))) as ArrayRef
        })
        .collect();
    Ok(Batch::new(Schema::new(fields)?, columns, rows)?)
}

fn floats(column: &ArrayRef) -> &[f64] {
    column.as_any().downcast_ref::<Float64Array>().map_or(&[], |array| array.values())
}

/// Mean and inverse standard deviation of each column.
fn scales(table: &Batch) -> Vec<(f64, f64)> {
    table
        .columns()
        .iter()
        .map(|column| {
            let values = floats(column);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64;
            (mean, 1.0 / variance.sqrt())
        })
        .collect()
}

fn native(table: &Batch, scales: &[(f64, f64)]) -> Vec<ArrayRef> {
    each(table, scales, |value, mean, inverse| (value - mean) * inverse)
}

fn dividing(table: &Batch, scales: &[(f64, f64)]) -> Vec<ArrayRef> {
    let deviations: Vec<_> = scales.iter().map(|(mean, inverse)| (*mean, 1.0 / inverse)).collect();
    each(table, &deviations, |value, mean, deviation| (value - mean) / deviation)
}

fn each(table: &Batch, scales: &[(f64, f64)], change: impl Fn(f64, f64, f64) -> f64) -> Vec<ArrayRef> {
    let columns = table.columns().iter().zip(scales).map(|(column, &(mean, scale))| {
        let values = floats(column).iter().map(|value| change(*value, mean, scale));
        Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
    });
    columns.collect()
}

fn close(expected: &[ArrayRef], found: &Batch) -> Result<bool> {
    anyhow::ensure!(found.num_columns() == expected.len(), "{} columns came back", found.num_columns());
    let first = found.column(0).as_any().downcast_ref::<Float64Array>().context("float64 comes back")?;
    Ok(floats(&expected[0]).iter().zip(first.values()).all(|(a, b)| (a - b).abs() < 1e-9))
}
