//! A state directory from outside: killed writers, crowds at the door, directories of earlier releases.
#![expect(clippy::unwrap_used, reason = "a test whose scene cannot be set has failed")]

mod blobs;
mod conformance;
mod crash;
mod golden;
mod open;
mod place;
mod postgres;
