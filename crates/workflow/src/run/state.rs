//! What a run knows of its nodes, edges, signals and patches.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{NodeStatus, Output, RunStatus};

/// What has become of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Decision {
    #[default]
    Open,
    Taken,
    Skipped,
    /// It was not taken because something before it failed.
    Failed,
}

/// What a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wait {
    #[default]
    Nothing,
    /// A job.
    Job,
    /// The end of a pause, to start its next attempt.
    Pause,
    Timer,
    Signal,
    Approval,
    Child,
    Items,
    /// A decision on a patch that it proposed.
    Patch,
}

/// Which way a loop was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Left {
    Break,
    Timeout,
}

/// Whether what a node did was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Undo {
    #[default]
    No,
    Running,
    Done,
    Failed,
}

/// A node in one iteration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) status: NodeStatus,
    pub(super) iteration: u32,
    /// The attempts that were started in this iteration.
    pub(super) attempt: u32,
    /// Those that the limit does not count.
    pub(super) uncounted: u32,
    pub(super) started_at: Option<u64>,
    pub(super) completed_at: Option<u64>,
    /// The configuration, where something was filled in; of a `for_each`, the items.
    pub(super) input: Option<Output>,
    pub(super) output: Option<Output>,
    pub(super) error: Option<String>,
    pub(super) metrics: Option<Value>,
    /// It failed and nothing goes on by its success, or it was skipped because of a failure.
    pub(super) failure: bool,
    /// An edge for failures was taken.
    pub(super) handled: bool,
    pub(super) wait: Wait,
    /// Of a loop: how often it has come by since it was entered.
    pub(super) rounds: u32,
    pub(super) left: Option<Left>,
    pub(super) deadline: Option<u64>,
    pub(super) items: Option<Items>,
    /// What the items before this iteration were numbered up to.
    pub(super) item_base: u32,
    pub(super) undo: Undo,
    pub(super) undo_attempt: u32,
    /// Its place among all that ended.
    pub(super) ended: u32,
    /// What it answered in an iteration before.
    pub(super) last: Option<Output>,
}

impl State {
    pub(super) fn new(iteration: u32) -> Self {
        Self {
            status: NodeStatus::NotExecuted,
            iteration,
            attempt: 0,
            uncounted: 0,
            started_at: None,
            completed_at: None,
            input: None,
            output: None,
            error: None,
            metrics: None,
            failure: false,
            handled: false,
            wait: Wait::Nothing,
            rounds: 0,
            left: None,
            deadline: None,
            items: None,
            item_base: 0,
            undo: Undo::No,
            undo_attempt: 0,
            ended: 0,
            last: None,
        }
    }

    /// The state of the next iteration.
    pub(super) fn next(&self) -> Self {
        let items = self.items.as_ref().map_or(0, |items| items.states.len());
        Self {
            last: self.output.clone().or_else(|| self.last.clone()),
            item_base: self.item_base + u32::try_from(items).unwrap_or(0),
            ..Self::new(self.iteration + 1)
        }
    }

    /// Nothing of it follows in this iteration.
    pub(super) fn is_decided(&self) -> bool {
        matches!(
            self.status,
            NodeStatus::Completed
                | NodeStatus::Failed
                | NodeStatus::Skipped
                | NodeStatus::Cancelled
        )
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(
            self.status,
            NodeStatus::Running | NodeStatus::WaitingForApproval
        )
    }

    /// It has started, or was decided, now or in an iteration before.
    pub(super) fn has_started(&self) -> bool {
        self.status != NodeStatus::NotExecuted || self.iteration > 0
    }
}

/// The items of a `for_each`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Items {
    pub(super) values: Arc<Value>,
    pub(super) states: Vec<ItemState>,
    /// No item before it waits to be started.
    pub(super) next: usize,
    pub(super) running: usize,
    pub(super) ended: usize,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ItemStatus {
    #[default]
    Waiting,
    Running,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ItemState {
    pub(super) status: ItemStatus,
    pub(super) attempt: u32,
    pub(super) uncounted: u32,
    pub(super) output: Option<Output>,
    pub(super) error: Option<String>,
}

impl Items {
    pub(super) fn new(values: Arc<Value>) -> Self {
        let count = values.as_array().map_or(0, Vec::len);
        Self {
            values,
            states: vec![ItemState::default(); count],
            next: 0,
            running: 0,
            ended: 0,
        }
    }

    /// Counts again, after the states were changed.
    pub(super) fn count(&mut self) {
        let count = |status: ItemStatus| {
            let same = self.states.iter().filter(|item| item.status == status);
            same.count()
        };
        self.running = count(ItemStatus::Running);
        self.ended = count(ItemStatus::Completed) + count(ItemStatus::Failed);
        let waiting = self.states.iter();
        let mut waiting = waiting.enumerate();
        let first = waiting.find(|(_, item)| item.status == ItemStatus::Waiting);
        self.next = first.map_or(self.states.len(), |(at, _)| at);
    }
}

/// A signal that came before anybody waited for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Signal {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) payload: Value,
    #[serde(default)]
    pub(super) used: bool,
}

/// What has become of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PatchState {
    /// Its node has not succeeded yet.
    Pending,
    /// A person has to decide.
    Proposed,
    Applied,
    Refused,
}

impl PatchState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Proposed => "proposed",
            Self::Applied => "applied",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Patch {
    pub(super) seq: u64,
    pub(super) state: PatchState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node_id: Option<String>,
    /// The iteration and attempt of the node.
    #[serde(default)]
    pub(super) attempt: (u32, u32),
    pub(super) operations: Value,
    pub(super) description: String,
    pub(super) author: String,
    pub(super) created_at: u64,
    /// Its place among those that were applied, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) applied: Option<u64>,
    /// How many agents it added.
    #[serde(default)]
    pub(super) agents: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// How a run ends that does not end by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) status: RunStatus,
    /// What completed is undone first.
    pub(super) compensate: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
}

/// What holds for the run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) status: RunStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error_node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deadline: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ending: Option<Ending>,
    /// How many nodes and items were started.
    pub(super) executions: u32,
    /// How many nodes have ended.
    pub(super) ended: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !*value
}
