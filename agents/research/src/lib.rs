//! The research agent: finds what documents and the web say about a goal, and notes it with
//! sources.
//!
//! A task reads [`search`] (what is found) → `notes` (how it is written down), with a summary by
//! the model between them where there is one.

mod agent;
mod notes;
pub mod search;

use service::{Context, ServiceKind, Services, Spec};

/// What the research agent says of itself.
pub const SPEC: Spec = Spec {
    program: "research-agent",
    service: "agent-research",
    kind: ServiceKind::Agent,
    tags: &["agent", "research", "search"],
    port_env: "AGENT_PORT",
    default_port: 50055,
    version: env!("CARGO_PKG_VERSION"),
    about: "The research agent: finds what sources say about a goal",
    idempotent: &["*"],
    keys: &[service::GRPC, service::CALLS, agentkit::AGENT_KEYS],
};

/// Builds the service of one instance.
///
/// # Errors
/// When the keys describe a model that cannot be.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let agent = agent::Research::new(agentkit::AgentState::new(context)?);
    Ok(agentkit::serve_agent(context, &agent::ABOUT, agent))
}
