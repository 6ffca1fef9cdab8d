//! `plinth plugin bench`: what a plugin costs, beside the built-in of its kind and beside native code, in one run.

use std::{
    hint::black_box,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::{ArrayRef, Float64Array, cast::AsArray, types::Float64Type};
use plinth_core::codes;
use plinth_ext::{
    Batch, DriftTest, Evidence, Field, Gate, Kind, Loader, Metric, Models, NoTables, Schema, Step, Subject, Tables,
    Transform,
};
use plinth_plugin::ExtensionPoint;
use serde_json::{Map, Value, json};

use super::{
    args::PluginBenchArgs,
    component_of, noun,
    run::{evidence, told},
};
use crate::{
    components::Components,
    config::Settings,
    output::{Failure, Output, io_failure, read_failure, table},
    plugins::{PluginRef, pick},
    predict::read_all,
    rows::Sink,
};

/// Each measurement goes on for so long, and for at least so many calls.
const LONG: Duration = Duration::from_millis(700);
const CALLS_MIN: usize = 5;
/// Calls of one row that are measured together.
const CALLS_AT_ONCE: u32 = 500;
/// Rows of each sample that a drift test compares.
const SAMPLE: usize = 10_000;
/// Rows asked of a reader at once.
const ROWS_AT_ONCE: u32 = 8_192;
/// Numbers that are made up at most: 2 GiB.
const MADE_UP_MAX: u64 = 1 << 28;
/// Names of figures.
const ROWS_PER_SECOND: &str = "rows-per-second";
const ON_ONE_THREAD: &str = "rows-per-second-on-one-thread";
/// What the built-in gate judges by, beside another one.
const BUILT_IN_THRESHOLDS: &str = r#"{"thresholds": [{"metric": "f1", "min": 0.8}]}"#;

/// The middle one of the times that a call takes, in seconds.
fn median(mut call: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    // The first is not counted: it makes instances and fills caches.
    call()?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < LONG || times.len() < CALLS_MIN {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Numbers that look like measurements: the same in every run.
fn numbers(rows: usize, columns: usize) -> Result<Batch, Failure> {
    let fields = (0..columns).map(|column| Field::new(format!("x{column}"), Kind::Float64, false)).collect();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let arrays = (0..columns).map(|column| -> ArrayRef {
        let values = (0..rows).map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            (noise >> 11) as f64 / (1_u64 << 53) as f64 * 100.0 + column as f64
        });
        Arc::new(Float64Array::from_iter_values(values))
    });
    Ok(Batch::new(Schema::new(fields)?, arrays.collect(), rows)?)
}

/// Plugins that no table is computed by on several threads at once.
fn on_one_thread(settings: &Settings) -> Components {
    let mut settings = settings.clone();
    settings.config.limits.plugin.table_threads_max = 1;
    Components::new(&settings)
}

/// Figures by name.
type Figures = Map<String, Value>;

/// One row in a call, and all of them.
fn calls(rows: &Batch, call: impl Fn(&Batch) -> Result<(), Failure>) -> Result<Figures, Failure> {
    let one = rows.slice(0, 1);
    // Many at a time: reading the clock takes a good part of a microsecond itself.
    let per_call = median(|| (0..CALLS_AT_ONCE).try_for_each(|_| call(black_box(&one))))? / f64::from(CALLS_AT_ONCE);
    let whole = median(|| call(rows))?;
    Ok(Map::from_iter([
        ("one-row-us".to_owned(), json!(per_call * 1e6)),
        (ROWS_PER_SECOND.to_owned(), json!(rows.num_rows() as f64 / whole)),
    ]))
}

fn transform_figures(transform: &dyn Transform, item: &str, options: &str, rows: &Batch) -> Result<Figures, Failure> {
    let mut fit = transform.start(item, rows.schema(), options)?;
    let state = loop {
        fit.update(rows)?;
        if let Step::Done(state) = fit.end_pass()? {
            break state;
        }
    };
    let load = median(|| {
        black_box(transform.load(item, &state, rows.schema())?);
        Ok(())
    })?;
    let fitted = transform.load(item, &state, rows.schema())?;
    let mut figures = calls(rows, |rows| {
        black_box(fitted.apply(rows)?);
        Ok(())
    })?;
    figures.insert("load-us".to_owned(), json!(load * 1e6));
    Ok(figures)
}

fn model_figures(models: &dyn Models, item: &str, args: &PluginBenchArgs, rows: &Batch) -> Result<Figures, Failure> {
    let artifact = match &args.artifact {
        Some(path) => std::fs::read(path).map_err(|error| read_failure(path, &error))?,
        None => Vec::new(),
    };
    let load = median(|| {
        black_box(models.load(item, &artifact, rows.schema(), &args.options)?);
        Ok(())
    })?;
    let model = models.load(item, &artifact, rows.schema(), &args.options)?;
    let mut figures = calls(rows, |rows| {
        black_box(model.predict(rows)?);
        Ok(())
    })?;
    figures.insert("load-us".to_owned(), json!(load * 1e6));
    Ok(figures)
}

/// Everything that a loader finds in a file, batch by batch.
fn load(
    loader: &dyn Loader,
    item: &str,
    source: &str,
    options: &str,
    mut take: impl FnMut(Batch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let plan = loader.plan(item, source, options)?;
    for partition in &plan.partitions {
        let mut reader = loader.open(item, source, options, &plan.schema, &partition.token)?;
        while let Some(rows) = reader.next(ROWS_AT_ONCE)? {
            take(rows)?;
        }
    }
    Ok(())
}

fn loader_figures(loader: &dyn Loader, item: &str, source: &str, options: &str) -> Result<Figures, Failure> {
    let plan = median(|| {
        black_box(loader.plan(item, source, options)?);
        Ok(())
    })?;
    let mut rows = 0;
    let whole = median(|| {
        rows = 0;
        load(loader, item, source, options, |batch| {
            rows += black_box(batch).num_rows();
            Ok(())
        })
    })?;
    if rows == 0 {
        return Err(Failure::new(codes::EMPTY_INPUT, format!("{source} holds no rows")).hint("measure with some"));
    }
    Ok(Map::from_iter([
        ("plan-us".to_owned(), json!(plan * 1e6)),
        (ROWS_PER_SECOND.to_owned(), json!(rows as f64 / whole)),
    ]))
}

/// The same rows as CSV, read by the built-in loader.
fn built_in_loader(
    loader: &dyn Loader,
    item: &str,
    source: &str,
    options: &str,
    components: &Components,
) -> Result<f64, Failure> {
    let folder = tempfile::tempdir().map_err(|error| io_failure("a folder for a while", &error))?;
    let csv = folder.path().join("rows.csv");
    let schema = loader.plan(item, source, options)?.schema;
    let mut sink = Sink::open(Some(&csv), &schema, false)?;
    load(loader, item, source, options, |rows| sink.write(&rows))?;
    sink.finish()?;
    let types = schema.fields().iter().map(|field| (field.name.clone(), json!(field.kind.to_string())));
    let types = json!({"types": types.collect::<Figures>()}).to_string();
    let (loader, item) = told(components.loader(&PluginRef::named("load-csv"), None, &csv))?;
    let figures = loader_figures(&*loader, &item, &csv.display().to_string(), &types)?;
    Ok(figures[ROWS_PER_SECOND].as_f64().unwrap_or_default())
}

/// How long a gate takes to judge, in seconds.
fn evaluation(gate: &dyn Gate, item: &str, options: &str, asked: &(Evidence, Arc<dyn Tables>)) -> Result<f64, Failure> {
    let (evidence, tables) = asked;
    median(|| {
        black_box(gate.evaluate(item, evidence, options, Arc::clone(tables))?);
        Ok(())
    })
}

/// A candidate and what it is to replace, of a few metrics each.
fn made_up_evidence() -> Evidence {
    let metric = |name: &str, value| Metric { name: name.into(), value, slice: None, n: Some(1_000) };
    let subject = |reference: &str, f1| Subject {
        reference: reference.into(),
        metrics: vec![metric("accuracy", 0.95), metric("f1", f1), metric("roc_auc", 0.97)],
        tags: Vec::new(),
    };
    Evidence { candidate: subject("candidate", 0.9), baseline: Some(subject("baseline", 0.88)) }
}

/// Standard scaling in this process: what the sandbox and the language cost is the ratio to it.
fn native_rows_per_second(rows: &Batch) -> Result<f64, Failure> {
    let columns: Vec<&Float64Array> = rows.columns().iter().map(AsArray::as_primitive::<Float64Type>).collect();
    let whole = median(|| {
        let scaled = columns.iter().map(|column| -> ArrayRef {
            let values = column.values().iter().map(|value| (value - 50.0) / 29.0);
            Arc::new(Float64Array::from_iter_values(values))
        });
        black_box(Batch::new(rows.schema().clone(), scaled.collect(), rows.num_rows())?);
        Ok(())
    })?;
    Ok(rows.num_rows() as f64 / whole)
}

fn drift_figures(tests: &dyn DriftTest, item: &str, options: &str) -> Result<Figures, Failure> {
    let both = numbers(SAMPLE, 2)?;
    let (reference, current) = (both.project(&[0]), both.project(&[1]));
    let schema = reference.schema().clone();
    let current = Batch::new(schema, current.columns().to_vec(), SAMPLE)?;
    let few = (reference.slice(0, 100), current.slice(0, 100));
    let small =
        median(|| tests.test(item, &few.0, &few.1, options).map(|o| drop(black_box(o))).map_err(Failure::from))?;
    let large =
        median(|| tests.test(item, &reference, &current, options).map(|o| drop(black_box(o))).map_err(Failure::from))?;
    Ok(Map::from_iter([
        ("test-of-100-us".to_owned(), json!(small * 1e6)),
        (ROWS_PER_SECOND.to_owned(), json!(2.0 * SAMPLE as f64 / large)),
    ]))
}

/// `plinth plugin bench`
pub(super) fn bench(args: &PluginBenchArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let reference = PluginRef::named(&component_of(&args.plugin)?);
    let found = reference.find(settings)?;
    // Compiled before it is measured: what a first use costs depends on the machine's other work.
    let first = Instant::now();
    Components::new(settings).whole(&found)?.try_instance()?;
    let first = first.elapsed().as_secs_f64();
    let begun = Instant::now();
    let components = Components::new(settings);
    let plugin = components.whole(&found)?;
    plugin.try_instance()?;
    let load = begun.elapsed().as_secs_f64();
    let instance = median(|| Ok(plugin.try_instance()?))?;
    let mut figures = Map::from_iter([
        ("bytes".to_owned(), json!(plugin.size())),
        ("first-use-ms".to_owned(), json!(first * 1e3)),
        ("load-from-cache-ms".to_owned(), json!(load * 1e3)),
        ("instance-us".to_owned(), json!(instance * 1e6)),
    ]);
    // Whatever reads the input has memory of its own, which is not what is measured.
    let readers = Components::new(settings);
    let memory = |figures: &mut Figures| figures.insert("memory-bytes".to_owned(), json!(components.largest_bytes()));
    let mut ratios = Figures::new();
    let point = components.point(&reference, args.item.as_deref())?;
    let of_no_use = |flag: &str, hint: &str| {
        Failure::new(codes::USAGE, format!("{flag} is of no use with a {}", noun(point.name()))).hint(hint)
    };
    if args.artifact.is_some() && !matches!(point, ExtensionPoint::Predict) {
        return Err(of_no_use("--artifact", "models have one"));
    }
    if args.input.is_some() && matches!(point, ExtensionPoint::DriftTest) {
        return Err(of_no_use("--input", "drift tests compare numbers that are made up"));
    }
    match point {
        ExtensionPoint::Transform => {
            let rows = rows(args, &readers)?;
            let (transform, item, _) = told(components.transform(&reference, args.item.as_deref()))?;
            let mut own = transform_figures(&*transform, &item, &args.options, &rows)?;
            memory(&mut figures);
            let one_thread = on_one_thread(settings);
            let (transform, ..) = told(one_thread.transform(&reference, args.item.as_deref()))?;
            let slower = transform_figures(&*transform, &item, &args.options, &rows)?;
            own.insert(ON_ONE_THREAD.to_owned(), slower[ROWS_PER_SECOND].clone());
            // Of given rows nobody knows whether all of them are numbers without gaps.
            if args.input.is_none() {
                let native = native_rows_per_second(&rows)?;
                let built_in = built_in(&components, "tabular", "standard-scale", &rows)?;
                ratio(&mut ratios, "rows per second, of native code's", &own, native);
                ratio(&mut ratios, "rows per second, of the built-in's (tabular standard-scale)", &own, built_in);
            }
            figures.extend(own);
        }
        ExtensionPoint::DriftTest => {
            let tests = told(components.drift_tests(&reference))?;
            let item = pick(&found.name, tests.items().iter().map(|test| &test.item), args.item.as_deref())
                .map_err(|error| Failure::of(&error))?;
            let own = drift_figures(&*tests, &item, &args.options)?;
            memory(&mut figures);
            let built_in = told(components.drift_tests(&PluginRef::named("drift-tests")))?;
            let built_in = drift_figures(&*built_in, "psi", "{}")?[ROWS_PER_SECOND].as_f64().unwrap_or_default();
            ratio(&mut ratios, "rows per second, of the built-in's (drift-tests psi)", &own, built_in);
            figures.extend(own);
        }
        ExtensionPoint::Predict => {
            let rows = rows(args, &readers)?;
            let (models, item, _) = told(components.models(&reference, args.item.as_deref()))?;
            figures.extend(model_figures(&*models, &item, args, &rows)?);
            memory(&mut figures);
            let one_thread = on_one_thread(settings);
            let (models, ..) = told(one_thread.models(&reference, args.item.as_deref()))?;
            let slower = model_figures(&*models, &item, args, &rows)?;
            figures.insert(ON_ONE_THREAD.to_owned(), slower[ROWS_PER_SECOND].clone());
        }
        ExtensionPoint::Loader => {
            let input = args.input.as_deref().ok_or_else(|| {
                Failure::new(codes::USAGE, "a loader is measured with what it reads").hint("add --input FILE")
            })?;
            let source = input.canonicalize().map_err(|error| read_failure(input, &error))?;
            let (loader, item) = told(components.loader(&reference, args.item.as_deref(), &source))?;
            let source = source.display().to_string();
            let own = loader_figures(&*loader, &item, &source, &args.options)?;
            memory(&mut figures);
            let schema = loader.plan(&item, &source, &args.options)?.schema;
            // CSV has no bytes.
            if schema.fields().iter().all(|field| field.kind != Kind::Binary) {
                let built_in = built_in_loader(&*loader, &item, &source, &args.options, &components)?;
                ratio(&mut ratios, "rows per second, of the built-in's (load-csv) with the same rows", &own, built_in);
            }
            figures.extend(own);
        }
        ExtensionPoint::Gate => {
            let (gate, item) = told(components.gate(&reference, args.item.as_deref()))?;
            let asked = match &args.input {
                Some(input) => evidence(input, &readers)?,
                None => (made_up_evidence(), Arc::new(NoTables) as Arc<dyn Tables>),
            };
            let own = evaluation(&*gate, &item, &args.options, &asked)?;
            figures.insert("evaluation-us".to_owned(), json!(own * 1e6));
            memory(&mut figures);
            // Rows have no metrics that the built-in could judge by.
            if asked.1.names().is_empty() {
                let (gate, item) = told(components.gate(&PluginRef::named("quality-gate"), Some("metrics")))?;
                let built_in = evaluation(&*gate, &item, BUILT_IN_THRESHOLDS, &asked)?;
                ratios
                    .insert("evaluations, of the built-in's (quality-gate metrics)".to_owned(), json!(built_in / own));
            }
        }
    }
    let told = json!({"plugin": plugin.name(), "figures": figures, "ratios": ratios});
    output
        .data(&told, || {
            let rows = figures.iter().chain(&ratios).map(|(name, value)| {
                let number = value.as_f64().unwrap_or_default();
                let text = if number >= 1_000.0 { format!("{number:.0}") } else { format!("{number:.3}") };
                vec![name.clone(), text]
            });
            table(["figure", "value"], rows)
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// The rows that are given, else some that are made up.
fn rows(args: &PluginBenchArgs, components: &Components) -> Result<Batch, Failure> {
    match &args.input {
        Some(input) => read_all(components, input, "{}"),
        None if u64::from(args.rows) * u64::from(args.columns) > MADE_UP_MAX => {
            let message = format!("{} rows of {} columns are more than are made up", args.rows, args.columns);
            Err(Failure::new(codes::USAGE, message).hint(format!("ask for at most {MADE_UP_MAX} numbers in all")))
        }
        None => numbers(args.rows as usize, args.columns as usize),
    }
}

fn ratio(ratios: &mut Figures, name: &str, own: &Figures, peer: f64) {
    let own = own.get("rows-per-second").and_then(Value::as_f64).unwrap_or_default();
    ratios.insert(name.to_owned(), json!(own / peer));
}

/// The built-in of the same kind on the same rows.
fn built_in(components: &Components, plugin: &str, item: &str, rows: &Batch) -> Result<f64, Failure> {
    let (transform, item, _) = told(components.transform(&PluginRef::named(plugin), Some(item)))?;
    let names: Vec<&str> = rows.schema().fields().iter().map(|field| field.name.as_str()).collect();
    let figures = transform_figures(&*transform, &item, &json!({"columns": names}).to_string(), rows)?;
    figures[ROWS_PER_SECOND].as_f64().ok_or_else(|| Failure::new(codes::INTERNAL, "the built-in was not measured"))
}
