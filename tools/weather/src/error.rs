//! Errors of the tool, which say what would be accepted.

/// Why the tool has no answer. The text is the answer's `error`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The provider knows no such place.
    #[error("unknown location {given:?}{hint}")]
    Place {
        /// The place that was asked for.
        given: String,
        /// Near names or all of them, led in by its own punctuation.
        hint: String,
    },
    /// Several places have this name.
    #[error("location {given:?} is ambiguous: say which of {candidates}")]
    Ambiguous {
        /// The place that was asked for.
        given: String,
        /// The places, each in a form that is accepted.
        candidates: String,
    },
    /// The remote provider did not answer as it should; trying again may help.
    #[error("{host}: {problem}")]
    Upstream {
        /// Its host.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// The embedded data or the settings are wrong: a mistake of whoever runs the tool.
    #[error("{0}")]
    InvalidConfig(String),
}
