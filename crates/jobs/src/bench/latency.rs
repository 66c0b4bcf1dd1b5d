//! How long a job waits for its worker when the queue is not full.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    BenchStore,
    throughput::{Plan, Progress, empty, start_workers},
};
use crate::{Error, Failure, Job, JobContext, JobHandler, Payload, Producer};

/// From the call that enqueues a job until its handler has it, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Jobs a second that were enqueued.
    pub jobs_per_second: f64,
    /// Half wait no longer.
    pub p50_ms: f64,
    /// Of a hundred 99 wait no longer.
    pub p99_ms: f64,
    /// The longest wait.
    pub max_ms: f64,
}

struct LatencyHandler {
    start: Instant,
    waits: Mutex<Vec<u64>>,
}

#[async_trait::async_trait]
impl JobHandler for LatencyHandler {
    async fn run(&self, job: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        let now = self.micros();
        let sent = std::str::from_utf8(job.payload.bytes()).ok();
        let sent = sent.and_then(|sent| sent.parse::<u64>().ok());
        let sent =
            sent.ok_or_else(|| Failure::permanent("the job does not say when it was sent"))?;
        self.waits.lock().push(now.saturating_sub(sent));
        Ok(Some(Payload::Json("true".into())))
    }
}

impl LatencyHandler {
    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Enqueues single jobs at a steady rate for `time`, without waiting for each other, and measures
/// how long each waits.
///
/// # Errors
/// Whatever the store says.
pub async fn latency(
    store: &BenchStore,
    plan: &Plan,
    rate: u32,
    time: Duration,
    progress: Progress<'_>,
) -> Result<Latency, Error> {
    let clock = Arc::new(LatencyHandler {
        start: Instant::now(),
        waits: Mutex::default(),
    });
    let queue = "latency";
    let workers = start_workers(
        &store.jobs,
        queue,
        plan,
        &(clock.clone() as Arc<dyn JobHandler>),
    );
    let all = (f64::from(rate) * time.as_secs_f64()) as usize;
    let feed = async {
        let producer = Producer::new(store.jobs.clone());
        let mut sending = JoinSet::new();
        let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0..all {
            ticks.tick().await;
            let key = plan
                .keys
                .then(|| format!("{queue}{number}{}", rand::random::<u64>()));
            let mut job = empty(queue, key);
            job.payload = Payload::Json(clock.micros().to_string().into());
            let producer = producer.clone();
            sending.spawn(async move { producer.submit(job).await });
            while let Some(sent) = sending.try_join_next() {
                sent.map(|sent| sent.map(drop)).unwrap_or(Ok(()))?;
            }
            if number % 100 == 0 {
                progress(number as u64, all as u64);
            }
        }
        while let Some(sent) = sending.join_next().await {
            sent.map(|sent| sent.map(drop)).unwrap_or(Ok(()))?;
        }
        let took = clock.start.elapsed();
        while clock.waits.lock().len() < all {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, Error>(took)
    };
    let took = workers.until(feed).await?;
    progress(all as u64, all as u64);
    let mut waits = std::mem::take(&mut *clock.waits.lock());
    waits.sort_unstable();
    let at = |share: f64| {
        let index = (share * waits.len() as f64) as usize;
        waits
            .get(index.min(waits.len().saturating_sub(1)))
            .map_or(0.0, |micros| *micros as f64 / 1e3)
    };
    Ok(Latency {
        jobs_per_second: all as f64 / took.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    })
}
