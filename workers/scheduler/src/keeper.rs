//! Keeps the entries of this scheduler's configuration in the store.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jobs::{Jobs, Timer};
use service::Config;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use work::Vigil;

use crate::{file, interval};

/// The shortest time between two looks at the file.
const LEAST: Duration = Duration::from_millis(50);

pub(crate) struct Keeper {
    jobs: Jobs,
    /// Tells when what was put there may be gone.
    vigil: Arc<Vigil>,
    config: Arc<Config>,
    path: Option<PathBuf>,
    interval: Option<Timer>,
    entries: Vec<Timer>,
}

impl Keeper {
    /// Reads everything once: a scheduler with an entry that will not do does not start.
    pub(crate) fn new(jobs: Jobs, vigil: Arc<Vigil>, config: &Arc<Config>) -> anyhow::Result<Self> {
        let path = config.optional("schedule_file").map(PathBuf::from);
        let entries = match &path {
            Some(path) => file::read(path, config)?,
            None => Vec::new(),
        };
        let interval = interval::timer(config)?;
        let config = config.clone();
        Ok(Self {
            jobs,
            vigil,
            config,
            path,
            interval,
            entries,
        })
    }

    /// Puts the entries into the store as soon as it can be reached, again when the file changes, and
    /// again when the store is not the one it was: new, emptied, or back from an older time. An entry that will not do leaves all of them as they were.
    pub(crate) async fn run(mut self, poll: Duration, stop: CancellationToken) {
        let poll = poll.max(LEAST);
        let mut seen = self.path.as_deref().and_then(file::stamp);
        let (mut kept, mut epoch) = (false, None);
        loop {
            // A store that does not answer has not forgotten anything yet.
            if let Ok(vitals) = self.vigil.look().await {
                if epoch.as_ref().is_some_and(|known| *known != vitals.epoch) {
                    tracing::warn!(
                        "the job store is another than before: entries are put there again"
                    );
                    kept = false;
                }
                epoch = Some(vitals.epoch);
            }
            if !kept {
                kept = match self.keep().await {
                    Ok(()) => true,
                    Err(error) => {
                        // That the store does not work is said once for all who meet it.
                        if !error.is_of_the_store() {
                            tracing::warn!(%error, "an entry is not taken");
                        }
                        !error.is_of_the_store()
                    }
                };
            }
            if stop.run_until_cancelled(sleep(poll)).await.is_none() {
                return;
            }
            let now = self.path.as_deref().and_then(file::stamp);
            if now.is_none() || now == seen {
                continue;
            }
            seen = now;
            let Some(path) = &self.path else { continue };
            match file::read(path, &self.config) {
                Ok(entries) => {
                    tracing::info!(entries = entries.len(), "schedule read again");
                    (self.entries, kept) = (entries, false);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "schedule not taken over, the one before goes on");
                }
            }
        }
    }

    async fn keep(&self) -> Result<(), jobs::Error> {
        for timer in self.entries.iter().chain(&self.interval) {
            self.jobs.set_timer(timer.clone()).await?;
        }
        if self.path.is_none() {
            return Ok(());
        }
        for known in self.jobs.timers().await? {
            let ours = self.entries.iter().any(|timer| timer.name == known.name);
            if known.name.starts_with(file::PREFIX) && !ours {
                self.jobs.remove_timer(&known.name).await?;
                tracing::info!(entry = known.name, "entry removed, the file has it no more");
            }
        }
        Ok(())
    }
}
