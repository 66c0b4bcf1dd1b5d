//! A token bucket that holds one second's tokens.

use std::time::Instant;

/// A token bucket. Its rate is an argument: tokens per second, > 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    tokens: f64,
    at: Instant,
}

/// One second's tokens, and at least one: otherwise a rate below 1 would never pass.
fn capacity(rate: f64) -> f64 {
    rate.max(1.0)
}

impl TokenBucket {
    pub(super) fn full(rate: f64, now: Instant) -> Self {
        let tokens = capacity(rate);
        Self { tokens, at: now }
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&mut self, rate: f64, now: Instant) -> bool {
        self.refill(rate, now);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    pub(super) fn is_full(&mut self, rate: f64, now: Instant) -> bool {
        self.refill(rate, now);
        self.tokens >= capacity(rate)
    }

    fn refill(&mut self, rate: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(capacity(rate));
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_gives_as_many_as_the_rate_and_no_more_are_saved() {
        let now = Instant::now();
        let mut bucket = TokenBucket::full(3.0, now);
        let taken = |bucket: &mut TokenBucket, at| (0..10).filter(|_| bucket.take(3.0, at)).count();
        assert_eq!(taken(&mut bucket, now), 3);
        assert_eq!(taken(&mut bucket, now + Duration::from_millis(400)), 1);
        assert_eq!(taken(&mut bucket, now + Duration::from_secs(60)), 3);
        let mut slow = TokenBucket::full(0.1, now);
        assert!(slow.take(0.1, now) && !slow.take(0.1, now + Duration::from_secs(9)));
        assert!(slow.take(0.1, now + Duration::from_secs(11)));
    }
}
