//! Who wants to hear of which changes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Changes, Interest};

/// After such a time without a call a subscriber is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

impl Changes {
    /// Whether nothing has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds others.
    pub(crate) fn add(&mut self, other: Self) {
        self.inbox |= other.inbox;
        self.queued |= other.queued;
        self.commands |= other.commands;
        self.events |= other.events;
        self.answers |= other.answers;
    }

    /// Those that are in the other too.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            inbox: self.inbox & other.inbox,
            queued: self.queued & other.queued,
            commands: self.commands & other.commands,
            events: self.events & other.events,
            answers: self.answers && other.answers,
        }
    }

    /// Those that are not in the other.
    fn without(self, other: Self) -> Self {
        Self {
            inbox: self.inbox & !other.inbox,
            queued: self.queued & !other.queued,
            commands: self.commands & !other.commands,
            events: self.events & !other.events,
            answers: self.answers && !other.answers,
        }
    }

    /// There may be new runs and commands of a shard.
    pub(crate) fn in_inbox(&mut self, shard: u16) {
        self.in_queue(shard);
        self.in_commands(shard);
    }

    /// A new run of a shard.
    pub(crate) fn in_queue(&mut self, shard: u16) {
        self.inbox |= bit(shard);
        self.queued |= bit(shard);
    }

    /// A new command of a shard.
    pub(crate) fn in_commands(&mut self, shard: u16) {
        self.inbox |= bit(shard);
        self.commands |= bit(shard);
    }

    /// A new event of a shard.
    pub(crate) fn in_events(&mut self, shard: u16) {
        self.events |= bit(shard);
    }

    fn of(interests: &[Interest]) -> Self {
        let mut changes = Self::default();
        for interest in interests {
            match interest {
                Interest::Inbox(shards) => {
                    changes.inbox |= shards;
                    changes.queued |= shards;
                    changes.commands |= shards;
                }
                Interest::Events => changes.events = u64::MAX,
                Interest::Answers => changes.answers = true,
            }
        }
        changes
    }
}

/// The bit of a shard in a set.
pub(crate) const fn bit(shard: u16) -> u64 {
    1_u64.rotate_left(shard as u32)
}

/// The subscribers of this process.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    subscribers: Mutex<HashMap<String, Subscriber>>,
}

#[derive(Debug)]
struct Subscriber {
    /// What it has not heard of.
    pending: Changes,
    /// What it waits for.
    wanted: Changes,
    wake: Arc<Notify>,
    called: Instant,
}

impl Hub {
    /// Tells all subscribers.
    pub(crate) fn publish(&self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        for subscriber in self.subscribers.lock().values_mut() {
            subscriber.pending.add(changes);
            if !changes.and(subscriber.wanted).is_empty() {
                subscriber.wake.notify_one();
            }
        }
    }

    /// Waits for changes of interest.
    pub(crate) async fn changes(
        &self,
        subscriber: &str,
        interests: &[Interest],
        wait: Duration,
    ) -> Changes {
        let wanted = Changes::of(interests);
        let until = tokio::time::Instant::now() + wait;
        loop {
            let wake = match self.take(subscriber, wanted) {
                Ok(changes) => return changes,
                Err(wake) => wake,
            };
            // A change between the look and the wait leaves its permit.
            if tokio::time::timeout_at(until, wake.notified())
                .await
                .is_err()
            {
                return self.take(subscriber, wanted).unwrap_or_default();
            }
        }
    }

    fn take(&self, subscriber: &str, wanted: Changes) -> Result<Changes, Arc<Notify>> {
        let mut subscribers = self.subscribers.lock();
        if !subscribers.contains_key(subscriber) {
            subscribers.retain(|_, other| other.called.elapsed() < FORGOTTEN);
        }
        let entry = subscribers
            .entry(subscriber.to_owned())
            .or_insert_with(|| Subscriber {
                pending: Changes::default(),
                wanted,
                wake: Arc::default(),
                called: Instant::now(),
            });
        (entry.wanted, entry.called) = (wanted, Instant::now());
        let found = entry.pending.and(wanted);
        if found.is_empty() {
            return Err(entry.wake.clone());
        }
        entry.pending = entry.pending.without(found);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscriber_hears_of_its_interests_alone_and_loses_nothing_meanwhile() {
        let hub = Hub::default();
        let short = Duration::from_millis(10);
        let inbox = [Interest::Inbox(0b11)];
        assert!(hub.changes("a", &inbox, short).await.is_empty());
        let mut changes = Changes::default();
        changes.in_queue(1);
        changes.in_events(63);
        hub.publish(changes);
        hub.publish(Changes {
            inbox: 0b100,
            ..Changes::default()
        });
        let heard = hub.changes("a", &inbox, short).await;
        assert_eq!((heard.inbox, heard.events), (0b10, 0));
        assert_eq!((heard.queued, heard.commands), (0b10, 0));
        assert!(hub.changes("a", &inbox, short).await.is_empty());
        let heard = hub.changes("a", &[Interest::Events], short).await;
        assert_eq!(heard.events, 1 << 63);
    }
}
