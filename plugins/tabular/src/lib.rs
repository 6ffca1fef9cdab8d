//! Feature transforms for tables, fitted once and applied unchanged everywhere else: impute, scale, encode, bin,
//! select, drop, cast, date parts, and `chain`, which makes a list of these one transform with one fitted state.
//!
//! It knows nothing of models, labels or files: rows come in blocks, and columns by name.
//!
//! Entry points: [`Fit`] for fitting, [`Fitted`] for applying. Invariants:
//! - A fitted state depends on the set of rows alone, not on their order nor on how they were spread over fits: sums
//!   are exact (`exact`), quantiles come from counts (`sketch`), categories are sorted.
//! - `apply` is pure: same state, same rows, same bytes. One row out for each row in.
//! - A state is not trusted: it is checked when it is loaded.
//! - Integers that are scaled, binned or filled with a mean or a median become float64; float32 stays float32 where it
//!   is scaled. What encoders make is float64.

mod apply;
mod convert;
mod describe;
mod exact;
mod fit;
mod fitted;
mod frame;
#[cfg(test)]
mod golden;
mod learn;
mod options;
mod sketch;
mod step;
#[cfg(test)]
mod tests;

pub use fit::Fit;
pub use fitted::Fitted;

use plinth_sdk::{Block, Item, Problem, Schema, Step};

/// The component: every item is a chain, most of them of one step.
pub struct Tabular;

impl plinth_sdk::Transforms for Tabular {
    fn describe() -> Vec<Item> {
        describe::items()
    }

    fn start(name: &str, input: Schema, options: &str) -> Result<Box<dyn plinth_sdk::Fitting>, Problem> {
        Ok(Box::new(Fit::start(name, &input, options)?))
    }

    fn load(name: &str, state: Vec<u8>, input: Schema) -> Result<Box<dyn plinth_sdk::Fitted>, Problem> {
        Ok(Box::new(Fitted::load(name, &state, &input)?))
    }
}

impl plinth_sdk::Fitting for Fit {
    fn update(&mut self, rows: Block) -> Result<(), Problem> {
        self.update(&rows)
    }

    fn partial(&mut self) -> Result<Vec<u8>, Problem> {
        self.partial()
    }

    fn merge(&mut self, partial: Vec<u8>) -> Result<(), Problem> {
        self.merge(&partial)
    }

    fn end_pass(&mut self) -> Result<Step, Problem> {
        self.end_pass()
    }
}

impl plinth_sdk::Fitted for Fitted {
    fn output(&self) -> Schema {
        self.output().clone()
    }

    fn apply(&self, rows: Block) -> Result<Block, Problem> {
        self.apply(rows)
    }
}

plinth_sdk::export_transform_component!(Tabular);
