//! Which times of a timer are due, and which one is next.

use super::{MissedPolicy, Schedule, Timer, pattern::Pattern};
use crate::Error;

/// How late is missed, in ms, for [`MissedPolicy::Skip`].
const MISSED_AFTER: u64 = 60_000;
/// How many are made up for, for [`MissedPolicy::All`].
const MAX_CATCH_UP: usize = 100;

/// How far back the clock may be set without fixed times coming again, in ms.
const MAX_SET_BACK: u64 = 3 * 3_600_000;

impl Timer {
    /// The first time after `now` at which it is to fire: [`Self::after`], except that a clock
    /// which is set back a little does not make fixed times of the day come again.
    pub(crate) fn next(&self, now: u64) -> Result<Option<u64>, Error> {
        let next = self.after(now)?;
        let (Some(time), Some(last), Schedule::Cron(pattern)) = (next, &self.last, &self.when)
        else {
            return Ok(next);
        };
        let again = last.at >= time && last.at - now <= MAX_SET_BACK;
        let pattern = Pattern::new(pattern, &self.timezone)?;
        if again && pattern.is_fixed() {
            return pattern.after(last.at);
        }
        Ok(next)
    }

    /// The first time after `now` at which it fires; none when it has no further time. What it
    /// says of its next time is heeded as far as it can be true: a clock may have jumped.
    pub(crate) fn after(&self, now: u64) -> Result<Option<u64>, Error> {
        match &self.when {
            Schedule::Cron(pattern) => Pattern::new(pattern, &self.timezone)?.after(now),
            Schedule::Every(period) => {
                let period = (*period).max(1);
                Ok(Some(match self.next_at {
                    Some(next) if next <= now => next + ((now - next) / period + 1) * period,
                    Some(next) if next <= now.saturating_add(period) => next,
                    _ => now.saturating_add(period),
                }))
            }
        }
    }

    /// The times to fire for at `now`, and when to fire next.
    pub(crate) fn due(&self, now: u64) -> Result<(Vec<u64>, Option<u64>), Error> {
        let next = self.next(now)?;
        let Some(first) = self.next_at.filter(|first| *first <= now) else {
            return Ok((Vec::new(), next));
        };
        let times = match self.missed {
            MissedPolicy::Once => vec![first],
            MissedPolicy::Skip if now - first > MISSED_AFTER => Vec::new(),
            MissedPolicy::Skip => vec![first],
            MissedPolicy::All => self.latest(first, now)?,
        };
        Ok((times, next))
    }

    /// The latest of its times from `first` to `now`.
    fn latest(&self, first: u64, now: u64) -> Result<Vec<u64>, Error> {
        let (pattern, zone) = match &self.when {
            Schedule::Every(period) => {
                let count = (now - first) / (*period).max(1) + 1;
                let skipped = count.saturating_sub(MAX_CATCH_UP as u64);
                let times = (skipped..count).map(|number| first + number * period);
                return Ok(times.collect());
            }
            Schedule::Cron(pattern) => (pattern, &self.timezone),
        };
        let pattern = Pattern::new(pattern, zone)?;
        // They are found forwards only: from further and further back, until they are enough.
        let mut span = MAX_CATCH_UP as u64 * 1_000;
        loop {
            let from = now.saturating_sub(span).max(first);
            let mut times: Vec<u64> = Vec::new();
            let mut at = pattern.after(from.saturating_sub(1))?;
            while let Some(time) = at.filter(|time| *time <= now) {
                times.push(time);
                at = pattern.after(time)?;
            }
            if times.len() >= MAX_CATCH_UP || from == first {
                return Ok(times.split_off(times.len().saturating_sub(MAX_CATCH_UP)));
            }
            span = span.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(missed: MissedPolicy) -> Timer {
        let when = Schedule::Every(1_000);
        Timer {
            missed,
            next_at: Some(10_000),
            ..Timer::new("t", when, "call", serde_json::Value::Null)
        }
    }

    #[test]
    fn missed_times_follow_the_policy() {
        assert_eq!(
            every(MissedPolicy::Once).due(12_500).unwrap(),
            (vec![10_000], Some(13_000))
        );
        let all = every(MissedPolicy::All).due(12_500).unwrap();
        assert_eq!(all, (vec![10_000, 11_000, 12_000], Some(13_000)));
        assert_eq!(
            every(MissedPolicy::Skip).due(12_500).unwrap(),
            (vec![10_000], Some(13_000))
        );
        let late = every(MissedPolicy::Skip).due(100_500).unwrap();
        assert_eq!(late, (vec![], Some(101_000)));
    }

    #[test]
    fn of_a_long_outage_the_latest_hundred_are_made_up_for() {
        let day = 86_400_000;
        for when in [
            Schedule::Every(1_000),
            Schedule::Cron("* * * * * *".to_owned()),
        ] {
            let timer = Timer {
                when,
                ..every(MissedPolicy::All)
            };
            let (times, next) = timer.due(10_500 + day).unwrap();
            assert_eq!((times.len(), times[99]), (100, 10_000 + day));
            assert_eq!(times[0], 10_000 + day - 99_000);
            assert_eq!(next, Some(11_000 + day));
        }
        let rare = Timer {
            when: Schedule::Cron("0 0 * * *".to_owned()),
            next_at: Some(10 * day),
            ..every(MissedPolicy::All)
        };
        let (times, _) = rare.due(12 * day + 1).unwrap();
        assert_eq!(times, [10 * day, 11 * day, 12 * day]);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_rhythms_go_on_and_fixed_times_come_once() {
        // It was fired for 03:00, and then the clock was set back from 03:30 to 02:30.
        let hour = 3_600_000;
        let last = crate::Firing {
            at: 3 * hour,
            job: None,
            error: None,
        };
        let of = |pattern: &str| Timer {
            when: Schedule::Cron(pattern.to_owned()),
            last: Some(last.clone()),
            ..every(MissedPolicy::Once)
        };
        let (daily, hourly) = (of("0 3 * * *"), of("0 * * * *"));
        assert_eq!(daily.next(hour * 5 / 2).unwrap(), Some(27 * hour));
        assert_eq!(hourly.next(hour * 5 / 2).unwrap(), Some(3 * hour));
        // Set back by a year, it was wrong before.
        let wrong = Timer {
            last: Some(crate::Firing {
                at: 9_000 * hour,
                ..last
            }),
            ..daily
        };
        assert_eq!(wrong.next(hour * 5 / 2).unwrap(), Some(3 * hour));
    }

    #[test]
    fn a_next_time_that_cannot_be_true_is_made_anew() {
        // The clock was an hour ahead when it was set.
        let ahead = Timer {
            next_at: Some(3_610_000),
            ..every(MissedPolicy::Once)
        };
        assert_eq!(ahead.after(10_000).unwrap(), Some(11_000));
        let cron = Timer {
            when: Schedule::Cron("* * * * * *".to_owned()),
            ..ahead
        };
        assert_eq!(cron.after(10_000).unwrap(), Some(11_000));
        assert_eq!(
            every(MissedPolicy::Once).after(9_500).unwrap(),
            Some(10_000)
        );
    }
}
