//! Fires timers for as long as it runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Jobs, clock};

/// The shortest sleep, against spinning.
const LEAST: Duration = Duration::from_millis(10);

/// Fires the timers of a store; any number may run.
#[derive(Debug, Clone)]
pub struct Scheduler {
    jobs: Jobs,
    poll: Duration,
}

impl Scheduler {
    /// A scheduler that notices new timers within `poll`; it fires known ones on time.
    #[must_use]
    pub const fn new(jobs: Jobs, poll: Duration) -> Self {
        Self { jobs, poll }
    }

    /// Runs until `stop`. While the store is away it waits, and then makes up as each timer says.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.jobs.fire().await {
                self.jobs.quiet.trouble(&error);
            }
            let timers = self.jobs.timers().await.unwrap_or_default();
            let next = timers.iter().map(|timer| timer.next_at).min();
            let left = next.map_or(self.poll, |next| {
                Duration::from_millis(next.saturating_sub(clock::now()))
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(left.clamp(LEAST, self.poll.max(LEAST))) => {}
            }
        }
    }
}
