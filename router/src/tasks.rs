//! Which instance each task was sent to: its status is known there.

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

/// The number of tasks that are remembered. Workers are asked for the status of older ones.
pub(crate) const CAPACITY: usize = 50_000;
/// How long it is remembered that no worker knows a task. Until then the answer comes at once.
const UNKNOWN_TTL: Duration = Duration::from_secs(2);
/// The number of unknown tasks that are remembered. Clients can make up any number of names.
const UNKNOWN_CAPACITY: usize = 10_000;
/// The searches for tasks among the workers that run at a time. The others wait.
const SEARCHES: usize = 16;
/// How long a task is remembered: as long as an instance keeps its status.
pub(crate) const TTL: Duration = Duration::from_secs(3600);

/// Remembers where tasks went, and which tasks no worker knows.
#[derive(Debug)]
pub(crate) struct TaskLocations {
    sent: Mutex<RecentMap<Recipient>>,
    /// Tasks that no worker knew, with the fingerprint of the workers.
    unknown: Mutex<RecentMap<u64>>,
    searches: Semaphore,
    workers: usize,
}

/// A map that forgets each entry after a time, and the oldest one where there are too many.
#[derive(Debug)]
struct RecentMap<V> {
    entries: HashMap<Arc<str>, (Instant, V)>,
    /// In the order of their time. A key that was set twice is in here twice.
    order: VecDeque<(Instant, Arc<str>)>,
    capacity: usize,
    ttl: Duration,
}

impl<V> RecentMap<V> {
    fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            capacity,
            ttl,
        }
    }

    fn set(&mut self, key: &str, value: V, now: Instant) {
        let key: Arc<str> = key.into();
        self.entries.insert(Arc::clone(&key), (now, value));
        self.order.push_back((now, key));
        while let Some((at, oldest)) = self.order.front() {
            if self.order.len() <= self.capacity && now.duration_since(*at) < self.ttl {
                break;
            }
            if self.entries.get(oldest).is_some_and(|(set, _)| set == at) {
                self.entries.remove(oldest);
            }
            self.order.pop_front();
        }
    }

    fn get(&self, key: &str, now: Instant) -> Option<&V> {
        let (at, value) = self.entries.get(key)?;
        (now.duration_since(*at) < self.ttl).then_some(value)
    }
}

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) service: Arc<str>,
    pub(crate) instance: InstanceKey,
}

impl Default for TaskLocations {
    fn default() -> Self {
        Self::new(32)
    }
}

impl TaskLocations {
    /// Nothing is remembered yet. A search asks at most `workers` workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            sent: Mutex::new(RecentMap::new(CAPACITY, TTL)),
            unknown: Mutex::new(RecentMap::new(UNKNOWN_CAPACITY, UNKNOWN_TTL)),
            searches: Semaphore::new(SEARCHES),
            workers,
        }
    }

    /// The most workers that a search asks.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// A permit for a search among the workers.
    pub(crate) async fn search(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.searches.acquire().await.ok()
    }

    /// Whether these workers did not know the task a moment ago.
    pub(crate) fn is_unknown(&self, task_id: &str, workers: u64, now: Instant) -> bool {
        self.unknown.lock().get(task_id, now) == Some(&workers)
    }

    /// Remembers that these workers do not know the task.
    pub(crate) fn mark_unknown(&self, task_id: &str, workers: u64, now: Instant) {
        self.unknown.lock().set(task_id, workers, now);
    }

    /// Remembers that a task went to an instance at `now`, in place of where it went before. A task
    /// without an ID is not remembered.
    pub(crate) fn record(
        &self,
        task_id: &str,
        service: &Arc<str>,
        instance: &InstanceKey,
        now: Instant,
    ) {
        if task_id.is_empty() {
            return;
        }
        let to = Recipient {
            service: Arc::clone(service),
            instance: instance.clone(),
        };
        self.sent.lock().set(task_id, to, now);
    }

    /// Where a task went; `None` when it is not known, or was longer ago than [`TTL`].
    pub(crate) fn recipient(&self, task_id: &str, now: Instant) -> Option<Recipient> {
        self.sent.lock().get(task_id, now).cloned()
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
        assert_eq!(tasks.sent.lock().entries.len(), 1);
        assert_eq!(tasks.sent.lock().order.len(), 1);
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
        assert!(tasks.sent.lock().order.len() <= CAPACITY);
        assert!(tasks.sent.lock().entries.len() <= CAPACITY);
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
        assert_eq!(tasks.unknown.lock().entries.len(), UNKNOWN_CAPACITY);
        tasks.mark_unknown("last", 7, now + UNKNOWN_TTL);
        assert_eq!(tasks.unknown.lock().entries.len(), 1);
    }
}
