//! `kind: load`: a source through a loader plugin into a Parquet table.
//!
//! Partitions are read in parallel and written in order. At most [`AHEAD`] partitions wait in memory, so a file of any
//! size passes through a bounded space.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use plinth_core::{Code, Coded, codes};
use plinth_ext::{Batch, ExtError, Loader, ReadPlan};
use plinth_pipeline::{
    KeyPart, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome, StagePlan, StageSpec,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{options_text, thousands};
use crate::{
    host::{Host, PluginRef},
    output::read_failure,
};

/// Partitions that are read at once.
const READERS: usize = 2;
/// Partitions that may be read before the one that is being written.
const AHEAD: usize = 2;
/// Rows asked of a reader at once.
const ROWS_PER_READ: u32 = 16_384;

pub(crate) struct Load(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// A file, relative to the pipeline file.
    source: String,
    /// A loader plugin.
    plugin: String,
    /// Which of its loaders, if it has several.
    item: Option<String>,
    #[serde(default)]
    options: Map<String, Value>,
}

impl StageHandler for Load {
    fn kind(&self) -> &'static str {
        "load"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        // The path does not decide the result: the content does, and it is a part of the key.
        let params = json!({"item": config.item, "options": config.options});
        Ok(StagePlan { inputs: Vec::new(), params, outputs: vec!["rows"] })
    }

    fn key_parts(&self, stage: &StageContext<'_>) -> Result<Vec<KeyPart>, StageFailure> {
        let config: Config = stage.stage.config()?;
        let plugin = PluginRef::new(stage.pipeline, &config.plugin);
        Ok(vec![
            KeyPart { name: "plugin".into(), hash: self.0.components.hash(stage.cache, &plugin)? },
            KeyPart { name: "source".into(), hash: stage.cache.file_hash(&source_path(stage, &config.source)?)? },
        ])
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        let config: Config = stage.stage.config()?;
        let path = source_path(stage, &config.source)?;
        let before = stage.cache.file_hash(&path)?;
        let plugin = PluginRef::new(stage.pipeline, &config.plugin);
        let (loader, item) = self.0.components.loader(&plugin, config.item.as_deref(), &path)?;
        let options = options_text(&config.options);
        let source = path.display().to_string();
        let plan = loader.plan(&item, &source, &options)?;
        let partition_bytes_max = self.0.limits().plugin.partition_bytes_max;
        let mut rows = 0;
        let output = self.0.write_table("rows", &plan.schema, |write| {
            let read = Reading {
                loader: &*loader,
                item: &item,
                source: &source,
                options: &options,
                plan: &plan,
                partition_bytes_max,
            };
            rows = read.all(stage, write)?;
            if rows == 0 {
                return Err(NoRows(source.clone()).into());
            }
            Ok(())
        })?;
        // The key names what the file held when the stage began; rows of another content must not be filed under it.
        if stage.cache.file_hash(&path)? != before {
            return Err(crate::host::HostError::Changed { path }.into());
        }
        Ok(StageOutcome {
            outputs: vec![output],
            metrics: BTreeMap::from([("rows".into(), rows as f64)]),
            summary: format!("{} rows, {} columns", thousands(rows), plan.schema.len()),
            details: Value::Null,
        })
    }
}

/// The file that a stage names, made absolute.
fn source_path(stage: &StageContext<'_>, source: &str) -> Result<PathBuf, StageFailure> {
    let path = stage.pipeline.dir.join(source);
    match std::fs::canonicalize(&path) {
        Ok(path) if path.is_dir() => Err(IsFolder(path).into()),
        Ok(path) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = Path::new(source).file_name().map(|name| name.to_string_lossy().into_owned());
            let near = path.parent().and_then(|dir| std::fs::read_dir(dir).ok()).and_then(|entries| {
                let names: Vec<String> =
                    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
                plinth_core::closest(&name?, names.iter().map(String::as_str)).map(str::to_owned)
            });
            Err(NoFile { path, place: stage.stage.place(&["source"]).to_string(), near }.into())
        }
        Err(error) => {
            let failure = read_failure(&path, &error);
            Err(crate::host::HostError::from(failure).into())
        }
    }
}

/// A source being read.
struct Reading<'a> {
    loader: &'a dyn Loader,
    item: &'a str,
    source: &'a str,
    options: &'a str,
    plan: &'a ReadPlan,
    partition_bytes_max: u64,
}

/// What readers and the writer share.
#[derive(Default)]
struct Shelf {
    /// Partitions that were read and not yet written.
    read: BTreeMap<usize, Result<Vec<Batch>, ExtError>>,
    /// Partitions that were written.
    written: usize,
    stopped: bool,
}

