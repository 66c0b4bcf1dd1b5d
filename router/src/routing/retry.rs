//! What follows an attempt that no instance gave an answer to: the pause before another one, zero for at
//! once, or `None` where the caller gets the error.

use std::time::Duration;

use channel::{Pushback, RETRY_PAUSE};

/// After an attempt that reached an instance, or may have. `may_retry`: the retry policy and its budget
/// allow another one. `unsent`: certainly no instance has processed the call.
pub(crate) fn after_failure(
    may_retry: bool,
    unsent: bool,
    pushback: Pushback,
    attempts: usize,
) -> Option<Duration> {
    match pushback {
        _ if !may_retry => None,
        Pushback::Wait(pause) => Some(pause),
        _ if unsent => Some(Duration::ZERO),
        Pushback::None | Pushback::Stop => Some(pause(attempts)),
    }
}

/// After a connection that could not be opened, which is no attempt. `waited`: since when no instance
/// could be connected to. `tried_before`: this instance has failed before, so no other is left.
pub(crate) fn after_connect_failure(
    waited: Duration,
    limit: Duration,
    tried_before: bool,
) -> Option<Duration> {
    let pause = if tried_before {
        pause(1)
    } else {
        Duration::ZERO
    };
    (waited < limit).then_some(pause)
}

fn pause(attempts: usize) -> Duration {
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    RETRY_PAUSE.after(attempts, &mut rand::rng())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(300);

    #[test]
    fn a_failed_attempt_is_repeated_where_that_is_allowed() {
        for (may_retry, unsent, pushback, expected) in [
            (false, false, Pushback::None, None),
            (false, true, Pushback::Wait(WAIT), None),
            (true, true, Pushback::None, Some(Duration::ZERO)),
            (true, true, Pushback::Wait(WAIT), Some(WAIT)),
            (true, false, Pushback::Wait(WAIT), Some(WAIT)),
        ] {
            let next = after_failure(may_retry, unsent, pushback, 1);
            assert_eq!(next, expected, "{may_retry} {unsent} {pushback:?}");
        }
    }

    #[test]
    fn the_pause_grows_with_the_attempts_and_is_spread_by_a_fifth() {
        for (attempts, millis) in [(1, 25.0), (2, 50.0), (3, 100.0), (9, 250.0)] {
            for _ in 0..100 {
                let pause = after_failure(true, false, Pushback::None, attempts).unwrap();
                let pause = pause.as_secs_f64() * 1e3;
                let bounds = millis * 0.799..=millis * 1.201;
                assert!(bounds.contains(&pause), "{attempts}: {pause} ms");
            }
        }
    }

    #[test]
    fn a_failed_connection_is_looked_for_elsewhere_until_the_limit() {
        let limit = Duration::from_secs(3);
        let next = |waited, tried| after_connect_failure(waited, limit, tried);
        assert_eq!(next(Duration::ZERO, false), Some(Duration::ZERO));
        assert!(next(Duration::ZERO, true).is_some_and(|pause| !pause.is_zero()));
        assert_eq!(next(limit, false), None);
        assert_eq!(next(limit, true), None);
    }
}
