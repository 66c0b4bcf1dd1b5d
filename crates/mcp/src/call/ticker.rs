//! Signs of life of a call that takes long.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{Progress, ProgressSink};

/// The longest time without a report.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reports that a call is still under way, at least every ten seconds.
#[derive(Debug)]
pub(crate) struct Ticker {
    service: Arc<str>,
    is_wanted: bool,
    began: Instant,
    next: Instant,
    reports: u32,
}

impl Ticker {
    pub(crate) fn new(service: &Arc<str>, is_wanted: bool) -> Self {
        let began = Instant::now();
        Self {
            service: Arc::clone(service),
            is_wanted,
            began,
            next: began + INTERVAL,
            reports: 0,
        }
    }

    /// Awaits a step of the call, and reports meanwhile.
    pub(crate) async fn during<T>(
        &mut self,
        step: impl Future<Output = T>,
        progress: &mut impl ProgressSink,
    ) -> T {
        if !self.is_wanted {
            return step.await;
        }
        let mut step = std::pin::pin!(step);
        loop {
            tokio::select! {
                biased;
                done = &mut step => return done,
                // Dropping it loses nothing: the time stays.
                () = sleep_until(self.next) => {
                    let seconds = self.began.elapsed().as_secs();
                    let text = format!("{} has been at it for {seconds} s", self.service);
                    self.report(progress, Some(text)).await;
                }
            }
        }
    }

    /// Reports now.
    pub(crate) async fn report(&mut self, progress: &mut impl ProgressSink, text: Option<String>) {
        self.next = Instant::now() + INTERVAL;
        self.reports = self.reports.saturating_add(1);
        let report = Progress {
            progress: f64::from(self.reports),
            total: None,
            message: text,
        };
        progress.report(report).await;
    }
}
