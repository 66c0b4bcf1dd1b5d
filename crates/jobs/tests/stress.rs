//! Many jobs, workers that vanish or doze, jobs that fail, a Redis that is killed: every job has exactly
//! one terminal result.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use mesh_jobs::{Error, Failure, Job, JobStatus, Jobs, MAX_SUBMIT, StoreOptions, Worker, open};
use support::{Counting, call, done, options, until};
use testkit::Redis;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const JOBS: usize = 5_000;

/// Submits until every job is taken, and returns how many were.
async fn feed(jobs: &Jobs) {
    let mut left = JOBS;
    while left > 0 {
        let batch = (0..left.min(MAX_SUBMIT / 2)).map(|number| call(&number.to_string()));
        let answers = jobs.submit_all(batch.collect()).await.unwrap();
        left -= answers.iter().filter(|answer| answer.is_ok()).count();
        if answers.iter().any(Result::is_err) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Three workers; every so often one of them vanishes with its jobs, and another one comes.
async fn work(jobs: Jobs, kills: &AtomicUsize, stop: CancellationToken) {
    let handler = Counting::new(|_: &Job| match rand::random_range(0..100) {
        0 | 1 => Err(Failure::retryable("bad luck")),
        number => Ok(Duration::from_millis(number / 10)),
    });
    let mut workers = JoinSet::new();
    let spawn = |workers: &mut JoinSet<()>| {
        let worker = Worker::new(jobs.clone(), "default", "w", 64, handler.clone());
        let stop = stop.clone();
        workers.spawn(async move { worker.run(stop, Duration::from_secs(5)).await })
    };
    let mut alive = std::collections::VecDeque::new();
    for _ in 0..3 {
        alive.push_back(spawn(&mut workers));
    }
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(300)) => {
                if kills.load(Ordering::SeqCst) < 10 {
                    kills.fetch_add(1, Ordering::SeqCst);
                    alive.pop_front().unwrap().abort();
                    alive.push_back(spawn(&mut workers));
                }
            }
        }
    }
    while workers.join_next().await.is_some() {}
}

/// Keeps all events.
fn everything() -> StoreOptions {
    StoreOptions {
        events: 1_000_000,
        ..StoreOptions::default()
    }
}

/// A worker that falls asleep with jobs and wakes after their leases. Returns how often it was
/// refused when it then said that they are done.
async fn doze(jobs: Jobs, stop: CancellationToken) -> usize {
    let mut refused = 0;
    while !stop.is_cancelled() {
        let claimed = jobs
            .claim("default", "dozer", 16, Duration::from_millis(50))
            .await;
        tokio::time::sleep(options().lease * 2).await;
        let claimed = claimed.unwrap_or_default().into_iter();
        let ends = claimed.map(|claimed| (claimed, done()));
        let settled = jobs.settle(&ends.collect::<Vec<_>>()).await;
        refused += settled
            .iter()
            .filter(|end| matches!(end, Err(Error::Stale { .. })))
            .count();
    }
    refused
}

/// How often each job ended, by the events.
async fn endings(jobs: &Jobs) -> HashMap<String, usize> {
    let (mut endings, mut cursor) = (HashMap::new(), String::new());
    loop {
        let page = jobs
            .events("default", &cursor, 1_000, Duration::ZERO)
            .await
            .unwrap();
        for event in &page.events {
            let ended = JobStatus::parse(&event.name).is_some_and(JobStatus::is_terminal);
            *endings.entry(event.id.to_string()).or_default() += usize::from(ended);
        }
        cursor = page.cursor;
        if page.events.is_empty() {
            return endings;
        }
    }
}

async fn run(jobs: Jobs, redis: Option<&mut Redis>) {
    let (kills, stop) = (AtomicUsize::new(0), CancellationToken::new());
    let watch = async {
        feed(&jobs).await;
        let ended = || async {
            let Ok(queues) = jobs.queues().await else {
                return false;
            };
            let counts = &queues[0].counts;
            let open = counts.queued + counts.scheduled + counts.running + counts.failed;
            open == 0 && kills.load(Ordering::SeqCst) == 10
        };
        until("every job ended, after ten kills", ended).await;
        stop.cancel();
    };
    let disaster = async {
        if let Some(redis) = redis {
            tokio::time::sleep(Duration::from_millis(700)).await;
            redis.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
            redis.restart().await;
        }
    };
    let (_, _, _, refused) = tokio::join!(
        work(jobs.clone(), &kills, stop.clone()),
        watch,
        disaster,
        doze(jobs.clone(), stop.clone()),
    );
    assert!(refused > 0, "no stale worker was refused");
    let endings = endings(&jobs).await;
    let counts = jobs.queues().await.unwrap()[0].counts.clone();
    // A batch whose answer was lost with Redis may have been taken in, and was sent again.
    assert!(
        endings.len() >= JOBS,
        "{} of {JOBS} are known",
        endings.len()
    );
    assert!(
        endings.values().all(|count| *count == 1),
        "each ended exactly once"
    );
    assert_eq!(
        usize::try_from(counts.succeeded + counts.dead).unwrap(),
        endings.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis_every_job_ends_once_though_workers_vanish_and_redis_is_killed() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let jobs = Jobs::new(open(&redis.url(), &everything()).unwrap(), options());
    run(jobs, Some(&mut redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_disk_every_job_ends_once_though_workers_vanish() {
    let store = support::store("file").await;
    run(
        Jobs::new(open(&store.address, &everything()).unwrap(), options()),
        None,
    )
    .await;
}
