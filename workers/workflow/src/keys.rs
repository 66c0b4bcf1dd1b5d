//! The workflow runner's own configuration keys.

use std::time::Duration;

use service::config::{duration, integer, keys, text};

keys! {
    /// The workflow runner.
    #[derive(Clone, Debug)]
    pub(crate) struct WorkflowKeys: "Workflow runner" {
        /// How long a workflow runner may be silent before others take its runs over. All need the
        /// same. 1 s at least.
        workflow_lease: Duration = duration("10s").zero("1 s"),
        /// Time between two comparisons of the nodes in flight with the queue. A job that the queue has
        /// lost is submitted again.
        workflow_compare: Duration = duration("30s").zero("100 ms"),
        /// Runs that a runner has in memory before it takes further queued ones. Runs that wait for
        /// people, timers or signals are not in memory.
        workflow_runs: usize = integer(2_000, 1..=1_000_000, "runs"),
        /// Longest time that what happened to a run waits for that of others, to be stored with it. It
        /// waits only while much happens.
        workflow_commit_wait: Duration = duration("2ms").zero("no wait"),
        /// Runs that one owner may have under way, those that wait included; further ones stay queued.
        max_running_runs: u32 = integer(0, 0..=u32::MAX as u64, "runs").zero("no limit"),
        /// Nodes of one owner that may be in the queue or running at once, over all runners about.
        max_nodes_in_flight: usize = integer(256, 0..=1_000_000, "nodes").zero("no limit"),
        /// Agent for nodes that name none and suit no agent's capabilities.
        workflow_agent: String = text("research-agent"),
    }
}
