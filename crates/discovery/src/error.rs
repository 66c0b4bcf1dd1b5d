//! Errors of a registry, by what the caller can do about them.

/// An error of a registry.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The registry cannot be reached: try again later.
    #[error("{registry} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Which registry.
        registry: &'static str,
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The registry did not answer in time: try again later.
    #[error("the registry did not answer within {after:?}")]
    Silent {
        /// How long we waited.
        after: std::time::Duration,
    },
    /// The registry refused: asking again does not help.
    #[error("{registry} refuses: {reason}")]
    Refused {
        /// Which registry.
        registry: &'static str,
        /// Its own words.
        reason: String,
    },
    /// The registry answered with an error of its own: try again later.
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
