//! Errors of the worker, which say what would be accepted.

use agentkit::{InvalidParameter, TaskError};

/// Why the worker has no plan. The text is the answer's `error`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "parameter `destination` is {given:?}, which the guide does not know: give one of {known}"
    )]
    Destination { given: String, known: String },
    #[error(transparent)]
    Parameter(#[from] InvalidParameter),
    #[error("bad line in the guide's data: {0:?}")]
    Data(String),
    #[error("the plan cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        Self::Invalid(error.to_string())
    }
}
