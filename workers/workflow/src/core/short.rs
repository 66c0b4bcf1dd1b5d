//! How long transactions are while several owners are served.

use std::time::Duration;

use tokio::time::Instant;

use super::commit::{BUSY, MAX_RUNS};

/// How long transactions stay short after there were several owners.
const SHORT: Duration = Duration::from_secs(1);
/// While several owners are served, longer ones in seconds are too long, where fewer runs make them shorter.
const LONG: f64 = 0.004;
/// The fewest runs that are stored together for that.
const FEW: usize = 16;

/// How many runs a transaction has while several owners are served: so few that whoever comes does not wait
/// long for the one that is under way.
#[derive(Debug)]
pub(super) struct Short {
    /// Several are served, or were a moment ago.
    until: Option<Instant>,
    runs: usize,
    /// How long one of a few runs takes, in seconds: no transaction is shorter.
    least: f64,
}

impl Default for Short {
    fn default() -> Self {
        Self {
            until: None,
            runs: MAX_RUNS,
            least: 0.0,
        }
    }
}

impl Short {
    /// Several owners are served.
    pub(super) fn several(&mut self, now: Instant) {
        self.until = Some(now + SHORT);
    }

    /// Whether there were several of late.
    pub(super) fn serves_several(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The most runs of the next one.
    pub(super) fn most(&self, now: Instant) -> usize {
        match self.serves_several(now) {
            true => self.runs,
            false => MAX_RUNS,
        }
    }

    /// A transaction of so many runs took so many seconds.
    pub(super) fn committed(&mut self, runs: usize, seconds: f64) {
        if runs <= BUSY {
            self.least += (seconds - self.least) / 8.0;
        }
        let longest = (3.0 * self.least).max(LONG);
        if seconds > longest && runs > FEW {
            self.runs = (runs.min(self.runs) * 3 / 4).max(FEW);
        } else if seconds < longest * 0.75 && runs >= self.runs {
            self.runs = (self.runs * 5 / 4).min(MAX_RUNS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_several_owners_are_served_transactions_are_short() {
        let (mut short, now) = (Short::default(), Instant::now());
        assert_eq!(short.most(now), MAX_RUNS);
        for _ in 0..20 {
            short.committed(200, 0.02);
        }
        assert_eq!(short.most(now), MAX_RUNS);
        short.several(now);
        let after_long = short.most(now);
        assert!((FEW..MAX_RUNS).contains(&after_long));
        for _ in 0..20 {
            short.committed(short.runs, 0.02);
        }
        assert_eq!(short.most(now), FEW);
        for _ in 0..20 {
            short.committed(short.runs, 0.001);
        }
        assert_eq!(short.most(now), MAX_RUNS);
        // Where even the smallest takes long, many share it.
        for _ in 0..60 {
            short.committed(1, 0.01);
            short.committed(short.runs, 0.012);
        }
        assert_eq!(short.most(now), MAX_RUNS);
        assert_eq!(short.most(now + SHORT), MAX_RUNS);
    }
}
