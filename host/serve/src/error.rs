//! Why a request is not served, or a deployment not loaded.

use std::sync::Arc;

use plinth_core::{Code, Coded, codes, did_you_mean};

/// Something about serving went wrong; scoring has errors of its own.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// As many requests as may be are in flight.
    #[error("{in_flight_max} requests are in flight, which is the limit")]
    Overloaded {
        /// The limit.
        in_flight_max: u32,
    },
    /// A request would wait longer for a thread than it should.
    #[error("the request would wait {wait_ms} ms to be scored, more than {max} ms")]
    Slow {
        /// How long it would wait.
        wait_ms: u64,
        /// The limit.
        max: u64,
    },
    /// As many requests as may be wait for one version of a model.
    #[error("{waiting_max} requests wait for version {version} of `{model}`, which is its limit")]
    Full {
        /// The model.
        model: Arc<str>,
        /// Its version.
        version: Arc<str>,
        /// The limit.
        waiting_max: u32,
    },
    /// No endpoint has this name.
    #[error("no endpoint `{name}` is served here")]
    NoEndpoint {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The request names no endpoint, and there is not just one.
    #[error("the request names no endpoint, and {} are served here", known.len())]
    ManyEndpoints {
        /// Those there are.
        known: Vec<String>,
    },
    /// The work for a request panicked, or the server stopped before it began.
    #[error("the request was given up: {reason}")]
    GivenUp {
        /// Why.
        reason: &'static str,
    },
    /// A source or a sink failed; its own error, told again.
    #[error("{message}")]
    Outside {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
        /// Its hint.
        hint: Option<String>,
    },
}

impl ServeError {
    /// An error of a source or a sink.
    pub fn outside(error: &dyn Coded) -> Self {
        Self::Outside { code: error.code(), message: error.to_string(), hint: error.hint() }
    }
}

impl Coded for ServeError {
    fn code(&self) -> Code {
        match self {
            Self::Overloaded { .. } | Self::Slow { .. } | Self::Full { .. } => codes::OVERLOADED,
            Self::NoEndpoint { .. } | Self::ManyEndpoints { .. } => codes::ENDPOINT_NOT_FOUND,
            Self::GivenUp { .. } => codes::INTERNAL,
            Self::Outside { code, .. } => *code,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Overloaded { .. } => {
                Some("try again after a moment; limits.serve.requests-in-flight-max raises the limit".into())
            }
            Self::Slow { .. } => Some("try again after a moment; limits.serve.queue-ms-max raises the limit".into()),
            Self::Full { .. } => {
                Some("try again after a moment; `plinth endpoint deploy --queue N` raises the limit".into())
            }
            Self::NoEndpoint { name, known } => Some(did_you_mean(name, known.iter().map(String::as_str))),
            Self::ManyEndpoints { known } => Some(format!("ask /endpoints/NAME/invocations; {}", those(known))),
            Self::GivenUp { .. } => None,
            Self::Outside { hint, .. } => hint.clone(),
        }
    }
}

/// The names of a few of those that are served.
fn those(known: &[String]) -> String {
    const TOLD_MAX: usize = 10;
    match known {
        [] => "nothing is served yet".into(),
        _ if known.len() > TOLD_MAX => {
            format!("served are {} and {} more", known[..TOLD_MAX].join(", "), known.len() - TOLD_MAX)
        }
        _ => format!("served: {}", known.join(", ")),
    }
}
