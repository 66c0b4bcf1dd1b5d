//! What a run's history says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, Unix milliseconds.
    pub at: u64,
    /// What.
    pub kind: EventKind,
    /// The node, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The rest, an object: `error`, `attempt`, `iteration`, `output`, `result_ref`, `counter`, `by`, …
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum EventKind {
    WorkflowStarted,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowCancelled,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowRetried,
    NodeStarted,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeCancelled,
    ApprovalRequired,
    ApprovalDecided,
    TimerSet,
    TimerFired,
    SignalReceived,
    PatchProposed,
    PatchApplied,
    PatchRefused,
    ChildStarted,
    ChildEnded,
    Compensating,
}

impl EventKind {
    /// Its word, such as `node_completed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowStarted => "workflow_started",
            Self::WorkflowCompleted => "workflow_completed",
            Self::WorkflowFailed => "workflow_failed",
            Self::WorkflowCancelled => "workflow_cancelled",
            Self::WorkflowPaused => "workflow_paused",
            Self::WorkflowResumed => "workflow_resumed",
            Self::WorkflowRetried => "workflow_retried",
            Self::NodeStarted => "node_started",
            Self::NodeCompleted => "node_completed",
            Self::NodeFailed => "node_failed",
            Self::NodeRetrying => "node_retrying",
            Self::NodeSkipped => "node_skipped",
            Self::NodeCancelled => "node_cancelled",
            Self::ApprovalRequired => "approval_required",
            Self::ApprovalDecided => "approval_decided",
            Self::TimerSet => "timer_set",
            Self::TimerFired => "timer_fired",
            Self::SignalReceived => "signal_received",
            Self::PatchProposed => "patch_proposed",
            Self::PatchApplied => "patch_applied",
            Self::PatchRefused => "patch_refused",
            Self::ChildStarted => "child_started",
            Self::ChildEnded => "child_ended",
            Self::Compensating => "compensating",
        }
    }
}
