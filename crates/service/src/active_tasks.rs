//! The number of tasks that a service works on, as `GetStatus` reports it.

use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering::Relaxed},
};

/// A counter of tasks. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct ActiveTasks(Arc<AtomicI32>);

/// One task. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the task is over when this is dropped"]
pub struct TaskGuard(ActiveTasks);

impl ActiveTasks {
    /// Starts a task.
    pub fn begin(&self) -> TaskGuard {
        self.0.fetch_add(1, Relaxed);
        TaskGuard(self.clone())
    }

    /// How many tasks are running.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.0.load(Relaxed)
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}
