//! How many jobs a second go from enqueue to done.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::BenchStore;
use crate::{
    Error, Failure, Job, JobContext, JobHandler, Jobs, MAX_BATCH, MAX_SUBMIT, NewJob, Payload,
    Worker,
};

/// How much is measured, and with how many hands.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Jobs to be done.
    pub jobs: usize,
    /// Whether every job brings an idempotency key.
    pub keys: bool,
    /// Whether every job has an id made from a seed, and leaves a completion that is read and
    /// acknowledged.
    pub completions: bool,
    /// Who enqueues at once, in batches of [`MAX_SUBMIT`].
    pub producers: usize,
    /// Workers.
    pub workers: usize,
    /// Jobs that each worker runs at once.
    pub concurrency: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            jobs: 100_000,
            keys: true,
            completions: false,
            producers: 2,
            workers: 2,
            concurrency: 512,
        }
    }
}

/// Told now and then: how many of how many are done.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// So many jobs in that time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rate {
    /// Jobs done.
    pub jobs: u64,
    /// From the first enqueue to the last one done, in seconds.
    pub seconds: f64,
    /// One by the other.
    pub jobs_per_second: f64,
}

impl Rate {
    pub(super) fn since(start: Instant, jobs: u64) -> Self {
        let seconds = start.elapsed().as_secs_f64();
        Self {
            jobs,
            seconds,
            jobs_per_second: jobs as f64 / seconds,
        }
    }
}

/// Jobs are enqueued in batches and worked on at the same time, until all are done.
///
/// # Errors
/// Whatever the store says.
pub async fn throughput(
    store: &BenchStore,
    plan: &Plan,
    progress: Progress<'_>,
) -> Result<Rate, Error> {
    let start = Instant::now();
    let (queue, count) = ("rate", plan.jobs as u64);
    let work = drain(&store.jobs, queue, plan, count, progress);
    let heard = async {
        match plan.completions {
            true => hear(&store.jobs, queue, count).await,
            false => Ok(()),
        }
    };
    tokio::try_join!(fill(&store.jobs, queue, plan), work, heard)?;
    Ok(Rate::since(start, count))
}

/// A job that does nothing.
pub(super) fn empty(queue: &str, key: Option<String>) -> NewJob {
    NewJob {
        queue: queue.to_owned(),
        idempotency_key: key,
        ..NewJob::new("empty", Payload::Json("{}".into()))
    }
}

/// Enqueues the plan's jobs.
pub(super) async fn fill(jobs: &Jobs, queue: &str, plan: &Plan) -> Result<(), Error> {
    let (mut tasks, left) = (JoinSet::new(), Arc::new(AtomicU64::new(plan.jobs as u64)));
    // Keys of one run are not those of the next.
    let seeds = plan.completions;
    let run = (plan.keys || seeds).then(rand::random::<u64>);
    for _ in 0..plan.producers.max(1) {
        let (jobs, queue, left) = (jobs.clone(), queue.to_owned(), left.clone());
        tasks.spawn(async move {
            loop {
                let took = |left: u64| Some(left.saturating_sub(MAX_SUBMIT as u64));
                let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, took);
                let before = before.unwrap_or_default();
                let numbers = before.saturating_sub(MAX_SUBMIT as u64)..before;
                if numbers.is_empty() {
                    return Ok(());
                }
                let batch = numbers.map(|number| {
                    let name = run.map(|run| format!("{run:016x}{number}"));
                    match seeds {
                        false => empty(&queue, name),
                        true => NewJob {
                            seed: name,
                            completion: Some(format!("tag{}", number % TAGS)),
                            ..empty(&queue, None)
                        },
                    }
                });
                for answer in jobs.submit_all(batch.collect()).await? {
                    answer?;
                }
            }
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// How many tags completions have.
const TAGS: u64 = 32;

/// Reads completions and acknowledges them, as many as there are to be.
async fn hear(jobs: &Jobs, queue: &str, count: u64) -> Result<(), Error> {
    let tags = (0..TAGS).map(|tag| (format!("tag{tag}"), String::new()));
    let (mut cursors, mut left): (Vec<_>, _) = (tags.collect(), count);
    while left > 0 {
        let wait = Duration::from_secs(1);
        let heard = jobs.completions(queue, &cursors, MAX_BATCH, wait).await?;
        left = left.saturating_sub(heard.len() as u64);
        let mut ended: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for completion in heard {
            ended
                .entry(completion.tag)
                .or_default()
                .push(completion.cursor);
        }
        for (tag, cursor) in &mut cursors {
            if let Some(last) = ended.get(tag).and_then(|cursors| cursors.last()) {
                cursor.clone_from(last);
            }
        }
        let ended: Vec<_> = ended.into_iter().collect();
        jobs.acknowledge(queue, &ended).await?;
    }
    Ok(())
}

struct NoopHandler(AtomicU64);

#[async_trait::async_trait]
impl JobHandler for NoopHandler {
    async fn run(&self, _: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Payload::Json("true".into())))
    }
}

/// Runs workers until the store says that so many more jobs of the queue have succeeded.
pub(super) async fn drain(
    jobs: &Jobs,
    queue: &str,
    plan: &Plan,
    count: u64,
    progress: Progress<'_>,
) -> Result<(), Error> {
    let before = succeeded(jobs, queue).await?;
    let handler = Arc::new(NoopHandler(AtomicU64::new(0)));
    let workers = start_workers(jobs, queue, plan, &(handler.clone() as Arc<dyn JobHandler>));
    let ended = async {
        loop {
            let ran = handler.0.load(Ordering::Relaxed);
            progress(ran.min(count), count);
            // Counting costs the store something, so it is asked when it may be so.
            if ran >= count && succeeded(jobs, queue).await? >= before + count {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    workers.until(ended).await
}

async fn succeeded(jobs: &Jobs, queue: &str) -> Result<u64, Error> {
    let queues = jobs.queues().await?;
    let of = queues.iter().find(|stats| stats.queue == queue);
    Ok(of.map_or(0, |stats| stats.counts.succeeded))
}

/// Workers that run for as long as something takes.
pub(super) struct Workers {
    stop: CancellationToken,
    workers: JoinSet<()>,
}

pub(super) fn start_workers(
    jobs: &Jobs,
    queue: &str,
    plan: &Plan,
    handler: &Arc<dyn JobHandler>,
) -> Workers {
    let (stop, mut workers) = (CancellationToken::new(), JoinSet::new());
    for _ in 0..plan.workers.max(1) {
        let worker = Worker::new(
            jobs.clone(),
            queue,
            "bench",
            plan.concurrency,
            handler.clone(),
        );
        let stop = stop.clone();
        workers.spawn(async move { worker.run(stop, Duration::from_secs(5)).await });
    }
    Workers { stop, workers }
}

impl Workers {
    pub(super) async fn until<T>(self, what: impl Future<Output = T>) -> T {
        let answer = what.await;
        self.stop.cancel();
        self.workers.join_all().await;
        answer
    }
}
