//! A run of a workflow.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    Effect, Event, Input, JobRequest, Limits, NodeStatus, RunStatus, Start, Workflow,
};

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
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    status: RunStatus,
    workflow: Arc<Workflow>,
}

impl Run {
    /// Starts a run.
    #[must_use]
    pub fn start(
        workflow: Arc<Workflow>,
        _start: &Start,
        _limits: &Limits,
        _now: u64,
    ) -> (Self, Step) {
        let status = RunStatus::Running;
        (Self { status, workflow }, Step::default())
    }

    /// Goes on by what happened.
    ///
    /// # Errors
    /// A [`Refusal`] of a patch, or of a wish that does not fit; the run is as it was.
    pub fn step(&mut self, _input: Input, _limits: &Limits, _now: u64) -> Result<Step, Refusal> {
        Ok(Step::default())
    }

    /// Starts a run that [`Run::fork`] made and that was kept since. Of a run that has begun, nothing follows.
    pub fn begin(&mut self, _limits: &Limits, _now: u64) -> Step {
        Step::default()
    }

    /// A new run that takes over the outputs of every node that is not after `from`. It has not begun: its status
    /// is `QUEUED` until [`Run::begin`]. The step names all its records.
    ///
    /// # Errors
    /// When `from` is no node, or the operations cannot be applied.
    pub fn fork(
        &self,
        _start: &Start,
        _from: &str,
        _operations: Option<&Value>,
        _limits: &Limits,
        _now: u64,
    ) -> Result<(Self, Step), Refusal> {
        Ok((self.clone(), Step::default()))
    }

    /// What to keep of the run as a whole; it is small.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        Vec::new()
    }

    /// What to keep of one node and iteration, by a key that [`Step::changed`] named.
    #[must_use]
    pub fn node_record(&self, _key: &str) -> Option<Vec<u8>> {
        None
    }

    /// The run that was kept. `workflow` is the graph that it was started with; `blob` gives the content of
    /// blobs.
    ///
    /// # Errors
    /// When the records are not those of a run.
    pub fn load(
        workflow: Arc<Workflow>,
        _records: &RunRecords,
        _blob: &mut dyn FnMut(&str) -> Option<Value>,
    ) -> Result<Self, Refusal> {
        let status = RunStatus::Running;
        Ok(Self { status, workflow })
    }

    /// The blobs that records name, so that they can be fetched before [`Run::load`].
    #[must_use]
    pub fn blobs(_records: &RunRecords) -> Vec<String> {
        Vec::new()
    }

    /// What it is.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// Why it failed.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        None
    }

    /// What it answers: the output of its last node, or an object of those of its last nodes, by id.
    #[must_use]
    pub fn output(&self) -> Value {
        Value::Null
    }

    /// The graph as it is now, patches included.
    #[must_use]
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// Each node that has begun, or was decided.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeView> {
        Vec::new()
    }

    /// The patches.
    #[must_use]
    pub fn patches(&self) -> Vec<PatchView> {
        Vec::new()
    }

    /// Keys of the jobs that it waits for, with the queues that they name, to compare with the queue.
    #[must_use]
    pub fn jobs_in_flight(&self) -> Vec<(String, Option<String>)> {
        Vec::new()
    }

    /// The request of a job that it waits for, as it was made, without a delay.
    #[must_use]
    pub fn job_request(&self, _key: &str) -> Option<JobRequest> {
        None
    }
}
