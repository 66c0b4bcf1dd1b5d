//! The research agent: finds what documents and the web say about a goal, and notes it with
//! sources.
//!
//! [`search`] finds passages and pages; `notes` writes them down. Where a model is configured, its
//! summary stands first.

mod agent;
mod notes;
pub mod search;

use service::{Context, Services, Spec};

/// The names, tags, port and keys of the research agent.
pub const SPEC: Spec = Spec {
    program: "research-agent",
    service: "agent-research",
    tags: &["agent", "research", "search"],
    default_port: 50055,
    about: "The research agent: finds what sources say about a goal",
    ..agentkit::DOCUMENT_AGENT
};

/// Builds the service of one instance.
///
/// # Errors
/// When the keys of the model are not valid.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    agentkit::serve_document_agent(context, agent::Research)
}
