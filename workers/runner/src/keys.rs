//! The runner's own configuration keys.

use std::time::Duration;

use service::config::{duration, integer, keys, list, text};

keys! {
    /// The runner.
    #[derive(Clone, Debug)]
    pub(crate) struct RunnerKeys: "Runner" {
        /// Jobs of each queue that run at once.
        workers: usize = integer(4, 1..=10_000, "jobs"),
        /// Queues whose jobs run. Empty: that of `queue_name`.
        queues: Vec<String> = list(),
        /// Longest time between two looks at a task whose parts are running.
        task_look: Duration = duration("5s").zero("it is looked at again at once"),
        /// Agent for the parts of a task that suit no agent's capabilities.
        task_agent: String = text("research-agent"),
    }
}
