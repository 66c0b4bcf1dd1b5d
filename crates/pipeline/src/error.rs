//! Why a run does not end with a report.

use std::time::Duration;

/// Why a run ended early. What it has done stays: the same run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run's id or goal will not do.
    #[error("{0}")]
    Invalid(String),
    /// The run's id belongs to a run with another goal.
    #[error("run {run_id} exists with the goal {goal:?}: give another run_id")]
    Conflict {
        /// The id.
        run_id: String,
        /// The goal of the run that is there, shortened.
        goal: String,
    },
    /// The caller does not want it any more.
    #[error("cancelled during {step}")]
    Cancelled {
        /// What was under way.
        step: &'static str,
    },
    /// The time was up.
    #[error("the deadline passed during {step}")]
    Deadline {
        /// What was under way.
        step: &'static str,
    },
    /// The agent does not take the task; it would not the next time either.
    #[error("{agent} refused {step}: {message}")]
    Rejected {
        /// The step.
        step: &'static str,
        /// Public id of the agent.
        agent: &'static str,
        /// What it says.
        message: String,
    },
    /// Nobody answers, or the run's files cannot be kept; trying again may help.
    #[error("{step}: {message}")]
    Unavailable {
        /// The step, or `blackboard`.
        step: &'static str,
        /// What the mesh or the tool says.
        message: String,
        /// How long not to try again, where whoever was asked says so.
        retry_after: Option<Duration>,
    },
}

impl Error {
    /// How long the same run should not be tried again, where whoever was asked says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Invalid(_)
            | Self::Conflict { .. }
            | Self::Rejected { .. }
            | Self::Cancelled { .. }
            | Self::Deadline { .. } => None,
        }
    }

    /// Whether the same run may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Conflict { .. } | Self::Rejected { .. } => false,
            Self::Cancelled { .. } | Self::Deadline { .. } | Self::Unavailable { .. } => true,
        }
    }
}
