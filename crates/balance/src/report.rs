//! The load reports of an instance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much a share of failures counts as utilization. So an instance that fails every call looks
/// busy.
const ERROR_PENALTY: f64 = 1.0;

/// A load report: the parts of an ORCA report that make a weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// How busy the instance is: 0 idle, 1 fully used.
    pub utilization: f64,
    /// Calls per second that it serves.
    pub calls: f64,
    /// Calls per second that it fails.
    pub errors: f64,
}

impl LoadReport {
    /// Calls per second that it could serve when fully used; `None` when the report lacks data.
    fn capacity(&self) -> Option<f64> {
        let failing = (self.errors / self.calls).max(0.0) * ERROR_PENALTY;
        let capacity = self.calls / (self.utilization + failing);
        (self.utilization > 0.0 && capacity.is_finite() && capacity > 0.0).then_some(capacity)
    }
}

/// The capacity of one instance by its last report.
#[derive(Debug)]
pub(crate) struct ReportedCapacity {
    /// Bits of a number, 0 or less for none. A reader may see it with another report's times: it is
    /// then off by one report, which does not matter.
    capacity: AtomicU64,
    /// Milliseconds of the last report, and of the first one since there was none that counted.
    last: AtomicU64,
    first: AtomicU64,
    expiry_ms: AtomicU64,
}

impl Default for ReportedCapacity {
    fn default() -> Self {
        Self {
            capacity: AtomicU64::new(0),
            last: AtomicU64::new(0),
            first: AtomicU64::new(0),
            expiry_ms: AtomicU64::new(u64::MAX),
        }
    }
}

impl ReportedCapacity {
    pub(crate) fn store(&self, report: &LoadReport, now: Duration) {
        let Some(capacity) = report.capacity() else {
            return;
        };
        let now = ms(now);
        if self.is_none() || self.is_expired(now) {
            self.first.store(now, Ordering::Relaxed);
        }
        self.capacity.store(capacity.to_bits(), Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
    }

    /// How long a report counts.
    pub(crate) fn set_expiry(&self, expiry: Duration) {
        self.expiry_ms.store(ms(expiry), Ordering::Relaxed);
    }

    /// Calls per second that the instance can take, once it has reported for `blackout`: its first
    /// reports do not show what it can do. `None` without a recent report.
    pub(crate) fn capacity(&self, blackout: Duration, now: Duration) -> Option<f64> {
        let now = ms(now);
        let first = self.first.load(Ordering::Relaxed);
        if self.is_none() || self.is_expired(now) || now.saturating_sub(first) < ms(blackout) {
            return None;
        }
        Some(f64::from_bits(self.capacity.load(Ordering::Relaxed)))
    }

    fn is_none(&self) -> bool {
        self.capacity.load(Ordering::Relaxed) == 0
    }

    fn is_expired(&self, now: u64) -> bool {
        let age = now.saturating_sub(self.last.load(Ordering::Relaxed));
        age >= self.expiry_ms.load(Ordering::Relaxed)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn report(utilization: f64, calls: f64, errors: f64) -> LoadReport {
        LoadReport {
            utilization,
            calls,
            errors,
        }
    }

    #[test]
    fn capacity_is_calls_by_utilization_and_less_where_calls_fail() {
        assert_eq!(report(0.5, 100.0, 0.0).capacity(), Some(200.0));
        assert_eq!(report(0.5, 100.0, 50.0).capacity(), Some(100.0));
        for useless in [
            report(0.0, 100.0, 0.0),
            report(0.5, 0.0, 0.0),
            report(f64::NAN, 1.0, 0.0),
            report(0.5, -1.0, 0.0),
            report(-0.5, 1.0, 0.0),
            report(0.5, f64::INFINITY, 0.0),
        ] {
            assert_eq!(useless.capacity(), None, "{useless:?}");
        }
    }

    #[test]
    fn a_report_counts_after_the_blackout_and_until_it_expires() {
        for expiry in [180 * S, 60 * S] {
            let reported = ReportedCapacity::default();
            reported.set_expiry(expiry);
            assert_eq!(reported.capacity(Duration::ZERO, S), None);
            reported.store(&report(0.5, 100.0, 0.0), S);
            assert_eq!(reported.capacity(10 * S, 2 * S), None);
            reported.store(&report(0.5, 50.0, 0.0), 10 * S);
            assert_eq!(reported.capacity(10 * S, 11 * S), Some(100.0));
            assert_eq!(reported.capacity(10 * S, 9 * S + expiry), Some(100.0));
            assert_eq!(reported.capacity(10 * S, 10 * S + expiry), None);
            // The blackout begins again.
            reported.store(&report(0.5, 50.0, 0.0), 200 * S);
            assert_eq!(reported.capacity(10 * S, 205 * S), None);
            assert_eq!(reported.capacity(10 * S, 210 * S), Some(100.0));
        }
    }
}
