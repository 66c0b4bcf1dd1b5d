//! Metrics of MCP.

use std::time::Duration;

use telemetry::{Counter, Gauge, Histogram, TraceContext};

/// Upper bounds in seconds, as OpenTelemetry recommends them for operations of MCP.
const BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 300.0,
];

/// The methods that have a label of their own.
const METHODS: [&str; 18] = [
    "tools/call",
    "tools/list",
    "initialize",
    "server/discover",
    "ping",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
];

telemetry::metrics! {
    /// What clients of MCP ask, and how it ends.
    pub(crate) struct McpMetrics {
        operations: Histogram ["mcp_method_name", "outcome"] = "mesh_mcp_operation_duration_seconds":
            "Duration of requests of MCP until their result: ok, tool_error, cancelled, or the code of their error",
            || Histogram::new(BUCKETS);
        calls: Counter ["service", "outcome"] = "mesh_mcp_tool_calls":
            "Calls of tools: ok, error, task, failed or cancelled";
        refused: Counter ["reason"] = "mesh_mcp_refused":
            "Requests of MCP that were refused before they were read: host, token, scope, rate or full";
        sessions: Gauge = "mesh_mcp_sessions": "Sessions of clients before revision 2026-07-28";
        streams: Gauge ["kind"] = "mesh_mcp_streams": "Open streams: of changes, or of a call";
        passed_on: Counter ["outcome"] = "mesh_mcp_passed_on":
            "Requests whose session another gateway has: passed on, restored here, or not found";
    }
}

/// A stream that is open, until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl McpMetrics {
    /// The label of a method. Clients cannot make up labels.
    pub(crate) fn label(method: &str) -> &'static str {
        let known = METHODS.into_iter().find(|known| *known == method);
        known.unwrap_or("_OTHER")
    }

    /// A request ended; `method` is a label.
    pub(crate) fn operation(
        &self,
        method: &'static str,
        outcome: &str,
        took: Duration,
        trace: Option<TraceContext>,
    ) {
        let duration = self.operations.of([method, outcome]);
        duration.observe_of(took.as_secs_f64(), trace);
    }

    /// A call of a tool ended. `service` is one of the registry.
    pub(crate) fn call(&self, service: &str, outcome: &str) {
        self.calls.of([service, outcome]).inc();
    }

    /// A request was refused.
    pub(crate) fn refuse(&self, reason: &str) {
        self.refused.of([reason]).inc();
    }

    pub(crate) fn has_sessions(&self, count: usize) {
        self.sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A stream opens.
    pub(crate) fn stream(&self, kind: &str) -> OpenStream {
        let open = self.streams.of([kind]);
        open.inc();
        OpenStream(Gauge::clone(&open))
    }

    /// A request was for another gateway's session.
    pub(crate) fn passed_on(&self, outcome: &str) {
        self.passed_on.of([outcome]).inc();
    }
}
