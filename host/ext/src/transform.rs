//! Feature transforms.

use std::sync::Arc;

use crate::{Batch, ExtError, Item, Schema};

/// What one pass over the training data led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Feed the same data again.
    AnotherPass,
    /// The fitted state.
    Done(Vec<u8>),
}

/// Fits and applies feature transforms.
pub trait Transform: Send + Sync {
    /// What it offers.
    fn items(&self) -> &[Item];

    /// Starts a fit.
    ///
    /// # Errors
    /// [`ExtError`]: options or schema do not suit.
    fn start(&self, item: &str, input: &Schema, options: &str) -> Result<Box<dyn Fitting>, ExtError>;

    /// Binds a fitted state to the schema of the rows to come.
    ///
    /// # Errors
    /// [`ExtError`]: the state is not one of this item's, or the schema does not suit it.
    fn load(&self, item: &str, state: &[u8], input: &Schema) -> Result<Arc<dyn Fitted>, ExtError>;
}

/// A fit in progress.
pub trait Fitting: Send {
    /// Takes the next rows of this pass.
    ///
    /// # Errors
    /// [`ExtError`].
    fn update(&mut self, rows: &Batch) -> Result<(), ExtError>;

    /// What this fit learned in this pass, to be merged into another.
    ///
    /// # Errors
    /// [`ExtError`].
    fn partial(&mut self) -> Result<Vec<u8>, ExtError>;

    /// Takes in what another fit, started with the same arguments, learned.
    ///
    /// # Errors
    /// [`ExtError`].
    fn merge(&mut self, partial: &[u8]) -> Result<(), ExtError>;

    /// Ends the pass.
    ///
    /// # Errors
    /// [`ExtError`].
    fn end_pass(&mut self) -> Result<Step, ExtError>;
}

/// A fitted transform bound to an input schema. `apply` is pure: same state, same rows, same bytes.
pub trait Fitted: Send + Sync {
    /// The schema of the rows that `apply` takes.
    fn input(&self) -> &Schema;

    /// The schema of the rows that `apply` returns.
    fn output(&self) -> &Schema;

    /// Transforms rows: one out for each in, in order. May be called from many threads at once.
    ///
    /// # Errors
    /// [`ExtError`]; the state stays usable.
    fn apply(&self, rows: &Batch) -> Result<Batch, ExtError>;
}
