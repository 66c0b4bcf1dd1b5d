//! Why a run does not end with a report.

use std::time::Duration;

/// Why a run ended early. Its finished steps are kept, and the same run resumes after them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run's id or goal is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The run's id belongs to a run with another goal.
    #[error("run {run_id} exists with the goal {goal:?}: give another run_id")]
    Conflict {
        /// The id.
        run_id: String,
        /// The goal of the existing run, shortened.
        goal: String,
    },
    /// The caller cancelled it.
    #[error("cancelled during {step}")]
    Cancelled {
        /// The step that ran.
        step: &'static str,
    },
    /// The deadline passed.
    #[error("the deadline passed during {step}")]
    Deadline {
        /// The step that ran.
        step: &'static str,
    },
    /// The agent rejects the task; a retry would be rejected too.
    #[error("{agent} refused {step}: {message}")]
    Rejected {
        /// The step.
        step: &'static str,
        /// Public id of the agent.
        agent: &'static str,
        /// What it says.
        message: String,
    },
    /// An agent or the tool for files does not answer; a retry may succeed.
    #[error("{step}: {message}")]
    Unavailable {
        /// The step, or `blackboard`.
        step: &'static str,
        /// What the mesh or the tool says.
        message: String,
        /// How long to wait before a retry, where the agent says so.
        retry_after: Option<Duration>,
    },
}

impl Error {
    /// How long to wait before the run is retried, where the agent says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether a retry of the same run may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Conflict { .. } | Self::Rejected { .. } => false,
            Self::Cancelled { .. } | Self::Deadline { .. } | Self::Unavailable { .. } => true,
        }
    }
}
