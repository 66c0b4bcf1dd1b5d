//! How far each task of a worker is. A task is kept for an hour after its last change, and at most
//! [`CAPACITY`] tasks are.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Most tasks kept at once. Ended ones go first, and of those the one that changed longest ago.
const CAPACITY: usize = 512;
const RETENTION: Duration = Duration::from_secs(3600);
/// Longest task id that is kept, bytes. It bounds the board's memory.
const MAX_ID: usize = 256;

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Received, not yet begun.
    Pending,
    /// This percentage is done.
    Processing(u8),
    /// Ended with this output.
    Completed(String),
    /// Ended for this reason, with this percentage done.
    Failed(String, u8),
}

impl TaskState {
    /// Its name on the wire, how much is done (0..=100 %), and the output or the reason.
    pub(crate) fn parts(&self) -> (&'static str, u8, &str) {
        match self {
            Self::Pending => ("pending", 0, ""),
            Self::Processing(percent) => ("processing", *percent, ""),
            Self::Completed(output) => ("completed", 100, output),
            Self::Failed(reason, percent) => ("failed", *percent, reason),
        }
    }

    const fn ended(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(..))
    }
}

#[derive(Debug)]
struct Entry {
    state: TaskState,
    changed: Instant,
    run: u64,
}

impl Entry {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.changed) < RETENTION
    }
}

#[derive(Debug, Default)]
struct Tasks {
    by_id: HashMap<String, Entry>,
    runs: u64,
}

/// The states of recent tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatusBoard {
    tasks: Arc<Mutex<Tasks>>,
}

impl StatusBoard {
    /// Adds a task as pending at `now`. The state of a task is not kept if it has no id or one that is
    /// too long.
    pub(crate) fn begin(&self, id: &str, now: Instant) -> TaskHandle {
        let mut tasks = self.tasks.lock();
        tasks.runs += 1;
        let run = tasks.runs;
        if !id.is_empty() && id.len() <= MAX_ID {
            let by_id = &mut tasks.by_id;
            by_id.retain(|_, entry| entry.is_recent(now));
            if by_id.len() >= CAPACITY && !by_id.contains_key(id) {
                let entries = by_id.iter();
                let oldest = entries.min_by_key(|(_, it)| (!it.state.ended(), it.changed));
                if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                    by_id.remove(&oldest);
                }
            }
            let entry = Entry {
                state: TaskState::Pending,
                changed: now,
                run,
            };
            by_id.insert(id.to_owned(), entry);
        }
        drop(tasks);
        TaskHandle {
            board: self.clone(),
            id: id.to_owned(),
            run,
        }
    }

    /// The state of the task at `now`; `None` for one that is not kept, or no longer.
    pub(crate) fn state(&self, id: &str, now: Instant) -> Option<TaskState> {
        let tasks = self.tasks.lock();
        let entry = tasks.by_id.get(id).filter(|entry| entry.is_recent(now));
        entry.map(|entry| entry.state.clone())
    }
}

/// Reports on one run of a task. If it is dropped before the end, because the caller left, the task has
/// failed.
#[derive(Debug)]
pub struct TaskHandle {
    board: StatusBoard,
    id: String,
    run: u64,
}

impl TaskHandle {
    /// Reports how much of the work is done, 0..100 %.
    pub fn advance(&self, percent: u8) {
        self.update(|state| *state = TaskState::Processing(percent.min(99)));
    }

    /// Reports the end: the output, or the reason for none.
    pub(crate) fn finish(self, result: Result<&str, String>) {
        self.update(|state| {
            *state = match result {
                Ok(output) => TaskState::Completed(output.to_owned()),
                Err(reason) => TaskState::Failed(reason, state.parts().1),
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut TaskState)) {
        let mut tasks = self.board.tasks.lock();
        // Only the latest run of a task reports.
        let entry = tasks.by_id.get_mut(&self.id);
        if let Some(entry) = entry.filter(|it| it.run == self.run && !it.state.ended()) {
            change(&mut entry.state);
            entry.changed = Instant::now();
        }
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        // Changes nothing after `finish`, which has ended the task.
        self.update(|state| {
            let reason = "cancelled: the caller left before the task was done";
            *state = TaskState::Failed(reason.to_owned(), state.parts().1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_goes_from_pending_to_completed() {
        let (board, now) = (StatusBoard::default(), Instant::now());
        let state = || board.state("t", Instant::now()).unwrap();
        let handle = board.begin("t", now);
        assert_eq!(state().parts(), ("pending", 0, ""));
        let mut last = 0;
        for percent in [10, 50, 65, 80, 95, 200] {
            handle.advance(percent);
            let state = state();
            let (name, percent, _) = state.parts();
            assert!(percent > last && percent < 100);
            assert_eq!(name, "processing");
            last = percent;
        }
        handle.finish(Ok("plan"));
        assert_eq!(state(), TaskState::Completed("plan".into()));
        assert_eq!(board.state("other", now), None);
    }

    #[test]
    fn a_caller_who_leaves_fails_the_task_but_not_its_next_run() {
        let board = StatusBoard::default();
        let first = board.begin("t", Instant::now());
        let second = board.begin("t", Instant::now());
        drop(first);
        let state = || board.state("t", Instant::now()).unwrap();
        assert_eq!(state().parts().0, "pending");
        second.advance(50);
        drop(second);
        let state = state();
        let (name, percent, result) = state.parts();
        assert_eq!((name, percent), ("failed", 50));
        assert!(result.contains("cancelled"));
    }

    #[test]
    fn a_status_is_forgotten_after_an_hour() {
        let board = StatusBoard::default();
        board.begin("t", Instant::now()).finish(Ok("plan"));
        let later = |minutes: u64| Instant::now() + Duration::from_secs(minutes * 60);
        assert!(board.state("t", later(59)).is_some());
        assert!(board.state("t", later(61)).is_none());
    }

    #[test]
    fn a_full_board_forgets_ended_tasks_before_running_ones() {
        let (board, start) = (StatusBoard::default(), Instant::now());
        let running = board.begin("running", start);
        for number in 0..CAPACITY * 2 {
            board.begin(&format!("t{number}"), start).finish(Ok(""));
        }
        assert_eq!(board.tasks.lock().by_id.len(), CAPACITY);
        let state = board.state("running", start).unwrap();
        assert_eq!(state.parts().0, "pending");
        running.finish(Ok(""));
        board.begin(&"x".repeat(MAX_ID + 1), start).finish(Ok(""));
        board.begin("", start).finish(Ok(""));
        assert_eq!(board.tasks.lock().by_id.len(), CAPACITY);
    }
}
