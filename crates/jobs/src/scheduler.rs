//! Fires timers for as long as it runs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Jobs, Timer,
    schedule::{JobFactory, ScheduleEntries},
};

/// The shortest sleep, against spinning.
const MIN_SLEEP: Duration = Duration::from_millis(10);
/// The longest sleep: entries are claimed again before others take them for unowned.
const MAX_SLEEP: Duration = Duration::from_secs(15);
/// How often the same error is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Fires the timers of a store; any number may run.
#[derive(Clone)]
pub struct Scheduler {
    jobs: Jobs,
    poll: Duration,
    make: Arc<JobFactory>,
    entries: ScheduleEntries,
    updates: Option<watch::Receiver<Vec<Timer>>>,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("poll", &self.poll)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler without entries of its own, which fires timers that are set by
    /// [`Jobs::set_timer`]. It notices new ones within `poll`, and fires known ones on time.
    #[must_use]
    pub fn new(jobs: Jobs, poll: Duration) -> Self {
        Self {
            jobs,
            poll,
            make: Arc::new(|timer: &Timer, _: &str| Ok(timer.job())),
            entries: ScheduleEntries::default(),
            updates: None,
        }
    }

    /// The same with entries of its own, which it keeps in the store as long as it runs. They are
    /// replaced whenever others are sent; for `names` see [`ScheduleEntries::new`].
    #[must_use]
    pub fn with_entries(
        mut self,
        names: &'static [&'static str],
        entries: watch::Receiver<Vec<Timer>>,
    ) -> Self {
        self.entries = ScheduleEntries::new(names);
        self.updates = Some(entries);
        self
    }

    /// The same, with jobs that `make` makes from timers.
    #[must_use]
    pub fn with_factory(
        mut self,
        make: impl Fn(&Timer, &str) -> Result<crate::NewJob, crate::Error> + Send + Sync + 'static,
    ) -> Self {
        self.make = Arc::new(make);
        self
    }

    /// Runs until `stop`. While the store is away it waits, and then makes up as each timer says.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut logged: Option<(Instant, String)> = None;
        if let Some(updates) = &mut self.updates {
            self.entries.replace(updates.borrow_and_update().clone());
        }
        loop {
            if let Some(updates) = &mut self.updates
                && updates.has_changed().unwrap_or(false)
            {
                self.entries.replace(updates.borrow_and_update().clone());
            }
            let reconciled = self
                .jobs
                .reconcile_timers(&mut self.entries, self.make.as_ref())
                .await;
            let poll = self.poll.clamp(MIN_SLEEP, MAX_SLEEP);
            let (next_in, error) = match reconciled {
                Ok(result) => (result.next_in, result.error),
                Err(error) => (None, Some(error)),
            };
            let known = logged.as_ref();
            match error.map(|error| error.to_string()) {
                Some(error)
                    if known.is_none_or(|(at, known)| {
                        *known != error || at.elapsed() > LOG_INTERVAL
                    }) =>
                {
                    tracing::warn!(error, "timers wait");
                    logged = Some((Instant::now(), error));
                }
                None if logged.take().is_some() => tracing::info!("timers go on"),
                Some(_) | None => {}
            }
            let left = next_in.map_or(poll, Duration::from_millis);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(left.clamp(MIN_SLEEP, poll)) => {}
            }
        }
    }
}
