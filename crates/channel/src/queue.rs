//! Calls that wait for somebody who can take them.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering, fence},
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{Error, Target, cluster::Cluster};

/// Who waits, and what for.
#[derive(Default)]
pub(crate) struct Queue {
    /// For those whom any instance suits: a place that becomes free wakes one of them.
    any_instance: Notify,
    /// For those who wait for one instance: they cannot use another's place, so each looks.
    pinned: Notify,
    waiting: AtomicUsize,
}

/// Somebody who waits, until this is dropped.
struct Waiter<'a> {
    queue: &'a Queue,
    /// It waits no more because it found somebody.
    served: bool,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let others = self.queue.waiting.fetch_sub(1, Ordering::Relaxed) > 1;
        // It may have been woken for a place that it leaves to another.
        if !self.served && others {
            self.queue.any_instance.notify_one();
        }
    }
}

impl Queue {
    fn enter(&self) -> Waiter<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Either who makes room sees us wait, or we see the room.
        fence(Ordering::SeqCst);
        Waiter {
            queue: self,
            served: false,
        }
    }

    /// There may be room for a call. Told with each call's end, so it costs nothing while nobody
    /// waits.
    pub(crate) fn notify_room(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.any_instance.notify_one();
            self.pinned.notify_waiters();
        }
    }

    /// Everybody who waits should look again.
    pub(crate) fn wake(&self) {
        self.any_instance.notify_waiters();
        self.pinned.notify_waiters();
    }
}

impl Cluster {
    /// Tries until it works, or waiting cannot help, or a call that `began` then has waited for
    /// `queue_timeout`. An attempt that takes longer than that is given up.
    pub(crate) async fn queue<T, F>(
        &self,
        target: &Target,
        began: Instant,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = began + self.options.load().queue_timeout;
        let news = match target.instance {
            Some(_) => &self.queue.pinned,
            None => &self.queue.any_instance,
        };
        let mut waiter = self.queue.enter();
        loop {
            let mut changed = pin!(news.notified());
            // Registered before looking, so that a change in between is not missed; and when this
            // is dropped without waiting, another is woken in its place.
            changed.as_mut().enable();
            let error = match timeout_at(until, attempt()).await {
                Ok(Ok(found)) => {
                    waiter.served = true;
                    return Ok(found);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(self.unreachable(began, "still connecting".to_owned())),
            };
            let over = !error.is_transient() || Instant::now() >= until;
            if over || timeout_at(until, changed).await.is_err() {
                return Err(error.after(began.elapsed()));
            }
        }
    }
}
