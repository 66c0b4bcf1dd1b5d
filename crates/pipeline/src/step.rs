//! The steps, in order: a row each.

/// One step of a run.
#[derive(Debug)]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// Public id of the agent that takes it.
    pub agent: &'static str,
    /// The file it leaves.
    pub artifact: &'static str,
    /// Public ids of the tools that the agent may use.
    pub tools: &'static [&'static str],
    /// How far the run is once it is done, %.
    pub percent: u8,
}

/// Every step there is.
pub const STEPS: &[Step] = &[
    Step {
        name: "research",
        agent: "research-agent",
        artifact: "notes.md",
        tools: &["docs-tool", "web-tool"],
        percent: 33,
    },
    Step {
        name: "code",
        agent: "code-agent",
        artifact: "mcp.md",
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
