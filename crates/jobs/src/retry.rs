//! How long a failed job waits for its next attempt.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// Exponential backoff with jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// By what share of itself a wait is made longer or shorter at random, 0 to 1.
    pub jitter: f64,
}

impl Default for Backoff {
    /// 1 s, doubling to 5 min, ± 20 %.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            max: Duration::from_secs(300),
            jitter: 0.2,
        }
    }
}

impl Backoff {
    /// The wait after a number of failed attempts, from 1.
    #[must_use]
    pub fn after(&self, attempts: u32, rng: &mut impl Rng) -> Duration {
        let doubled = 2_u32
            .checked_pow(attempts.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let wait = self.base.saturating_mul(doubled).min(self.max);
        let jitter = self.jitter.clamp(0.0, 1.0);
        wait.mul_f64(1.0 + jitter * (rng.random::<f64>() * 2.0 - 1.0))
    }

    /// The same, and at least so long. What is told to come again at one time is spread over the
    /// time after it.
    #[must_use]
    pub fn after_at_least(&self, attempts: u32, least: Duration, rng: &mut impl Rng) -> Duration {
        let wait = self.after(attempts, rng);
        if wait >= least {
            return wait;
        }
        let jitter = self.jitter.clamp(0.0, 1.0) * rng.random::<f64>();
        least.saturating_add(least.mul_f64(jitter).min(self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_scatter_within_the_jitter() {
        let backoff = Backoff::default();
        let mut rng = rand::rng();
        for (attempts, seconds) in [(1, 1.0), (2, 2.0), (5, 16.0), (10, 300.0), (400, 300.0)] {
            let wait = backoff.after(attempts, &mut rng).as_secs_f64();
            assert!(
                (seconds * 0.8..=seconds * 1.2).contains(&wait),
                "{attempts}: {wait}"
            );
        }
    }

    #[test]
    fn a_wait_that_was_asked_for_is_never_shorter_and_hardly_longer() {
        let backoff = Backoff::default();
        let mut rng = rand::rng();
        for seconds in [0, 1, 6, 3600] {
            let least = Duration::from_secs(seconds);
            let wait = backoff.after_at_least(1, least, &mut rng);
            assert!(wait >= least, "{wait:?}");
            assert!(wait <= least + backoff.base * 2, "{wait:?}");
        }
    }
}
