//! The configuration of a client.

use service::{Config, Key, Type};

use crate::{HttpClient, Error, EgressPolicy, FetchLimits};

/// The keys of programs that send requests to the outside.
pub const KEYS: &[Key] = &[
    Key::bool(
        "allow_external_requests",
        "no",
        "send requests to servers outside the mesh",
    ),
    Key::list(
        "external_allow_hosts",
        "",
        "hosts that may be asked although their addresses are inside, as host or host:port",
    ),
    Key::duration(
        "external_timeout",
        "30s",
        "how long a request to the outside may take, redirects included",
    ),
    Key::duration(
        "external_connect_timeout",
        "5s",
        "how long connecting to one address outside may take",
    ),
    Key::size(
        "external_max_body",
        "10MiB",
        "largest answer taken from the outside",
    ),
    Key::new(
        "external_max_redirects",
        Type::Integer(0, 20),
        "5",
        "how many redirects are followed",
    ),
    Key::duration(
        "external_max_retry_after",
        "1h",
        "longest time that a server may ask a job to wait by Retry-After",
    ),
];

/// The client that [`KEYS`] describe.
///
/// # Errors
/// As [`HttpClient::new`].
pub fn client(config: &Config) -> Result<HttpClient, Error> {
    let policy = EgressPolicy::new(
        config.bool("allow_external_requests"),
        &config.list("external_allow_hosts"),
    );
    let limits = FetchLimits {
        time: config.duration("external_timeout"),
        connect: config.duration("external_connect_timeout"),
        body: config.size("external_max_body"),
        redirects: config.integer("external_max_redirects"),
        retry_after: config.duration("external_max_retry_after"),
    };
    HttpClient::new(policy, limits)
}
