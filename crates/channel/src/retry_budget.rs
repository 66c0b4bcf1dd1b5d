//! How many retries calls have earned: so that an outage is not made worse by asking twice.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// For how many seconds a call's part counts.
const SECONDS: u64 = 10;

/// Each call puts a part of a retry in, each retry takes one out; what was put in is forgotten after
/// ten seconds, and some retries a second are free. The caller says what time it is, and no call
/// waits for another: this is looked at with each of them.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// One a second, in turn: the second, and what came in less what went out in it.
    slots: [AtomicU64; SECONDS as usize],
    /// Calls that pay for one retry; `None` when none do.
    price: Option<i64>,
    /// What is always there, in calls.
    reserve: i64,
}

impl RetryBudget {
    /// `ratio` retries for each call, and so many a second for nothing.
    pub(crate) fn new(ratio: f64, per_second: f64) -> Self {
        let price = (ratio > 0.0).then(|| (1.0 / ratio).round().max(1.0) as i64);
        Self {
            slots: Default::default(),
            price,
            reserve: ((per_second * SECONDS as f64) as i64).saturating_mul(price.unwrap_or(1)),
        }
    }

    /// A call begins.
    pub(crate) fn deposit(&self, now: Duration) {
        if self.price.is_some() {
            self.add(now, 1);
        }
    }

    /// Whether there is a retry left; it is taken.
    pub(crate) fn withdraw(&self, now: Duration) -> bool {
        let price = self.price.unwrap_or(1);
        let oldest = (now.as_secs() + 1).saturating_sub(SECONDS);
        let slots = self
            .slots
            .iter()
            .map(|slot| unpack(slot.load(Ordering::Relaxed)));
        let sum: i64 = slots
            .filter(|(second, _)| *second >= oldest)
            .map(|(_, balance)| i64::from(balance))
            .sum();
        let enough = self.reserve.saturating_add(sum) >= price;
        if enough {
            self.add(now, -i32::try_from(price).unwrap_or(i32::MAX));
        }
        enough
    }

    fn add(&self, now: Duration, amount: i32) {
        let second = now.as_secs();
        let more = |word| {
            let (of, balance) = unpack(word);
            let balance = if of == second { balance } else { 0 };
            Some(second << 32 | u64::from(balance.saturating_add(amount).cast_unsigned()))
        };
        // Never an error: the closure always returns a value.
        self.slots[(second % SECONDS) as usize]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok();
    }
}

/// A second, which 32 bits hold for longer than a process lives, and its balance.
fn unpack(word: u64) -> (u64, i32) {
    (word >> 32, (word as u32).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn retries(budget: &RetryBudget, now: Duration) -> usize {
        (0..1000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn calls_earn_retries_by_the_ratio_and_some_are_free() {
        let budget = RetryBudget::new(0.2, 2.0);
        assert_eq!(retries(&budget, S), 20);
        (0..50).for_each(|_| budget.deposit(S));
        assert_eq!(retries(&budget, 2 * S), 10);
    }

    #[test]
    fn what_is_ten_seconds_old_is_forgotten() {
        let budget = RetryBudget::new(0.5, 0.0);
        (0..10).for_each(|_| budget.deposit(3 * S));
        assert_eq!(retries(&budget, 13 * S), 0);
        (0..10).for_each(|_| budget.deposit(20 * S));
        assert_eq!(retries(&budget, 29 * S), 5);
    }

    #[test]
    fn what_was_taken_comes_back_after_ten_seconds() {
        let budget = RetryBudget::new(0.0, 1.0);
        assert_eq!(retries(&budget, 5 * S), 10);
        assert_eq!(retries(&budget, 14 * S), 0);
        assert_eq!(retries(&budget, 15 * S), 10);
    }
}
