//! Whether anybody takes the jobs of a queue. Workers note in the store that they do, now and then;
//! a job in a queue that nobody serves would wait without a word.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Jobs;
use crate::Error;

/// How often a worker notes that it takes jobs.
pub(crate) const BEAT: Duration = Duration::from_secs(10);
/// How long a note is believed: two may get lost.
const BELIEVED: Duration = Duration::from_secs(30);
/// How soon the store is asked again about a queue that nobody serves. Others who want to know
/// meanwhile get what is known.
const AGAIN: Duration = Duration::from_millis(100);

/// What is known of that, in this process.
#[derive(Debug)]
pub(super) struct Served(Mutex<Known>);

#[derive(Debug)]
struct Known {
    /// Since when somebody might have been seen.
    since: Instant,
    /// When the store was last asked, and whether it answered.
    asked: Option<(Instant, bool)>,
    /// The latest note, by queue.
    noted: HashMap<String, Instant>,
}

impl Default for Served {
    fn default() -> Self {
        Self(Mutex::new(Known {
            since: Instant::now(),
            asked: None,
            noted: HashMap::new(),
        }))
    }
}

impl Known {
    fn of(&self, queue: &str, now: Instant) -> Option<bool> {
        let is_live = |noted: &Instant| now.duration_since(*noted) < BELIEVED;
        if self.noted.get(queue).is_some_and(is_live) {
            return Some(true);
        }
        // Where nobody at all is known, everything may just be starting.
        let sure = self.noted.values().any(is_live) || now.duration_since(self.since) >= BEAT;
        let answered = self.asked.is_some_and(|(_, answered)| answered);
        (sure && answered).then_some(false)
    }

    fn note(&mut self, ages: Vec<(String, Duration)>, now: Instant) {
        self.noted
            .retain(|_, noted| now.duration_since(*noted) < BELIEVED);
        for (queue, age) in ages {
            // A store that lost its notes gets new ones, and what was seen here stands till then.
            if let Some(noted) = now.checked_sub(age).filter(|_| age < BELIEVED) {
                let latest = self.noted.entry(queue).or_insert(noted);
                *latest = noted.max(*latest);
            }
        }
    }
}

impl Jobs {
    /// Whether a worker takes jobs of a queue; `None` when that is not known: the store does not
    /// say, or this process has just begun and has seen no worker yet.
    pub async fn is_served(&self, queue: &str) -> Option<bool> {
        let seen = self.seen_served(queue);
        if seen == Some(true) {
            return seen;
        }
        let (now, asked) = (Instant::now(), self.served.0.lock().asked);
        let lately = |(at, _): (Instant, bool)| now.duration_since(at) < AGAIN;
        if self.store.is_here() || !asked.is_some_and(lately) {
            self.see_served().await;
        }
        self.seen_served(queue)
    }

    /// Notes that a worker takes jobs of a queue.
    pub(crate) async fn serve(&self, queue: &str) -> Result<(), Error> {
        self.store.serve(queue).await
    }

    /// Asks the store.
    pub(super) async fn see_served(&self) {
        {
            let mut known = self.served.0.lock();
            let answered = known.asked.is_some_and(|(_, answered)| answered);
            known.asked = Some((Instant::now(), answered));
        }
        let ages = self.store.served().await;
        let mut known = self.served.0.lock();
        let now = Instant::now();
        known.asked = Some((now, ages.is_ok()));
        match ages {
            Ok(ages) => known.note(ages, now),
            Err(error) => tracing::debug!(%error, "who serves the queues is not known"),
        }
    }

    /// What is known without asking.
    pub(super) fn seen_served(&self, queue: &str) -> Option<bool> {
        let seen = self.served.0.lock().of(queue, Instant::now());
        // A store that refuses what it is asked to write refuses the notes, too.
        seen.filter(|served| *served || !self.quiet.is_troubled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_missing_before_somebody_could_be_seen() {
        let served = Served::default();
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
