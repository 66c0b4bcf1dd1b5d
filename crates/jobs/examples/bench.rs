//! Empty jobs from enqueue to done, a second, on a given store.
//!
//! `cargo run --release --example bench -- redis://127.0.0.1:6379 [jobs] [workers] [concurrency]`

#![expect(clippy::print_stdout, reason = "a command line")]

use std::{env, sync::Arc, time::Duration};

use mesh_jobs::{
    Context, Error, Failure, Handler, Job, Jobs, NewJob, Options, Payload, Producer, Settings,
    Worker, open,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

struct Empty;

#[async_trait::async_trait]
impl Handler for Empty {
    async fn run(&self, _: &Job, _: &Context) -> Result<Option<Payload>, Failure> {
        Ok(Some(Payload::Json("true".into())))
    }
}

fn job(queue: &str) -> NewJob {
    let mut job = NewJob::new("empty", Payload::Json("{}".into()));
    queue.clone_into(&mut job.queue);
    job
}

/// Two producers that send batches of 1,000.
async fn batches(jobs: &Jobs, queue: &'static str, count: usize) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let jobs = jobs.clone();
        tasks.spawn(async move {
            let mut left = count / 2;
            while left > 0 {
                let batch = left.min(1_000);
                for answer in jobs
                    .submit_all((0..batch).map(|_| job(queue)).collect())
                    .await?
                {
                    answer?;
                }
                left -= batch;
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// 512 callers that send one job at a time.
async fn singles(jobs: &Jobs, queue: &'static str, count: usize) -> Result<(), Error> {
    let producer = Producer::new(jobs.clone());
    let mut tasks = JoinSet::new();
    for _ in 0..512 {
        let producer = producer.clone();
        tasks.spawn(async move {
            for _ in 0..count / 512 {
                producer.submit(job(queue)).await?;
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// Runs workers until so many jobs of the queue have succeeded.
async fn drain(jobs: &Jobs, queue: &str, shape: (usize, usize), count: usize) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let mut workers = JoinSet::new();
    for _ in 0..shape.0 {
        let worker = Worker::new(jobs.clone(), queue, "bench", shape.1, Arc::new(Empty));
        let stop = stop.clone();
        workers.spawn(async move { worker.run(stop, Duration::from_secs(5)).await });
    }
    loop {
        let queues = jobs.queues().await?;
        let done = queues
            .iter()
            .find(|one| one.queue == queue)
            .map_or(0, |one| one.counts.succeeded);
        if done >= count as u64 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    workers.join_all().await;
    Ok(())
}

fn report(what: &str, count: usize, since: Instant) {
    let rate = count as f64 / since.elapsed().as_secs_f64();
    println!("{what:<34} {rate:>9.0} jobs/s");
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = env::args().skip(1);
    let address = args
        .next()
        .unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let mut number = |or| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(or);
    let (count, workers, concurrency) = (number(100_000) / 1_024 * 1_024, number(3), number(512));
    let shape = (workers, concurrency);
    let jobs = Jobs::new(open(&address, &Settings::default())?, Options::default());

    let start = Instant::now();
    batches(&jobs, "apart", count).await?;
    report("enqueue alone, batches", count, start);
    let start = Instant::now();
    drain(&jobs, "apart", shape, count).await?;
    report("drain alone", count, start);

    let start = Instant::now();
    tokio::try_join!(
        batches(&jobs, "together", count),
        drain(&jobs, "together", shape, count)
    )?;
    report("enqueue to done, batches", count, start);

    let start = Instant::now();
    tokio::try_join!(
        singles(&jobs, "singles", count),
        drain(&jobs, "singles", shape, count)
    )?;
    report("enqueue to done, single enqueues", count, start);
    Ok(())
}
