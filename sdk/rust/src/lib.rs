//! Write Plinth plugins in Rust.
//!
//! A plugin is a WebAssembly component that offers named items for one extension point. Implement the small trait of
//! that point for each item and list the items in one macro:
//!
//! | point | item | export | for items chosen at run time |
//! |---|---|---|---|
//! | loader | [`Loader`] | [`export_loaders!`] | [`Loaders`], [`export_loader_component!`] |
//! | transform | [`Transform`] | [`export_transforms!`] | [`Transforms`], [`export_transform_component!`] |
//! | gate | [`Gate`] | [`export_gates!`] | [`Gates`], [`export_gate_component!`] |
//! | drift test | [`DriftTest`] | [`export_drift_tests!`] | [`DriftTests`], [`export_drift_component!`] |
//! | predict | [`Model`], a [`Predictor`] | [`export_models!`] | [`Models`], [`export_predict_component!`] |
//!
//! A transform that changes one number at a time is a function: [`map_columns!`].
//!
//! What it deliberately does not know: the host, and any statistics. It depends on no Arrow library.
//!
//! Invariants: the shared types ([`Schema`], [`Block`], [`Problem`]) are the ones that cross the boundary, moved and
//! never converted. A component imports exactly what it uses of [`log`], [`config`], [`objects`], [`tables`], [`kv`],
//! [`http`], [`nn`], [`clock`], [`random`] and [`secrets`], because an interface that was not granted is not linked. Natively the same code runs in ordinary unit tests, with
//! [`tables::lend`] and [`objects::lend`] in place of the host; the component glue exists only for wasm32.
#![warn(missing_docs)]

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[path = "bindings.rs"]
pub mod bindings;
mod block;
mod builder;
pub mod drift;
pub mod gate;
mod granted;
mod host;
pub mod loader;
pub mod map;
mod number;
pub mod options;
pub mod predict;
pub mod transform;
mod types;

pub use block::{Binaries, Bits, Texts, Validity};
pub use builder::{BlockBuilder, bitmap};
pub use drift::{DriftTest, DriftTests};
pub use gate::{Gate, Gates};
pub use granted::{clock, config, http, kv, nn, random, secrets};
pub use host::{log, objects, tables};
pub use loader::{Loader, Loaders};
pub use number::number_text;
pub use options::NO_OPTIONS;
pub use predict::{Model, Models, Predictor};
#[doc(hidden)]
pub use serde_json;
pub use transform::{Fitted, Fitting, Step, Transform, Transforms};
pub use types::{Block, Field, Item, Kind, Problem, Schema};

/// The problem of a name that a component does not offer.
#[doc(hidden)]
pub fn unknown_item(name: &str, items: &[Item]) -> Problem {
    let near = options::nearest(name, items.iter().map(|item| item.name.as_str()));
    Problem::bad_input("unknown-item", format!("this component has no `{name}`{near}"))
}

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
