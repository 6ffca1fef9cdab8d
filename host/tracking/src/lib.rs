//! Experiments, runs and what they logged; registered models, their versions and aliases; captured requests and
//! drift checks.
//!
//! Deliberately knows nothing of HTTP, of model formats, of how a run came to be, or of wire formats: a version's
//! `spec` is JSON that its maker and its reader agree on. The words and the limits are MLflow's, so that a surface
//! that speaks MLflow is a translation and nothing more.
//!
//! Start at [`Tracking::new`].
//!
//! Invariants: what a model version is never changes; an alias moves only together with an audit record and an event;
//! a parameter keeps its first value; a batch is logged whole or not at all; every blob is stored before the row that
//! names it; whoever writes rows of a run tells the transaction, so that what searches keep in memory follows.
#![warn(missing_docs)]

mod access;
mod aliases;
mod assessments;
mod bulk;
mod changes;
mod deliveries;
mod endpoints;
mod error;
mod evaluation;
mod experiments;
mod feedback;
mod files;
mod inputs;
mod json;
mod log;
mod logged_models;
mod lookup;
mod models;
mod names;
mod registry;
mod retention;
mod rollouts;
mod runs;
mod search;
mod sources;
mod spans;
mod trace_metrics;
mod traces;
mod trail;
mod uploads;
mod watch;
mod webhooks;

use std::sync::Arc;

use plinth_core::{Clock, IdGen, Micros, TrackingLimits};
use plinth_store::Store;

pub use access::{Principal, Resource, Role, Token, User, verify_password};
pub use assessments::{Assessment, AssessmentUpdate};
pub use bulk::{Admission, Extent, Record, WholeTrace};
pub use deliveries::{Attempted, Delivery, DeliveryRecord, Fate};
pub use endpoints::{
    CapacitySpec, DeploymentSpec, EndpointChange, EndpointEvent, EndpointRecord, EndpointSpec, LookupSpec, Policy,
    RuleSpec, Sticky,
};
pub use error::TrackingError;
pub use evaluation::{EvaluationDataset, EvaluationRecord, NewRecord, RECORD_SOURCES, RecordSource};
pub use experiments::{Experiment, Lifecycle, NewExperiment, View};
pub use feedback::{Earned, Feedback};
pub use files::{Entry, Place, StoredFile};
pub use inputs::{CONTEXT_TAG, DatasetInput, DatasetSummary, Direction, ModelLink};
pub use json::{ascii as ascii_json, spaced as spaced_json};
pub use log::{Batch, ChangedParam, History, MeasuredModel, Metric};
pub use logged_models::{LoggedModel, ModelMetric, ModelStatus, NewLoggedModel};
pub use models::{Alias, AliasMove, FileRole, Model, ModelVersion, NewVersion, VersionFile};
pub use registry::{NewVersionRecord, PROMPT_TAG, RegisteredModel, STAGES, VersionRecord};
pub use retention::Retired;
pub use rollouts::{GateSpec, GuardSpec, RolloutPhase, RolloutSpec};
pub use runs::{Artifact, Latest, NewRun, Run, RunSummary, RunUpdate, Status};
pub use search::{
    EvaluationSearch, ExperimentSearch, LoggedModelOrder, LoggedModelSearch, Page, PageStart, RegistrySearch,
    RunSearch, TraceSearch,
};
pub use sources::model_of_source;
pub use spans::{Span, SpansTold};
pub use trace_metrics::{MetricGroup, MetricView, TraceMetrics};
pub use traces::{TRACE_STATES, TraceInfo};
pub use trail::ANONYMOUS;
pub use uploads::UPLOAD_PARTS_MAX;
pub use watch::{Capture, CaptureKind, CheckRecord};
pub use webhooks::{NewWebhook, WEBHOOK_EVENTS, Webhook, WebhookUpdate, check_webhook_name, webhook_event};

/// The tracking store and model registry of a state directory.
#[derive(Clone)]
pub struct Tracking {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    limits: Arc<TrackingLimits>,
    /// Who changes what is changed, for the audit log.
    who: Arc<str>,
    loggers: Arc<trail::Loggers>,
    /// What searches over runs find in memory.
    columns: Arc<search::Columns>,
}

impl Tracking {
    /// Over a state directory, with the places that times and identifiers come from.
    pub fn new(store: Arc<Store>, clock: Arc<dyn Clock>, ids: Arc<dyn IdGen>, limits: TrackingLimits) -> Self {
        let columns = Arc::new(search::Columns::new(limits.search_memory_bytes_max));
        Self { store, clock, ids, limits: Arc::new(limits), who: ANONYMOUS.into(), loggers: Arc::default(), columns }
    }

    /// The same, for someone: their name goes into the audit log.
    #[must_use]
    pub fn by(&self, who: &str) -> Self {
        let who = if *self.who == *who { Arc::clone(&self.who) } else { who.into() };
        Self { who, ..self.clone() }
    }

    /// The state directory.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What it accepts.
    pub fn limits(&self) -> &TrackingLimits {
        &self.limits
    }

    /// A fresh identifier.
    pub fn new_id(&self) -> String {
        self.ids.next()
    }

    /// The time, by this store's clock.
    pub fn now(&self) -> Micros {
        self.clock.now()
    }
}
