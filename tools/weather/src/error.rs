//! Why there is no answer, in words that say what would be accepted.

/// Why the tool has no answer. The text is the answer's `error`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operation does not exist.
    #[error("unknown operation {given:?}{hint}")]
    Operation {
        /// What was asked for, shortened.
        given: String,
        /// What is accepted, led in by its own punctuation.
        hint: String,
    },
    /// A required parameter is absent or empty.
    #[error("parameter `{name}` is missing: give {expected}")]
    Missing {
        /// The parameter.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A parameter has a value that it does not take.
    #[error("parameter `{name}` is {given:?}: give {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// The value, shortened.
        given: String,
        /// What it takes.
        expected: String,
    },
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
        /// Whom we asked.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// The embedded data or the settings are wrong: a mistake of whoever runs the tool.
    #[error("{0}")]
    InvalidConfig(String),
}
