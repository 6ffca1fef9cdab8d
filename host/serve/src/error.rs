//! Why a request is not served, or a deployment not loaded.

use plinth_core::{Code, Coded, codes};

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
            Self::Overloaded { .. } => codes::OVERLOADED,
            Self::GivenUp { .. } => codes::INTERNAL,
            Self::Outside { code, .. } => *code,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Overloaded { .. } => {
                Some("try again after a moment; limits.serve.requests-in-flight-max raises the limit".into())
            }
            Self::GivenUp { .. } => None,
            Self::Outside { hint, .. } => hint.clone(),
        }
    }
}
