//! What has to be done after a step.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What has to be done, once the step that asks for it is stored. Each happens at least once; its key makes it
/// happen once in effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// A job is submitted.
    SubmitJob(JobRequest),
    /// A job is called off.
    CancelJob {
        /// Its key.
        key: String,
        /// The queue that its request named, if any.
        queue: Option<String>,
    },
    /// A timer is set.
    SetTimer {
        /// Its key.
        key: String,
        /// When it is due, Unix milliseconds.
        due_at: u64,
    },
    /// A timer is not needed any more.
    ClearTimer {
        /// Its key.
        key: String,
    },
    /// People are asked.
    OpenApproval(ApprovalRequest),
    /// They need not answer any more.
    CloseApproval {
        /// Its key.
        key: String,
    },
    /// A child run is started.
    StartChild(ChildRequest),
    /// A child run is cancelled.
    CancelChild {
        /// Its key.
        key: String,
    },
}

/// A node that has to run somewhere else. `key` is `RUN.NODE.ITERATION.ATTEMPT`: the job's id is made from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRequest {
    /// What the answer names.
    pub key: String,
    /// The node.
    pub node_id: String,
    /// `agent`, `tool`, `worker`, `call`, `pipeline`, `http` or `function`.
    pub node_type: String,
    /// Its configuration, filled in.
    pub config: Value,
    /// How long this attempt may take.
    pub timeout_ms: u64,
    /// After this it is not started any more, Unix milliseconds.
    pub deadline: Option<u64>,
    /// The queue, where the node or the workflow names one.
    pub queue: Option<String>,
    /// 1 to 5.
    pub priority: u8,
    /// How long it waits before it may run: the back-off of a later attempt.
    pub delay_ms: u64,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// What the answer names: `RUN.NODE.ITERATION`, or `RUN.@patch.SEQ`.
    pub key: String,
    /// The node; of a proposed patch, the node that asks or none.
    pub node_id: Option<String>,
    /// What is asked.
    pub message: String,
    /// `approvers`, `quorum`, `self_approval`, `form`, `on_timeout`, `escalate`, `remind_ms`, `notify_url`,
    /// checked and filled in, with their defaults.
    pub options: Value,
    /// What people should see: the inputs of the node, or the difference that a patch makes.
    pub context: Value,
    /// When the time is over, Unix milliseconds.
    pub due_at: Option<u64>,
}

/// A child run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildRequest {
    /// What the answer names; the child's id is made from it.
    pub key: String,
    /// The node that starts it.
    pub node_id: String,
    /// A tag, or a whole workflow.
    pub workflow: Value,
    /// Its inputs.
    pub inputs: Value,
    /// 1 to 5.
    pub priority: u8,
}
