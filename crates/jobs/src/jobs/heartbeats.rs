//! Whether a worker serves a queue. Workers send heartbeats to the store, so that whoever submits
//! to a queue without workers can be warned.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Store;

/// How often a worker sends a heartbeat.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a heartbeat counts: two may get lost.
const HEARTBEAT_TTL: Duration = Duration::from_secs(30);
/// How soon the store is queried again about a queue without workers. Until then the known answer
/// is given.
const RECHECK: Duration = Duration::from_millis(100);

/// The heartbeats that this process knows of.
#[derive(Debug)]
pub(super) struct Heartbeats(Mutex<KnownWorkers>);

#[derive(Debug)]
struct KnownWorkers {
    /// When this process began to look.
    since: Instant,
    /// When the store was last queried, and whether it answered.
    asked: Option<(Instant, bool)>,
    /// The latest heartbeat, by queue.
    last_seen: HashMap<String, Instant>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self(Mutex::new(KnownWorkers {
            since: Instant::now(),
            asked: None,
            last_seen: HashMap::new(),
        }))
    }
}

impl KnownWorkers {
    fn of(&self, queue: &str, now: Instant) -> Option<bool> {
        let is_live = |last_seen: &Instant| now.duration_since(*last_seen) < HEARTBEAT_TTL;
        if self.last_seen.get(queue).is_some_and(is_live) {
            return Some(true);
        }
        // If no worker at all is known, everything may just be starting.
        let sure = self.last_seen.values().any(is_live)
            || now.duration_since(self.since) >= HEARTBEAT_INTERVAL;
        let answered = self.asked.is_some_and(|(_, answered)| answered);
        (sure && answered).then_some(false)
    }

    fn note(&mut self, ages: Vec<(String, Duration)>, now: Instant) {
        self.last_seen
            .retain(|_, last_seen| now.duration_since(*last_seen) < HEARTBEAT_TTL);
        for (queue, age) in ages {
            // A store that lost its heartbeats gets new ones. Until then the ones seen here count.
            if let Some(last_seen) = now.checked_sub(age).filter(|_| age < HEARTBEAT_TTL) {
                let latest = self.last_seen.entry(queue).or_insert(last_seen);
                *latest = last_seen.max(*latest);
            }
        }
    }
}

impl Heartbeats {
    /// Whether a worker serves a queue, as far as is known without a query.
    pub(super) fn known(&self, queue: &str) -> Option<bool> {
        self.0.lock().of(queue, Instant::now())
    }

    /// Queries the store, unless it was queried just now.
    pub(super) async fn recheck(&self, store: &dyn Store) {
        let (now, asked) = (Instant::now(), self.0.lock().asked);
        let lately = |(at, _): (Instant, bool)| now.duration_since(at) < RECHECK;
        if store.is_local() || !asked.is_some_and(lately) {
            self.refresh(store).await;
        }
    }

    /// Queries the store.
    pub(super) async fn refresh(&self, store: &dyn Store) {
        {
            let mut known = self.0.lock();
            let answered = known.asked.is_some_and(|(_, answered)| answered);
            known.asked = Some((Instant::now(), answered));
        }
        let ages = store.heartbeats().await;
        let mut known = self.0.lock();
        let now = Instant::now();
        known.asked = Some((now, ages.is_ok()));
        match ages {
            Ok(ages) => known.note(ages, now),
            Err(error) => tracing::debug!(%error, "who serves the queues is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_missing_before_somebody_could_be_seen() {
        let served = Heartbeats::default();
        let mut known = served.0.lock();
        let start = known.since;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(known.of("x", at(60)), None, "the store was never asked");
        known.asked = Some((start, true));
        assert_eq!(known.of("x", at(1)), None, "all may just be starting");
        assert_eq!(known.of("x", at(10)), Some(false));
        known.note(vec![("y".to_owned(), Duration::from_secs(3))], at(5));
        assert_eq!(
            known.of("y", at(6)),
            Some(true),
            "one that just began counts"
        );
        assert_eq!(known.of("x", at(6)), Some(false), "where others are known");
        known.note(Vec::new(), at(20));
        assert_eq!(
            known.of("y", at(20)),
            Some(true),
            "the store lost its notes"
        );
        assert_eq!(
            known.of("y", at(32)),
            Some(false),
            "it noted nothing for 30 s"
        );
        known.note(vec![("y".to_owned(), Duration::from_secs(31))], at(40));
        assert_eq!(known.of("y", at(40)), Some(false));
    }
}
