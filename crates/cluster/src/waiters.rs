//! Calls that wait for an endpoint that can take them.

use std::sync::atomic::{AtomicUsize, Ordering, fence};

use tokio::sync::{Notify, futures::Notified};

/// Who waits, and what for.
#[derive(Debug, Default)]
pub struct Waiters {
    /// For those whom any endpoint suits: a permit that becomes free wakes one of them.
    any_endpoint: Notify,
    /// For those who wait for one endpoint: they cannot use another's permit, so each looks.
    pinned: Notify,
    waiting: AtomicUsize,
}

/// One call that waits, until this is dropped.
#[derive(Debug)]
pub struct Waiter<'a> {
    waiters: &'a Waiters,
    pinned: bool,
    /// It found an endpoint.
    served: bool,
}

impl Waiters {
    /// A call begins to wait; `pinned` when only one endpoint suits it.
    #[must_use]
    pub fn enter(&self, pinned: bool) -> Waiter<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Either who makes room sees us wait, or we see the room.
        fence(Ordering::SeqCst);
        Waiter {
            waiters: self,
            pinned,
            served: false,
        }
    }

    /// There may be room for a call. Every call says so at its end, so it costs nothing while
    /// nobody waits.
    pub fn notify_room(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.any_endpoint.notify_one();
            self.pinned.notify_waiters();
        }
    }

    /// Everybody who waits should look again.
    pub fn notify_all(&self) {
        self.any_endpoint.notify_waiters();
        self.pinned.notify_waiters();
    }
}

impl<'a> Waiter<'a> {
    /// Ends when it should look again. Once enabled, it misses no change; dropped without having
    /// waited, it wakes another in its place.
    pub fn notified(&self) -> Notified<'a> {
        match self.pinned {
            true => self.waiters.pinned.notified(),
            false => self.waiters.any_endpoint.notified(),
        }
    }

    /// It found an endpoint, and needs no more room.
    pub fn served(&mut self) {
        self.served = true;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let others = self.waiters.waiting.fetch_sub(1, Ordering::Relaxed) > 1;
        // It may have been woken for room that it leaves to another.
        if !self.served && others {
            self.waiters.any_endpoint.notify_one();
        }
    }
}
