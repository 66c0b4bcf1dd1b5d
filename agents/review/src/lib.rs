//! The review agent: checks notes and design against their sources.
//!
//! A task reads `check` (every quotation looked up, every claim asked for its source) → `report`
//! (how it is written down), with remarks by the model at the end where there is one.

mod agent;
mod check;
mod report;

use service::{Context, ServiceKind, Services, Spec};

/// What the review agent says of itself.
pub const SPEC: Spec = Spec {
    program: "review-agent",
    service: "agent-review",
    kind: ServiceKind::Agent,
    tags: &["agent", "review", "verification"],
    port_env: "AGENT_PORT",
    default_port: 50057,
    version: env!("CARGO_PKG_VERSION"),
    about: "The review agent: checks documents against their sources",
    idempotent: &["*"],
    keys: &[service::GRPC, service::CALLS, agentkit::AGENT_KEYS],
};

/// Builds the service of one instance.
///
/// # Errors
/// When the keys describe a model that cannot be.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let agent = agent::Review::new(agentkit::AgentState::new(context)?);
    Ok(agentkit::serve_agent(context, &agent::ABOUT, agent))
}
