//! What a client costs without any use: it adds up, and falls with time and with use.

use std::time::{Duration, Instant};

/// In how long a score decays from its limit to nothing, while nothing is added.
const RECOVERY: Duration = Duration::from_secs(10);

/// A sum that leaks.
#[derive(Debug)]
pub struct AbuseScore {
    limit: u32,
    level: u32,
    /// Up to when it has decayed with time.
    since: Instant,
}

impl AbuseScore {
    /// Nothing yet of a limit.
    #[must_use]
    pub fn new(limit: u32, now: Instant) -> Self {
        Self {
            limit,
            level: 0,
            since: now,
        }
    }

    /// So many more; false when that is beyond the limit.
    #[must_use]
    pub fn add(&mut self, by: u32, now: Instant) -> bool {
        self.decay(now);
        self.level = self.level.saturating_add(by);
        self.level <= self.limit
    }

    /// Something useful makes up for so many.
    pub fn subtract(&mut self, by: u32) {
        self.level = self.level.saturating_sub(by);
    }

    /// Forgets everything.
    pub fn clear(&mut self, now: Instant) {
        (self.level, self.since) = (0, now);
    }

    fn decay(&mut self, now: Instant) {
        let each = RECOVERY / self.limit.max(1);
        let passed = now.saturating_duration_since(self.since);
        let decayed = passed.as_nanos() / each.as_nanos().max(1);
        let decayed = u32::try_from(decayed).unwrap_or(u32::MAX);
        if decayed >= self.level {
            self.clear(now);
        } else {
            // What is over of the time counts with the next.
            self.level -= decayed;
            self.since += each * decayed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_bears_its_limit_at_once_and_as_much_again_in_its_time() {
        let start = Instant::now();
        let mut score = AbuseScore::new(100, start);
        assert!((0..100).all(|_| score.add(1, start)));
        assert!(!score.add(1, start));
        // One comes each tenth of a second, and one has gone.
        let mut score = AbuseScore::new(100, start);
        assert!((0..100).all(|_| score.add(1, start)));
        for n in 1..1000 {
            assert!(score.add(1, start + Duration::from_millis(100 * n)), "{n}");
        }
        let soon = start + Duration::from_millis(99_950);
        assert!(!score.add(1, soon), "a part of the time is none");
    }

    #[test]
    fn use_makes_up_for_it() {
        let now = Instant::now();
        let mut score = AbuseScore::new(2, now);
        for _ in 0..1000 {
            assert!(score.add(1, now) && score.add(1, now));
            score.subtract(2);
        }
    }
}
