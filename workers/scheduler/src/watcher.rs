//! Reads the entries of this scheduler's configuration, and again whenever their file changes.

use std::{path::PathBuf, time::Duration};

use jobs::Timer;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{EntryDefaults, file, interval};

/// The shortest time between two checks of the file.
const MIN_POLL: Duration = Duration::from_millis(50);

pub(crate) struct ScheduleWatcher {
    keys: EntryDefaults,
    path: Option<PathBuf>,
    interval: Option<Timer>,
    entries: watch::Sender<Vec<Timer>>,
    /// The state of the file that they were read from.
    loaded: Option<file::FileStamp>,
}

impl ScheduleWatcher {
    /// Reads everything once: a scheduler with an invalid entry does not start.
    pub(crate) fn new(keys: EntryDefaults) -> anyhow::Result<Self> {
        let path = keys.schedule.schedule_file.clone();
        // Before it is read: a change meanwhile is noticed later.
        let loaded = path.as_deref().and_then(file::stamp);
        let mut entries = match &path {
            Some(path) => file::read(path, &keys)?,
            None => Vec::new(),
        };
        let interval = interval::timer(&keys)?;
        entries.extend(interval.clone());
        Ok(Self {
            keys,
            path,
            interval,
            entries: watch::Sender::new(entries),
            loaded,
        })
    }

    /// The entries, and others whenever the file has others.
    pub(crate) fn entries(&self) -> watch::Receiver<Vec<Timer>> {
        self.entries.subscribe()
    }

    /// Follows the file. A file with an invalid entry changes nothing.
    pub(crate) async fn run(self, poll: Duration, stop: CancellationToken) {
        let Some(path) = &self.path else { return };
        let poll = poll.max(MIN_POLL);
        let mut loaded = self.loaded;
        let mut previous = loaded;
        while stop.run_until_cancelled(sleep(poll)).await.is_some() {
            let now = file::stamp(path);
            // Not while it is being written: half a file may be valid, with fewer entries.
            let settled = std::mem::replace(&mut previous, now) == now;
            if now.is_none() || now == loaded || !settled {
                continue;
            }
            let read = file::read(path, &self.keys);
            if file::stamp(path) != now {
                continue;
            }
            loaded = now;
            match read {
                Ok(mut entries) => {
                    tracing::info!(entries = entries.len(), "schedule read again");
                    entries.extend(self.interval.clone());
                    self.entries.send_replace(entries);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "schedule not taken over, the one before goes on");
                }
            }
        }
    }
}
