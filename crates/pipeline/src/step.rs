//! The steps, in order: a row each.

use agentkit::{DESIGN, NOTES};

/// One step of a run.
#[derive(Debug)]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// Public id of its agent.
    pub agent: &'static str,
    /// The file that it writes.
    pub artifact: &'static str,
    /// Public ids of the tools that the agent may use.
    pub tools: &'static [&'static str],
    /// The run's progress after it, %.
    pub percent: u8,
}

/// The steps of every run.
pub const STEPS: &[Step] = &[
    Step {
        name: "research",
        agent: "research-agent",
        artifact: NOTES.file,
        tools: &["docs-tool", "web-tool"],
        percent: 33,
    },
    Step {
        name: "code",
        agent: "code-agent",
        artifact: DESIGN.file,
        tools: &["docs-tool", "fs-tool"],
        percent: 66,
    },
    Step {
        name: "review",
        agent: "review-agent",
        artifact: "review.md",
        tools: &["docs-tool", "fs-tool"],
        percent: 100,
    },
];
