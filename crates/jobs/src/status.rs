//! The status of a job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waits for a worker.
    Queued,
    /// Waits for its time.
    Scheduled,
    /// A worker holds its lease.
    Running,
    /// Done, with a result. Terminal.
    Succeeded,
    /// The latest attempt failed; it waits for the next one.
    Failed,
    /// Given up; can be retried by hand. Terminal.
    Dead,
    /// Cancelled by a request. Terminal.
    Cancelled,
}

impl JobStatus {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Queued,
        Self::Failed,
        Self::Scheduled,
        Self::Dead,
        Self::Succeeded,
        Self::Cancelled,
    ];

    /// The word for it in every answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing more happens to the job by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
