//! The retry budget: how many retries recent calls allow, so that retries do not worsen an outage.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How many seconds a call counts.
const SECONDS: u64 = 10;

/// Each call deposits a part of a retry, and each retry withdraws one. Deposits expire after ten
/// seconds, and some retries a second are free. It has no lock, because every call uses it.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    /// One slot a second, in turn: the second, and its deposits less withdrawals, in calls.
    slots: [AtomicU64; SECONDS as usize],
}

impl RetryBudget {
    /// A call begins and earns `ratio` retries.
    pub(crate) fn deposit(&self, ratio: f64, now: Duration) {
        if ratio > 0.0 {
            self.add(now, 1);
        }
    }

    /// How many retries may be taken now.
    pub(crate) fn left(&self, ratio: f64, per_second: f64, now: Duration) -> i64 {
        let (price, deposits) = self.balance(ratio, per_second, now);
        (deposits / price).max(0)
    }

    /// Takes a retry, if there is one. Each call earns `ratio` retries, and `per_second` are free.
    pub(crate) fn withdraw(&self, ratio: f64, per_second: f64, now: Duration) -> bool {
        let (price, deposits) = self.balance(ratio, per_second, now);
        let enough = deposits >= price;
        if enough {
            self.add(now, -i32::try_from(price).unwrap_or(i32::MAX));
        }
        enough
    }

    /// How many calls pay for one retry, and how many have paid.
    fn balance(&self, ratio: f64, per_second: f64, now: Duration) -> (i64, i64) {
        let price = match ratio > 0.0 {
            true => (1.0 / ratio).round().max(1.0) as i64,
            false => 1,
        };
        let free = ((per_second * SECONDS as f64) as i64).saturating_mul(price);
        let oldest = (now.as_secs() + 1).saturating_sub(SECONDS);
        let slots = self
            .slots
            .iter()
            .map(|slot| unpack(slot.load(Ordering::Relaxed)));
        let sum: i64 = slots
            .filter(|(second, _)| *second >= oldest)
            .map(|(_, balance)| i64::from(balance))
            .sum();
        (price, free.saturating_add(sum))
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

/// A second, which fits in 32 bits for longer than a process lives, and its balance.
fn unpack(word: u64) -> (u64, i32) {
    (word >> 32, (word as u32).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn retries(budget: &RetryBudget, ratio: f64, per_second: f64, now: Duration) -> usize {
        (0..1000)
            .take_while(|_| budget.withdraw(ratio, per_second, now))
            .count()
    }

    #[test]
    fn calls_earn_retries_by_the_ratio_and_some_are_free() {
        let budget = RetryBudget::default();
        assert_eq!(retries(&budget, 0.2, 2.0, S), 20);
        (0..50).for_each(|_| budget.deposit(0.2, S));
        assert_eq!(retries(&budget, 0.2, 2.0, 2 * S), 10);
    }

    #[test]
    fn what_is_ten_seconds_old_is_forgotten() {
        let budget = RetryBudget::default();
        (0..10).for_each(|_| budget.deposit(0.5, 3 * S));
        assert_eq!(retries(&budget, 0.5, 0.0, 13 * S), 0);
        (0..10).for_each(|_| budget.deposit(0.5, 20 * S));
        assert_eq!(retries(&budget, 0.5, 0.0, 29 * S), 5);
    }

    #[test]
    fn what_was_taken_comes_back_after_ten_seconds() {
        let budget = RetryBudget::default();
        assert_eq!(retries(&budget, 0.0, 1.0, 5 * S), 10);
        assert_eq!(retries(&budget, 0.0, 1.0, 14 * S), 0);
        assert_eq!(retries(&budget, 0.0, 1.0, 15 * S), 10);
    }
}
