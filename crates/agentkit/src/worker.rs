//! A worker: an agent whose callers ask for the progress of a task.

use service::{ServiceKind, Spec};

use crate::{Task, TaskError, TaskHandle, TaskOutcome};

/// What the specs of workers have in common, for `..agentkit::WORKER`.
pub const WORKER: Spec = Spec {
    kind: ServiceKind::Worker,
    tags: &["worker"],
    port_env: "WORKER_PORT",
    ..crate::AGENT
};

/// A program that carries out tasks and reports their progress.
#[async_trait::async_trait]
pub trait Worker: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out one task, and reports its progress to `handle`.
    ///
    /// # Errors
    /// When the task is wrong, or something it needs does not answer.
    async fn run(&self, task: &Task, handle: &TaskHandle) -> Result<TaskOutcome, TaskError>;
}
