//! What was not exported, counted for the process: see [`crate::dropped`].

use crate::Counter;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
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

/// The counters of one signal, by reason.
#[derive(Debug)]
pub(crate) struct Dropped([Counter; 4]);

impl Signal {
    /// Its name as a label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
        }
    }
}

impl Dropped {
    pub(crate) fn of(signal: Signal) -> Self {
        let reasons = ["queue_full", "unreachable", "refused", "shutdown"];
        Self(reasons.map(|reason| crate::dropped(signal.name(), reason)))
    }

    pub(crate) fn count(&self, reason: Reason, items: u64) {
        self.0[reason as usize].inc_by(items);
    }

    #[cfg(test)]
    pub(crate) fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize].get()
    }
}
