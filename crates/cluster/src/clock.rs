//! One clock for all endpoints of a process: their times can be compared, and each fits in one
//! word.

use std::time::Duration;

use tokio::time::Instant;

/// Counts time from its creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

/// A reading of a [`Clock`], to be used for many calls.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    /// The same time on the system's clock.
    pub instant: Instant,
    /// Time since the clock's creation.
    pub at: Duration,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// Time since its creation.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The same for a time that was already read.
    #[must_use]
    pub fn timestamp(&self, now: Instant) -> Timestamp {
        Timestamp {
            instant: now,
            at: now.saturating_duration_since(self.epoch),
        }
    }
}

impl Timestamp {
    /// The time from an earlier reading to this one.
    #[must_use]
    pub fn since(self, before: Self) -> Duration {
        self.at.saturating_sub(before.at)
    }
}
