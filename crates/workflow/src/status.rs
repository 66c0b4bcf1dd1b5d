//! What a run and a node can be.

use serde::{Deserialize, Serialize};

/// What a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// Taken in, not started.
    Queued,
    /// Something of it is running, or may run.
    Running,
    /// Nothing of it runs, and a person has to decide.
    WaitingForApproval,
    /// Every node is decided, and no failure is left.
    Completed,
    /// A node failed for good, or the deadline passed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Its edges are not decided yet.
    NotExecuted,
    /// It runs, waits for a timer or a signal, or for its next attempt.
    Running,
    /// It waits for people.
    WaitingForApproval,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// No edge led to it.
    Skipped,
    /// It was called off.
    Cancelled,
}

impl RunStatus {
    /// Whether nothing follows any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Its word, such as `WAITING_FOR_APPROVAL`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::WaitingForApproval => "WAITING_FOR_APPROVAL",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The status of a word, whatever its case.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        const ALL: [RunStatus; 6] = [
            RunStatus::Queued,
            RunStatus::Running,
            RunStatus::WaitingForApproval,
            RunStatus::Completed,
            RunStatus::Failed,
            RunStatus::Cancelled,
        ];
        ALL.into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(word))
    }
}

impl NodeStatus {
    /// Its word, such as `not_executed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotExecuted => "not_executed",
            Self::Running => "running",
            Self::WaitingForApproval => "waiting_for_approval",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}
