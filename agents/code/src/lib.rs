//! The code agent: turns notes into a design that is grounded in their sources.
//!
//! A task reads `gather` (the notes, and code and tables the documents have besides) → `design`
//! (how it is laid out), with a sketch by the model between them where there is one.

mod agent;
mod design;
mod gather;

use service::{Context, ServiceKind, Services, Spec};

/// What the code agent says of itself.
pub const SPEC: Spec = Spec {
    program: "code-agent",
    service: "agent-code",
    kind: ServiceKind::Agent,
    tags: &["agent", "code", "design"],
    port_env: "AGENT_PORT",
    default_port: 50056,
    version: env!("CARGO_PKG_VERSION"),
    about: "The code agent: turns notes into a design",
    idempotent: &["*"],
    keys: &[service::GRPC, service::CALLS, agentkit::AGENT_KEYS],
};

/// Builds the service of one instance.
///
/// # Errors
/// When the keys describe a model that cannot be.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let agent = agent::Code::new(agentkit::AgentState::new(context)?);
    Ok(agentkit::serve_agent(context, &agent::ABOUT, agent))
}
