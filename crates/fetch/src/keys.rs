//! The configuration keys of a client.

use std::time::Duration;

use config::{Group, duration, integer, keys, list, size, switch};

keys! {
    /// Whether a program sends requests to servers outside the mesh.
    #[derive(Clone, Debug)]
    pub struct ExternalKeys: "Requests to the outside" {
        /// Send requests to servers outside the mesh.
        allow_external_requests: bool = switch("no"),
    }
}

keys! {
    /// Which addresses inside may be asked.
    #[derive(Clone, Debug)]
    pub struct ExternalHostKeys: "Hosts inside" {
        /// Hosts that may be asked although their addresses are inside, each as host or host:port.
        external_allow_hosts: Vec<String> = list(),
    }
}

keys! {
    /// The limits of a client.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct FetchLimits: "Limits of requests to the outside" {
        /// Longest time for one request, redirects and body included.
        time: Duration = duration("30s").named("external_timeout").zero("every request fails"),
        /// Longest time to connect to one address, TLS included.
        connect: Duration = duration("5s")
            .named("external_connect_timeout")
            .zero("every request fails"),
        /// Largest body of an answer.
        body: usize = size("10MiB")
            .named("external_max_body")
            .zero("only answers without a body"),
        /// Redirects that are followed.
        redirects: usize = integer(5, 0..=20, "redirects")
            .named("external_max_redirects")
            .zero("none"),
        /// Longest time that a server may ask a job to wait by `Retry-After`.
        retry_after: Duration = duration("1h")
            .named("external_max_retry_after")
            .zero("it is ignored"),
    }
}

/// The keys of programs that send requests to the outside.
pub const KEYS: &[Group] = &[
    ExternalKeys::GROUP,
    ExternalHostKeys::GROUP,
    FetchLimits::GROUP,
];
