//! Exponential backoff with jitter: how long to wait before trying again.
//!
//! ```
//! use mesh_backoff::Backoff;
//! use std::time::Duration;
//!
//! let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), 0.2);
//! let pause = backoff.after(3, &mut rand::rng());
//! assert!(pause >= Duration::from_millis(320) && pause <= Duration::from_millis(480));
//! ```

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// How pauses grow: from `base`, doubled by each further failure, to `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub base: Duration,
    /// The longest pause, before jitter.
    pub max: Duration,
    /// By what share of itself a pause is made longer or shorter at random, 0 to 1. It keeps those
    /// who failed together from coming back together.
    pub jitter: f64,
}

impl Backoff {
    /// A backoff of these numbers.
    #[must_use]
    pub const fn new(base: Duration, max: Duration, jitter: f64) -> Self {
        Self { base, max, jitter }
    }

    /// A backoff with "equal jitter", as the AWS Architecture Blog calls it ("Exponential Backoff
    /// And Jitter"): a pause is half of what it may be and a random part of the other half.
    #[must_use]
    pub fn equal_jitter(base: Duration, max: Duration) -> Self {
        Self::new(base.mul_f64(0.75), max.mul_f64(0.75), 1.0 / 3.0)
    }

    /// The pause after a number of failures in a row, from 1.
    #[must_use]
    pub fn after(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doubled = 2_u32
            .checked_pow(failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let pause = self.base.saturating_mul(doubled).min(self.max);
        let jitter = self.jitter.clamp(0.0, 1.0);
        pause.mul_f64(1.0 + jitter * (rng.random::<f64>() * 2.0 - 1.0))
    }

    /// The same, but at least `least`, which the other side asked for. Those who were asked for the
    /// same pause are spread over the time after it.
    #[must_use]
    pub fn after_at_least(&self, failures: u32, least: Duration, rng: &mut impl Rng) -> Duration {
        let pause = self.after(failures, rng);
        if pause >= least {
            return pause;
        }
        let jitter = self.jitter.clamp(0.0, 1.0) * rng.random::<f64>();
        least.saturating_add(least.mul_f64(jitter).min(self.base))
    }
}

/// A backoff that counts the failures itself.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    backoff: Backoff,
    failures: u32,
}

impl Pauses {
    /// Pauses of this backoff, from the first on.
    #[must_use]
    pub const fn new(backoff: Backoff) -> Self {
        let failures = 0;
        Self { backoff, failures }
    }

    /// The pause after one more failure.
    pub fn after_failure(&mut self, rng: &mut impl Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.after(self.failures, rng)
    }

    /// Starts over, after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300), 0.2);

    #[test]
    fn pauses_double_up_to_the_longest_and_scatter_within_the_jitter() {
        let mut rng = rand::rng();
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (5, 16.0), (10, 300.0), (400, 300.0)] {
            let pause = BACKOFF.after(failures, &mut rng).as_secs_f64();
            assert!(
                (seconds * 0.799..=seconds * 1.201).contains(&pause),
                "{failures}: {pause}"
            );
        }
    }

    #[test]
    fn a_pause_that_was_asked_for_is_never_shorter_and_hardly_longer() {
        let mut rng = rand::rng();
        for seconds in [0, 1, 6, 3600] {
            let least = Duration::from_secs(seconds);
            let pause = BACKOFF.after_at_least(1, least, &mut rng);
            assert!(pause >= least, "{pause:?}");
            assert!(pause <= least + BACKOFF.base * 2, "{pause:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_most_and_start_over() {
        let (base, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let (mut pauses, mut rng) = (Pauses::new(Backoff::equal_jitter(base, most)), rand::rng());
        for step in 0..20 {
            let whole = Duration::from_millis(100 << step.min(10)).min(most);
            let pause = pauses.after_failure(&mut rng);
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{pause:?} at step {step}"
            );
        }
        pauses.reset();
        assert!(pauses.after_failure(&mut rng) <= base);
    }
}
