//! How far each task is, kept for an hour after its last news, for at most [`CAPACITY`] tasks.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Most tasks kept at once; the one without news for longest goes first, ended ones before others.
pub const CAPACITY: usize = 512;
const KEPT: Duration = Duration::from_secs(3600);
/// Longest task id that is kept, bytes: the board's memory is bounded.
const LONGEST_ID: usize = 256;

/// A point that a task has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It was read and found good.
    Accepted,
    /// The weather is known, or known to be unavailable.
    Weather,
    /// The sights are chosen.
    Chosen,
    /// The sights are dealt to days.
    Grouped,
    /// Every day has its route.
    Routed,
}

impl Stage {
    /// Progress once the step is done, %.
    const fn percent(self) -> u8 {
        match self {
            Self::Accepted => 10,
            Self::Weather => 50,
            Self::Chosen => 65,
            Self::Grouped => 80,
            Self::Routed => 95,
        }
    }
}

/// Where a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Received, not yet begun.
    Pending,
    /// Has passed this step.
    Processing(Stage),
    /// Ended with this output.
    Completed(String),
    /// Ended for this reason, so many percent done.
    Failed(String, u8),
}

impl TaskState {
    /// The state's name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing(_) => "processing",
            Self::Completed(_) => "completed",
            Self::Failed(..) => "failed",
        }
    }

    /// How much of the work is done, 0..=100 %.
    #[must_use]
    pub const fn percent(&self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Processing(step) => step.percent(),
            Self::Completed(_) => 100,
            Self::Failed(_, percent) => *percent,
        }
    }

    /// The output or the reason, once it has ended.
    #[must_use]
    pub fn result(&self) -> &str {
        match self {
            Self::Pending | Self::Processing(_) => "",
            Self::Completed(text) | Self::Failed(text, _) => text,
        }
    }

    const fn ended(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(..))
    }
}

#[derive(Debug)]
struct Entry {
    state: TaskState,
    news: Instant,
    run: u64,
}

#[derive(Debug, Default)]
struct Tasks {
    by_id: HashMap<String, Entry>,
    runs: u64,
}

/// The states of recent tasks.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard {
    tasks: Arc<Mutex<Tasks>>,
}

impl StatusBoard {
    /// Puts a task up as pending at `now`. A task without an id, or with an endless one, is
    /// processed like any other but cannot be asked for.
    #[must_use]
    pub fn begin(&self, id: &str, now: Instant) -> TaskHandle {
        let mut tasks = self.tasks.lock();
        tasks.runs += 1;
        let run = tasks.runs;
        if !id.is_empty() && id.len() <= LONGEST_ID {
            tasks
                .by_id
                .retain(|_, entry| now.saturating_duration_since(entry.news) < KEPT);
            if tasks.by_id.len() >= CAPACITY && !tasks.by_id.contains_key(id) {
                let oldest = tasks
                    .by_id
                    .iter()
                    .min_by_key(|(_, entry)| (!entry.state.ended(), entry.news));
                if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                    tasks.by_id.remove(&oldest);
                }
            }
            tasks.by_id.insert(
                id.to_owned(),
                Entry {
                    state: TaskState::Pending,
                    news: now,
                    run,
                },
            );
        }
        drop(tasks);
        TaskHandle {
            board: self.clone(),
            id: id.to_owned(),
            run,
        }
    }

    /// The state of the task at `now`; `None` for one that is not known here, or no longer.
    #[must_use]
    pub fn state(&self, id: &str, now: Instant) -> Option<TaskState> {
        let tasks = self.tasks.lock();
        let entry = tasks.by_id.get(id)?;
        let fresh = now.saturating_duration_since(entry.news) < KEPT;
        fresh.then(|| entry.state.clone())
    }
}

/// The right to report on one run of a task. Dropped before the end, because the caller hung up,
/// it leaves the task as failed.
#[derive(Debug)]
pub struct TaskHandle {
    board: StatusBoard,
    id: String,
    run: u64,
}

impl TaskHandle {
    /// Reports that `step` is done.
    pub fn advance(&self, step: Stage) {
        self.update(|state| *state = TaskState::Processing(step));
    }

    /// Reports the end: the output, or the reason for none.
    pub fn finish(self, result: Result<&str, String>) {
        self.update(|state| {
            *state = match result {
                Ok(output) => TaskState::Completed(output.to_owned()),
                Err(reason) => TaskState::Failed(reason, state.percent()),
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut TaskState)) {
        let mut tasks = self.board.tasks.lock();
        // A later run of the same task has the word.
        let entry = tasks
            .by_id
            .get_mut(&self.id)
            .filter(|entry| entry.run == self.run);
        if let Some(entry) = entry.filter(|entry| !entry.state.ended()) {
            change(&mut entry.state);
            entry.news = Instant::now();
        }
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        // Changes nothing after `finish`, which has ended the task.
        self.update(|state| {
            let reason = "cancelled: the caller left before the plan was ready";
            *state = TaskState::Failed(reason.to_owned(), state.percent());
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
        assert_eq!((state().name(), state().percent()), ("pending", 0));
        let mut last = 0;
        for step in [
            Stage::Accepted,
            Stage::Weather,
            Stage::Chosen,
            Stage::Grouped,
            Stage::Routed,
        ] {
            handle.advance(step);
            assert!(state().percent() > last && state().percent() < 100);
            assert_eq!(state().name(), "processing");
            last = state().percent();
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
        assert_eq!(board.state("t", Instant::now()).unwrap().name(), "pending");
        second.advance(Stage::Weather);
        drop(second);
        let state = board.state("t", Instant::now()).unwrap();
        assert_eq!((state.name(), state.percent()), ("failed", 50));
        assert!(state.result().contains("cancelled"));
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
        assert_eq!(board.state("running", start).unwrap().name(), "pending");
        running.finish(Ok(""));
        board
            .begin(&"x".repeat(LONGEST_ID + 1), start)
            .finish(Ok(""));
        board.begin("", start).finish(Ok(""));
        assert_eq!(board.tasks.lock().by_id.len(), CAPACITY);
    }
}
