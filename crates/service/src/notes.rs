//! What a program needs and what does not work of it now: `/readyz` and `/health` say so.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;
use parking_lot::Mutex;

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It works, and may not for long.
    Warning,
    /// It does not work, and there is other work to do: the program stays ready.
    Trouble,
    /// It does not work, and nothing can be done without it: the program is not ready.
    Hindrance,
}

/// Notes by their subject, the latest of each. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<BTreeMap<&'static str, (Weight, String)>>>);

impl Notes {
    /// Says how a subject is; nothing when it is well.
    pub fn set(&self, subject: &'static str, note: Option<(Weight, String)>) {
        let mut notes = self.0.lock();
        match note {
            Some(note) => drop(notes.insert(subject, note)),
            None => drop(notes.remove(subject)),
        }
    }

    /// The heaviest of them, if there are any.
    #[must_use]
    pub fn weight(&self) -> Option<Weight> {
        self.0.lock().values().map(|(weight, _)| *weight).max()
    }

    /// All of at least a weight, `subject: text` each.
    #[must_use]
    pub fn told(&self, least: Weight) -> Vec<String> {
        let notes = self.0.lock();
        let heavy = notes.iter().filter(|(_, (weight, _))| *weight >= least);
        heavy
            .map(|(subject, (_, text))| format!("{subject}: {text}"))
            .collect()
    }

    /// What `/readyz` answers while the program does not drain.
    #[must_use]
    pub fn readiness(&self) -> (StatusCode, String) {
        let (status, word) = match self.weight() {
            Some(Weight::Hindrance) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            _ => (StatusCode::OK, "ready"),
        };
        let mut lines = vec![word.to_owned()];
        lines.extend(self.told(Weight::Warning));
        (status, lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hinders_makes_a_program_unready_and_all_is_told() {
        let notes = Notes::default();
        assert_eq!(notes.readiness(), (StatusCode::OK, "ready".to_owned()));
        notes.set("cache", Some((Weight::Warning, "is old".to_owned())));
        notes.set("mail", Some((Weight::Trouble, "is away".to_owned())));
        let (status, text) = notes.readiness();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(text, "ready\ncache: is old\nmail: is away");
        assert_eq!(notes.told(Weight::Trouble), ["mail: is away"]);
        notes.set("mail", Some((Weight::Hindrance, "is away".to_owned())));
        assert_eq!(notes.readiness().0, StatusCode::SERVICE_UNAVAILABLE);
        notes.set("mail", None);
        assert_eq!(notes.readiness().0, StatusCode::OK);
    }
}
