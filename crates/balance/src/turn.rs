//! Whose turn it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that every [`Set`](crate::Set) of one service shares, so that taking turns goes on
/// where it was when the set is rebuilt, instead of favouring the first members again.
#[derive(Debug, Default)]
pub struct TurnCounter(AtomicU64);

impl TurnCounter {
    /// Starts with the first member.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts anywhere. Many processes that make one call each should start at random, or they all
    /// call the first member.
    #[must_use]
    pub fn starting_at(turn: u64) -> Self {
        Self(AtomicU64::new(turn))
    }

    /// Takes the next turn.
    pub(crate) fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
