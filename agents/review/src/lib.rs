//! The review agent: checks notes and design against their sources.
//!
//! `check` looks up every quotation and asks every claim for its source; `report` writes the findings
//! down. Where a model is configured, its remarks stand at the end.

mod agent;
mod check;
mod report;

use service::{Context, Services, Spec};

/// The names, tags, port and keys of the review agent.
pub const SPEC: Spec = Spec {
    program: "review-agent",
    service: "agent-review",
    tags: &["agent", "review", "verification"],
    default_port: 50057,
    about: "The review agent: checks documents against their sources",
    ..agentkit::DOCUMENT_AGENT
};

/// Builds the service of one instance.
///
/// # Errors
/// When the keys of the model are not valid.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    agentkit::serve_document_agent(context, agent::Review)
}
