//! What can go wrong between us and the registry, by what the caller can do about it.

/// An error of a registry.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The registry did not answer: try again later.
    #[error("{registry} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Which registry.
        registry: &'static str,
        /// Its address.
        address: String,
        /// What the attempt said.
        reason: String,
    },
    /// The registry took longer than we wait: try again later.
    #[error("the registry gave no answer in {after:?}")]
    Silent {
        /// How long we waited.
        after: std::time::Duration,
    },
    /// The registry answered that it will not: asking again does not help.
    #[error("{registry} refuses: {reason}")]
    Refused {
        /// Which registry.
        registry: &'static str,
        /// Its own words.
        reason: String,
    },
    /// The registry answered that it cannot at present: try again later.
    #[error("{registry} fails: {reason}")]
    Failed {
        /// Which registry.
        registry: &'static str,
        /// Its own words.
        reason: String,
    },
    /// The configuration of the registry's client is unusable.
    #[error("{key}: {reason}")]
    Config {
        /// The key at fault.
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}
