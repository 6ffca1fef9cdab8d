//! Export: the few parts of ONNX that our models need, written as protobuf.
//!
//! Every model takes `features`, float32 `[rows, features]`. A classifier returns `label` (`[rows]`, text or integers)
//! and `probabilities` (float32 `[rows, classes]`), a regression `prediction` (float32 `[rows, 1]`), a clustering
//! `cluster` (int64 `[rows]`) and `distances` (float32 `[rows, centres]`, squared). Labels are decided by plain `ArgMax`
//! over the probabilities, because what `TreeEnsembleClassifier` does with two classes depends on the signs of its
//! weights.

mod graph;
mod linear;
mod proto;
mod trees;

pub(crate) use graph::{Graph, Notes};
pub(crate) use trees::Link;
