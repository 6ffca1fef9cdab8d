//! Plugins: WebAssembly components behind the traits of `plinth-ext`.
//!
//! The only crate that knows wasmtime. Deliberately knows nothing of where plugins are found, of configuration files,
//! of stages and of catalogs: the composition root hands it bytes, grants and limits, and gets trait objects.
//!
//! Start at [`Host`]: `host.load_file(path, &grants)` gives a [`Plugin`], whose `loader`, `transform`, `gate`,
//! `drift_test` and `models` give what the rest of the product calls. [`FileObjects`] says what a loader may read.
//!
//! Invariants: a component sees only what was granted, since nothing else is linked; every call has a deadline, and
//! every instance a bound on memory, output, log, handles and host calls; nothing that a guest returns is believed
//! before it is checked; an instance that had a fault is never called again; native code is run only if this program
//! compiled it or if this user's cache holds it unchanged; compiling is done by a process that can be ended.
#![warn(missing_docs)]

mod block;
mod cache;
mod code;
mod compiler;
mod drift;
mod engine;
mod fault;
mod gate;
mod gathering;
mod grants;
mod host;
mod imports;
mod in_blocks;
mod instance;
mod items;
mod keys;
mod landing;
mod limiter;
mod loader;
mod manifest;
mod objects;
mod offered;
mod options;
mod outward;
mod pool;
mod predict;
mod services;
mod since_v0_1;
mod spares;
mod state;
mod transform;
mod version;
mod wasi;
mod wire;
mod worker;

pub use compiler::{CompilerCommand, Compiling, Progress};
pub use fault::PluginError;
pub use grants::Grants;
pub use host::{Host, HostConfig, Plugin, Usage};
pub use keys::FileKeyValues;
pub use manifest::{ExtensionPoint, MANIFEST_SECTION, Manifest};
pub use objects::{FileObjects, ObjectRead, ObjectSource};
pub use outward::texts;
pub use services::{
    Graph, Graphs, HttpMethod, HttpRequest, HttpResponse, HttpRules, HttpSend, KeyValues, Services, Tensor, TensorInfo,
    TensorType,
};
pub use version::WitVersion;
pub use worker::compile_worker;
