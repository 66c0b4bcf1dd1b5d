//! Slow start: a member that joins warm ones gets few calls at first.

use std::time::Duration;

use crate::{BalanceOptions, Load};

/// Which members of a set are in slow start, without checking them all.
#[derive(Debug)]
pub(crate) struct SlowStart {
    window: Duration,
    from: f64,
    /// When the first member is warm. Until then all are equally cold, and none gets fewer calls.
    some: Duration,
    /// When the last member is warm. From then on there is no slow start.
    all: Duration,
}

impl SlowStart {
    pub(crate) fn new<'a>(loads: impl Iterator<Item = &'a Load>, options: &BalanceOptions) -> Self {
        let window = options.slow_start;
        let warm_at = |load: &Load| {
            let joined = load.joined();
            joined.map_or(Duration::ZERO, |joined| joined.saturating_add(window))
        };
        let (some, all) = loads
            .map(warm_at)
            .map(|at| (at, at))
            .reduce(|(some, all), (at, _)| (some.min(at), all.max(at)))
            .unwrap_or_default();
        Self {
            window,
            from: options.slow_start_from,
            some,
            all,
        }
    }

    /// How much of its share a member gets at `now`, at most 1.
    pub(crate) fn factor(&self, load: &Load, now: Duration) -> f64 {
        if now >= self.all || now < self.some {
            return 1.0;
        }
        let Some(joined) = load.joined() else {
            return 1.0;
        };
        let age = now.saturating_sub(joined);
        if age >= self.window {
            return 1.0;
        }
        // The window is longer than the age, so it is not zero.
        self.from + (1.0 - self.from) * age.as_secs_f64() / self.window.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn slow_start_of(loads: &[Load]) -> SlowStart {
        SlowStart::new(loads.iter(), &BalanceOptions::default())
    }

    #[test]
    fn a_newcomers_share_grows_from_a_tenth_to_all_of_it() {
        let loads = [Load::new(), Load::joined_at(100 * S)];
        let slow_start = slow_start_of(&loads);
        let factor = |now| (slow_start.factor(&loads[1], now) * 100.0).round();
        assert_eq!(factor(100 * S), 10.0);
        assert_eq!(factor(105 * S), 55.0);
        assert_eq!(factor(110 * S), 100.0);
        assert_eq!(slow_start.factor(&loads[0], 100 * S), 1.0);
    }

    #[test]
    fn nobody_is_held_back_where_all_are_new() {
        let loads = [Load::joined_at(100 * S), Load::joined_at(102 * S)];
        let slow_start = slow_start_of(&loads);
        assert_eq!(slow_start.factor(&loads[1], 103 * S), 1.0);
        assert!(slow_start.factor(&loads[1], 111 * S) < 1.0);
    }
}
