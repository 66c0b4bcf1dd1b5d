//! Every limit and time of the channel. Each field is a configuration key of the programs that call
//! others.

use std::time::Duration;

use config::{duration, integer, keys, number, one_of, size};

keys! {
    /// The largest metadata, which servers and callers share.
    #[derive(Clone, Debug, PartialEq)]
    pub struct MetadataLimit: "Metadata of calls" {
        /// Largest metadata of a call, as HTTP/2 counts it: of the request, of the answer's head, and
        /// trailers.
        max_header_bytes: usize = size("64KiB").bounded_by(1024),
    }
}

keys! {
    /// How calls are sent; the defaults serve a cluster on one network.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ClusterOptions: "Calls to other services", absent: "does not call other services" {
        /// Balancing policy of services that announce none. Empty: `least_request`.
        lb_policy: Option<String> = one_of(policies).per_service(),
        /// Deadline of calls that bring none.
        default_timeout: Duration = duration("0s").zero("no deadline").per_service(),
        /// How long a call waits for an instance that can take it.
        queue_timeout: Duration = duration("3s")
            .zero("a call that no instance can take fails at once")
            .per_service(),
        /// Calls in flight to one instance; more wait.
        max_in_flight: u32 = integer(1024, 1..=U32, "calls").per_service(),
        /// Connections to one instance.
        max_connections: usize = integer(64, 1..=U32, "connections"),
        /// How long connections to an instance stay open without a call. A service without instances
        /// is watched for as long.
        idle_timeout: Duration = duration("5m").zero("they close after each call").per_service(),
        /// Longest time to connect to an instance: DNS, TCP and the HTTP/2 preface.
        connect_timeout: Duration = duration("1s").zero("no connection is made").per_service(),
        /// How long a call waits for a connection that is being opened before it tries another
        /// instance. The opening goes on.
        connect_patience: Duration = duration("100ms").zero("it does not wait").per_service(),
        /// Pause after a failed connect. It doubles with each further failure.
        backoff_min: Duration = duration("100ms").zero("no pause").per_service(),
        /// Longest pause between two connects to an instance.
        backoff_max: Duration = duration("1m").zero("no pause").per_service(),
        /// How long a connection to an instance is idle before TCP keep-alive probes it. Whole seconds, 1 s at least.
        tcp_keepalive: Duration = duration("10s").zero("1 s"),
        /// Time between two TCP keep-alive probes. Whole seconds, 1 s at least.
        tcp_keepalive_interval: Duration = duration("5s").zero("1 s"),
        /// How long sent bytes may stay unacknowledged before a connection is dropped. It also bounds
        /// how long an instance may leave all calls and health checks unanswered.
        tcp_user_timeout: Duration = duration("20s").zero("the system's default"),
        /// Attempts for one call, the first included.
        max_attempts: usize = integer(3, 1..=U32, "attempts").per_service(),
        /// Bytes of a request that are kept for another attempt. A larger request is sent once.
        retry_buffer: usize = size("64KiB").zero("only requests without a message are retried"),
        /// Retries per call that the budget allows on average.
        retry_ratio: f64 = number(0.2, 0.0..=1.0, "retries per call")
            .zero("none beside `retry_per_second`")
            .per_service(),
        /// Retries each second that the budget allows however few calls there are.
        retry_per_second: f64 = number(10.0, 0.0..=1e6, "retries per second")
            .zero("none beside `retry_ratio`")
            .per_service(),
        /// After how long without an answer a call is also sent to a second instance. Only calls that
        /// may run twice are.
        hedge_delay: Duration = duration("0s").zero("never").per_service(),
        /// Instances that a hedged call is sent to at most.
        hedge_max: usize = integer(2, 1..=U32, "instances").per_service(),
        /// Failures in a row that eject an instance.
        ejection_failures: u32 = integer(5, 1..=U32, "failures").per_service(),
        /// How long the first ejection lasts. The n-th lasts n times as long.
        ejection_time: Duration = duration("30s").zero("failures eject nobody").per_service(),
        /// Longest ejection.
        ejection_max: Duration = duration("5m").zero("failures eject nobody").per_service(),
        /// Share of a service's instances that may be ejected. One instance always may.
        ejection_percent: usize = integer(50, 0..=100, "%").zero("one instance").per_service(),
        /// Below this share of usable instances, ejections are ignored and all are used.
        panic_percent: usize = integer(50, 0..=100, "%")
            .zero("ejections always hold")
            .per_service(),
        /// After how long without an answer to any of its calls an instance is asked for its health.
        silence: Duration = duration("1s").zero("at once").per_service(),
        /// How long an instance may take to say its health before it is ejected.
        silence_probe: Duration = duration("1s").zero("it is ejected at once").per_service(),
        /// The latency within which calls of the service should be answered, for its metrics and alerts.
        slo_latency: Duration = duration("1s").zero("every call is too slow").per_service(),
        /// Instances that have metrics of their own. Those of further ones are added up as `_OTHER`.
        metrics_instances: usize = integer(200, 0..=100_000, "instances").zero("none"),
    }
    with {
        /// The largest metadata of an answer that is taken, as HTTP/2 counts it.
        max_header_bytes: usize = |config| MetadataLimit::from_config(config).max_header_bytes,
        /// The numbers of the policies.
        balance: balance::BalanceOptions = balance::BalanceOptions::from_config,
    }
    retired {
        "policies" => "write `lb_policy` in the file's table [services.\"NAME\"], or in Consul's KV at mesh/services/NAME/lb_policy",
    }
}

/// The bound of counts that have no other.
const U32: u64 = u32::MAX as u64;

/// Every name and alias of a policy.
fn policies() -> Vec<&'static str> {
    let names = |row: &balance::PolicyRow| [&[row.name], row.aliases].concat();
    balance::POLICIES.iter().flat_map(names).collect()
}
