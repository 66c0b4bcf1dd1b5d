//! The chassis' own configuration keys: every program has them.

use std::{borrow::Cow, time::Duration};

use crate::{
    Spec, calling,
    clients::is_network,
    config::{Key, Type},
};

/// Longest time for finishing calls: compose's grace period is longer than it.
const LONGEST_DRAIN: Duration = Duration::from_secs(120);

const KEYS: &[Key] = &[
    Key::text("listen_address", "0.0.0.0", "IP address to serve gRPC on"),
    Key::text(
        "service_host",
        "",
        "address to announce; this host's own IP by default",
    ),
    Key::new(
        "discovery",
        Type::Choice(&["consul", "fixed", "memory"]),
        "consul",
        "registry of instances: consul, fixed or memory",
    ),
    Key::list(
        "fixed_instances",
        "",
        "instances for the fixed registry, as service=host:port",
    ),
    Key::text(
        "consul_http_addr",
        "",
        "Consul's address, with or without a scheme",
    ),
    Key::text(
        "consul_host",
        "127.0.0.1",
        "Consul's host, where consul_http_addr is not given",
    ),
    Key::port(
        "consul_port",
        "8500",
        "Consul's port, where consul_http_addr is not given",
    ),
    Key::text("consul_http_token", "", "Consul's ACL token").secret(),
    Key::text(
        "consul_cacert",
        "",
        "PEM file of the authorities that sign Consul's certificate",
    ),
    Key::text(
        "consul_client_cert",
        "",
        "PEM file of our certificate for Consul",
    ),
    Key::text(
        "consul_client_key",
        "",
        "PEM file of the key of consul_client_cert",
    ),
    Key::text(
        "registry_cache",
        "",
        "file that keeps the last known set of instances, for a start while Consul is away",
    ),
    Key::new(
        "check_kind",
        Type::Choice(&["grpc", "tcp"]),
        "grpc",
        "how Consul checks this instance; grpc means HTTP where HTTP is spoken",
    ),
    Key::duration("check_interval", "10s", "time between two checks"),
    Key::duration(
        "deregister_after",
        "1m",
        "critical for so long, an instance is removed",
    ),
    Key::new(
        "weight",
        Type::Integer(1, 65535),
        "10",
        "share of calls relative to the other instances of the service",
    ),
    Key::new(
        "weight_warning",
        Type::Integer(1, 65535),
        "1",
        "share of calls while a check warns; less than weight makes sense",
    ),
    Key::text(
        "admin_address",
        "0.0.0.0",
        "IP address of the admin listener",
    ),
    Key::text(
        "admin_token",
        "",
        "who asks for /config and /log-level from another machine sends it: Authorization: Bearer",
    )
    .secret(),
    Key::port(
        "metrics_port",
        "0",
        "port of the admin listener; 0 lets the system choose",
    ),
    Key::bool(
        "enable_metrics",
        "true",
        "serve /metrics on the admin listener",
    ),
    Key::bool("enable_pprof", "false", "serve profiles under /debug/pprof"),
    Key::port("pprof_port", "6060", "port of the profiles"),
    Key::new(
        "log_level",
        Type::Choice(&["debug", "info", "warn", "error"]),
        "info",
        "how much is logged",
    ),
    Key::new(
        "log_format",
        Type::Choice(&["auto", "text", "json"]),
        "auto",
        "how a log line looks; auto is text on a terminal, else json",
    ),
    Key::new(
        "otlp_endpoint",
        Type::Custom(is_url, "a URL such as http://localhost:4317"),
        "",
        "OTLP collector's gRPC address; no traces without it",
    )
    .with_env("OTEL_EXPORTER_OTLP_ENDPOINT"),
    Key::text(
        "otel_service_name",
        "",
        "service.name of traces; the Consul name by default",
    ),
    Key::new(
        "trace_ratio",
        Type::Number(0.0, 1.0),
        "1",
        "which part of the traces that begin here is recorded",
    ),
    Key::duration(
        "drain_delay",
        "3s",
        "how long to keep serving after leaving the registry",
    ),
    Key::new(
        "drain_timeout",
        Type::Duration(LONGEST_DRAIN),
        "15s",
        "how long calls may then take to finish before they are cut",
    ),
    Key::size("max_message_bytes", "4MiB", "largest gRPC message taken"),
    Key::new(
        "max_concurrent_streams",
        Type::Integer(1, u32::MAX as u64),
        "10000",
        "calls at once on one HTTP/2 connection",
    ),
    Key::size_from(
        "max_header_bytes",
        1024,
        "64KiB",
        "largest metadata of a call taken: its head, its answer's, trailers",
    ),
    Key::new(
        "trusted_proxies",
        Type::Custom(is_network, "networks such as 10.0.0.0/8, fd00::/8"),
        "",
        "networks of proxies that say in x-forwarded-for for whom they call",
    ),
    count(
        "port_max_connections",
        "10000",
        "connections of clients to one port at once; 0 is no limit",
    ),
    count(
        "client_max_connections",
        "1000",
        "those of one client, trusted proxies apart; 0 is no limit",
    ),
    count(
        "client_max_calls",
        "0",
        "calls of one client at once; 0 is no limit",
    ),
    Key::new(
        "client_rate",
        Type::Number(0.0, 1e9),
        "0",
        "calls of one client each second, of which a second's worth at once; 0 is no limit",
    ),
    Key::new(
        "wasted_calls",
        Type::Integer(1, 1_000_000_000),
        "500",
        "calls one client's connection may give up, unanswered and within a second, in 10 s",
    ),
    Key::duration(
        "handshake_timeout",
        "10s",
        "how long a client may take to speak, and the head of a request to come; 0 is for ever",
    ),
    Key::duration(
        "body_timeout",
        "30s",
        "how long a client may be silent within a body, or leave an answer unread; 0 is for ever",
    ),
    Key::duration(
        "keep_alive",
        "75s",
        "a client's connection is closed after so long without a request or call; 0 is never",
    ),
    Key::duration(
        "max_connection_age",
        "0s",
        "a client's connection is told to go away after so long, ±10 %; 0 is never",
    ),
    Key::duration(
        "max_connection_age_grace",
        "0s",
        "its calls may then go on for so long before they are cut; 0 is for ever",
    ),
    Key::text(
        "access_log",
        "",
        "where a line of JSON is written for each call: stdout, stderr or a file",
    ),
];

const fn count(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key::new(name, Type::Integer(0, u32::MAX as u64), default, about)
}

/// The chassis' keys for one program, whose port has a name of its own.
pub(crate) fn chassis(spec: &Spec) -> Vec<Key> {
    let mut port = Key::port("port", "", "port to serve on; 0 lets the system choose");
    port.env = Some(spec.port_env);
    port.default = Cow::Owned(spec.default_port.to_string());
    std::iter::once(port)
        .chain(KEYS.iter().cloned())
        .chain(calling::keys())
        .collect()
}

fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}
