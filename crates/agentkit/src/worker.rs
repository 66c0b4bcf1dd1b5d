//! A worker: an agent whose callers ask how far a task is.

use service::{ServiceKind, Spec};

use crate::{Task, TaskError, TaskHandle, TaskOutcome};

/// What the specs of workers have in common, for `..agentkit::WORKER`.
pub const WORKER: Spec = Spec {
    kind: ServiceKind::Worker,
    tags: &["worker"],
    port_env: "WORKER_PORT",
    ..crate::AGENT
};

/// Something that carries out tasks and reports how far they are.
#[async_trait::async_trait]
pub trait Worker: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out one task, and reports on `handle` how much of it is done.
    ///
    /// # Errors
    /// When the task is wrong, or something it needs does not answer.
    async fn run(&self, task: &Task, handle: &TaskHandle) -> Result<TaskOutcome, TaskError>;
}
