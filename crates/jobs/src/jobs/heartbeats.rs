//! Whether anybody takes the jobs of a queue. Workers note in the store that they do, now and then;
//! a job in a queue that nobody serves would wait without a word.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Jobs;
use crate::Error;

/// How often a worker notes that it takes jobs.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a note is believed: two may get lost.
const HEARTBEAT_TTL: Duration = Duration::from_secs(30);
/// How soon the store is asked again about a queue that nobody serves. Others who want to know
/// meanwhile get what is known.
const RECHECK: Duration = Duration::from_millis(100);

/// What is known of that, in this process.
#[derive(Debug)]
pub(super) struct Heartbeats(Mutex<KnownWorkers>);

#[derive(Debug)]
struct KnownWorkers {
    /// Since when somebody might have been seen.
    since: Instant,
    /// When the store was last asked, and whether it answered.
    asked: Option<(Instant, bool)>,
    /// The latest note, by queue.
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
        // Where nobody at all is known, everything may just be starting.
        let sure = self.last_seen.values().any(is_live)
            || now.duration_since(self.since) >= HEARTBEAT_INTERVAL;
        let answered = self.asked.is_some_and(|(_, answered)| answered);
        (sure && answered).then_some(false)
    }

    fn note(&mut self, ages: Vec<(String, Duration)>, now: Instant) {
        self.last_seen
            .retain(|_, last_seen| now.duration_since(*last_seen) < HEARTBEAT_TTL);
        for (queue, age) in ages {
            // A store that lost its notes gets new ones, and what was seen here stands till then.
            if let Some(last_seen) = now.checked_sub(age).filter(|_| age < HEARTBEAT_TTL) {
                let latest = self.last_seen.entry(queue).or_insert(last_seen);
                *latest = last_seen.max(*latest);
            }
        }
    }
}

impl Jobs {
    /// Whether a worker takes jobs of a queue; `None` when that is not known: the store does not
    /// say, or this process has just begun and has seen no worker yet.
    pub async fn is_served(&self, queue: &str) -> Option<bool> {
        let seen = self.cached_served(queue);
        if seen == Some(true) {
            return seen;
        }
        let (now, asked) = (Instant::now(), self.heartbeats.0.lock().asked);
        let lately = |(at, _): (Instant, bool)| now.duration_since(at) < RECHECK;
        if self.store.is_local() || !asked.is_some_and(lately) {
            self.refresh_heartbeats().await;
        }
        self.cached_served(queue)
    }

    /// Notes that a worker takes jobs of a queue.
    pub(crate) async fn heartbeat(&self, queue: &str) -> Result<(), Error> {
        self.store.heartbeat(queue).await
    }

    /// Asks the store.
    pub(super) async fn refresh_heartbeats(&self) {
        {
            let mut known = self.heartbeats.0.lock();
            let answered = known.asked.is_some_and(|(_, answered)| answered);
            known.asked = Some((Instant::now(), answered));
        }
        let ages = self.store.heartbeats().await;
        let mut known = self.heartbeats.0.lock();
        let now = Instant::now();
        known.asked = Some((now, ages.is_ok()));
        match ages {
            Ok(ages) => known.note(ages, now),
            Err(error) => tracing::debug!(%error, "who serves the queues is not known"),
        }
    }

    /// What is known without asking.
    pub(super) fn cached_served(&self, queue: &str) -> Option<bool> {
        let seen = self.heartbeats.0.lock().of(queue, Instant::now());
        // A store that refuses what it is asked to write refuses the notes, too.
        seen.filter(|served| *served || !self.log_throttle.has_errors())
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
