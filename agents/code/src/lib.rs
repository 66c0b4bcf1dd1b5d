//! The code agent: turns notes into a design that is grounded in their sources.
//!
//! `gather` collects excerpts of the notes, and code and tables of the documents; `design` lays them
//! out. Where a model is configured, its sketch stands first.

mod agent;
mod design;
mod gather;

use service::{Context, Services, Spec};

/// The names, tags, port and keys of the code agent.
pub const SPEC: Spec = Spec {
    program: "code-agent",
    service: "agent-code",
    tags: &["agent", "code", "design"],
    default_port: 50056,
    about: "The code agent: turns notes into a design",
    ..agentkit::DOCUMENT_AGENT
};

/// Builds the service of one instance.
///
/// # Errors
/// When the keys of the model are not valid.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    agentkit::serve_document_agent(context, agent::Code)
}
