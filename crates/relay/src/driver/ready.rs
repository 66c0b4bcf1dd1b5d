//! The connections whose wakers have been called since the last turn.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// The connections that became ready since the last turn.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    slots: Vec<u32>,
    driver: Option<Waker>,
}

/// The waker of one connection.
#[derive(Debug)]
pub(super) struct ReadyWaker {
    slot: u32,
    /// It is in the queue already.
    pub(super) queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl ReadyQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn begins: from now on this waker starts the next.
    pub(super) fn begin(&self, driver: &Waker) {
        let mut state = self.state();
        match &mut state.driver {
            Some(waker) => waker.clone_from(driver),
            none => *none = Some(driver.clone()),
        }
    }

    /// Takes the ready ones; `into` is empty, and lends its memory.
    pub(super) fn take(&self, into: &mut Vec<u32>) {
        into.clear();
        std::mem::swap(&mut self.state().slots, into);
    }

    pub(super) fn push(&self, slot: u32) {
        let mut state = self.state();
        state.slots.push(slot);
        let first = state.slots.len() == 1;
        if let Some(driver) = state.driver.as_ref().filter(|_| first) {
            driver.wake_by_ref();
        }
    }

    /// Another turn is needed.
    pub(super) fn wake(&self) {
        if let Some(driver) = &self.state().driver {
            driver.wake_by_ref();
        }
    }
}

impl ReadyWaker {
    pub(super) fn new(slot: u32, ready: &Arc<ReadyQueue>) -> Arc<Self> {
        Arc::new(Self {
            slot,
            queued: AtomicBool::new(false),
            ready: Arc::clone(ready),
        })
    }
}

impl Wake for ReadyWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.slot);
        }
    }
}
