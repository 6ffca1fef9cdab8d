//! What each input had to do with a prediction: Shapley values, exact for trees, by coalitions for any function.
//!
//! Deliberately knows nothing of tables, model runtimes, components or networks: it reads trees out of the bytes of an
//! ONNX model and otherwise works on numbers. Who calls it says which features belong to one *player*, so that what a
//! transform made of one raw column is attributed to that column.
//!
//! Start at [`Trees`] (read once, then asked from many threads) and at [`shapley`] (any function of coalitions).
//!
//! Two questions can be asked of trees, and they have different answers:
//!
//! - [`Trees::against`] a reference set (interventional): what is missing from a coalition takes its values from each
//!   reference row in turn. It needs no more than the rows, and is what [`shapley`] answers for other models.
//! - [`Trees::along_paths`] (path-dependent): what is missing follows both branches, weighted by how many training rows
//!   went there. It needs those counts, the covers. ONNX has a place for them, `nodes_hitrates`, in which exporters
//!   write ones (skl2onnx) or nothing; then [`Trees::with_covers_of`] counts a reference set instead.
//!
//! Invariants: base and attributions add up to what the trees add up to, within rounding of 64-bit floats; equal
//! arguments give equal bits; nothing that an ONNX file claims is believed before it is checked.
#![warn(missing_docs)]

mod error;
mod game;
mod interventional;
mod onnx;
mod paths;
mod proto;
mod solve;
mod trees;

pub use error::ExplainError;
pub use game::{Coalitions, Sampling, shapley};
pub use trees::{DEPTH_MAX, Players, Trees};

/// What each player had to do with each output.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// For each output, what it is when nothing is known.
    pub base: Vec<f64>,
    /// For each player, its part in each output.
    parts: Vec<f64>,
    /// Whether these are the Shapley values themselves, or an estimate from sampled coalitions.
    pub exact: bool,
}

impl Shares {
    fn zero(players: usize, outputs: usize) -> Self {
        Self { base: vec![0.0; outputs], parts: vec![0.0; players * outputs], exact: true }
    }

    /// How many players there are.
    pub fn players(&self) -> usize {
        self.parts.len() / self.base.len().max(1)
    }

    /// A player's part in each output.
    pub fn of(&self, player: usize) -> &[f64] {
        let outputs = self.base.len();
        &self.parts[player * outputs..(player + 1) * outputs]
    }

    /// What base and parts add up to, for each output.
    pub fn total(&self) -> Vec<f64> {
        let mut total = self.base.clone();
        for parts in self.parts.chunks(self.base.len().max(1)) {
            total.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
        total
    }

    fn of_mut(&mut self, player: usize) -> &mut [f64] {
        let outputs = self.base.len();
        &mut self.parts[player * outputs..(player + 1) * outputs]
    }
}
