//! A workflow: the graph, read and checked.

mod approval;
mod config;
mod graph;
mod read;
mod reader;

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

pub(crate) use self::approval::{Approval, approval_options};
pub(crate) use self::config::{Config, ForEach, Item, Kind, Subject, Transform};
pub(crate) use self::read::{MAX_DEPTH, length, too_deep};
use crate::{expression::Expression, patch};

/// Largest document, bytes of JSON text.
pub const MAX_DOCUMENT: usize = 1 << 20;
/// Most edges.
pub const MAX_EDGES: usize = 5_000;
/// Most items of a `for_each`.
pub const MAX_ITEMS: usize = 10_000;

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
#[derive(Debug, Clone)]
pub struct Workflow {
    document: Value,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) index: HashMap<Arc<str>, usize>,
    pub(crate) options: Options,
}

impl PartialEq for Workflow {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

/// What holds for a whole run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<u8>,
    pub(crate) patches: PatchPolicy,
    /// Whom a patch is asked of, and how, where people decide on it.
    pub(crate) patch_approval: Option<Approval>,
    pub(crate) max_agents: Option<usize>,
}

/// Whether a run may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PatchPolicy {
    #[default]
    Allow,
    /// A person decides.
    Approve,
    Deny,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) config: Config,
    pub(crate) join: Join,
    /// What has not come to a join in time is called off.
    pub(crate) cancel_rest: bool,
    /// Its failure is an output like another.
    pub(crate) on_error_continue: bool,
    pub(crate) retry: Retry,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<u8>,
    /// What undoes it.
    pub(crate) compensate: Option<Arc<Subject>>,
    pub(crate) incoming: Vec<usize>,
    pub(crate) outgoing: Vec<usize>,
    /// The loops whose body it is in.
    pub(crate) loops: Vec<usize>,
    pub(crate) is_agent: bool,
}

/// How many of the edges to a node have to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    All,
    Some(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Retry {
    pub(crate) max_attempts: u32,
    pub(crate) backoff_ms: u64,
    pub(crate) multiplier: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff_ms: 1000,
            multiplier: 2.0,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) condition: Option<Expression>,
    pub(crate) on: On,
    pub(crate) path: Path,
    /// Loops that have to be left before it is decided.
    pub(crate) holds: Vec<usize>,
    /// Its place in the document, if it is drawn.
    pub(crate) place: Option<usize>,
}

/// After which end of its node an edge is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Success,
    Failure,
    Always,
}

/// Which way out of a loop an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Either,
    Break,
    Timeout,
}

impl Workflow {
    /// Reads and checks a workflow: `{"nodes": […], "edges": […], "metadata": {}}`.
    ///
    /// # Errors
    /// All mistakes at once, each with its place.
    pub fn parse(document: &Value, limits: &Limits) -> Result<Self, Invalid> {
        read::workflow(document, limits, 0)
    }

    /// As it was given.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// How many nodes it has.
    #[must_use]
    pub fn nodes_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many edges it has, as it was given.
    #[must_use]
    pub fn edges_count(&self) -> usize {
        self.document["edges"].as_array().map_or(0, Vec::len)
    }

    /// The nodes without edges to them: with them a run begins.
    #[must_use]
    pub fn entry_nodes(&self) -> Vec<&str> {
        let entries = self.nodes.iter().filter(|node| node.incoming.is_empty());
        entries.map(|node| node.id.as_ref()).collect()
    }

    /// The functions that its nodes name: ids of nodes, and service and method or the function's name. Nobody may
    /// serve some of them.
    #[must_use]
    pub fn functions(&self) -> Vec<(&str, String)> {
        let nodes = self.nodes.iter().filter_map(|node| {
            let name = node.kind.function(&node.config.value)?;
            Some((node.id.as_ref(), name))
        });
        nodes.collect()
    }

    /// How many of its nodes are agents.
    #[must_use]
    pub fn agents_count(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_agent).count()
    }

    /// Applies RFC 6902 operations (and `/nodes/@id`) to a document, all or nothing.
    ///
    /// # Errors
    /// The operation that cannot be applied.
    pub fn patched(document: &Value, operations: &Value) -> Result<Value, Mistake> {
        patch::apply(document, operations, usize::MAX)
    }

    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }
}
