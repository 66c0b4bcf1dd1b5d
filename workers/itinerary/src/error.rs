//! Errors of the worker, which say what would be accepted.

use agentkit::{InvalidParameter, TaskError};

/// Why the worker has no plan. The text is the answer's `error`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guide does not know the destination.
    #[error(
        "parameter `destination` is {given:?}, which the guide does not know: give one of {known}"
    )]
    Destination {
        /// The destination that was asked for, shortened.
        given: String,
        /// Those there are.
        known: String,
    },
    /// A parameter is missing or has a value that it does not take.
    #[error(transparent)]
    Parameter(#[from] InvalidParameter),
    /// The embedded guide has a bad line: a mistake of this program.
    #[error("bad line in the guide's data: {0:?}")]
    Data(String),
    /// The plan cannot be written as JSON.
    #[error("the plan cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        Self::Invalid(error.to_string())
    }
}
