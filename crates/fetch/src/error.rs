//! Why there is no answer.

use std::{net::IpAddr, time::Duration};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing may be asked.
    #[error(
        "requests to the outside are switched off: set ALLOW_EXTERNAL_REQUESTS=yes to allow them"
    )]
    Disabled,
    /// The URL will not do.
    #[error("the URL {url:?} {reason}")]
    BadUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host is inside, or nobody's to ask.
    #[error("{host} is not to be asked, its address {address} is {what}{hint}")]
    Forbidden {
        /// The host as named.
        host: String,
        /// An address of it.
        address: IpAddr,
        /// What kind of address that is.
        what: &'static str,
        /// What the operator can do, if anything.
        hint: &'static str,
    },
    /// Nobody knows the name.
    #[error("no address of {host} is known: {reason}")]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// Nobody answers there, or not with the right certificate.
    #[error("no connection to {host}: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// What the last attempt said.
        reason: String,
    },
    /// The connection broke, or speaks no HTTP.
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
