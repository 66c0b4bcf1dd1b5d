//! The gateway's own configuration keys.

use std::time::Duration;

use service::config::{duration, integer, keys, number, optional_port, size};

keys! {
    /// The gateway.
    #[derive(Clone, Debug)]
    pub(crate) struct GatewayKeys: "Gateway" {
        /// Port of the tasks API, which serves metrics at `/` too. Empty: none.
        tasks_port: Option<u16> = optional_port(),
        /// Largest body of a request.
        max_body_bytes: usize = size("8MiB").zero("only requests without a body"),
        /// Requests that one client may send each second.
        request_rate: f64 = number(500.0, 0.0..=1e6, "requests per second").zero("no limit"),
        /// Requests that one client may send at once after a pause.
        request_burst: u64 = integer(1000, 1..=1_000_000, "requests"),
        /// Longest time for the queue to answer before the gateway says 503.
        store_timeout: Duration = duration("1s").bounded_by(30).zero("it says 503 at once"),
        /// Longest time for a call whose caller does not say.
        call_timeout: Duration = duration("30s").zero("such a call fails"),
        /// How long the descriptors of a service are kept before they are asked for again.
        descriptor_ttl: Duration = duration("1m").zero("they are asked for each time"),
        /// Longest timeout that a job may ask for.
        max_job_timeout: Duration = duration("24h").zero("every job is refused"),
        /// Event streams that may be open at once.
        max_event_streams: usize = integer(256, 1..=100_000, "streams"),
        /// Event streams that one client may have open at once.
        client_max_event_streams: usize = integer(64, 1..=100_000, "streams"),
        /// How long an event stream is quiet before a sign of life is sent.
        event_wait: Duration = duration("15s").zero("at once, again and again"),
    }
}
