//! Every limit and time of the channel. Each is a configuration key of the programs, by this name.

use std::time::Duration;

/// How calls are sent; the defaults serve a cluster on one network.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterOptions {
    /// The largest metadata of an answer that is taken, head or trailers, as HTTP/2 counts it.
    pub max_header_bytes: usize,
    /// Longest time for DNS, TCP and the HTTP/2 preface of one connection.
    pub connect_timeout: Duration,
    /// How long one call waits for a connection that is being opened before it looks for another
    /// instance; the opening goes on.
    pub connect_patience: Duration,
    /// Pause after the first failed connect; it doubles with each further one.
    pub backoff_min: Duration,
    /// Longest pause between connects.
    pub backoff_max: Duration,
    /// Idle time before TCP keep-alive probes a peer.
    pub tcp_keepalive: Duration,
    /// Time between two keep-alive probes.
    pub tcp_keepalive_interval: Duration,
    /// How long sent bytes may stay unacknowledged, or all calls of an instance and its health
    /// unanswered, before its connections are dropped.
    pub tcp_user_timeout: Duration,
    /// Calls in flight to one instance; more wait in the queue.
    pub max_in_flight: u32,
    /// Connections to one instance.
    pub max_connections: usize,
    /// How long the connections to an instance stay open without a call, and a service that has no
    /// instance is watched without one.
    pub idle_timeout: Duration,
    /// How long a call waits for an instance that can take it.
    pub queue_timeout: Duration,
    /// Deadline of calls that bring none; zero means none.
    pub default_timeout: Duration,
    /// Attempts for one call, the first included.
    pub max_attempts: usize,
    /// Bytes of a request that are kept for another attempt; a larger one is sent once.
    pub retry_buffer: usize,
    /// A call that may run twice is sent to a second instance too when the first has not answered
    /// for so long; zero means never.
    pub hedge_delay: Duration,
    /// Instances that one call is sent to so, the first included.
    pub hedge_max: usize,
    /// Retries, hedges included, allowed per call on average, 0–1.
    pub retry_ratio: f64,
    /// Retries allowed each second whatever the number of calls.
    pub retry_per_second: f64,
    /// Failures in a row that eject an instance.
    pub ejection_failures: u32,
    /// First ejection; the n-th lasts n times as long.
    pub ejection_time: Duration,
    /// Longest ejection.
    pub ejection_max: Duration,
    /// Share of a cluster that may be ejected for failures, percent; one instance always may.
    pub ejection_percent: usize,
    /// Below this share of usable instances ejections are ignored, percent.
    pub panic_percent: usize,
    /// All calls of an instance silent for so long: its health is asked on a connection of its own.
    pub silence: Duration,
    /// How long that question may stay unanswered before the instance is ejected.
    pub silence_probe: Duration,
    /// Balancing policy, by name or alias; `None` is what the instances announce, else the default.
    pub lb_policy: Option<String>,
    /// The numbers of the policies.
    pub balance: balance::BalanceOptions,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            max_header_bytes: 64 * 1024,
            connect_timeout: Duration::from_secs(1),
            connect_patience: Duration::from_millis(100),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
            tcp_keepalive: Duration::from_secs(10),
            tcp_keepalive_interval: Duration::from_secs(5),
            tcp_user_timeout: Duration::from_secs(20),
            max_in_flight: 1024,
            max_connections: 64,
            idle_timeout: Duration::from_secs(300),
            queue_timeout: Duration::from_secs(3),
            default_timeout: Duration::ZERO,
            max_attempts: 3,
            retry_buffer: 64 * 1024,
            hedge_delay: Duration::ZERO,
            hedge_max: 2,
            retry_ratio: 0.2,
            retry_per_second: 10.0,
            ejection_failures: 5,
            ejection_time: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            ejection_percent: 50,
            panic_percent: 50,
            silence: Duration::from_secs(1),
            silence_probe: Duration::from_secs(1),
            lb_policy: None,
            balance: balance::BalanceOptions::default(),
        }
    }
}
