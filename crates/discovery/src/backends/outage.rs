//! Logs once that a registry is unreachable and once that it is back, however many watches notice.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tracing::{debug, info, warn};

use crate::Error;

/// The causes for which watches fail now: how many do, and the first one's error.
#[derive(Clone, Debug, Default)]
pub(super) struct Outages(Arc<Mutex<BTreeMap<Cause, (usize, Error)>>>);

/// Why one watch fails now, if it does.
#[derive(Debug)]
pub(super) struct WatchOutage {
    outages: Outages,
    now: Option<Cause>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The registry answers with this error. Watches with the same answer count together.
    Answered(String),
    /// The registry is unreachable: the same for every watch.
    Away,
}

impl Outages {
    /// The error of the first watch that failed; `None` while none fails.
    pub(super) fn error(&self) -> Option<Error> {
        let causes = self.0.lock();
        causes.values().next().map(|(_, error)| error.clone())
    }
}

impl WatchOutage {
    pub(super) fn new(outages: Outages) -> Self {
        Self { outages, now: None }
    }

    pub(super) fn is_now(&self) -> bool {
        self.now.is_some()
    }

    /// The watch of `what` failed.
    pub(super) fn begin(&mut self, what: &str, error: &Error) {
        let cause = match error {
            Error::Refused { .. } | Error::Failed { .. } | Error::Config { .. } => {
                Cause::Answered(error.to_string())
            }
            Error::Unreachable { .. } | Error::Silent { .. } => Cause::Away,
        };
        if self.now.as_ref() == Some(&cause) {
            return;
        }
        self.clear();
        let first = {
            let mut causes = self.outages.0.lock();
            let (count, _) = causes
                .entry(cause.clone())
                .or_insert_with(|| (0, error.clone()));
            *count += 1;
            *count == 1
        };
        self.now = Some(cause);
        if first {
            warn!(what, %error, "cannot watch: keeping the last known set and trying again");
        } else {
            debug!(what, %error, "cannot watch either");
        }
    }

    /// The watch of `what` was answered.
    pub(super) fn end(&mut self, what: &str) {
        if self.clear() {
            info!(what, "watching again");
        }
    }

    /// Forgets the failure; returns whether this was the last watch with its cause.
    fn clear(&mut self) -> bool {
        let Some(cause) = self.now.take() else {
            return false;
        };
        let mut causes = self.outages.0.lock();
        let Some((count, _)) = causes.get_mut(&cause) else {
            return false;
        };
        *count -= 1;
        let last = *count == 0;
        if last {
            causes.remove(&cause);
        }
        last
    }
}

impl Drop for WatchOutage {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(reason: &str) -> Error {
        Error::Unreachable {
            registry: "consul",
            address: String::new(),
            reason: reason.to_owned(),
        }
    }

    fn count(outages: &Outages) -> usize {
        outages.0.lock().values().map(|(count, _)| count).sum()
    }

    #[test]
    fn each_watch_counts_once_until_it_ends_or_is_dropped() {
        let outages = Outages::default();
        let (mut a, mut b) = (
            WatchOutage::new(outages.clone()),
            WatchOutage::new(outages.clone()),
        );
        a.begin("a", &away("refused"));
        a.begin("a", &away("silent"));
        b.begin("b", &away("silent"));
        assert_eq!(count(&outages), 2);
        assert_eq!(outages.0.lock().len(), 1, "one cause, however it is worded");
        a.end("a");
        a.end("a");
        assert_eq!(count(&outages), 1);
        drop(b);
        assert!(outages.error().is_none());
    }

    #[test]
    fn what_consul_answers_is_the_trouble_before_its_absence() {
        let outages = Outages::default();
        let (mut a, mut b) = (
            WatchOutage::new(outages.clone()),
            WatchOutage::new(outages.clone()),
        );
        a.begin("a", &away(""));
        let failed = Error::Failed {
            registry: "consul",
            reason: "No cluster leader (HTTP 500)".to_owned(),
        };
        b.begin("b", &failed);
        assert!(a.is_now() && b.is_now());
        let trouble = outages.error().expect("both fail").to_string();
        assert!(trouble.contains("No cluster leader"), "{trouble}");
    }
}
