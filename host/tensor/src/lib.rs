//! ONNX models, run by the ONNX Runtime library on CPU or GPU.
//!
//! Deliberately knows nothing of files of ours, catalogs, HTTP or training: it takes a model's bytes and rows, and
//! returns rows. Only this crate names `ort`.
//!
//! Start at [`Runtime::start`] (find and load the library), then [`Session::load`] (any model, tensors in and out) or
//! [`OnnxModel::load`] (a model over the columns of a table: a [`plinth_ext::Model`]).
//!
//! Invariants: the library is loaded once in a process and never unloaded; nothing is searched for or loaded before
//! [`Runtime::start`]; a tensor's values are exactly as many as its shape says; a model's weights are in memory once on
//! the CPU, however many threads run it.
#![warn(missing_docs)]

mod device;
mod error;
mod find;
mod run;
mod runtime;
mod session;
mod table;
mod tensor;

pub use device::Device;
pub use error::TensorError;
pub use plinth_ext::{DType, Data, Slot, Tensor};
pub use runtime::{Runtime, RuntimeConfig};
pub use session::{Session, SessionOptions};
pub use table::OnnxModel;
