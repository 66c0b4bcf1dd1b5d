//! Errors of the store are logged once for all who meet them: five loops that each try five times a
//! second would fill the log with one sentence.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How often an error that lasts is logged.
const ERROR_INTERVAL: Duration = Duration::from_secs(30);
/// How often a warning is logged.
const WARNING_INTERVAL: Duration = Duration::from_secs(3_600);
/// How many different texts are remembered.
const MAX_REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<HashMap<String, Instant>>);

impl LogThrottle {
    /// Logs an error.
    pub(crate) fn store_error(&self, error: &crate::Error) {
        if self.due(error.to_string(), ERROR_INTERVAL) {
            tracing::warn!(%error, "the job store does not do what it is asked");
        }
    }

    /// Logs a warning.
    pub(crate) fn store_warning(&self, store: &str, warning: &str) {
        if self.due(warning.to_owned(), WARNING_INTERVAL) {
            tracing::warn!(store, warning, "jobs may be lost");
        }
    }

    /// Forgets the errors, so that they are logged when they come again. Whether there were any.
    pub(crate) fn recovered(&self) -> bool {
        let mut logged = self.0.lock();
        let before = logged.len();
        logged.retain(|text, _| !text.starts_with("the job store"));
        logged.len() < before
    }

    /// Whether an error is known to last.
    pub(crate) fn has_errors(&self) -> bool {
        let logged = self.0.lock();
        logged.keys().any(|text| text.starts_with("the job store"))
    }

    fn due(&self, text: String, every: Duration) -> bool {
        let mut logged = self.0.lock();
        if logged.get(&text).is_some_and(|at| at.elapsed() < every) {
            return false;
        }
        if logged.len() >= MAX_REMEMBERED {
            logged.clear();
        }
        logged.insert(text, Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trouble_is_told_once_and_another_one_beside_it() {
        let log_throttle = LogThrottle::default();
        let text = |what: &str| format!("the job store is {what}");
        assert!(log_throttle.due(text("full"), ERROR_INTERVAL));
        assert!(!log_throttle.due(text("full"), ERROR_INTERVAL));
        assert!(log_throttle.due(text("read-only"), ERROR_INTERVAL));
        assert!(log_throttle.has_errors());
        assert!(log_throttle.recovered() && !log_throttle.recovered());
        assert!(!log_throttle.has_errors());
        assert!(log_throttle.due(text("full"), ERROR_INTERVAL), "it is back");
        for number in 0..10 * MAX_REMEMBERED {
            log_throttle.due(text(&number.to_string()), ERROR_INTERVAL);
        }
        assert!(log_throttle.0.lock().len() <= MAX_REMEMBERED);
    }
}
