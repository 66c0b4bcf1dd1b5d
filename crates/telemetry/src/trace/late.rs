//! Calls of traces that are not recorded, which are exported all the same once they have ended badly.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// `trace_slow` in nanoseconds; 0 for none.
static SLOW: AtomicU64 = AtomicU64::new(0);
/// `trace_errors`.
static MOST: AtomicU64 = AtomicU64::new(10);
/// The present second above, how many it has had below.
static SPENT: AtomicU64 = AtomicU64::new(0);

pub(super) fn set(slow: Duration, most: u32) {
    SLOW.store(nanoseconds(slow), Relaxed);
    MOST.store(most.into(), Relaxed);
}

/// What `mesh.sampled` says of a call that has ended like this: `None` when it is not exported.
pub(super) fn reason(error: bool, took: Duration) -> Option<&'static str> {
    let slow = SLOW.load(Relaxed);
    if error {
        Some("error")
    } else if slow > 0 && nanoseconds(took) > slow {
        Some("slow")
    } else {
        None
    }
}

/// Takes one of this second's exports, if one is left.
pub(super) fn spend(unix_seconds: u64) -> bool {
    let most = MOST.load(Relaxed);
    let second = unix_seconds << 32;
    let taken = SPENT.fetch_update(Relaxed, Relaxed, |spent| {
        let count = if spent >> 32 == unix_seconds & u64::from(u32::MAX) {
            spent & u64::from(u32::MAX)
        } else {
            0
        };
        (count < most).then_some(second | (count + 1))
    });
    taken.is_ok()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_number_of_exports_and_the_next_one_as_many() {
        for second in [1_700_000_000, 1_700_000_001] {
            let taken = (0..100).filter(|_| spend(second)).count();
            assert_eq!(taken, 10);
        }
    }

    #[test]
    fn errors_are_exported_and_slow_calls_where_asked_for() {
        let second = Duration::from_secs(1);
        assert_eq!(reason(false, second), None);
        assert_eq!(reason(true, second), Some("error"));
        set(second, 10);
        assert_eq!(reason(false, second), None);
        assert_eq!(reason(false, second * 2), Some("slow"));
        set(Duration::ZERO, 10);
        assert_eq!(reason(false, second * 2), None);
    }
}
