//! The keys of tools and their calls.

use std::time::Duration;

use config::{duration, keys, size};

keys! {
    /// Tools of the Model Context Protocol, and their calls.
    #[derive(Clone, Debug)]
    pub struct ToolKeys: "Tools of MCP" {
        /// Largest JSON Schema of a tool's arguments or results. What is past it is a free object.
        mcp_max_schema: usize = size("32KiB").zero("schemas have no details"),
        /// Largest result of a call of a tool. A larger one is an error that says so.
        mcp_max_result: usize = size("1MiB").zero("every result is an error"),
        /// Longest time for a call whose client does not say.
        mcp_call_timeout: Duration = duration("10m").zero("no limit"),
        /// Longest time for a call that runs as a job, whose client does not say.
        mcp_task_timeout: Duration = duration("1h").zero("such a call is made directly"),
        /// How long a call of a long method may take before it becomes a task, for clients that know
        /// tasks.
        mcp_task_after: Duration = duration("10s").zero("at once"),
        /// How long a call of a long method is waited for, for clients that know no tasks. Its result
        /// is fetched by `get_result` after that.
        mcp_wait: Duration = duration("45s").zero("it is not waited for"),
    }
}
