//! The gateway's own configuration keys, and those of the queue.

use std::time::Duration;

use service::{Key, Type};

const OWN: &[Key] = &[
    Key::port(
        "tasks_port",
        "",
        "port of the tasks port, which serves metrics at / too; none when empty",
    ),
    Key::text(
        "mcp_router_addr",
        "",
        "router that calls go through; straight to the instances when empty",
    ),
    Key::size("max_body_bytes", "8MiB", "largest body of a request"),
    Key::new(
        "request_rate",
        Type::Number(0.0, 1e6),
        "500",
        "requests a second that one client may send; 0 is as many as it likes",
    ),
    Key::new(
        "request_burst",
        Type::Integer(1, 1_000_000),
        "1000",
        "requests that one client may send at once after a pause",
    ),
    Key::new(
        "store_timeout",
        Type::Duration(Duration::from_secs(30)),
        "1s",
        "how long the queue may take to answer before the gateway says 503",
    ),
    Key::duration(
        "call_timeout",
        "30s",
        "how long a call may take whose caller does not say",
    ),
    Key::duration(
        "descriptor_ttl",
        "1m",
        "how long descriptors of a service are believed before they are asked for again",
    ),
    Key::duration(
        "max_job_timeout",
        "24h",
        "longest that a job may ask to take",
    ),
    Key::new(
        "max_event_streams",
        Type::Integer(1, 100_000),
        "256",
        "streams of events that may be open at once",
    ),
    Key::new(
        "client_max_event_streams",
        Type::Integer(1, 100_000),
        "64",
        "streams of events that one client may have open at once",
    ),
    Key::duration(
        "event_wait",
        "15s",
        "how long a quiet stream of events stays without a sign of life",
    ),
    work::QUEUE_SAMPLE,
];

/// All of them.
pub(crate) const KEYS: &[Key] = &Key::join::<
    { OWN.len() + service::WEB_KEYS.len() + work::KEYS.len() },
>(&[OWN, service::WEB_KEYS, work::KEYS]);
