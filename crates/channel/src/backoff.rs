//! Exponential backoff with jitter.

use std::time::Duration;

use rand::RngExt as _;

/// The pause after the `failures`-th failure in a row (from 1): doubling from `min` to at most
/// `max`, ±20 % so that many callers do not come back in step.
pub(crate) fn pause(failures: u32, min: Duration, max: Duration) -> Duration {
    let doubled = min
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(max);
    doubled.mul_f64(rand::rng().random_range(0.8..=1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(60));
        for (failures, expected) in [(1, 0.1), (2, 0.2), (5, 1.6), (30, 60.0)] {
            let seconds = pause(failures, min, max).as_secs_f64();
            assert!(
                (expected * 0.79..=expected * 1.21).contains(&seconds),
                "{failures}: {seconds}"
            );
        }
    }
}
