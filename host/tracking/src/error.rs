//! What the tracking store can refuse.

use plinth_core::{Code, Coded, codes};
use plinth_store::StoreError;

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
    /// A name that is taken.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// A parameter that was logged with another value.
    #[error("parameter `{key}` of run {run} is `{old}` and cannot become `{new}`")]
    ParamChanged {
        /// The run.
        run: String,
        /// The parameter.
        key: String,
        /// Its value.
        old: String,
        /// The value refused.
        new: String,
    },
    /// A key, name or path that cannot be one.
    #[error("`{value}` cannot be {what}: {reason}")]
    BadName {
        /// As given, cut to a readable length.
        value: String,
        /// Such as `the name of a model`.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// More than a limit allows.
    #[error("{what} is {found}, more than the {limit} allowed")]
    TooMuch {
        /// Such as `the length of the value of parameter \`x\``.
        what: String,
        /// What came.
        found: usize,
        /// The limit.
        limit: u32,
    },
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
            Self::AlreadyExists(_) | Self::ParamChanged { .. } => codes::ALREADY_EXISTS,
            Self::BadName { .. } => codes::BAD_REFERENCE,
            Self::TooMuch { .. } => codes::LIMIT_EXCEEDED,
            Self::BadDocument { .. } => codes::CATALOG,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::ExperimentNotFound(_) | Self::RunNotFound(_) => Some("`plinth runs list` shows what there is".into()),
            Self::ModelNotFound { hint, .. } => Some(hint.clone()),
            Self::ParamChanged { .. } => Some("log it under another key, or start another run".into()),
            Self::TooMuch { .. } => {
                Some("send less at once, or raise it under [limits.tracking] in plinth.toml".into())
            }
            _ => None,
        }
    }
}
