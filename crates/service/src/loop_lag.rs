//! How late the tasks of a thread run.

use std::time::Duration;

use telemetry::{Histogram, Labelled, MetricsRegistry};
use tokio::time::{Instant, sleep_until};

/// How often a thread is asked. Seldom enough to cost nothing.
const EVERY: Duration = Duration::from_millis(250);

/// Upper bounds in seconds. A timer is up to 2 ms late by its resolution.
const BUCKETS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

telemetry::metrics! {
    struct LagMetrics {
        lag: Histogram ["thread"] = "mesh_loop_lag_seconds":
            "How late a timer of a thread's tasks was, asked four times a second", || Histogram::new(BUCKETS);
    }
}

/// Measures how late the tasks of a thread run.
#[derive(Clone, Debug)]
pub struct LoopLag(Labelled<Histogram, 1>);

impl LoopLag {
    pub(crate) fn new(registry: &MetricsRegistry) -> Self {
        Self(LagMetrics::new(registry).lag)
    }

    /// Measures the runtime that it runs on, for ever.
    pub async fn measure(&self, thread: &str) {
        let lag = self.0.of([thread]);
        loop {
            let due = Instant::now() + EVERY;
            sleep_until(due).await;
            lag.observe(due.elapsed().as_secs_f64());
        }
    }
}
