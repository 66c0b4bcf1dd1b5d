//! Measures one attempt of a job: its cost, and that of the process, while it ran.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval};
use work::AttemptFacts;

use crate::process::{self, Sample};

/// How often the memory is sampled while a job runs.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Reports the cost of an attempt when it is dropped: an attempt that takes too long or is
/// cancelled ends so.
pub(crate) struct AttemptMeter<'a> {
    job: &'a jobs::Job,
    context: &'a jobs::JobContext,
    host: &'a Value,
    began: Instant,
    start: Option<Sample>,
    peak: f64,
    cpu: Duration,
    pub(crate) facts: AttemptFacts,
}

impl<'a> AttemptMeter<'a> {
    pub(crate) fn start(
        job: &'a jobs::Job,
        context: &'a jobs::JobContext,
        host: &'a Value,
    ) -> Self {
        let start = process::sample();
        Self {
            job,
            context,
            host,
            began: Instant::now(),
            start,
            peak: start.map_or(0.0, |start| start.memory_mb),
            cpu: Duration::ZERO,
            facts: AttemptFacts::default(),
        }
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long the job waited, from when it was submitted.
    pub(crate) fn queued(&self) -> Duration {
        let header = &self.job.header;
        // Both by the clock of the store.
        let started = header.started_at.unwrap_or(header.enqueued_at);
        Duration::from_millis(started.saturating_sub(header.enqueued_at))
    }

    /// How long the attempt waited, from when it was due.
    pub(crate) fn overdue(&self) -> Duration {
        let header = &self.job.header;
        let due = header.due_at.unwrap_or(header.enqueued_at);
        let started = header.started_at.unwrap_or(due);
        Duration::from_millis(started.saturating_sub(due))
    }

    /// Runs the attempt: its own CPU time is that of the threads while they poll it.
    pub(crate) async fn run<T>(&mut self, work: impl Future<Output = T> + Send) -> T {
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = std::pin::pin!(work);
        MeteredFuture {
            meter: self,
            work,
            ticks,
        }
        .await
    }

    fn sample(&mut self) -> Option<Sample> {
        let sample = process::sample()?;
        self.peak = self.peak.max(sample.memory_mb);
        Some(sample)
    }

    fn report(&mut self) -> Value {
        let (took, queued) = (self.elapsed(), self.queued());
        let end = self.sample();
        let mut report = self.facts.all();
        let seconds = took.as_secs_f64();
        let cpu = if seconds > 0.0 {
            self.cpu.as_secs_f64() / seconds * 100.0
        } else {
            0.0
        };
        let numbers = [
            ("queue_time_ms", json!(ms(queued))),
            ("execution_time_ms", json!(ms(took))),
            ("total_duration_ms", json!(ms(queued + took))),
            (
                "memory_start_mb",
                json!(self.start.map(|sample| round(sample.memory_mb))),
            ),
            ("memory_peak_mb", json!(end.map(|_| round(self.peak)))),
            (
                "memory_end_mb",
                json!(end.map(|sample| round(sample.memory_mb))),
            ),
            ("cpu_percent", json!(round(cpu))),
            ("thread_count", json!(end.map(|sample| sample.threads))),
            ("attempt", json!(self.job.header.attempt)),
            ("host", self.host.clone()),
        ];
        report.extend(numbers.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(report)
    }
}

impl Drop for AttemptMeter<'_> {
    fn drop(&mut self) {
        let report = self.report();
        self.context.metrics(report);
    }
}

struct MeteredFuture<'m, 'a, F> {
    meter: &'m mut AttemptMeter<'a>,
    work: Pin<&'m mut F>,
    ticks: Interval,
}

impl<F: Future> Future for MeteredFuture<'_, '_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        while this.ticks.poll_tick(cx).is_ready() {
            this.meter.sample();
        }
        let before = process::thread_cpu();
        let polled = this.work.as_mut().poll(cx);
        this.meter.cpu += process::thread_cpu().saturating_sub(before);
        polled
    }
}

/// Milliseconds, with microseconds behind the point.
pub(crate) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
