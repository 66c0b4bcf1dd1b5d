//! Health conditions: what does not work now, as `/readyz` and `/health` report it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use parking_lot::{Mutex, RwLock};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// The poll intervals while an instance is not ready, and while it is.
const NOT_READY_INTERVAL: Duration = Duration::from_millis(20);
const READY_INTERVAL: Duration = Duration::from_secs(1);

/// How bad a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, and may soon stop working.
    Warning,
    /// It does not work. The program can do other work and stays ready.
    Degraded,
    /// It does not work, and the program needs it: it is not ready.
    NotReady,
}

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Conditions by subject: the latest that was set, and the result of each check. Clones share them.
#[derive(Clone, Default)]
pub struct Conditions(Arc<Inner>);

#[derive(Default)]
struct Inner {
    reported: Mutex<BTreeMap<&'static str, (Severity, String)>>,
    checks: RwLock<Vec<(&'static str, Check)>>,
    warnings: RwLock<Vec<(&'static str, Check)>>,
}

impl Conditions {
    /// Adds a check of something that the program needs: why it does not work, or `None`. It runs
    /// often and must not block.
    pub fn add_check(
        &self,
        subject: &'static str,
        check: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.checks.write().push((subject, Box::new(check)));
    }

    /// Adds a check of something that may soon fail, or fails in part: what, or `None`. It must not
    /// block.
    pub fn add_warning(
        &self,
        subject: &'static str,
        check: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.warnings.write().push((subject, Box::new(check)));
    }

    /// All present conditions by subject.
    fn all(&self) -> BTreeMap<&'static str, (Severity, String)> {
        let mut all = self.0.reported.lock().clone();
        for (subject, check) in &*self.0.warnings.read() {
            if let Some(text) = check() {
                all.insert(subject, (Severity::Warning, text));
            }
        }
        for (subject, check) in &*self.0.checks.read() {
            if let Some(text) = check() {
                all.insert(subject, (Severity::NotReady, text));
            }
        }
        all
    }

    /// Publishes readiness to gRPC health until the drain begins.
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
            let pause = if ready {
                READY_INTERVAL
            } else {
                NOT_READY_INTERVAL
            };
            tokio::select! {
                () = draining.cancelled() => return health.not_serving(),
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether there are no checks.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.0.checks.read().is_empty()
    }

    /// Sets the condition of a subject, or clears it.
    pub fn set(&self, subject: &'static str, condition: Option<(Severity, String)>) {
        let mut conditions = self.0.reported.lock();
        match condition {
            Some(condition) => drop(conditions.insert(subject, condition)),
            None => drop(conditions.remove(subject)),
        }
    }

    /// The worst severity, if there are conditions.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.all().values().map(|(severity, _)| *severity).max()
    }

    /// The conditions of at least a severity, as `subject: text`.
    #[must_use]
    pub fn messages(&self, least: Severity) -> Vec<String> {
        let conditions = self.all();
        let listed = conditions
            .iter()
            .filter(|(_, (severity, _))| *severity >= least);
        listed
            .map(|(subject, (_, text))| format!("{subject}: {text}"))
            .collect()
    }

    /// The status and text of `/readyz`, apart from the drain.
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
    fn only_what_is_needed_makes_a_program_unready_and_all_is_reported() {
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