impl Reading<'_> {
    /// Reads every partition and hands the rows to `write` in order; gives the number of rows.
    fn all(
        &self,
        stage: &StageContext<'_>,
        write: &mut dyn FnMut(&Batch) -> Result<(), StageFailure>,
    ) -> Result<u64, StageFailure> {
        let partitions = &self.plan.partitions;
        let bytes: Vec<u64> = partitions.iter().map(|partition| partition.bytes_hint.unwrap_or(0)).collect();
        let total = Some(bytes.iter().fold(0_u64, |sum, hint| sum.saturating_add(*hint))).filter(|total| *total > 0);
        if partitions.len() == 1 {
            return self.one(stage, total, write);
        }
        let shelf = (Mutex::new(Shelf::default()), Condvar::new());
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..READERS.min(partitions.len()) {
                scope.spawn(|| self.work(&shelf, &next, stage));
            }
            let mut rows = 0;
            let mut done = 0_u64;
            let result = (0..partitions.len()).try_for_each(|index| {
                let mut guard = lock(&shelf.0);
                let read = loop {
                    match guard.read.remove(&index) {
                        Some(read) => break read,
                        None => guard = shelf.1.wait(guard).unwrap_or_else(PoisonError::into_inner),
                    }
                };
                drop(guard);
                // A reader that saw the stop hands over what it has, which may be nothing.
                stage.cancel.check()?;
                for batch in read? {
                    stage.cancel.check()?;
                    rows += batch.num_rows() as u64;
                    write(&batch)?;
                }
                lock(&shelf.0).written = index + 1;
                shelf.1.notify_all();
                done = done.saturating_add(bytes[index]);
                (stage.progress)(done, total);
                Ok(())
            });
            lock(&shelf.0).stopped = true;
            shelf.1.notify_all();
            result.map(|()| rows)
        })
    }

    /// One partition needs no other thread, and nothing of it waits in memory.
    fn one(
        &self,
        stage: &StageContext<'_>,
        total: Option<u64>,
        write: &mut dyn FnMut(&Batch) -> Result<(), StageFailure>,
    ) -> Result<u64, StageFailure> {
        let mut reader = self.open(0)?;
        let mut rows = 0;
        while let Some(batch) = reader.next(ROWS_PER_READ)? {
            stage.cancel.check()?;
            rows += batch.num_rows() as u64;
            write(&batch)?;
        }
        (stage.progress)(total.unwrap_or(rows), total);
        Ok(rows)
    }

    /// Reads partitions until none is left.
    fn work(&self, shelf: &(Mutex<Shelf>, Condvar), next: &AtomicUsize, stage: &StageContext<'_>) {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.plan.partitions.len() {
                return;
            }
            let mut guard = lock(&shelf.0);
            while index > guard.written + AHEAD && !guard.stopped {
                guard = shelf.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            if guard.stopped {
                return;
            }
            drop(guard);
            // The writer waits for this partition: it gets an answer even if a defect of ours panics here.
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.partition(index, stage)));
            let read = read.unwrap_or_else(|_| {
                Err(ExtError::fault(
                    self.item,
                    plinth_core::codes::INTERNAL,
                    format!("reading partition {index} panicked"),
                ))
            });
            lock(&shelf.0).read.insert(index, read);
            shelf.1.notify_all();
        }
    }

    fn partition(&self, index: usize, stage: &StageContext<'_>) -> Result<Vec<Batch>, ExtError> {
        let mut reader = self.open(index)?;
        let mut batches = Vec::new();
        let mut held = 0_u64;
        while let Some(batch) = reader.next(ROWS_PER_READ)? {
            held += batch.get_array_memory_size() as u64;
            if held > self.partition_bytes_max {
                // The plan is the guest's word: a partition without an end must not fill the host's memory.
                let message = format!("partition {index} holds more than {} bytes", self.partition_bytes_max);
                let fault = ExtError::fault(self.item, plinth_core::codes::LIMIT_EXCEEDED, message);
                return Err(fault.with_hint("raise [limits.plugin] partition-bytes-max in plinth.toml"));
            }
            if stage.cancel.is_stopped() {
                // The writer notices too, and tells.
                break;
            }
            batches.push(batch);
        }
        Ok(batches)
    }

    fn open(&self, index: usize) -> Result<Box<dyn plinth_ext::Reader>, ExtError> {
        let token = &self.plan.partitions[index].token;
        self.loader.open(self.item, self.source, self.options, &self.plan.schema, token)
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, thiserror::Error)]
#[error("{place}: the source `{}` does not exist", path.display())]
struct NoFile {
    path: PathBuf,
    place: String,
    near: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the source `{}` is a folder", .0.display())]
struct IsFolder(PathBuf);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` holds no rows")]
struct NoRows(String);

impl Coded for NoFile {
    fn code(&self) -> Code {
        codes::FILE_NOT_FOUND
    }
    fn hint(&self) -> Option<String> {
        Some(match &self.near {
            Some(near) => format!("did you mean `{near}`? Paths are relative to the pipeline file"),
            None => "paths are relative to the pipeline file".into(),
        })
    }
}

impl Coded for IsFolder {
    fn code(&self) -> Code {
        codes::FILE_UNREADABLE
    }
    fn hint(&self) -> Option<String> {
        Some("name a file in it".into())
    }
}

impl Coded for NoRows {
    fn code(&self) -> Code {
        codes::EMPTY_INPUT
    }
    fn hint(&self) -> Option<String> {
        Some("a header alone is no data: check how the file was made".into())
    }
}
