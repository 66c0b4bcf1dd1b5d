//! What stores are made with.

use std::{path::PathBuf, time::Duration};

use crate::Clock;

/// What stores are made with.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// What the names of all keys in Redis begin with.
    pub prefix: String,
    /// How many entries of a lane's events are kept, about; one tells of up to 256 jobs.
    pub events: usize,
    /// How long an idempotency key is known.
    pub key_ttl: Duration,
    /// When the embedded store has written what it says is done.
    pub sync: SyncPolicy,
    /// The wall clock of the embedded store; a Redis has its own.
    pub clock: Clock,
    /// The file of the authorities that a Redis over TLS is trusted by, as PEM; the system's
    /// without one.
    pub authority: Option<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            prefix: "mesh:jobs".to_owned(),
            events: 20_000,
            key_ttl: Duration::from_secs(86_400),
            sync: SyncPolicy::Always,
            clock: Clock::default(),
            authority: None,
        }
    }
}

/// When the log is on the disk, and not only with the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before anything is said to be done: a power cut loses nothing.
    Always,
    /// Every so often: a power cut may lose that much; a killed process loses nothing.
    Every(Duration),
    /// When the operating system likes.
    Never,
}
