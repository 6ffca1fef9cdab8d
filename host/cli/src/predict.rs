//! `plinth predict`: a file scored by a model version, batch by batch.

use std::{path::Path, process::ExitCode};

use plinth_core::codes;
use plinth_ext::{Batch, Schema};
use plinth_tracking::ModelVersion;
use serde_json::{Value, json};

use crate::{
    args::PredictArgs,
    components::Components,
    config::Settings,
    host::{Host, PluginRef},
    models::resolve,
    outfile::OutFile,
    output::{Failure, Output},
    rows::{Format, Sink},
    scorer,
    stages::thousands,
};

/// Rows asked of a reader at once.
const ROWS_PER_READ: u32 = 8_192;

/// `plinth predict`
pub(crate) fn predict(args: &PredictArgs, settings: Settings, output: Output) -> Result<ExitCode, Failure> {
    let host = Host::open(settings, args.device.as_deref(), None)?;
    let version: ModelVersion = resolve(&host, &args.model)?;
    if scorer::Spec::of(&version)?.is_onnx() {
        host.start_runtime_early();
    }
    let scorer = scorer::of_version(&host, &version, &host.sessions(1), scorer::Use::Batch)?;
    let file = args.output.as_deref().map(|path| OutFile::begin(path, output));
    let mut sink = Sink::open(file.as_ref().map(OutFile::beside), scorer.output(), output.json)?;
    let mut rows = 0;
    for_each_batch(&host.components, &args.input, &version_options(&version, &args.input)?, |batch| {
        let raw = scorer.signature().coerce(batch)?;
        rows += batch.num_rows() as u64;
        sink.write(&scorer.score(&raw)?)
    })?;
    sink.finish()?;
    file.map_or(Ok(()), OutFile::keep)?;
    output.say(format!("{} rows scored by {}", thousands(rows), version.reference()));
    if output.json && args.output.is_some() {
        output
            .data(&json!({"rows": rows, "model": version.reference(), "output": args.output}), String::new)
            .map_err(|error| crate::output::io_failure("stdout", &error))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The loader's options that a version's own pipeline reads files of this format with, as JSON.
pub(crate) fn version_options(version: &ModelVersion, path: &Path) -> Result<String, Failure> {
    let spec = scorer::Spec::of(version)?;
    let loader = Format::of(path)?.loader();
    let same = spec.load().filter(|load| load.plugin == loader);
    Ok(same.map_or_else(|| "{}".to_owned(), |load| Value::Object(load.options.clone()).to_string()))
}

/// Reads a file by the loader plugin for its format and hands its rows on; gives its columns.
pub(crate) fn for_each_batch(
    components: &Components,
    path: &Path,
    options: &str,
    mut take: impl FnMut(&Batch) -> Result<(), Failure>,
) -> Result<Schema, Failure> {
    let found = std::fs::canonicalize(path).map_err(|error| {
        let failure = crate::output::read_failure(path, &error);
        if failure.code == codes::FILE_NOT_FOUND {
            Failure::new(codes::FILE_NOT_FOUND, format!("there is no file `{}`", path.display()))
        } else {
            failure
        }
    })?;
    let plugin = PluginRef::named(Format::of(path)?.loader());
    let (loader, item) = components.loader(&plugin, None, &found).map_err(|failure| Failure::of(&*failure.error))?;
    let source = found.display().to_string();
    let plan = loader.plan(&item, &source, options)?;
    for partition in &plan.partitions {
        let mut reader = loader.open(&item, &source, options, &plan.schema, &partition.token)?;
        while let Some(batch) = reader.next(ROWS_PER_READ)? {
            take(&batch)?;
        }
    }
    Ok(plan.schema)
}

/// All rows of a file in memory.
pub(crate) fn read_all(components: &Components, path: &Path, options: &str) -> Result<Batch, Failure> {
    let rows_max = components.limits().table.rows_in_memory_max;
    let mut batches = Vec::new();
    let mut rows = 0;
    let schema = for_each_batch(components, path, options, |batch| {
        rows += batch.num_rows() as u64;
        if rows > rows_max {
            let message = format!("`{}` has more than {} rows", path.display(), thousands(rows_max));
            return Err(Failure::new(codes::LIMIT_EXCEEDED, message)
                .hint("give a sample, or raise limits.table.rows-in-memory-max in plinth.toml"));
        }
        batches.push(batch.clone());
        Ok(())
    })?;
    if rows == 0 {
        return Err(Failure::new(codes::EMPTY_INPUT, format!("`{}` holds no rows", path.display())));
    }
    Ok(plinth_table::concat(&schema, &batches)?)
}
