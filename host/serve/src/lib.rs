//! Endpoints in service: routed to model versions, swapped without a pause, scored on threads of their own, captured
//! for monitoring.
//!
//! Deliberately knows nothing of HTTP, catalogs, files or plugins. Where deployments come from is a [`Source`], where
//! captured rows go is a [`CaptureSink`]; the composition root gives both.
//!
//! Start at [`Server`].
//!
//! Invariants: a request is answered by one deployment from beginning to end, whatever is swapped meanwhile; a
//! deployment answers nobody before it has scored a trial row; an endpoint in service changes as a whole or, if a part of
//! it cannot be loaded, not at all, and of one that is not in service yet those parts are served that can be; work in
//! flight and rows waiting to be captured are bounded, and what does not fit is refused or counted, never waited for.
#![warn(missing_docs)]

mod answers;
mod bandit;
mod capacity;
mod capture;
mod deployment;
mod difference;
mod endpoint;
mod error;
mod explaining;
mod pace;
mod plan;
mod pool;
mod random;
mod rest;
mod rollout;
mod sampled;
mod scores;
mod sequential;
mod server;
mod shadow;
mod stats;
mod steward;
mod tensors;
mod together;
mod traffic;
mod turn;

pub use answers::Answerer;
pub use bandit::thompson;
pub use capacity::{Batching, Capacity};
pub use capture::{CaptureSink, CaptureStats, Captured, Keep};
pub use deployment::{Deployment, Served};
pub use difference::{OutputDifference, compare as differences};
pub use endpoint::{Endpoint, Routes, Target};
pub use error::ServeError;
pub use explaining::MakeExplainer;
pub use plan::{DeploymentPlan, EndpointPlan, Generation, KeySource, LookupPlan, Routing, Rule, Source};
pub use pool::{Input, Output, Work};
pub use rest::Rest;
pub use rollout::{Breach, Decision, Guards, Hold, Next, RolloutEvidence, RolloutPlan};
pub use sampled::{Attributions, ExplainedStats};
pub use scores::Drift;
pub use sequential::{Comparison, Rewards, compare};
pub use server::{Admission, Indexed, Options, Resident, Server, SwapStats};
pub use shadow::ShadowSnapshot;
pub use stats::{Snapshot, Stages, Stats};
pub use steward::{RolloutStanding, Steward, Transition};
pub use tensors::TensorModel;
pub use traffic::{Outcome, Seen, Traffic};
pub use turn::Queued;
