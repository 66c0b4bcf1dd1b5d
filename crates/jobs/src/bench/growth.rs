//! What jobs cost while many others wait.

use serde::Serialize;
use tokio::time::Instant;

use super::{
    BenchStore,
    throughput::{Plan, Progress, Rate, drain, fill},
};
use crate::Error;

/// A queue in which so many jobs wait.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GrowthStep {
    /// Jobs that wait.
    pub waiting: u64,
    /// How fast the latest of them were enqueued, with no worker there; 0 where none were.
    pub enqueued_per_second: f64,
    /// Enqueue to done while so many wait.
    pub rate: Rate,
    /// Bytes that they take in the store, if the store reports it.
    pub memory: Option<u64>,
}

/// Lets a queue grow to each of the sizes, and measures the plan's jobs there, enqueued and done
/// while the others wait.
///
/// # Errors
/// Whatever the store says.
pub async fn growth(
    store: &BenchStore,
    plan: &Plan,
    sizes: &[usize],
    progress: Progress<'_>,
) -> Result<Vec<GrowthStep>, Error> {
    let (queue, empty) = ("growth", store.memory().await?);
    let (mut waiting, mut grown) = (0, Vec::with_capacity(sizes.len()));
    for size in sizes {
        let more = Plan {
            jobs: size.saturating_sub(waiting),
            ..plan.clone()
        };
        let start = Instant::now();
        fill(&store.jobs, queue, &more).await?;
        let enqueued_per_second = more.jobs as f64 / start.elapsed().as_secs_f64();
        waiting = *size;
        let used = store.memory().await?;
        let start = Instant::now();
        let work = drain(&store.jobs, queue, plan, plan.jobs as u64, progress);
        tokio::try_join!(fill(&store.jobs, queue, plan), work)?;
        grown.push(GrowthStep {
            waiting: waiting as u64,
            enqueued_per_second,
            rate: Rate::since(start, plan.jobs as u64),
            memory: used
                .zip(empty)
                .map(|(used, empty)| used.saturating_sub(empty)),
        });
    }
    Ok(grown)
}
