//! A run of a workflow.

mod again;
mod compute;
mod control;
mod edges;
mod fork;
mod items;
mod key;
mod loops;
mod machine;
mod patch_checks;
mod patches;
mod records;
mod start;
mod state;
mod undo;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use self::{
    key::RecordKey,
    machine::Machine,
    state::{Decision, Head, Patch, Signal, State, Undo},
};
use crate::{Effect, Event, EventKind, Input, Limits, NodeStatus, RunStatus, Start, Workflow};

/// What followed from an input.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What has to be done.
    pub effects: Vec<Effect>,
    /// Keys of the records that changed; see [`Run::node_record`].
    pub changed: Vec<String>,
    /// Outputs that the engine made and that are kept as blobs: `sha256:…` and the JSON text.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// What the asker gets to know, such as the view of a patch.
    pub answer: Option<Value>,
}

/// An input that cannot be taken; the run is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not fit what the run is now: 409.
    #[error("{0}")]
    Conflict(String),
    /// It is wrong in itself: 400 or 422. The pointer says where.
    #[error("{message}")]
    Invalid {
        /// A JSON pointer.
        path: String,
        /// What is wrong, and what is expected.
        message: String,
    },
}

/// What is kept of a run: its header, and a record for each node and iteration that has begun. A step
/// changes the header and few records, so that what is written does not grow with the run.
#[derive(Debug, Clone, Default)]
pub struct RunRecords {
    /// The header.
    pub header: Vec<u8>,
    /// The records, by their keys.
    pub nodes: Vec<(String, Vec<u8>)>,
}

/// A node as people see it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its id.
    pub node_id: String,
    /// From 0; of a loop or a `for_each` it counts.
    pub iteration: u32,
    /// What it is.
    pub status: NodeStatus,
    /// How many attempts were started.
    pub attempt: u32,
    /// Its configuration, filled in.
    pub input: Option<Value>,
    /// What it answered.
    pub output: Option<Arc<Value>>,
    /// `sha256:…`, where the output is kept as a blob.
    pub blob: Option<String>,
    /// Unix milliseconds.
    pub started_at: Option<u64>,
    /// Unix milliseconds.
    pub completed_at: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// What it cost.
    pub metrics: Option<Value>,
}

/// A patch of a run.
#[derive(Debug, Clone)]
pub struct PatchView {
    /// Its number, from 1.
    pub seq: u64,
    /// `proposed`, `applied`, `refused`, or `pending` until its node has succeeded.
    pub state: String,
    /// The node that asked.
    pub node_id: Option<String>,
    /// The operations.
    pub operations: Value,
    /// For people.
    pub description: String,
    /// Who asked.
    pub author: String,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Why it was refused.
    pub reason: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The graph as it is now.
    workflow: Arc<Workflow>,
    start: Arc<Start>,
    /// What `run` means in expressions.
    about: Value,
    head: Head,
    nodes: Vec<State>,
    edges: Vec<Decision>,
    /// Iterations before the current ones.
    past: BTreeMap<(Arc<str>, u32), State>,
    signals: Vec<Signal>,
    patches: Vec<Patch>,
}

impl Run {
    /// A run of which nothing has begun.
    fn new(workflow: Arc<Workflow>, start: Start) -> Self {
        let about = json!({
            "id": start.run_id, "owner": start.owner, "tag": start.tag, "priority": start.priority,
        });
        Self {
            nodes: vec![State::new(0); workflow.nodes.len()],
            edges: vec![Decision::Open; workflow.edges.len()],
            workflow,
            start: Arc::new(start),
            about,
            head: Head {
                status: RunStatus::Queued,
                error: None,
                error_node: None,
                started_at: None,
                ended_at: None,
                deadline: None,
                paused: false,
                ending: None,
                executions: 0,
                ended: 0,
            },
            past: BTreeMap::new(),
            signals: Vec::new(),
            patches: Vec::new(),
        }
    }

    /// Starts a run.
    #[must_use]
    pub fn start(
        workflow: Arc<Workflow>,
        start: &Start,
        limits: &Limits,
        now: u64,
    ) -> (Self, Step) {
        let mut run = Self::new(workflow, start.clone());
        let step = run.begin(limits, now);
        (run, step)
    }

    /// Goes on by what happened.
    ///
    /// # Errors
    /// A [`Refusal`] of a patch, or of a wish that does not fit; the run is as it was.
    pub fn step(&mut self, input: Input, limits: &Limits, now: u64) -> Result<Step, Refusal> {
        let mut machine = Machine::new(self, limits, now);
        machine.take(input)?;
        Ok(machine.finish())
    }

    /// Starts a run that [`Run::fork`] made and that was kept since. Of a run that has begun, nothing follows.
    pub fn begin(&mut self, limits: &Limits, now: u64) -> Step {
        if self.head.started_at.is_some() || self.head.status.is_final() {
            return Step::default();
        }
        self.head.started_at = Some(now);
        let data = json!({
            "nodes": self.workflow.nodes_count(),
            "entry_nodes": self.workflow.entry_nodes().len(),
        });
        let mut machine = Machine::new(self, limits, now);
        machine.touch(RecordKey::Start);
        machine.note(EventKind::WorkflowStarted, None, data);
        machine.set_run_deadline();
        machine.decide_new_edges();
        machine.look_at_all();
        machine.finish()
    }

