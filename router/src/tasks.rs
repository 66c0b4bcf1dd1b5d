//! Which instance a task was sent to, so that its status is asked where it is known.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use discovery::Key;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many tasks are remembered; the oldest are forgotten first, and every worker is asked then.
pub const CAPACITY: usize = 50_000;
/// How long a task is remembered: as long as an instance keeps its status.
pub const TTL: Duration = Duration::from_secs(3600);

/// Remembers where tasks went.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<State>);

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
    pub instance: Key,
}

impl Tasks {
    /// Remembers that a task went to an instance at `now`; one that is sent again is where it went
    /// last. A task without an ID cannot be asked for, and is not remembered.
    pub fn record(&self, task_id: &str, service: &Arc<str>, instance: &Key, now: Instant) {
        if task_id.is_empty() {
            return;
        }
        let to = Recipient {
            service: Arc::clone(service),
            instance: instance.clone(),
        };
        let task_id: Arc<str> = task_id.into();
        let state = &mut *self.0.lock();
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
        let state = self.0.lock();
        let sent = state.sent.get(task_id)?;
        (now.duration_since(sent.at) < TTL).then(|| sent.to.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tasks: &Tasks, task: &str, instance: &str, now: Instant) {
        let key = Key {
            node: "".into(),
            id: instance.into(),
        };
        tasks.record(task, &"worker-itinerary".into(), &key, now);
    }

    fn instance(tasks: &Tasks, task: &str, now: Instant) -> Option<String> {
        tasks
            .recipient(task, now)
            .map(|to| to.instance.id.to_string())
    }

    #[test]
    fn task_is_where_it_went_last() {
        let (tasks, now) = (Tasks::default(), Instant::now());
        record(&tasks, "t", "a", now);
        record(&tasks, "t", "b", now + Duration::from_secs(1));
        assert_eq!(instance(&tasks, "t", now).as_deref(), Some("b"));
        assert_eq!(instance(&tasks, "other", now), None);
    }

    #[test]
    fn task_is_forgotten_after_an_hour_since_it_went_last() {
        let (tasks, now) = (Tasks::default(), Instant::now());
        record(&tasks, "t", "a", now);
        record(&tasks, "t", "b", now + TTL / 2);
        record(&tasks, "u", "a", now + TTL);
        assert_eq!(instance(&tasks, "t", now + TTL).as_deref(), Some("b"));
        assert_eq!(instance(&tasks, "t", now + TTL * 2), None);
        record(&tasks, "v", "a", now + TTL * 3);
        assert_eq!(tasks.0.lock().sent.len(), 1);
        assert_eq!(tasks.0.lock().order.len(), 1);
    }

    #[test]
    fn number_of_tasks_is_bounded() {
        let (tasks, now) = (Tasks::default(), Instant::now());
        for n in 0..CAPACITY + 10 {
            record(&tasks, &format!("t{n}"), "a", now);
        }
        for _ in 0..CAPACITY {
            record(&tasks, "again", "a", now);
        }
        assert!(tasks.0.lock().order.len() <= CAPACITY);
        assert!(tasks.0.lock().sent.len() <= CAPACITY);
        assert_eq!(instance(&tasks, "again", now).as_deref(), Some("a"));
        assert_eq!(instance(&tasks, "t1", now), None);
    }
}
