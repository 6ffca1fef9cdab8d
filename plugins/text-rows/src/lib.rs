//! What the loaders of text formats share: bytes of a source in order, plain or gzip ([`Input`], [`Window`]); its
//! partitions ([`split()`], [`Span`]) and samples ([`sample()`]); cells as values ([`cell`]); the type of a column from
//! a sample of its cells ([`Guess`]); column buffers that become blocks ([`Columns`]).
//!
//! It knows nothing of a format: no delimiters, quotes or braces.
//!
//! Invariants: memory is bounded by the window a caller asks for, never by the size of a source; a value is parsed
//! whole or refused, never cut or rounded to another type.

pub mod cell;
mod columns;
mod guess;
mod input;
mod span;
mod split;
mod window;

pub use columns::{Column, Columns, invalid_utf8};
pub use guess::Guess;
pub use input::Input;
pub use span::Span;
pub use split::{Follow, Lines, Sample, count, first_record, sample, split};
pub use window::Window;
