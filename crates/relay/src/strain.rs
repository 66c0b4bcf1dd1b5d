//! What a client costs without any use: it adds up, and falls with time and with use.

use std::time::{Duration, Instant};

/// In how long a strain falls from its limit to nothing, while nothing is added.
const RECOVERY: Duration = Duration::from_secs(10);

/// A sum that leaks.
#[derive(Debug)]
pub struct Strain {
    level: u32,
    /// Up to when it has fallen with time.
    since: Instant,
}

impl Strain {
    /// Nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            level: 0,
            since: now,
        }
    }

    /// So many more; false when that is beyond the limit.
    #[must_use]
    pub fn add(&mut self, by: u32, limit: u32, now: Instant) -> bool {
        self.fall(limit, now);
        self.level = self.level.saturating_add(by);
        self.level <= limit
    }

    /// Something useful makes up for so many.
    pub fn relieve(&mut self, by: u32) {
        self.level = self.level.saturating_sub(by);
    }

    fn fall(&mut self, limit: u32, now: Instant) {
        let each = RECOVERY / limit.max(1);
        let passed = now.saturating_duration_since(self.since);
        let fallen = passed.as_nanos() / each.as_nanos().max(1);
        let fallen = u32::try_from(fallen).unwrap_or(u32::MAX);
        if fallen >= self.level {
            (self.level, self.since) = (0, now);
        } else {
            // What is over of the time counts with the next.
            self.level -= fallen;
            self.since += each * fallen;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_bears_its_limit_at_once_and_as_much_again_in_its_time() {
        let start = Instant::now();
        let mut strain = Strain::new(start);
        assert!((0..100).all(|_| strain.add(1, 100, start)));
        assert!(!strain.add(1, 100, start));
        // One comes each tenth of a second, and one has gone.
        let mut strain = Strain::new(start);
        assert!((0..100).all(|_| strain.add(1, 100, start)));
        for n in 1..1000 {
            assert!(
                strain.add(1, 100, start + Duration::from_millis(100 * n)),
                "{n}"
            );
        }
        let soon = start + Duration::from_millis(99_950);
        assert!(!strain.add(1, 100, soon), "a part of the time is none");
    }

    #[test]
    fn use_makes_up_for_it() {
        let now = Instant::now();
        let mut strain = Strain::new(now);
        for _ in 0..1000 {
            assert!(strain.add(1, 2, now) && strain.add(1, 2, now));
            strain.relieve(2);
        }
    }
}
