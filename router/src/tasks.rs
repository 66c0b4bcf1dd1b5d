//! Which instance a task was sent to, so that its status is asked where it is known.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use discovery::InstanceKey;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// How many tasks are remembered; the oldest are forgotten first, and every worker is asked then.
pub const CAPACITY: usize = 50_000;
/// How long it is remembered that nobody knows a task: whoever asks again at once is answered at once.
const UNKNOWN_TTL: Duration = Duration::from_secs(2);
/// How many tasks that nobody knows are remembered; names are anybody's to make up.
const UNKNOWN_CAPACITY: usize = 10_000;
/// How many questions for unknown tasks are asked of the workers at a time; the others wait.
const SEARCHES: usize = 16;
/// How long a task is remembered: as long as an instance keeps its status.
pub const TTL: Duration = Duration::from_secs(3600);

/// Remembers where tasks went, and which nobody knows.
#[derive(Debug)]
pub struct TaskLocations {
    state: Mutex<State>,
    unknown: Mutex<Unknown>,
    searches: Semaphore,
    workers: usize,
}

#[derive(Debug, Default)]
struct Unknown {
    /// Task → when it was asked for, and which workers there were then.
    asked: HashMap<Arc<str>, (Instant, u64)>,
    order: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug, Default)]
struct State {
    sent: HashMap<Arc<str>, Sent>,
    /// In the order of their time; a task that was sent again is in here twice.
    order: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    to: Recipient,
}

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Consul name.
    pub service: Arc<str>,
    /// The instance.
    pub instance: InstanceKey,
}

impl Default for TaskLocations {
    fn default() -> Self {
        Self::new(32)
    }
}

impl TaskLocations {
    /// Remembers nothing yet; `workers` are asked at most for a task of which nothing is known.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            state: Mutex::default(),
            unknown: Mutex::default(),
            searches: Semaphore::new(SEARCHES),
            workers,
        }
    }

    /// How many workers are asked at most for a task of which nothing is known.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// A place among those who ask the workers.
    pub(crate) async fn search(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.searches.acquire().await.ok()
    }

    /// Whether nobody of these workers knew the task a moment ago.
    pub(crate) fn is_unknown(&self, task_id: &str, workers: u64, now: Instant) -> bool {
        let unknown = self.unknown.lock();
        let asked = unknown.asked.get(task_id);
        asked.is_some_and(|(at, of)| *of == workers && now.duration_since(*at) < UNKNOWN_TTL)
    }

    /// Remembers that nobody of these workers knows the task.
    pub(crate) fn mark_unknown(&self, task_id: &str, workers: u64, now: Instant) {
        let task_id: Arc<str> = task_id.into();
        let unknown = &mut *self.unknown.lock();
        unknown.asked.insert(Arc::clone(&task_id), (now, workers));
        unknown.order.push_back((now, task_id));
        while let Some((at, oldest)) = unknown.order.front() {
            if unknown.order.len() <= UNKNOWN_CAPACITY && now.duration_since(*at) < UNKNOWN_TTL {
                break;
            }
            // One that was asked for again is in the order once more.
            if unknown
                .asked
                .get(oldest)
                .is_some_and(|(asked, _)| asked == at)
            {
                unknown.asked.remove(oldest);
            }
            unknown.order.pop_front();
        }
    }

    /// Remembers that a task went to an instance at `now`; one that is sent again is where it went
    /// last. A task without an ID cannot be asked for, and is not remembered.
    pub fn record(&self, task_id: &str, service: &Arc<str>, instance: &InstanceKey, now: Instant) {
        if task_id.is_empty() {
            return;
        }
        let to = Recipient {
            service: Arc::clone(service),
            instance: instance.clone(),
        };
        let task_id: Arc<str> = task_id.into();
        let state = &mut *self.state.lock();
        state
            .sent
            .insert(Arc::clone(&task_id), Sent { at: now, to });
        state.order.push_back((now, task_id));
        while let Some((at, oldest)) = state.order.front() {
            if state.order.len() <= CAPACITY && now.duration_since(*at) < TTL {
                break;
            }
            if state.sent.get(oldest).is_some_and(|sent| sent.at == *at) {
                state.sent.remove(oldest);
            }
            state.order.pop_front();
        }
    }

    /// Where a task went; `None` when it is not known, or was longer ago than [`TTL`].
    #[must_use]
    pub fn recipient(&self, task_id: &str, now: Instant) -> Option<Recipient> {
        let state = self.state.lock();
        let sent = state.sent.get(task_id)?;
        (now.duration_since(sent.at) < TTL).then(|| sent.to.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tasks: &TaskLocations, task: &str, instance: &str, now: Instant) {
        let key = InstanceKey {
            node: "".into(),
            id: instance.into(),
        };
        tasks.record(task, &"worker-itinerary".into(), &key, now);
    }

    fn instance(tasks: &TaskLocations, task: &str, now: Instant) -> Option<String> {
        tasks
            .recipient(task, now)
            .map(|to| to.instance.id.to_string())
    }

    #[test]
    fn task_is_where_it_went_last() {
        let (tasks, now) = (TaskLocations::default(), Instant::now());
        record(&tasks, "t", "a", now);
        record(&tasks, "t", "b", now + Duration::from_secs(1));
        assert_eq!(instance(&tasks, "t", now).as_deref(), Some("b"));
        assert_eq!(instance(&tasks, "other", now), None);
    }

    #[test]
    fn task_is_forgotten_after_an_hour_since_it_went_last() {
        let (tasks, now) = (TaskLocations::default(), Instant::now());
        record(&tasks, "t", "a", now);
        record(&tasks, "t", "b", now + TTL / 2);
        record(&tasks, "u", "a", now + TTL);
        assert_eq!(instance(&tasks, "t", now + TTL).as_deref(), Some("b"));
        assert_eq!(instance(&tasks, "t", now + TTL * 2), None);
        record(&tasks, "v", "a", now + TTL * 3);
        assert_eq!(tasks.state.lock().sent.len(), 1);
        assert_eq!(tasks.state.lock().order.len(), 1);
    }

    #[test]
    fn number_of_tasks_is_bounded() {
        let (tasks, now) = (TaskLocations::default(), Instant::now());
        for n in 0..CAPACITY + 10 {
            record(&tasks, &format!("t{n}"), "a", now);
        }
        for _ in 0..CAPACITY {
            record(&tasks, "again", "a", now);
        }
        assert!(tasks.state.lock().order.len() <= CAPACITY);
        assert!(tasks.state.lock().sent.len() <= CAPACITY);
        assert_eq!(instance(&tasks, "again", now).as_deref(), Some("a"));
        assert_eq!(instance(&tasks, "t1", now), None);
    }

    #[test]
    fn that_nobody_knows_a_task_is_remembered_for_a_while_and_of_those_workers() {
        let (tasks, now) = (TaskLocations::default(), Instant::now());
        tasks.mark_unknown("t", 7, now);
        assert!(tasks.is_unknown("t", 7, now));
        assert!(!tasks.is_unknown("t", 8, now), "another worker has come");
        assert!(!tasks.is_unknown("u", 7, now));
        assert!(!tasks.is_unknown("t", 7, now + UNKNOWN_TTL));
        for n in 0..UNKNOWN_CAPACITY * 2 {
            tasks.mark_unknown(&format!("t{n}"), 7, now);
        }
        assert_eq!(tasks.unknown.lock().asked.len(), UNKNOWN_CAPACITY);
        tasks.mark_unknown("last", 7, now + UNKNOWN_TTL);
        assert_eq!(tasks.unknown.lock().asked.len(), 1);
    }
}
