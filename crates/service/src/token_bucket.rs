//! How often something may happen: a token bucket, kept as one moment in time (GCRA, the cell rate
//! algorithm of ITU-T I.371).

use std::time::{Duration, Instant};

/// How fast tokens come, and how many are saved.
#[derive(Clone, Copy, Debug)]
pub struct TokenRate {
    /// The time between two tokens.
    interval: Duration,
    /// How far ahead of its rate a client may be.
    burst_tolerance: Duration,
}

/// The tokens of one client. Its rate is an argument, since many clients have the same.
///
/// ```
/// use mesh_service::{TokenBucket, TokenRate};
/// use std::time::{Duration, Instant};
///
/// let (rate, now) = (TokenRate::new(10.0, 1.0), Instant::now());
/// let mut bucket = TokenBucket::full(now);
/// assert_eq!(bucket.take(rate, now), Ok(()));
/// assert_eq!(bucket.take(rate, now), Err(Duration::from_millis(100)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    full_at: Instant,
}

impl TokenRate {
    /// Gives `per_second` tokens a second, > 0, of which at most `burst` are saved, ≥ 1.
    #[must_use]
    pub fn new(per_second: f64, burst: f64) -> Self {
        let seconds = |s| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
        Self {
            interval: seconds(1.0 / per_second),
            burst_tolerance: seconds((burst - 1.0).max(0.0) / per_second),
        }
    }
}

impl TokenBucket {
    /// A bucket with all the tokens that it can save.
    #[must_use]
    pub const fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// When there is none: how long to wait for it.
    pub fn take(&mut self, rate: TokenRate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now);
        let missing = full_at.duration_since(now);
        let early = missing.saturating_sub(rate.burst_tolerance);
        if !early.is_zero() {
            return Err(early);
        }
        // A moment beyond what the clock can say never comes.
        self.full_at = full_at.checked_add(rate.interval).unwrap_or(full_at);
        Ok(())
    }

    /// Whether no token is missing: such a bucket need not be remembered.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_as_many_as_the_rate_and_no_more_are_saved() {
        let now = Instant::now();
        let rate = TokenRate::new(3.0, 3.0);
        let mut bucket = TokenBucket::full(now);
        let taken = |bucket: &mut TokenBucket, at| {
            (0..10).filter(|_| bucket.take(rate, at).is_ok()).count()
        };
        assert_eq!(taken(&mut bucket, now), 3);
        assert_eq!(taken(&mut bucket, now + Duration::from_millis(400)), 1);
        assert!(!bucket.is_full(now + Duration::from_millis(400)));
        assert!(bucket.is_full(now + Duration::from_secs(2)));
        assert_eq!(taken(&mut bucket, now + Duration::from_secs(60)), 3);
        let (rate, mut slow) = (TokenRate::new(0.1, 1.0), TokenBucket::full(now));
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(slow.take(rate, now).is_ok() && slow.take(rate, after(9)).is_err());
        assert!(slow.take(rate, after(11)).is_ok());
    }

    #[test]
    fn a_rate_that_is_almost_none_gives_one_token() {
        let (now, rate) = (Instant::now(), TokenRate::new(f64::MIN_POSITIVE, 1.0));
        let mut bucket = TokenBucket::full(now);
        assert!(bucket.take(rate, now).is_ok());
    }
}
