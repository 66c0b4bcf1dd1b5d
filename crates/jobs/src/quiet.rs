//! Trouble with the store, told once for all who meet it: five loops that each try five times a
//! second would fill a log with one sentence.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How often trouble that lasts is told.
const TROUBLE: Duration = Duration::from_secs(30);
/// How often what may become trouble is told.
const WARNING: Duration = Duration::from_secs(3_600);
/// How many different sentences are remembered.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<HashMap<String, Instant>>);

impl Quiet {
    /// Logs what does not work.
    pub(crate) fn trouble(&self, error: &crate::Error) {
        if self.due(error.to_string(), TROUBLE) {
            tracing::warn!(%error, "the job store does not do what it is asked");
        }
    }

    /// Logs what works, and may not for long.
    pub(crate) fn warning(&self, store: &str, warning: &str) {
        if self.due(warning.to_owned(), WARNING) {
            tracing::warn!(store, warning, "jobs may be lost");
        }
    }

    /// What was trouble is over: it is told again when it comes again.
    pub(crate) fn over(&self) -> bool {
        let mut told = self.0.lock();
        let before = told.len();
        told.retain(|text, _| !text.starts_with("the job store"));
        told.len() < before
    }

    /// Whether something does not work, as far as is known.
    pub(crate) fn is_troubled(&self) -> bool {
        let told = self.0.lock();
        told.keys().any(|text| text.starts_with("the job store"))
    }

    fn due(&self, text: String, every: Duration) -> bool {
        let mut told = self.0.lock();
        if told.get(&text).is_some_and(|at| at.elapsed() < every) {
            return false;
        }
        if told.len() >= MOST {
            told.clear();
        }
        told.insert(text, Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trouble_is_told_once_and_another_one_beside_it() {
        let quiet = Quiet::default();
        let text = |what: &str| format!("the job store is {what}");
        assert!(quiet.due(text("full"), TROUBLE));
        assert!(!quiet.due(text("full"), TROUBLE));
        assert!(quiet.due(text("read-only"), TROUBLE));
        assert!(quiet.is_troubled());
        assert!(quiet.over() && !quiet.over());
        assert!(!quiet.is_troubled());
        assert!(quiet.due(text("full"), TROUBLE), "it is back");
        for number in 0..10 * MOST {
            quiet.due(text(&number.to_string()), TROUBLE);
        }
        assert!(quiet.0.lock().len() <= MOST);
    }
}
