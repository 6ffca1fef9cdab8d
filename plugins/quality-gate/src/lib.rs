//! Quality gates.
//!
//! - `metrics` ([`metrics`]): is the candidate good enough, on the whole and in every slice, and no worse than the one
//!   in place?
//! - `expectations` ([`expectations`]): are the rows of the table `data` what they should be? One pass, whatever the
//!   number of expectations.
//!
//! What both do: one check for each rule and column, with what was seen and what was wanted in words. A rule that
//! cannot be judged (a metric that was not measured, a column that is not there, NaN) fails; it never passes by
//! default. The one exception is a comparison with a baseline where there is none yet: it passes and says so. A rule
//! with `severity: warn` warns where it would fail. A gate without any rule is refused, since it would let all pass.
//!
//! What this crate does not know: where metrics and rows come from, and what happens to the candidate.

pub mod expectations;
pub mod metrics;
mod rule;
mod words;

pub use expectations::Expectations;
pub use metrics::Metrics;

plinth_sdk::export_gates!(Metrics, Expectations);
