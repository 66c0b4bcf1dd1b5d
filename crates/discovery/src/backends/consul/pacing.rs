//! How often Consul is asked.

use std::time::Duration;

use backoff::{Backoff, Pauses};

/// The least time from one query of a watch to its next. Consul answers a query for a service that
/// does not exist whenever anything changes, so blocking alone is no limit.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The longest pause that [`interval`] gives.
const MAX_INTERVAL: Duration = Duration::from_millis(500);
/// The pause after an answer, as a multiple of the time that reading it took.
const COST_FACTOR: u32 = 8;

/// The pause to the next query. Large answers that come often must not keep Consul and us busy.
pub(super) fn interval(cost: Duration) -> Duration {
    (cost * COST_FACTOR).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

/// Pauses after errors: 100 ms to 5 s.
pub(super) fn pauses() -> Pauses {
    let (base, max) = (Duration::from_millis(100), Duration::from_secs(5));
    Pauses::new(Backoff::equal_jitter(base, max))
}
