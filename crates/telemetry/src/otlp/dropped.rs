//! What was not exported, counted for the process: see [`crate::dropped`].

use crate::Counter;

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

/// The reasons, as labels of `mesh_telemetry_dropped_total`.
const REASONS: [&str; 4] = ["queue_full", "unreachable", "refused", "shutdown"];

/// The counters of one signal, by reason.
#[derive(Debug)]
pub(crate) struct Dropped([Counter; REASONS.len()]);

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

/// How many of a signal were dropped since the process began: because the queue was full, the
/// collector away, because it refused them, or the program ended.
#[must_use]
pub fn otlp_dropped(signal: Signal) -> [u64; 4] {
    REASONS.map(|reason| crate::dropped(signal.name(), reason).get())
}

impl Dropped {
    pub(crate) fn of(signal: Signal) -> Self {
        Self(REASONS.map(|reason| crate::dropped(signal.name(), reason)))
    }

    pub(crate) fn count(&self, reason: Reason, items: u64) {
        self.0[reason as usize].inc_by(items);
    }

    #[cfg(test)]
    pub(crate) fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize].get()
    }
}
