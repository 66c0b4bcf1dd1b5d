//! How many tasks a service is busy with, as `GetStatus` tells it.

use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering::Relaxed},
};

/// Counts tasks; clones count together.
#[derive(Clone, Debug, Default)]
pub struct ActiveTasks(Arc<AtomicI32>);

/// One task: it is over when this is dropped.
#[derive(Debug)]
#[must_use = "the task is over when this is dropped"]
pub struct TaskGuard(ActiveTasks);

impl ActiveTasks {
    /// Begins a task.
    pub fn begin(&self) -> TaskGuard {
        self.0.fetch_add(1, Relaxed);
        TaskGuard(self.clone())
    }

    /// How many have begun and are not over.
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
