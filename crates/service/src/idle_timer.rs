//! Ends what pauses for too long.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// A limit for each pause. The time runs from the first [`poll`](Self::poll) after
/// [`reset`](Self::reset).
#[derive(Debug)]
pub(crate) struct IdleTimer {
    /// Zero is no limit.
    pub(crate) limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// The pause is over, or none began.
    pub(crate) fn reset(&mut self) {
        self.sleep = None;
    }

    /// Ready when the pause is longer than the limit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.limit.is_zero() {
            return Poll::Pending;
        }
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        sleep.as_mut().poll(cx)
    }
}
