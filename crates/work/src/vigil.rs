//! Keeps an eye on the store of jobs: whether it can be read and written, and what may go wrong.

use std::{sync::Arc, time::Duration};

use jobs::{Error, Jobs, Vitals};
use service::{Context, Severity};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

/// How often the store is looked at when nobody asks.
const EVERY: Duration = Duration::from_secs(2);
/// How long the store may take to answer before that is told of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The subject of the notes.
const SUBJECT: &str = "queue";

/// Looks at the store, for a program's health.
#[derive(Debug)]
pub struct Vigil {
    jobs: Jobs,
    /// When the latest look began, and what was seen.
    latest: Mutex<Option<(Instant, Result<Vitals, Error>)>>,
}

impl Vigil {
    /// Looks at the store now and then for as long as the program runs, and notes what it finds for
    /// `/readyz` and `/health`. The weight is that of a store that does not work.
    #[must_use]
    pub fn start(context: &Context, jobs: &Jobs, weight: Severity) -> Arc<Self> {
        let vigil = Arc::new(Self {
            jobs: jobs.clone(),
            latest: Mutex::default(),
        });
        let (watching, conditions) = (Arc::clone(&vigil), context.conditions.clone());
        let shutdown = context.shutdown.clone();
        context.tracker.spawn(async move {
            let watch = async {
                loop {
                    let seen = timeout(PATIENCE, watching.look()).await;
                    let note = match seen {
                        Ok(Ok(vitals)) if vitals.warnings.is_empty() => None,
                        Ok(Ok(vitals)) => Some((Severity::Warning, vitals.warnings.join("; "))),
                        Ok(Err(error)) => Some((weight, error.to_string())),
                        Err(_) => Some((weight, format!("no answer within {PATIENCE:?}"))),
                    };
                    conditions.set(SUBJECT, note);
                    sleep(EVERY).await;
                }
            };
            shutdown.run_until_cancelled(watch).await;
        });
        vigil
    }

    /// How the store is now; one look does for all who ask while it is waited for.
    ///
    /// # Errors
    /// What [`Jobs::check`] says.
    pub async fn look(&self) -> Result<Vitals, Error> {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some((began, seen)) = &*latest
            && *began >= asked
        {
            return seen.clone();
        }
        let began = Instant::now();
        let seen = self.jobs.check().await;
        *latest = Some((began, seen.clone()));
        seen
    }
}
