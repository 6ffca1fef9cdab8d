//! Pipelines: a file of stages, the graph they form, and the engine that runs only what has not been run before.
//!
//! Deliberately knows nothing of loaders, models, gates or any other kind of stage: kinds are [`StageHandler`]s that
//! the composition root registers in [`Handlers`]. Knows nothing of WebAssembly, Arrow, terminals or HTTP.
//!
//! Start at [`Pipeline::read`], then [`Graph::new`], then [`run`].
//!
//! Invariants: a stage's key is the hash of everything that decides its result (kind and version of the handler,
//! settings, inputs by content, files and plugins by content), so equal keys mean equal results; a stage's row is
//! written after its blobs and in one transaction with the end of its lease; a run in which every stage is known
//! writes nothing.
#![warn(missing_docs)]

mod cache;
mod engine;
#[cfg(test)]
mod engine_tests;
mod error;
mod graph;
mod handler;
mod key;
mod place;
mod spec;
#[cfg(test)]
mod spec_tests;

pub use cache::{Cache, StageRow};
pub use engine::{Observer, Report, RunOptions, StageReport, run};
pub use error::{AnyError, PipelineError, StageFailure};
pub use graph::Graph;
pub use handler::{Cancel, InputRef, KeyPart, Output, StageContext, StageHandler, StageOutcome, StagePlan, Stopped};
pub use place::Place;
pub use spec::{Overrides, Pipeline, Retrain, StageSpec};

/// The kinds of stages that there are.
#[derive(Default)]
pub struct Handlers(Vec<Box<dyn StageHandler>>);

impl Handlers {
    /// Adds a kind.
    #[must_use]
    pub fn with(mut self, handler: impl StageHandler + 'static) -> Self {
        self.0.push(Box::new(handler));
        self
    }

    /// The handler of a kind.
    pub fn get(&self, kind: &str) -> Option<&dyn StageHandler> {
        self.0.iter().map(AsRef::as_ref).find(|handler| handler.kind() == kind)
    }

    /// Every kind, in the order of registration.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.0.iter().map(|handler| handler.kind()).collect()
    }
}
