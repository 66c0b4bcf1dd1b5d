//! One clock for all endpoints of a process, so that their times can be compared and kept in a word.

use std::time::Duration;

use tokio::time::Instant;

/// Counts time from when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

/// A reading of a [`Clock`], for who reads it once for many calls.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    /// The same time on the system's clock.
    pub instant: Instant,
    /// Time since the clock was made.
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

    /// Time since it was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The same, for who has read the time already.
    #[must_use]
    pub fn timestamp(&self, now: Instant) -> Timestamp {
        Timestamp {
            instant: now,
            at: now.saturating_duration_since(self.epoch),
        }
    }
}

impl Timestamp {
    /// How much later it is than another, which came before.
    #[must_use]
    pub fn since(self, before: Self) -> Duration {
        self.at.saturating_sub(before.at)
    }
}
