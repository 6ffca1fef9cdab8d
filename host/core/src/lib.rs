//! What every Plinth crate shares: content hashes, identifiers, references, error codes, limits, the clock.
//!
//! Deliberately knows nothing of files, networks, async, Arrow, SQL or WebAssembly; nothing here does IO.
//!
//! Start at [`Code`] and [`codes`] (every error a user can meet), [`Limits`] (every bound the product has),
//! [`ContentHash`] (how everything is named) and [`refs`] (how users name things).
//!
//! Invariants: codes are append-only; a [`ContentHash`] is always the blake3 of bytes somewhere; every
//! identifier that reaches a catalog comes from an [`IdGen`], every time from a [`Clock`].
#![warn(missing_docs)]

pub mod codes;
mod error;
mod hash;
mod ids;
mod limits;
pub mod refs;

pub use codes::{Class, Code};
pub use error::{Coded, Place, closest, did_you_mean};
pub use hash::{ContentHash, HashError};
pub use ids::{Clock, FixedClock, IdGen, Micros, SystemClock, UuidIds};
pub use limits::{
    ArtifactLimits, CsvLimits, HttpLimits, Limits, PluginLimits, RequestLimits, ServeLimits, SqlLimits, TableLimits,
    TrackingLimits, WebhookLimits,
};
