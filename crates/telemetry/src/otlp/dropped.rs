//! What was not exported, counted for the process: logs and traces are the process's.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans of traces.
    Spans,
    /// Log records.
    Logs,
}

/// Why something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// More was recorded than the collector takes.
    QueueFull,
    /// The collector does not answer, and what may wait for it does.
    Unreachable,
    /// The collector refused it.
    Refused,
    /// The program ended before it was sent.
    Shutdown,
}

/// The reasons, by the names that `mesh_telemetry_dropped_total` has for them.
const DROP_REASONS: [&str; 4] = ["queue_full", "unreachable", "refused", "shutdown"];

static COUNTS: [[AtomicU64; DROP_REASONS.len()]; 2] =
    [const { [const { AtomicU64::new(0) }; DROP_REASONS.len()] }; 2];

impl Signal {
    /// Its name as a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
        }
    }
}

/// How many of a signal were dropped since the process began.
#[must_use]
pub fn otlp_dropped(signal: Signal) -> [u64; DROP_REASONS.len()] {
    std::array::from_fn(|reason| COUNTS[signal as usize][reason].load(Relaxed))
}

pub(crate) fn count(signal: Signal, reason: Reason, items: u64) {
    COUNTS[signal as usize][reason as usize].fetch_add(items, Relaxed);
}
