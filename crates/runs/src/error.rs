//! What a store answers when it cannot do what it is asked.

/// Why a store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not answer: 503. Whether a change was stored is unknown.
    #[error("the store of runs is unavailable: {0}")]
    Unavailable(String),
    /// There is no such thing: 404.
    #[error("{0}")]
    NotFound(String),
    /// It does not fit what is there: 409.
    #[error("{0}")]
    Conflict(String),
    /// The question is wrong: 400.
    #[error("{0}")]
    Invalid(String),
    /// Too many runs wait: 429.
    #[error("{message}")]
    Full {
        /// What is full, and which key says how much there may be.
        message: String,
    },
    /// It holds something of another form.
    #[error("the store of runs is damaged: {0}")]
    Damaged(String),
}
