//! What a kind of stage has to say: which inputs it reads, what decides its result, and how to run it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use plinth_core::ContentHash;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Pipeline, PipelineError, StageFailure, StageSpec, cache::Cache};

/// Runs the stages of one kind. Handlers are registered by the composition root.
pub trait StageHandler: Send + Sync {
    /// The `kind` in the pipeline file.
    fn kind(&self) -> &'static str;

    /// Part of every stage key: raise it when the same inputs give different outputs than before.
    fn version(&self) -> u32;

    /// Checks a stage's own keys and names its inputs. Reads no data.
    ///
    /// # Errors
    /// [`PipelineError`], mostly from [`StageSpec::config`].
    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError>;

    /// What decides the result besides inputs and [`StagePlan::params`]: content hashes of source files and of
    /// plugins, the version behind an alias. Called on every run, so it must be quick.
    ///
    /// # Errors
    /// [`StageFailure`]: a file or a plugin is missing.
    fn key_parts(&self, stage: &StageContext<'_>) -> Result<Vec<KeyPart>, StageFailure> {
        let _ = stage;
        Ok(Vec::new())
    }

    /// Whether an earlier result of the same key still stands: what a stage did outside the cache may have been undone.
    ///
    /// # Errors
    /// [`StageFailure`]: it cannot be looked at.
    fn stands(&self, outcome: &StageOutcome) -> Result<bool, StageFailure> {
        let _ = outcome;
        Ok(true)
    }

    /// Does the work. Blobs are durable when it returns; the engine writes the row.
    ///
    /// # Errors
    /// [`StageFailure`]; [`Stopped`] when [`Cancel::check`] said so.
    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure>;
}

/// What a stage reads and makes.
#[derive(Debug, Clone, Default)]
pub struct StagePlan {
    /// Outputs of other stages that it reads.
    pub inputs: Vec<InputRef>,
    /// Its other settings: they enter the stage key in canonical form.
    pub params: Value,
    /// The outputs it makes; a reference without a name means the first.
    pub outputs: Vec<&'static str>,
}

/// A reference to another stage's output: `split.train`, or `validate` for its first output.
#[derive(Debug, Clone)]
pub struct InputRef {
    /// What the handler calls the input.
    pub name: &'static str,
    /// The key of the stage that holds the reference.
    pub key: &'static str,
    /// The reference as written.
    pub reference: String,
}

impl InputRef {
    /// A reference written under `key`, which is also the input's name.
    pub fn new(key: &'static str, reference: impl Into<String>) -> Self {
        Self { name: key, key, reference: reference.into() }
    }

    /// Another output of a stage that is named under `key`.
    pub fn sibling(name: &'static str, key: &'static str, reference: &str) -> Self {
        let stage = reference.split('.').next().unwrap_or_default();
        Self { name, key, reference: format!("{stage}.{name}") }
    }
}

/// Something that decides a stage's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// What it is, such as `plugin load-csv`.
    pub name: String,
    /// Its identity.
    pub hash: ContentHash,
}

/// A blob that a stage made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Name within its stage.
    pub name: String,
    /// Its content.
    pub blob: ContentHash,
    /// Its size.
    pub bytes: u64,
}

/// What a stage made and has to say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageOutcome {
    /// Every output of its plan.
    pub outputs: Vec<Output>,
    /// Measurements worth recording with the run.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// One line for a person, such as `5,000 rows, 23 columns`.
    pub summary: String,
    /// Anything worth showing in full, such as the table of checks of a gate.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// What a handler gets to know about the stage it runs.
pub struct StageContext<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// The stage.
    pub stage: &'a StageSpec,
    /// Inputs by name.
    pub inputs: &'a BTreeMap<&'static str, Output>,
    /// The state directory, and what is remembered about files.
    pub cache: &'a Cache,
    /// Whether to stop.
    pub cancel: &'a Cancel,
    /// The run that this belongs to; empty while keys are computed.
    pub run_id: &'a str,
    /// Told how far the work is: units done, units in all if known.
    pub progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
}

impl StageContext<'_> {
    /// An input.
    ///
    /// # Panics
    /// If the plan did not name it: a defect of the handler.
    pub fn input(&self, name: &str) -> &Output {
        self.inputs.get(name).expect("a handler reads only the inputs that its plan names")
    }
}

/// A flag that the user's ctrl-C sets. Handlers look at it between batches.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    /// Not stopped.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks everyone to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for code that looks at one.
    pub const fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// An error once the user asked to stop.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_stopped() { Err(Stopped) } else { Ok(()) }
    }
}

/// The user stopped the work.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("stopped by the user")]
pub struct Stopped;

impl plinth_core::Coded for Stopped {
    fn code(&self) -> plinth_core::Code {
        plinth_core::codes::INTERRUPTED
    }
}
