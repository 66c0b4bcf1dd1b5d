//! Calls that wait for an endpoint.

use std::sync::atomic::{AtomicUsize, Ordering, fence};

use tokio::sync::{Notify, futures::Notified};

/// The waiting calls.
#[derive(Debug, Default)]
pub struct Waiters {
    /// Calls that any endpoint can take: a free permit wakes one of them.
    any_endpoint: Notify,
    /// Calls for one endpoint: each has to check whether the free permit is that endpoint's.
    pinned: Notify,
    waiting: AtomicUsize,
}

/// One waiting call, until this is dropped.
#[derive(Debug)]
pub struct Waiter<'a> {
    waiters: &'a Waiters,
    pinned: bool,
    /// It found an endpoint.
    served: bool,
}

impl Waiters {
    /// A call begins to wait. `pinned` when only one endpoint can take it.
    #[must_use]
    pub fn enter(&self, pinned: bool) -> Waiter<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Either the one that makes room sees this call wait, or this call sees the room.
        fence(Ordering::SeqCst);
        Waiter {
            waiters: self,
            pinned,
            served: false,
        }
    }

    /// How many calls wait now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Notes that there may be room for a call. Every call does this at its end, so it is free
    /// while no call waits.
    pub fn notify_room(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.any_endpoint.notify_one();
            self.pinned.notify_waiters();
        }
    }

    /// Wakes every waiting call.
    pub fn notify_all(&self) {
        self.any_endpoint.notify_waiters();
        self.pinned.notify_waiters();
    }
}

impl<'a> Waiter<'a> {
    /// Ends when the call should try again. Once enabled, it misses no change. Dropped without
    /// having waited, it wakes another call in its place.
    pub fn notified(&self) -> Notified<'a> {
        match self.pinned {
            true => self.waiters.pinned.notified(),
            false => self.waiters.any_endpoint.notified(),
        }
    }

    /// It found an endpoint and waits no longer.
    pub fn served(&mut self) {
        self.served = true;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let others = self.waiters.waiting.fetch_sub(1, Ordering::Relaxed) > 1;
        // It may have been woken for room that it does not use.
        if !self.served && others {
            self.waiters.any_endpoint.notify_one();
        }
    }
}
