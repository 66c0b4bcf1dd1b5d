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
    /// The latest `progress`.
    latest: f64,
}

impl Ticker {
    pub(crate) fn new(service: &Arc<str>, is_wanted: bool) -> Self {
        let began = Instant::now();
        Self {
            service: Arc::clone(service),
            is_wanted,
            began,
            next: began + INTERVAL,
            latest: 0.0,
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

    /// Passes a report on that the service itself made.
    pub(crate) async fn pass(&mut self, progress: &mut impl ProgressSink, mut report: Progress) {
        self.next = Instant::now() + INTERVAL;
        // It grows, whatever the service says and whatever was said of it before.
        let least = self.latest + (self.latest * 1e-9).max(1e-9);
        self.latest = report.progress.max(least);
        report.progress = self.latest;
        progress.report(report).await;
    }

    /// Reports now.
    pub(crate) async fn report(&mut self, progress: &mut impl ProgressSink, text: Option<String>) {
        self.next = Instant::now() + INTERVAL;
        self.latest += 1.0;
        let report = Progress {
            progress: self.latest,
            total: None,
            message: text,
        };
        progress.report(report).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    struct Kept(Vec<Progress>);

    impl ProgressSink for Kept {
        fn is_wanted(&self) -> bool {
            true
        }

        async fn report(&mut self, progress: Progress) {
            self.0.push(progress);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_call_is_reported_every_ten_seconds() {
        let mut kept = Kept(Vec::new());
        let mut ticker = Ticker::new(&"agent-echo".into(), true);
        ticker
            .during(sleep(Duration::from_secs(35)), &mut kept)
            .await;
        assert_eq!(kept.0.len(), 3);
        assert_eq!(
            kept.0[1].message.as_deref(),
            Some("agent-echo has been at it for 20 s")
        );
        let told = Progress {
            progress: 1.0,
            total: Some(4.0),
            message: None,
        };
        ticker.pass(&mut kept, told).await;
        advance(Duration::from_secs(1)).await;
        ticker.report(&mut kept, None).await;
        assert!(
            kept.0
                .windows(2)
                .all(|pair| pair[0].progress < pair[1].progress),
            "{:?}",
            kept.0
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_what_nobody_wants_to_know() {
        let mut ticker = Ticker::new(&"agent-echo".into(), false);
        let mut kept = Kept(Vec::new());
        ticker
            .during(sleep(Duration::from_secs(35)), &mut kept)
            .await;
        assert!(kept.0.is_empty());
    }
}
