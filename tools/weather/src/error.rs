//! Errors of the tool, which say what would be accepted.

use agentkit::ApiError;

/// Why the tool has no answer. The text is the answer's `error`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("unknown location {given:?}{hint}")]
    Place { given: String, hint: String },
    #[error("location {given:?} is ambiguous: say which of {candidates}")]
    Ambiguous { given: String, candidates: String },
    #[error(transparent)]
    Upstream(#[from] ApiError),
    #[error("{0}")]
    InvalidConfig(String),
}
