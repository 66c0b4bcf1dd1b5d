//! An agent: a task in, a text and facts about it out.

use service::{ServiceKind, Spec};

use crate::{OutputStream, Task, TaskError, TaskOutcome};

/// What the specs of agents have in common, for `..agentkit::AGENT`.
pub const AGENT: Spec = Spec {
    program: "",
    service: "",
    kind: ServiceKind::Agent,
    tags: &["agent"],
    port_env: "AGENT_PORT",
    default_port: 0,
    version: env!("CARGO_PKG_VERSION"),
    about: "",
    idempotent: &[],
    keys: &[service::GRPC],
};

/// A program that carries out tasks.
///
/// ```
/// use mesh_agentkit::{Agent, OutputStream, Task, TaskError, TaskOutcome};
///
/// #[derive(Debug)]
/// struct Greeter;
///
/// #[async_trait::async_trait]
/// impl Agent for Greeter {
///     async fn run(&self, task: &Task, _: &OutputStream) -> Result<TaskOutcome, TaskError> {
///         let name = task.require_goal("whom to greet")?;
///         Ok(TaskOutcome::text(format!("Hello, {name}!")))
///     }
/// }
/// ```
#[async_trait::async_trait]
pub trait Agent: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out one task. What it sends to `stream` has to be the beginning of the output: a caller
    /// who streams gets those pieces, and then the rest.
    ///
    /// # Errors
    /// When the task is wrong, or something it needs does not answer.
    async fn run(&self, task: &Task, stream: &OutputStream) -> Result<TaskOutcome, TaskError>;
}
