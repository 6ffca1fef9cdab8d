//! A model version in service: swapped without a pause, scored on threads of its own, captured for monitoring.
//!
//! Deliberately knows nothing of HTTP, catalogs, files or plugins. Where deployments come from is a [`Source`], where
//! captured rows go is a [`CaptureSink`]; the composition root gives both.
//!
//! Start at [`Server`].
//!
//! Invariants: a request is answered by one deployment from beginning to end, whatever is swapped meanwhile; a
//! deployment answers nobody before it has scored a trial row; a failed load changes nothing; work in flight and rows
//! waiting to be captured are bounded, and what does not fit is refused or counted, never waited for.
#![warn(missing_docs)]

mod capture;
mod deployment;
mod error;
mod pool;
mod server;

pub use capture::{CaptureSink, CaptureStats, Captured};
pub use deployment::{Deployment, Generation, Source};
pub use error::ServeError;
pub use server::{Admission, Options, Server, SwapStats};
