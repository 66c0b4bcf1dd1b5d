//! What every store does alike: each test runs on every row of the table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod completions;
mod leases;
mod lifecycle;
mod meanwhile;
mod names;
mod reading;
mod schedules;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use mesh_jobs::{JobOutcome, Jobs, Payload};

pub(crate) const NOW: Duration = Duration::ZERO;

pub(crate) fn done() -> JobOutcome {
    JobOutcome::Succeeded {
        result: Some(Payload::Json("7".into())),
        metrics: Some(1.into()),
    }
}

pub(crate) fn failed(retry: bool) -> JobOutcome {
    JobOutcome::Failed {
        error: "it broke".to_owned(),
        retry: retry.then_some(Duration::ZERO),
        metrics: None,
    }
}

pub(crate) async fn counts(jobs: &Jobs) -> [u64; 7] {
    let queues = jobs.queues().await.unwrap();
    let of = queues.iter().find(|queue| queue.queue == "default");
    let counts = of.map(|queue| queue.counts.clone()).unwrap_or_default();
    let mesh_jobs::JobCounts {
        queued,
        scheduled,
        running,
        failed,
        dead,
        succeeded,
        cancelled,
        ..
    } = counts;
    [
        queued, scheduled, running, failed, dead, succeeded, cancelled,
    ]
}