    /// A new run that takes over the outputs of every node that is not after `from`. It has not begun: its status
    /// is `QUEUED` until [`Run::begin`]. Its graph is that of this run as it is now, with the operations; patches are
    /// not taken over, so that the new run is stored with [`Run::workflow`] as its workflow.
    ///
    /// # Errors
    /// When `from` is no node, or the operations cannot be applied.
    pub fn fork(
        &self,
        start: &Start,
        from: &str,
        operations: Option<&Value>,
        limits: &Limits,
        now: u64,
    ) -> Result<(Self, Step), Refusal> {
        self.forked(start, from, operations, limits, now)
    }

    /// What to keep of the run as a whole; it is small.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        self.header_bytes()
    }

    /// What to keep of one node and iteration, by a key that [`Step::changed`] named.
    #[must_use]
    pub fn node_record(&self, key: &str) -> Option<Vec<u8>> {
        self.record(&RecordKey::read(key)?)
    }

    /// All that is to be kept of the run.
    #[must_use]
    pub fn records(&self) -> RunRecords {
        let nodes = self.all_records().into_iter().filter_map(|key| {
            let content = self.record(&key)?;
            Some((key.text(), content))
        });
        RunRecords {
            header: self.header(),
            nodes: nodes.collect(),
        }
    }

    /// The run that was kept. `workflow` is the graph that it was started with; `blob` gives the content of
    /// blobs.
    ///
    /// # Errors
    /// When the records are not those of a run.
    pub fn load(
        workflow: Arc<Workflow>,
        records: &RunRecords,
        blob: &mut dyn FnMut(&str) -> Option<Value>,
    ) -> Result<Self, Refusal> {
        Self::load_records(workflow, records, blob).map_err(|message| records::damaged(&message))
    }

    /// The blobs that records name, so that they can be fetched before [`Run::load`].
    #[must_use]
    pub fn blobs(records: &RunRecords) -> Vec<String> {
        records::blobs(records)
    }

    /// What it is.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.head.status
    }

    /// Why it failed.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.head.error.as_deref()
    }

    /// The node whose failure it was.
    #[must_use]
    pub fn failed_node(&self) -> Option<&str> {
        self.head.error_node.as_deref()
    }

    /// When it began, Unix milliseconds.
    #[must_use]
    pub fn started_at(&self) -> Option<u64> {
        self.head.started_at
    }

    /// When it ended, Unix milliseconds.
    #[must_use]
    pub fn ended_at(&self) -> Option<u64> {
        self.head.ended_at
    }

    /// With what it started.
    #[must_use]
    pub fn started_with(&self) -> &Start {
        &self.start
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.head.paused
    }

    /// The graph as it is now, patches included.
    #[must_use]
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// The version of the graph: 1, and one more for each patch that was applied.
    #[must_use]
    pub fn graph_version(&self) -> u64 {
        self.version()
    }

    /// The state of a node in an iteration.
    fn state_of(&self, id: &str, iteration: u32) -> Option<&State> {
        let at = self.workflow.find(id)?;
        let state = &self.nodes[at];
        if state.iteration == iteration {
            return Some(state);
        }
        let id = Arc::clone(&self.workflow.nodes[at].id);
        self.past.get(&(id, iteration))
    }

    fn state_of_mut(&mut self, id: &str, iteration: u32) -> Option<&mut State> {
        let at = self.workflow.find(id)?;
        if self.nodes[at].iteration == iteration {
            return self.nodes.get_mut(at);
        }
        let id = Arc::clone(&self.workflow.nodes[at].id);
        self.past.get_mut(&(id, iteration))
    }

    /// How many nodes run or wait.
    fn in_flight(&self) -> usize {
        self.nodes.iter().filter(|state| state.is_active()).count()
    }

    /// What is to be undone next, and whether it is being undone already.
    fn next_to_undo(&self) -> Option<(String, u32, bool)> {
        let current = self.workflow.nodes.iter().zip(&self.nodes);
        let current = current.map(|(node, state)| (&node.id, state));
        let past = self.past.iter().map(|((id, _), state)| (id, state));
        let mut latest: Option<(&Arc<str>, &State)> = None;
        for (id, state) in current.chain(past) {
            let undoes = || {
                let at = self.workflow.find(id);
                at.is_some_and(|at| self.workflow.nodes[at].compensate.is_some())
            };
            match state.undo {
                Undo::Running => return Some((id.to_string(), state.iteration, true)),
                Undo::No
                    if state.status == NodeStatus::Completed
                        && latest.is_none_or(|(_, known)| known.ended < state.ended)
                        && undoes() =>
                {
                    latest = Some((id, state));
                }
                _ => {}
            }
        }
        latest.map(|(id, state)| (id.to_string(), state.iteration, false))
    }

    /// Nodes and all that is after them.
    fn after(&self, begins: &[usize]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = begins.to_vec();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                let edges = self.workflow.nodes[at].outgoing.iter();
                open.extend(edges.map(|edge| self.workflow.edges[*edge].to));
            }
        }
        reached
    }
}
