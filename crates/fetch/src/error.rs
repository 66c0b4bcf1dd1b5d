//! Why there is no answer.

use std::{net::IpAddr, time::Duration};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// External requests are off.
    #[error(
        "requests to the outside are switched off: set ALLOW_EXTERNAL_REQUESTS=yes to allow them"
    )]
    Disabled,
    /// The URL cannot be used.
    #[error("the URL {url:?} {reason}")]
    BadUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host's address is internal, or may not be asked for another reason.
    #[error("{host} is not to be asked: its address {address} is {what}{hint}")]
    Forbidden {
        /// The host as named.
        host: String,
        /// An address of it.
        address: IpAddr,
        /// The kind of address.
        what: &'static str,
        /// What the operator can do, if anything.
        hint: &'static str,
    },
    /// The name cannot be resolved.
    #[error("{host} cannot be resolved: {reason}")]
    Unresolved {
        /// The host.
        host: String,
        /// The resolver's error.
        reason: String,
    },
    /// It cannot be connected to, or its certificate is not valid.
    #[error("{host} cannot be connected to: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// The error of the last attempt.
        reason: String,
    },
    /// The connection broke, or does not speak HTTP.
    #[error("{host} did not answer: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// It took too long, redirects included.
    #[error("no answer within {} s", after.as_secs_f64())]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// The answer's body is larger than allowed.
    #[error("the answer is larger than {limit} bytes, the limit of external_max_body")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// One redirect after another.
    #[error("more than {limit} redirects, the limit of external_max_redirects")]
    Redirects {
        /// The limit.
        limit: usize,
    },
}

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::Protocol { .. }
            | Self::Timeout { .. } => true,
            Self::Disabled
            | Self::BadUrl { .. }
            | Self::Forbidden { .. }
            | Self::TooLarge { .. }
            | Self::Redirects { .. } => false,
        }
    }
}
