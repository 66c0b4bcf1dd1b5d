//! What a program needs and what does not work of it now: `/readyz` and `/health` say so.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use parking_lot::{Mutex, RwLock};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Between two looks while an instance is not ready, and while it is.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(1);

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

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Notes by their subject: those that somebody says, the latest of each, and those that are looked
/// up when somebody asks. Clones share everything.
#[derive(Clone, Default)]
pub struct Notes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    said: Mutex<BTreeMap<&'static str, (Weight, String)>>,
    checks: RwLock<Vec<(&'static str, Check)>>,
}

impl Notes {
    /// Adds a check of something without which nothing can be done: why that does not work, or `None`
    /// when it does. It is asked often, and must not wait.
    pub fn check(
        &self,
        subject: &'static str,
        check: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.checks.write().push((subject, Box::new(check)));
    }

    /// Everything that is noted now, by subject.
    fn all(&self) -> BTreeMap<&'static str, (Weight, String)> {
        let mut all = self.0.said.lock().clone();
        for (subject, check) in &*self.0.checks.read() {
            if let Some(text) = check() {
                all.insert(subject, (Weight::Hindrance, text));
            }
        }
        all
    }

    /// Lets health say what the checks do, until the drain begins.
    pub(crate) async fn tell(self, health: Health, draining: CancellationToken) {
        let mut told = true;
        loop {
            let ready = self.weight() != Some(Weight::Hindrance);
            if ready != told {
                if ready {
                    health.serving();
                } else {
                    health.not_serving();
                }
                told = ready;
            }
            let pause = if ready { LATER } else { SOON };
            tokio::select! {
                () = draining.cancelled() => return health.not_serving(),
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether nothing has to be looked up.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.0.checks.read().is_empty()
    }

    /// Says how a subject is; nothing when it is well.
    pub fn set(&self, subject: &'static str, note: Option<(Weight, String)>) {
        let mut notes = self.0.said.lock();
        match note {
            Some(note) => drop(notes.insert(subject, note)),
            None => drop(notes.remove(subject)),
        }
    }

    /// The heaviest of them, if there are any.
    #[must_use]
    pub fn weight(&self) -> Option<Weight> {
        self.all().values().map(|(weight, _)| *weight).max()
    }

    /// All of at least a weight, `subject: text` each.
    #[must_use]
    pub fn told(&self, least: Weight) -> Vec<String> {
        let notes = self.all();
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

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notes").field(&self.all()).finish()
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
        notes.check("registry", || Some("is not known".to_owned()));
        let (status, text) = notes.readiness();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "not ready\ncache: is old\nregistry: is not known");
    }
}
