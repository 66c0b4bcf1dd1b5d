//! The metrics of a mount.

use telemetry::{Counter, Gauge, MetricsRegistry};

use crate::message::Outcome;

telemetry::metrics! {
    /// What the mount counts.
    pub(crate) struct Rows {
        up: Gauge = "mesh_mount_up": "Whether the mounted server is connected";
        starts: Counter = "mesh_mount_starts": "Connections to the mounted server, the first included";
        requests: Counter ["method", "outcome"] = "mesh_mount_requests":
            "Requests to the mounted server by their method and outcome: result, error, or lost";
        dropped: Counter ["reason"] = "mesh_mount_dropped_messages":
            "Messages of the mounted server that were dropped, and why";
        cancelled: Counter = "mesh_mount_cancelled":
            "Requests that the mounted server was told to give up, since their client left";
        parked: Gauge = "mesh_mount_parked_requests": "Requests that wait for input of a client";
        sessions: Gauge = "mesh_mount_sessions": "Sessions of clients of earlier revisions";
        blocked: Gauge = "mesh_mount_blocked_tools": "Tools that changed and are not approved";
    }
}

/// The metrics of one mount. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct MountMetrics(Rows);

/// The methods that have a label of their own.
const METHODS: [&str; 12] = [
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "subscriptions/listen",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
];

impl MountMetrics {
    pub(crate) fn new(registry: &MetricsRegistry) -> Self {
        Self(Rows::new(registry))
    }

    pub(crate) fn up(&self, up: bool) {
        self.0.up.set(i64::from(up));
        if up {
            self.0.starts.inc();
        }
    }

    /// Counts a request by its outcome; `None` when the server did not answer.
    pub(crate) fn request(&self, method: &str, outcome: Option<&Outcome>) {
        let outcome = match outcome {
            Some(Ok(_)) => "result",
            Some(Err(_)) => "error",
            None => "lost",
        };
        let known = METHODS.into_iter().find(|known| *known == method);
        self.0
            .requests
            .of([known.unwrap_or("_OTHER"), outcome])
            .inc();
    }

    pub(crate) fn cancelled(&self) {
        self.0.cancelled.inc();
    }

    pub(crate) fn dropped(&self, reason: &'static str) {
        self.0.dropped.of([reason]).inc();
    }

    pub(crate) fn parked(&self, count: usize) {
        self.0.parked.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn sessions(&self, count: usize) {
        self.0
            .sessions
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn blocked(&self, count: usize) {
        self.0.blocked.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
