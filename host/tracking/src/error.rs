//! What the tracking store can refuse.

use plinth_core::{Code, Coded, codes};
use plinth_store::StoreError;

use crate::ChangedParam;

/// What the tracking store can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackingError {
    /// The state directory refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such experiment.
    #[error("there is no experiment `{0}`")]
    ExperimentNotFound(String),
    /// No such run.
    #[error("there is no run `{0}`")]
    RunNotFound(String),
    /// No such model, version or alias.
    #[error("there is no {what}")]
    ModelNotFound {
        /// Such as `model \`churn\``.
        what: String,
        /// A did-you-mean.
        hint: String,
    },
    /// No such artifact.
    #[error("{owner} has no artifact `{path}`")]
    ArtifactNotFound {
        /// Run or model version.
        owner: String,
        /// The path asked for.
        path: String,
    },
    /// No such registered model.
    #[error("there is no registered model `{0}`")]
    RegisteredModelNotFound(String),
    /// No such version.
    #[error("there is no version {version} of model `{model}`")]
    VersionNotFound {
        /// Registered model.
        model: String,
        /// Its version, as given.
        version: String,
    },
    /// A model's name that is taken, perhaps by a prompt.
    #[error("registered model `{name}` exists already")]
    ModelExists {
        /// The name.
        name: String,
        /// Whether what is there is a prompt.
        prompt: bool,
        /// Whether what was to be made is a prompt.
        wanted_prompt: bool,
    },
    /// Something that is not there, in a sentence.
    #[error("{0}")]
    Missing(String),
    /// No such user.
    #[error("there is no user `{0}`")]
    UserNotFound(String),
    /// No such endpoint, deployment or revision.
    #[error("there is no {what}")]
    EndpointNotFound {
        /// Such as `endpoint `churn``.
        what: String,
        /// What there is.
        hint: String,
    },
    /// An endpoint that is there already.
    #[error("endpoint `{0}` exists already")]
    EndpointExists(String),
    /// A specification that cannot be served, in a sentence.
    #[error("{0}")]
    BadEndpoint(String),
    /// An endpoint that somebody else changed first.
    #[error("endpoint `{name}` was changed meanwhile: revision {found} is there, not {from}")]
    EndpointChanged {
        /// Its name.
        name: String,
        /// The revision that was read.
        from: u64,
        /// The one that is there.
        found: u64,
    },
    /// No such webhook.
    #[error("there is no webhook `{0}`")]
    WebhookNotFound(String),
    /// No such trace.
    #[error("there is no trace `{0}`")]
    TraceNotFound(String),
    /// No such logged model.
    #[error("there is no logged model `{0}`")]
    LoggedModelNotFound(String),
    /// No such tag.
    #[error("there is no tag `{key}` of {owner}")]
    TagNotFound {
        /// Its key.
        key: String,
        /// Such as `run with id 0123…`.
        owner: String,
    },
    /// Something that is deleted, where only an active one will do.
    #[error("{what} `{id}` is deleted")]
    NotActive {
        /// `run` or `experiment`.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// A name that is taken.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// Parameters that were logged with other values.
    #[error("parameter `{}` of run {run} is `{}` and cannot become `{}`", changed[0].key, changed[0].old, changed[0].new)]
    ParamsChanged {
        /// The run.
        run: String,
        /// At least one.
        changed: Vec<ChangedParam>,
    },
    /// A key or a value that cannot be one.
    #[error("`{value}` cannot be {field}: {reason}")]
    BadName {
        /// As given.
        value: String,
        /// What it was given for, such as `metrics[3].name`.
        field: String,
        /// Why not.
        reason: String,
    },
    /// A path that leads where it may not.
    #[error("`{path}` is no path of an artifact: {reason}")]
    BadPath {
        /// As given, cut to a readable length.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Text that is longer than it may be.
    #[error("{field} is longer than {limit} characters")]
    TooLong {
        /// Such as `tags[0].value`.
        field: String,
        /// In characters.
        limit: u32,
    },
    /// More of something than a batch may have.
    #[error("a batch has {found} {what}, more than the {limit} allowed")]
    TooMuch {
        /// Such as `metrics`.
        what: &'static str,
        /// What came.
        found: usize,
        /// The limit.
        limit: u32,
    },
    /// A change after which nobody could manage users.
    #[error("`{0}` is the last admin")]
    LastAdmin(String),
    /// A request that makes no sense, in a sentence.
    #[error("{0}")]
    Invalid(String),
    /// A change that the thing's state does not allow, in a sentence.
    #[error("{0}")]
    State(String),
    /// A stored document that does not read.
    #[error("{what} in the catalog does not read: {source}")]
    BadDocument {
        /// Such as `the specification of models:/churn/1`.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
}

impl Coded for TrackingError {
    fn code(&self) -> Code {
        match self {
            Self::Store(error) => error.code(),
            Self::ExperimentNotFound(_) => codes::EXPERIMENT_NOT_FOUND,
            Self::RunNotFound(_) => codes::RUN_NOT_FOUND,
            Self::ModelNotFound { .. } => codes::MODEL_NOT_FOUND,
            Self::ArtifactNotFound { .. } => codes::ARTIFACT_NOT_FOUND,
            Self::LoggedModelNotFound(_)
            | Self::RegisteredModelNotFound(_)
            | Self::VersionNotFound { .. }
            | Self::Missing(_) => codes::MODEL_NOT_FOUND,
            Self::UserNotFound(_) => codes::USER_NOT_FOUND,
            Self::TraceNotFound(_) => codes::TRACE_NOT_FOUND,
            Self::WebhookNotFound(_) => codes::WEBHOOK_NOT_FOUND,
            Self::EndpointNotFound { .. } => codes::ENDPOINT_NOT_FOUND,
            Self::EndpointExists(_) => codes::ENDPOINT_EXISTS,
            Self::BadEndpoint(_) => codes::BAD_ENDPOINT,
            Self::EndpointChanged { .. } => codes::ENDPOINT_CHANGED,
            Self::TagNotFound { .. } => codes::TAG_NOT_FOUND,
            Self::AlreadyExists(_) | Self::ModelExists { .. } | Self::ParamsChanged { .. } => codes::ALREADY_EXISTS,
            Self::BadName { .. } | Self::BadPath { .. } => codes::BAD_REFERENCE,
            Self::TooLong { .. } | Self::TooMuch { .. } => codes::LIMIT_EXCEEDED,
            Self::LastAdmin(_) => codes::LAST_ADMIN,
            Self::Invalid(_) => codes::BAD_REQUEST,
            Self::NotActive { .. } | Self::State(_) => codes::INVALID_STATE,
            Self::BadDocument { .. } => codes::CATALOG,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::EndpointNotFound { hint, .. } => Some(hint.clone()),
            Self::EndpointExists(name) => Some(format!("`plinth endpoint deploy {name}` adds to it")),
            Self::EndpointChanged { .. } => Some("look at it again, then repeat the change".into()),
            Self::WebhookNotFound(_) => Some("`plinth webhook list` shows what there is".into()),
            Self::ExperimentNotFound(_) => Some("`plinth experiment list` shows what there is".into()),
            Self::RunNotFound(_) => Some("`plinth run list` shows what there is".into()),
            Self::ModelNotFound { hint, .. } => Some(hint.clone()),
            Self::ParamsChanged { .. } => Some("log it under another key, or start another run".into()),
            Self::LastAdmin(_) => Some("make someone else an admin first".into()),
            Self::NotActive { .. } => Some("restore it first".into()),
            Self::TooLong { .. } | Self::TooMuch { .. } => {
                Some("send less at once, or raise it under [limits.tracking] in plinth.toml".into())
            }
            _ => None,
        }
    }
}
