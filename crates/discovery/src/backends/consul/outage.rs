//! Says once that Consul is away and once that it is back, however many watches notice.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tracing::{debug, info, warn};

use crate::Error;

/// How many watches find Consul away at present.
#[derive(Clone, Debug, Default)]
pub(super) struct Outages(Arc<AtomicUsize>);

/// What one watch knows about its own failing.
#[derive(Debug)]
pub(super) struct Failing {
    outages: Outages,
    now: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Consul is away: the same for every watch.
    Away,
    /// Consul refuses this one question.
    Refused,
}

impl Failing {
    pub(super) fn new(outages: Outages) -> Self {
        Self { outages, now: None }
    }

    pub(super) fn is_now(&self) -> bool {
        self.now.is_some()
    }

    /// The watch of `what` failed.
    pub(super) fn begin(&mut self, what: &str, error: &Error) {
        let cause = match error {
            Error::Refused { .. } | Error::Config { .. } => Cause::Refused,
            Error::Unreachable { .. } | Error::Silent { .. } => Cause::Away,
        };
        if self.now == Some(cause) {
            return;
        }
        self.clear();
        self.now = Some(cause);
        let first = cause == Cause::Refused || self.outages.0.fetch_add(1, Ordering::Relaxed) == 0;
        if first {
            warn!(what, %error, "cannot watch: keeping the last known set and trying on");
        } else {
            debug!(what, %error, "cannot watch either");
        }
    }

    /// The watch of `what` was answered.
    pub(super) fn end(&mut self, what: &str) {
        let refused = self.now == Some(Cause::Refused);
        if self.clear() || refused {
            info!(what, "watching again");
        }
    }

    /// Forgets the failing; answers whether this was the last watch to find Consul away.
    fn clear(&mut self) -> bool {
        let away = self.now.take() == Some(Cause::Away);
        away && self.outages.0.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Error {
        let text = String::new;
        Error::Unreachable {
            registry: "consul",
            address: text(),
            reason: text(),
        }
    }

    #[test]
    fn each_watch_counts_once_until_it_ends_or_is_dropped() {
        let outages = Outages::default();
        let count = || outages.0.load(Ordering::Relaxed);
        let (mut a, mut b) = (Failing::new(outages.clone()), Failing::new(outages.clone()));
        a.begin("a", &away());
        a.begin("a", &away());
        b.begin("b", &away());
        assert_eq!(count(), 2);
        a.end("a");
        a.end("a");
        assert_eq!(count(), 1);
        drop(b);
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_refusal_does_not_count_as_an_outage() {
        let outages = Outages::default();
        let mut failing = Failing::new(outages.clone());
        failing.begin("a", &away());
        failing.begin(
            "a",
            &Error::Refused {
                registry: "consul",
                reason: String::new(),
            },
        );
        assert!(failing.is_now());
        assert_eq!(outages.0.load(Ordering::Relaxed), 0);
    }
}
