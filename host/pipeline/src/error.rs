//! What can be wrong with a pipeline, and how a stage fails.

use std::path::PathBuf;

use plinth_core::{Code, Coded, codes};

use crate::Place;

/// An error of any of the product's crates, as a stage hands it on.
pub type AnyError = Box<dyn Coded + Send + Sync>;

/// A pipeline cannot be read, planned or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// There is no pipeline file.
    #[error("there is no pipeline file `{}`", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The pipeline file cannot be read.
    #[error("cannot read `{}`: {message}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system, or the check of its size, said.
        message: String,
    },
    /// The file is no YAML, or a part of it has the wrong type.
    #[error("{place}: {message}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
        /// The fix, if one is known.
        hint: Option<String>,
    },
    /// A key that nothing reads.
    #[error("{place}: unknown key `{key}`{}", within(owner))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What it was found in, such as `stage train`; may be empty.
        owner: String,
        /// A did-you-mean.
        hint: String,
    },
    /// A stage kind that does not exist.
    #[error("{place}: stage `{stage}` has the unknown kind `{kind}`")]
    UnknownKind {
        /// Where.
        place: Place,
        /// The stage.
        stage: String,
        /// Its kind.
        kind: String,
        /// A did-you-mean.
        hint: String,
    },
    /// A stage that does not exist.
    #[error("{place}: {}`{name}` names no stage", by(user))]
    UnknownStage {
        /// Where.
        place: Place,
        /// The stage that names it; empty on the command line.
        user: String,
        /// The name.
        name: String,
        /// A did-you-mean.
        hint: String,
    },
    /// An output that a stage does not have.
    #[error("{place}: stage `{stage}` has no output `{output}`")]
    UnknownOutput {
        /// Where.
        place: Place,
        /// The stage.
        stage: String,
        /// The output.
        output: String,
        /// A did-you-mean.
        hint: String,
    },
    /// A parameter that does not exist.
    #[error("{place}: unknown parameter `{name}`")]
    UnknownParameter {
        /// Where.
        place: Place,
        /// The parameter.
        name: String,
        /// A did-you-mean.
        hint: String,
    },
    /// An override that does not read as `NAME=VALUE`.
    #[error("`{text}` does not read as {form}")]
    BadOverride {
        /// The override.
        text: String,
        /// What was expected.
        form: &'static str,
    },
    /// Stages that depend on each other in a circle.
    #[error("{place}: stages depend on each other in a circle: {}", stages.join(" -> "))]
    Cycle {
        /// Where the first of them is.
        place: Place,
        /// The circle; its first stage appears again at the end.
        stages: Vec<String>,
    },
    /// Another live process runs this stage.
    #[error("stage `{stage}` is being run by {holder}")]
    Leased {
        /// The stage.
        stage: String,
        /// The process that holds the lease.
        holder: String,
    },
    /// A stage failed.
    #[error("stage `{stage}`: {}", failure.error)]
    Stage {
        /// The stage.
        stage: String,
        /// How.
        failure: StageFailure,
    },
    /// The user stopped the run.
    #[error("stopped by the user{}", at(stage))]
    Interrupted {
        /// The stage that was running; empty between stages.
        stage: String,
    },
    /// The state directory could not be read or written.
    #[error(transparent)]
    Store(#[from] plinth_store::StoreError),
    /// The operating system refused to read something.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// Such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How a stage failed.
#[derive(Debug)]
pub struct StageFailure {
    /// The error; its code decides the exit code.
    pub error: AnyError,
    /// Anything worth showing besides the message, such as the table of checks of a gate.
    pub details: Option<serde_json::Value>,
}

impl<E: Coded + Send + Sync + 'static> From<E> for StageFailure {
    fn from(error: E) -> Self {
        Self { error: Box::new(error), details: None }
    }
}

impl StageFailure {
    /// Adds something to show.
    #[must_use]
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }
}

impl Coded for PipelineError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => codes::FILE_NOT_FOUND,
            Self::Unreadable { .. } => codes::FILE_UNREADABLE,
            Self::Invalid { .. } | Self::UnknownKey { .. } | Self::UnknownKind { .. } => codes::BAD_PIPELINE,
            Self::UnknownStage { .. } | Self::UnknownOutput { .. } => codes::UNKNOWN_STAGE,
            Self::UnknownParameter { .. } => codes::UNKNOWN_PARAMETER,
            Self::BadOverride { .. } => codes::USAGE,
            Self::Cycle { .. } => codes::PIPELINE_CYCLE,
            Self::Leased { .. } => codes::STATE_IN_USE,
            Self::Stage { failure, .. } => failure.error.code(),
            Self::Interrupted { .. } => codes::INTERRUPTED,
            Self::Store(error) => error.code(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => codes::DISK_FULL,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => codes::FILE_NOT_FOUND,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => codes::FILE_UNREADABLE,
            Self::Io { .. } => codes::IO,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some(
                "name one, as in `plinth run examples/churn/plinth.yaml`, or go to a folder that has a plinth.yaml"
                    .into(),
            ),
            Self::Invalid { hint, .. } => hint.clone(),
            Self::UnknownKey { hint, .. }
            | Self::UnknownKind { hint, .. }
            | Self::UnknownStage { hint, .. }
            | Self::UnknownOutput { hint, .. }
            | Self::UnknownParameter { hint, .. } => Some(hint.clone()),
            Self::Cycle { .. } => Some("take one of these references out, so that one stage comes first".into()),
            Self::Leased { .. } => Some("wait for it to end, or stop it; finished stages are shared".into()),
            Self::Stage { failure, .. } => failure.error.hint(),
            Self::Interrupted { .. } => Some("finished stages are kept: run the same command again to go on".into()),
            Self::Store(error) => error.hint(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("let the user who runs plinth read it".into())
            }
            Self::Unreadable { .. } | Self::BadOverride { .. } | Self::Io { .. } => None,
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Stage { failure, .. } => failure.error.retryable(),
            Self::Store(error) => error.retryable(),
            _ => self.code().retryable(),
        }
    }
}

fn within(owner: &str) -> String {
    if owner.is_empty() { String::new() } else { format!(" in {owner}") }
}

fn by(user: &str) -> String {
    if user.is_empty() { String::new() } else { format!("stage `{user}`: ") }
}

fn at(stage: &str) -> String {
    if stage.is_empty() { String::new() } else { format!(" in stage `{stage}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_be_read_is_unreadable_and_no_trouble_of_the_system() {
        // Permissions do not bind a user who may do everything, so the system's answer is made up.
        let refused = |kind: std::io::ErrorKind| PipelineError::Io {
            action: "open",
            path: "data.csv".into(),
            source: kind.into(),
        };
        let denied = refused(std::io::ErrorKind::PermissionDenied);
        assert_eq!(denied.code(), codes::FILE_UNREADABLE);
        assert_eq!(denied.code().class().exit_code(), 5);
        assert!(denied.to_string().starts_with("cannot open `data.csv`: "), "{denied}");
        assert_eq!(refused(std::io::ErrorKind::NotFound).code(), codes::FILE_NOT_FOUND);
        assert_eq!(refused(std::io::ErrorKind::TimedOut).code(), codes::IO);
    }
}
