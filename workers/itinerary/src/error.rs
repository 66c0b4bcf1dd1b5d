//! Why there is no plan, in words that say what would be accepted.

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
    #[error("parameter `{name}` {problem}: give {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The embedded guide has a bad line: a mistake of this program.
    #[error("bad line in the guide's data: {0:?}")]
    Data(String),
    /// The plan cannot be written as JSON.
    #[error("the plan cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// At most 80 characters of what a caller sent, so that an error stays readable.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
