//! The runner's metrics.

use std::time::Duration;

use telemetry::{
    MetricsRegistry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    },
};

/// Upper bounds in seconds: jobs take from a millisecond to an hour.
const BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    queue: String,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Started {
    queue: String,
    kind: &'static str,
}

/// The runner's metrics; labels are names of queues and closed sets of words.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    attempts: Family<Ended, Counter>,
    run: Family<Ended, Histogram, fn() -> Histogram>,
    wait: Family<Started, Histogram, fn() -> Histogram>,
    running: Family<Started, Gauge>,
}

impl Metrics {
    /// Metrics registered with `registry`.
    pub(crate) fn new(registry: &MetricsRegistry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            attempts: Family::default(),
            run: Family::new_with_constructor(histogram),
            wait: Family::new_with_constructor(histogram),
            running: Family::default(),
        };
        let Self {
            attempts,
            run,
            wait,
            running,
        } = metrics.clone();
        registry.register(
            "mesh_jobs_attempts",
            "Attempts of jobs that ended here",
            attempts,
        );
        registry.register(
            "mesh_jobs_run_duration_seconds",
            "Duration of attempts",
            run,
        );
        let about = "Time from submission to the start of an attempt";
        registry.register("mesh_jobs_wait_duration_seconds", about, wait);
        registry.register("mesh_jobs_running", "Attempts that run here now", running);
        metrics
    }

    /// An attempt begins. It is over when the returned value is ended or dropped.
    pub(crate) fn begin(&self, queue: &str, kind: &'static str, waited: Duration) -> Attempt<'_> {
        let labels = Started {
            queue: queue.to_owned(),
            kind,
        };
        self.wait
            .get_or_create(&labels)
            .observe(waited.as_secs_f64());
        self.running.get_or_create(&labels).inc();
        Attempt {
            metrics: self,
            labels,
            began: std::time::Instant::now(),
            outcome: "cut",
        }
    }
}

/// An attempt under way. One that is dropped before its outcome is known was cut: it took too
/// long, was cancelled, or lost its lease.
pub(crate) struct Attempt<'a> {
    metrics: &'a Metrics,
    labels: Started,
    began: std::time::Instant,
    outcome: &'static str,
}

impl Attempt<'_> {
    /// How it ended.
    pub(crate) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Started { queue, kind } = self.labels.clone();
        let ended = Ended {
            queue,
            kind,
            outcome: self.outcome,
        };
        self.metrics.running.get_or_create(&self.labels).dec();
        self.metrics.attempts.get_or_create(&ended).inc();
        let took = self.began.elapsed().as_secs_f64();
        self.metrics.run.get_or_create(&ended).observe(took);
    }
}
