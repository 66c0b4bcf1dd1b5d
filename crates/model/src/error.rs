//! Why a model gives no answer.

use std::time::Duration;

/// Why a model gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration key has a value that cannot be used.
    #[error("{key} {problem}")]
    InvalidConfig {
        /// The key.
        key: &'static str,
        /// What is wrong, and what would do.
        problem: String,
    },
    /// The endpoint rejects the request; it would again.
    #[error("model: HTTP {status}: {message}")]
    Rejected {
        /// The status.
        status: u16,
        /// What it says, shortened.
        message: String,
    },
    /// The endpoint does not answer or is overloaded, after all attempts.
    #[error("model: {0}")]
    Unavailable(String),
    /// The endpoint is overloaded, and asks for a pause this long.
    #[error("model: {0} (not before {1:.0?}, by its Retry-After)")]
    RetryAfter(String, Duration),
    /// The timeout passed.
    #[error("model: no answer within model_timeout")]
    Timeout,
    /// The answer is not of the documented form, or too large.
    #[error("model: {0}")]
    InvalidResponse(String),
    /// The model keeps calling tools.
    #[error("model: still calls tools after {0} rounds (model_rounds)")]
    TooManyRounds(u32),
}

/// Why one attempt has no answer.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// A retry may have one, after the pause that the endpoint asks for.
    Transient(String, Option<Duration>),
    /// The endpoint rejects the request with this status and body.
    Rejected(u16, String),
    /// A retry would have none either.
    Permanent(Error),
}

impl AttemptError {
    /// An answer that broke off, or is not of the documented form.
    pub(crate) fn incomplete(problem: impl Into<String>) -> Self {
        Self::Transient(problem.into(), None)
    }
}
