//! Whether a patch may be applied to a run, and what its graph is then.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    Refusal, Run,
    state::{Decision, Patch, PatchState, State},
};
use crate::{
    Limits, patch,
    workflow::{Edge, PatchPolicy, Workflow},
};

/// What a patch would do.
pub(super) struct Checked {
    pub(super) workflow: Workflow,
    pub(super) agents: usize,
}

impl Run {
    pub(super) fn policy(&self) -> PatchPolicy {
        self.workflow.options.patches
    }

    /// The version of the graph, from 1.
    pub(super) fn version(&self) -> u64 {
        let applied = self.patches.iter().filter(|patch| patch.applied.is_some());
        u64::try_from(applied.count()).unwrap_or(u64::MAX) + 1
    }

    pub(super) fn patch_of(&self, seq: u64) -> Option<&Patch> {
        self.patches.iter().find(|patch| patch.seq == seq)
    }

    /// Whether a person has to decide on a patch.
    pub(super) fn has_proposal(&self) -> bool {
        let mut patches = self.patches.iter();
        patches.any(|patch| patch.state == PatchState::Proposed)
    }

    /// The graph that a fork has after the operations.
    pub(super) fn patched_for_fork(
        &self,
        operations: &Value,
        limits: &Limits,
    ) -> Result<Arc<Workflow>, Refusal> {
        let checked = self.check_operations(operations, limits)?;
        Ok(Arc::new(checked.workflow))
    }

    /// The graph after the operations, if they may be applied.
    pub(super) fn check_operations(
        &self,
        operations: &Value,
        limits: &Limits,
    ) -> Result<Checked, Refusal> {
        let over = |message: String| Refusal::Invalid {
            path: "/limits".to_owned(),
            message,
        };
        let count = operations.as_array().map_or(0, Vec::len);
        if count > limits.max_operations {
            let most = limits.max_operations;
            return Err(over(format!("{count} operations, at most {most} a patch")));
        }
        let document = self.workflow.document();
        let patched = patch::apply(document, operations, limits.max_operations);
        let patched = patched.map_err(|mistake| Refusal::Invalid {
            path: format!("/operations{}", mistake.path),
            message: mistake.message,
        })?;
        let nodes = patched["nodes"].as_array().map_or(0, Vec::len);
        if nodes > limits.max_nodes {
            let most = limits.max_nodes;
            return Err(over(format!(
                "the run would have {nodes} nodes, at most {most}"
            )));
        }
        let workflow = Workflow::parse(&patched, limits).map_err(|invalid| {
            let first = invalid.mistakes.first();
            let told: Vec<String> = invalid
                .mistakes
                .iter()
                .take(5)
                .map(|mistake| format!("{}: {}", mistake.path, mistake.message))
                .collect();
            Refusal::Invalid {
                path: first.map_or_else(String::new, |mistake| mistake.path.clone()),
                message: format!("the patched workflow is invalid: {}", told.join("; ")),
            }
        })?;
        self.check_options(&workflow)?;
        self.check_frozen(&workflow)?;
        let is_new_agent =
            |node: &&crate::workflow::Node| node.is_agent && self.workflow.find(&node.id).is_none();
        let agents = workflow.nodes.iter().filter(is_new_agent).count();
        if agents > limits.max_agents_per_patch {
            let most = limits.max_agents_per_patch;
            return Err(over(format!(
                "the patch adds {agents} agents, at most {most}"
            )));
        }
        let added: usize = self.patches.iter().map(|patch| patch.agents).sum();
        let most = workflow.options.max_agents.unwrap_or(limits.max_agents);
        let most = most.min(limits.max_agents);
        if added + agents > most {
            let total = added + agents;
            return Err(over(format!(
                "patches would have added {total} agents, at most {most} a run"
            )));
        }
        Ok(Checked { workflow, agents })
    }

    /// What holds for the whole run cannot be changed by it.
    fn check_options(&self, new: &Workflow) -> Result<(), Refusal> {
        let (old, new) = (&self.workflow.options, &new.options);
        let same = old.patches == new.patches
            && old.patch_approval == new.patch_approval
            && old.max_agents == new.max_agents
            && old.deadline_ms == new.deadline_ms;
        if same {
            return Ok(());
        }
        let message = "`patches`, `patch_approval`, `max_agents` and `deadline_ms` of a run cannot be patched";
        Err(Refusal::Conflict(message.to_owned()))
    }

    /// Nothing of a node that has started or ended may change, nor an edge to it.
    fn check_frozen(&self, new: &Workflow) -> Result<(), Refusal> {
        let old = &self.workflow;
        let (old_edges, new_edges) = (edges_to(old), edges_to(new));
        let mut changed: Vec<&str> = Vec::new();
        for (at, node) in old.nodes.iter().enumerate() {
            if !self.nodes[at].has_started() {
                continue;
            }
            let same = new.find(&node.id).is_some_and(|found| {
                old.document()["nodes"].get(at) == new.document()["nodes"].get(found)
            });
            let id = node.id.as_ref();
            if !same || old_edges.get(id) != new_edges.get(id) {
                changed.push(id);
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        Err(Refusal::Conflict(format!(
            "these nodes have started or ended and cannot be changed, nor edges to them: {}",
            changed.join(", ")
        )))
    }

    /// Goes over to another graph; what is known of nodes and edges that stay is kept.
    pub(super) fn take_graph(&mut self, new: Arc<Workflow>) {
        let old = Arc::clone(&self.workflow);
        let mut states: Vec<Option<State>> = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(Some)
            .collect();
        self.nodes = new
            .nodes
            .iter()
            .map(|node| {
                let known = old.find(&node.id).and_then(|at| states[at].take());
                known.unwrap_or_else(|| State::new(0))
            })
            .collect();
        let mut decisions: HashMap<String, Vec<Decision>> = HashMap::new();
        for (at, edge) in old.edges.iter().enumerate().rev() {
            let decision = self.edges[at];
            decisions
                .entry(edge_name(&old, edge))
                .or_default()
                .push(decision);
        }
        self.edges = new
            .edges
            .iter()
            .map(|edge| {
                let known = decisions.get_mut(&edge_name(&new, edge));
                known.and_then(Vec::pop).unwrap_or_default()
            })
            .collect();
        self.workflow = new;
    }
}

fn edge_name(workflow: &Workflow, edge: &Edge) -> String {
    let condition = edge
        .condition
        .as_ref()
        .map_or("", |condition| condition.text());
    format!(
        "{} {} {:?} {:?} {condition}",
        workflow.nodes[edge.from].id, workflow.nodes[edge.to].id, edge.on, edge.path
    )
}

/// The edges to each node, in an order that does not depend on the document's.
fn edges_to(workflow: &Workflow) -> HashMap<&str, Vec<String>> {
    let mut edges: HashMap<&str, Vec<String>> = HashMap::new();
    for edge in &workflow.edges {
        let to = workflow.nodes[edge.to].id.as_ref();
        edges.entry(to).or_default().push(edge_name(workflow, edge));
    }
    for names in edges.values_mut() {
        names.sort_unstable();
    }
    edges
}
