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
pub enum Severity {
    /// It works, and may not for long.
    Warning,
    /// It does not work, and there is other work to do: the program stays ready.
    Degraded,
    /// It does not work, and nothing can be done without it: the program is not ready.
    NotReady,
}

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Notes by their subject: those that somebody says, the latest of each, and those that are looked
/// up when somebody asks. Clones share everything.
#[derive(Clone, Default)]
pub struct Conditions(Arc<Inner>);

#[derive(Default)]
struct Inner {
    reported: Mutex<BTreeMap<&'static str, (Severity, String)>>,
    checks: RwLock<Vec<(&'static str, Check)>>,
}

impl Conditions {
    /// Adds a check of something without which nothing can be done: why that does not work, or `None`
    /// when it does. It is asked often, and must not wait.
    pub fn add_check(
        &self,
        subject: &'static str,
        check: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.checks.write().push((subject, Box::new(check)));
    }

    /// Everything that is noted now, by subject.
    fn all(&self) -> BTreeMap<&'static str, (Severity, String)> {
        let mut all = self.0.reported.lock().clone();
        for (subject, check) in &*self.0.checks.read() {
            if let Some(text) = check() {
                all.insert(subject, (Severity::NotReady, text));
            }
        }
        all
    }

    /// Lets health say what the checks do, until the drain begins.
    pub(crate) async fn publish(self, health: Health, draining: CancellationToken) {
        let mut published = true;
        loop {
            let ready = self.severity() != Some(Severity::NotReady);
            if ready != published {
                if ready {
                    health.serving();
                } else {
                    health.not_serving();
                }
                published = ready;
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
    pub fn set(&self, subject: &'static str, note: Option<(Severity, String)>) {
        let mut conditions = self.0.reported.lock();
        match note {
            Some(note) => drop(conditions.insert(subject, note)),
            None => drop(conditions.remove(subject)),
        }
    }

    /// The heaviest of them, if there are any.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.all().values().map(|(severity, _)| *severity).max()
    }

    /// All of at least a weight, `subject: text` each.
    #[must_use]
    pub fn messages(&self, least: Severity) -> Vec<String> {
        let conditions = self.all();
        let heavy = conditions.iter().filter(|(_, (severity, _))| *severity >= least);
        heavy
            .map(|(subject, (_, text))| format!("{subject}: {text}"))
            .collect()
    }

    /// What `/readyz` answers while the program does not drain.
    #[must_use]
    pub fn readiness(&self) -> (StatusCode, String) {
        let (status, word) = match self.severity() {
            Some(Severity::NotReady) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            _ => (StatusCode::OK, "ready"),
        };
        let mut lines = vec![word.to_owned()];
        lines.extend(self.messages(Severity::Warning));
        (status, lines.join("\n"))
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conditions").field(&self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hinders_makes_a_program_unready_and_all_is_told() {
        let conditions = Conditions::default();
        assert_eq!(conditions.readiness(), (StatusCode::OK, "ready".to_owned()));
        conditions.set("cache", Some((Severity::Warning, "is old".to_owned())));
        conditions.set("mail", Some((Severity::Degraded, "is away".to_owned())));
        let (status, text) = conditions.readiness();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(text, "ready\ncache: is old\nmail: is away");
        assert_eq!(conditions.messages(Severity::Degraded), ["mail: is away"]);
        conditions.set("mail", Some((Severity::NotReady, "is away".to_owned())));
        assert_eq!(conditions.readiness().0, StatusCode::SERVICE_UNAVAILABLE);
        conditions.set("mail", None);
        assert_eq!(conditions.readiness().0, StatusCode::OK);
        conditions.add_check("registry", || Some("is not known".to_owned()));
        let (status, text) = conditions.readiness();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "not ready\ncache: is old\nregistry: is not known");
    }
}
