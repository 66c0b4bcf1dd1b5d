//! Whose turn it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that every [`Set`](crate::Set) of one service shares. So a rebuild continues the turns
/// and does not favour the first members.
#[derive(Debug, Default)]
pub struct TurnCounter(AtomicU64);

impl TurnCounter {
    /// Starts with the first member.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts at this turn. Many processes that make one call each should start at random:
    /// otherwise all call the first member.
    #[must_use]
    pub fn starting_at(turn: u64) -> Self {
        Self(AtomicU64::new(turn))
    }

    /// Takes the next turn.
    pub(crate) fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
