//! The gateway's own configuration keys.

use std::time::Duration;

use service::config::{duration, integer, keys, number, optional, optional_port, size};

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

keys! {
    /// The doors of workflows.
    #[derive(Clone, Debug)]
    pub(crate) struct WorkflowKeys: "Doors of workflows" {
        /// Port of the workflows API, as an orchestrator has it. Empty: none; the API is on the
        /// gateway's port in any case.
        workflows_port: Option<u16> = optional_port(),
        /// Port of approvals and of the events of a user's runs. Empty: none.
        fanout_port: Option<u16> = optional_port(),
        /// Whose workflows and runs those of a request without `X-User-ID` are. Empty: such a request
        /// is refused.
        default_owner: Option<String> = optional().only(
            |text| text.is_empty() || crate::workflows::owner::is_owner(text),
            "1 to 100 characters that can be printed",
        ),
        /// Longest time for a run's runner to answer a command, such as a patch. The command itself
        /// stays, whenever a runner comes.
        command_timeout: Duration = duration("10s").bounded_by(300).zero("no answer is waited for"),
        /// Runs that may wait to be started, before further ones are refused with 429.
        max_queued_runs: u64 = integer(1_000_000, 0..=1_000_000_000, "runs").zero("no limit"),
        /// How long a run is kept after its end, unless its workflow says `retention`.
        run_retention: Duration = duration("168h").zero("it is gone at the next sweep"),
        /// Requests that this gateway takes each minute for workflows, of all clients together.
        minute_requests: u64 = integer(0, 0..=1_000_000_000, "requests").zero("no limit"),
        /// Runs that one user may start each minute of workflows without agents.
        minute_simple_runs: u64 = integer(0, 0..=1_000_000_000, "runs").zero("no limit"),
        /// The same of workflows with one or two agents.
        minute_standard_runs: u64 = integer(0, 0..=1_000_000_000, "runs").zero("no limit"),
        /// The same of workflows with three agents or more.
        minute_heavy_runs: u64 = integer(0, 0..=1_000_000_000, "runs").zero("no limit"),
    }
}
