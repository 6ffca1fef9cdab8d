//! The native twin of `wit/`: schemas, batches of rows, and one trait for each extension point.
//!
//! Deliberately knows nothing of WebAssembly, files, SQL or HTTP. Whether a [`Transform`] is a sandboxed component
//! or Rust code in this process is invisible here; `plinth-plugin` provides the first kind.
//!
//! Start at [`Schema`] and [`Batch`] (what a table is), then the traits: [`Loader`], [`Transform`], [`Gate`],
//! [`DriftTest`], [`Model`].
//!
//! Invariants: a [`Batch`] always obeys its [`Schema`] (names unique, only our seven types, no null in a column
//! that is not nullable), because whatever makes one checks it; options are JSON objects as text;
//! every trait object may be shared between threads except one that is in the middle of something ([`Reader`],
//! [`Fitting`]).
#![warn(missing_docs)]

mod batch;
mod drift;
mod error;
mod gate;
mod loader;
mod model;
mod schema;
mod tensor;
mod transform;

pub use batch::{Batch, Numbers, transposed};
pub use drift::{DriftOutcome, DriftTest, TestItem, Verdict};
pub use error::{ExtError, Problem};
pub use gate::{Check, CheckOutcome, Evidence, Gate, LentTable, Metric, NoTables, Subject, Tables};
pub use loader::{Loader, Partition, ReadPlan, Reader};
pub use model::{Model, Models, metadata};
pub use schema::{Field, Kind, Schema, SchemaError};
pub use tensor::{DType, Data, Graph, ShapeMismatch, Slot, Tensor};
pub use transform::{Fitted, Fitting, Step, Transform};

/// One named thing that a plugin offers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Item {
    /// Kebab-case, unique within its extension point of one plugin.
    pub name: String,
    /// One line for a list.
    pub summary: String,
    /// JSON Schema of its options.
    pub options_schema: String,
}
