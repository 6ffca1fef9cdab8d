//! A real server on a free port, driven by a real client; the models are written here.
#![expect(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "helpers of tests")]

mod common;
mod control;
mod inference;
mod life;
mod mlflow;
mod tensors;
