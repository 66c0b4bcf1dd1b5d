//! The configuration of a client.

use std::time::Duration;

use config::{Config, Group, duration, integer, keys, list, size, switch};

use crate::{EgressPolicy, Error, FetchLimits, HttpClient};

keys! {
    /// Whether a program sends requests to servers outside the mesh.
    #[derive(Clone, Debug)]
    pub struct ExternalKeys: "Requests to the outside" {
        /// Send requests to servers outside the mesh.
        allow_external_requests: bool = switch("no"),
    }
}

keys! {
    /// Which addresses inside may be asked all the same.
    #[derive(Clone, Debug)]
    pub struct ExternalHostKeys: "Hosts inside" {
        /// Hosts that may be asked although their addresses are inside, each as host or host:port.
        external_allow_hosts: Vec<String> = list(),
    }
}

keys! {
    /// The limits of such requests.
    #[derive(Clone, Debug)]
    pub struct ExternalLimitKeys: "Limits of requests to the outside" {
        /// Longest time for one request, redirects and body included.
        external_timeout: Duration = duration("30s").zero("every request fails"),
        /// Longest time to connect to one address, TLS included.
        external_connect_timeout: Duration = duration("5s").zero("every request fails"),
        /// Largest body of an answer.
        external_max_body: usize = size("10MiB").zero("only answers without a body"),
        /// Redirects that are followed.
        external_max_redirects: usize = integer(5, 0..=20, "redirects").zero("none"),
        /// Longest time that a server may ask a job to wait by `Retry-After`.
        external_max_retry_after: Duration = duration("1h").zero("it is ignored"),
    }
}

/// The keys of programs that send requests to the outside.
pub const KEYS: &[Group] = &[
    ExternalKeys::GROUP,
    ExternalHostKeys::GROUP,
    ExternalLimitKeys::GROUP,
];

/// The client that [`KEYS`] describe.
///
/// # Errors
/// As [`HttpClient::new`].
pub fn client(config: &Config) -> Result<HttpClient, Error> {
    let policy = EgressPolicy::new(
        ExternalKeys::from_config(config).allow_external_requests,
        &ExternalHostKeys::from_config(config).external_allow_hosts,
    );
    HttpClient::new(policy, ExternalLimitKeys::from_config(config).into())
}

impl From<ExternalLimitKeys> for FetchLimits {
    fn from(keys: ExternalLimitKeys) -> Self {
        Self {
            time: keys.external_timeout,
            connect: keys.external_connect_timeout,
            body: keys.external_max_body,
            redirects: keys.external_max_redirects,
            retry_after: keys.external_max_retry_after,
        }
    }
}

impl Default for FetchLimits {
    fn default() -> Self {
        ExternalLimitKeys::default().into()
    }
}
