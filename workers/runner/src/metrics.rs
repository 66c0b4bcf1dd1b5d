//! The runner's metrics.

use std::time::Duration;

use telemetry::{Counter, Gauge, Histogram, TraceContext};

/// Upper bounds in seconds: jobs take from a millisecond to an hour.
const BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

telemetry::metrics! {
    /// The runner's metrics; labels are names of queues and closed sets of words.
    pub(crate) struct Metrics {
        attempts: Counter ["queue", "kind", "outcome"] = "mesh_jobs_attempts": "Attempts of jobs that ended here";
        run: Histogram ["queue", "kind", "outcome"] = "mesh_jobs_run_duration_seconds": "Duration of attempts",
            || Histogram::new(BUCKETS);
        wait: Histogram ["queue", "kind"] = "mesh_jobs_wait_duration_seconds":
            "Time from when an attempt was due to its start", || Histogram::new(BUCKETS);
        running: Gauge ["queue", "kind"] = "mesh_jobs_running": "Attempts that run here now";
    }
}

impl Metrics {
    /// An attempt begins. It is over when the returned value is ended or dropped.
    pub(crate) fn begin(&self, queue: &str, kind: &'static str, waited: Duration) -> Attempt<'_> {
        self.wait.of([queue, kind]).observe(waited.as_secs_f64());
        self.running.of([queue, kind]).inc();
        Attempt {
            metrics: self,
            queue: queue.to_owned(),
            kind,
            began: std::time::Instant::now(),
            outcome: "cut",
            trace: None,
        }
    }
}

/// An attempt under way. One that is dropped before its outcome is known was cut: it took too
/// long, was cancelled, or lost its lease.
pub(crate) struct Attempt<'a> {
    metrics: &'a Metrics,
    queue: String,
    kind: &'static str,
    began: std::time::Instant,
    outcome: &'static str,
    trace: Option<TraceContext>,
}

impl Attempt<'_> {
    /// Its trace, which becomes an exemplar if it is recorded.
    pub(crate) fn traced(&mut self, trace: Option<TraceContext>) {
        self.trace = trace;
    }

    /// How it ended.
    pub(crate) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let metrics = self.metrics;
        let ended = [&*self.queue, self.kind, self.outcome];
        metrics.running.of([&self.queue, self.kind]).dec();
        metrics.attempts.of(ended).inc();
        let took = self.began.elapsed().as_secs_f64();
        metrics.run.of(ended).observe_of(took, self.trace);
    }
}
