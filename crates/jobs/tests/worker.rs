//! Workers and producers, on every store.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mesh_jobs::{
    Failure, Job, JobContext, JobHandler, JobStatus, Jobs, NewJob, Payload, Producer, QueueOptions,
    Worker,
};
use support::{Counting, call, stores, until};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

const DRAIN: Duration = Duration::from_secs(5);

/// Runs a worker beside something that ends, and then stops it.
async fn beside<T>(worker: &Worker, drain: Duration, what: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    let what = async {
        let answer = what.await;
        stop.cancel();
        answer
    };
    tokio::join!(worker.run(stop.clone(), drain), what).1
}

async fn status(jobs: &Jobs, id: &mesh_jobs::JobId) -> JobStatus {
    jobs.get(id).await.unwrap().status
}

#[tokio::test]
async fn a_worker_finishes_what_works_retries_what_may_pass_and_buries_the_rest() {
    for store in stores().await {
        let jobs = store.jobs();
        let handler = Counting::new(|job: &Job| match job.payload.bytes().as_ref() {
            b"\"flaky\"" if job.header.attempt < 3 => Err(Failure::retryable("not yet")),
            b"\"bad\"" => Err(Failure::permanent("never")),
            b"\"panic\"" => panic!("a handler's mistake"),
            b"\"slow\"" => Ok(Duration::from_secs(60)),
            _ => Ok(Duration::ZERO),
        });
        let twice = |text| NewJob {
            max_attempts: 2,
            ..call(text)
        };
        let timeout = Duration::from_millis(50);
        let late = NewJob {
            deadline: Some(1),
            ..call("late")
        };
        let new = [
            call("good"),
            call("flaky"),
            call("bad"),
            twice("panic"),
            late,
        ];
        let mut ids = Vec::new();
        for new in new.into_iter().chain([NewJob {
            timeout,
            ..twice("slow")
        }]) {
            ids.push(jobs.submit(new).await.unwrap().id);
        }
        let worker = Worker::new(jobs.clone(), "default", "w", 4, handler.clone());
        let ended = async {
            until("every job ended", || async {
                let mut ended = true;
                for id in &ids {
                    ended &= status(&jobs, id).await.is_terminal();
                }
                ended
            })
            .await;
        };
        beside(&worker, DRAIN, ended).await;
        let mut ended = Vec::new();
        for id in &ids {
            let record = jobs.get(id).await.unwrap();
            ended.push((record.status, record.header.attempt, record.header.error));
        }
        let dead = |attempt, error: &str| (JobStatus::Dead, attempt, Some(error.to_owned()));
        let expected = [
            (JobStatus::Succeeded, 1, None),
            (JobStatus::Succeeded, 3, None),
            dead(1, "never"),
            dead(2, "its handler panicked"),
            dead(1, "its deadline had passed before it started"),
            dead(2, "took longer than 50 ms"),
        ];
        assert_eq!(ended, expected, "{}", store.scheme);
        assert_eq!(handler.count.load(Ordering::SeqCst), 9);
    }
}

#[tokio::test]
async fn a_handler_postpones_its_job_without_spending_an_attempt() {
    for store in stores().await {
        let jobs = store.jobs();
        let looks = std::sync::atomic::AtomicUsize::new(0);
        let handler = Counting::new(move |job: &Job| {
            assert_eq!(job.header.attempt, 1);
            if looks.fetch_add(1, Ordering::SeqCst) < 4 {
                return Err(Failure::postponed(Duration::from_millis(20)));
            }
            Ok(Duration::ZERO)
        });
        let new = NewJob {
            max_attempts: 1,
            ..call("waits")
        };
        let id = jobs.submit(new).await.unwrap().id;
        let worker = Worker::new(jobs.clone(), "default", "w", 1, handler.clone());
        let ended = until("it ended", || async {
            status(&jobs, &id).await.is_terminal()
        });
        beside(&worker, DRAIN, ended).await;
        let record = jobs.get(&id).await.unwrap();
        let ended = (record.status, record.header.attempt);
        assert_eq!(ended, (JobStatus::Succeeded, 1), "{}", store.scheme);
        assert_eq!(handler.count.load(Ordering::SeqCst), 5);
    }
}

#[tokio::test]
async fn a_job_longer_than_its_lease_runs_once() {
    for store in stores().await {
        let jobs = store.jobs();
        let handler = Counting::new(|_: &Job| Ok(Duration::from_millis(2_500)));
        let id = jobs.submit(call("long")).await.unwrap().id;
        let (one, two) = (jobs.clone(), jobs.clone());
        let one = Worker::new(one, "default", "one", 1, handler.clone());
        let two = Worker::new(two, "default", "two", 1, handler.clone());
        let ended = until("it ended", || async {
            status(&jobs, &id).await.is_terminal()
        });
        beside(&one, DRAIN, beside(&two, DRAIN, ended)).await;
        assert_eq!(handler.count.load(Ordering::SeqCst), 1, "{}", store.scheme);
    }
}

#[tokio::test]
async fn a_running_job_that_is_called_off_stops() {
    for store in stores().await {
        let jobs = store.jobs();
        let id = jobs.submit(call("endless")).await.unwrap().id;
        let handler = Counting::new(|_: &Job| Ok(Duration::from_secs(600)));
        let worker = Worker::new(jobs.clone(), "default", "w", 1, handler);
        let cancel = async {
            until("it runs", || async {
                status(&jobs, &id).await == JobStatus::Running
            })
            .await;
            jobs.cancel(&id).await.unwrap();
            until("it stopped", || async {
                status(&jobs, &id).await == JobStatus::Cancelled
            })
            .await;
            until("its worker is free", || async { worker.running() == 0 }).await;
        };
        beside(&worker, DRAIN, cancel).await;
    }
}

#[tokio::test]
async fn a_call_off_reaches_a_worker_long_before_it_renews_and_nothing_else_stops() {
    for store in stores().await {
        let jobs = store.jobs_with(QueueOptions {
            lease: Duration::from_secs(600),
            partitions: [("default".to_owned(), 3)].into(),
            ..support::options()
        });
        let handler = Counting::new(|_: &Job| Ok(Duration::from_secs(600)));
        let worker = Worker::new(jobs.clone(), "default", "w", 8, handler);
        let cancel = async {
            let mut ids = Vec::new();
            for number in 0..6 {
                ids.push(jobs.submit(call(&number.to_string())).await.unwrap().id);
            }
            until("they run", || async { worker.running() == 6 }).await;
            for id in &ids[..4] {
                jobs.cancel(id).await.unwrap();
            }
            until("they stopped", || async { worker.running() == 2 }).await;
            for (number, id) in ids.iter().enumerate() {
                let expected = match number < 4 {
                    true => JobStatus::Cancelled,
                    false => JobStatus::Running,
                };
                assert_eq!(status(&jobs, id).await, expected, "{}", store.scheme);
            }
        };
        beside(&worker, Duration::ZERO, cancel).await;
    }
}

#[tokio::test]
async fn a_drain_lets_short_jobs_finish_and_hands_long_ones_back() {
    for store in stores().await {
        let jobs = store.jobs();
        let handler = Counting::new(|job: &Job| {
            let long = job.payload.bytes().as_ref() == b"\"long\"";
            Ok(Duration::from_millis(if long { 60_000 } else { 300 }))
        });
        let long = jobs.submit(call("long")).await.unwrap().id;
        let short = jobs.submit(call("short")).await.unwrap().id;
        let worker = Worker::new(jobs.clone(), "default", "w", 2, handler);
        let running = until("both run", || async { worker.running() == 2 });
        let start = Instant::now();
        beside(&worker, Duration::from_secs(1), running).await;
        assert!(start.elapsed() < Duration::from_secs(4), "{}", store.scheme);
        assert_eq!(status(&jobs, &short).await, JobStatus::Succeeded);
        let record = jobs.get(&long).await.unwrap();
        assert_eq!(
            (record.status, record.header.attempt),
            (JobStatus::Queued, 0)
        );
    }
}

#[tokio::test]
async fn single_submissions_travel_together_and_each_gets_its_own_answer() {
    for store in stores().await {
        let jobs = store.jobs();
        let producer = Producer::new(jobs.clone());
        let mut tasks = JoinSet::new();
        for number in 0..500_u32 {
            let producer = producer.clone();
            tasks.spawn(async move {
                let mut new = call(&number.to_string());
                new.priority = if number == 250 { 0 } else { 3 };
                (number, producer.submit(new).await)
            });
        }
        while let Some(answer) = tasks.join_next().await {
            let (number, answer) = answer.unwrap();
            if number == 250 {
                assert!(answer.is_err());
                continue;
            }
            let record = jobs.get(&answer.unwrap().id).await.unwrap();
            assert_eq!(record.header.priority, 3);
        }
        assert_eq!(
            jobs.queues().await.unwrap()[0].counts.queued,
            499,
            "{}",
            store.scheme
        );
    }
}

/// Tells its progress and its cost.
struct Telling;

#[async_trait::async_trait]
impl JobHandler for Telling {
    async fn run(&self, _: &Job, context: &JobContext) -> Result<Option<Payload>, Failure> {
        context.metrics(serde_json::json!({"tokens_used": 7}));
        context
            .progress("half")
            .await
            .map_err(|error| Failure::retryable(error.to_string()))?;
        Err(Failure::permanent("told all"))
    }
}

#[tokio::test]
async fn a_handler_tells_its_progress_and_its_cost_even_when_it_fails() {
    for store in stores().await {
        let jobs = store.jobs();
        let id = jobs.submit(call("x")).await.unwrap().id;
        let worker = Worker::new(jobs.clone(), "default", "w", 1, Arc::new(Telling));
        let ended = until("it ended", || async {
            status(&jobs, &id).await.is_terminal()
        });
        beside(&worker, DRAIN, ended).await;
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(
            record.header.metrics,
            Some(serde_json::json!({"tokens_used": 7}))
        );
        let events = jobs
            .job_events(&id, "", 10, Duration::ZERO)
            .await
            .unwrap()
            .events;
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(
            names,
            ["queued", "running", "progress", "dead"],
            "{}",
            store.scheme
        );
    }
}

#[tokio::test]
async fn a_worker_that_took_all_there_was_waits_without_another_claim() {
    let redis = testkit::Redis::start(&[]).await;
    let jobs = support::server::connect(&redis);
    let handler = Counting::new(|_: &Job| Ok(Duration::ZERO));
    let worker = Worker::new(jobs.clone(), "default", "w", 8, handler.clone());
    // Only a claim that finds nothing looks at the groups.
    let vain = async || {
        let said: String = support::server::ask(&redis, &["INFO", "commandstats"]).await;
        let line = said.lines().find(|line| line.starts_with("cmdstat_xinfo"));
        let calls = line.and_then(|line| line.split_once("calls=")?.1.split(',').next());
        calls.map_or(0, |calls| calls.parse::<usize>().unwrap())
    };
    let one = async |number: usize| {
        jobs.submit(call("x")).await.unwrap();
        until("it ran", async || {
            handler.count.load(Ordering::Relaxed) > number
        })
        .await;
    };
    let work = async {
        one(0).await;
        let before = vain().await;
        for number in 1..40 {
            one(number).await;
        }
        assert!(vain().await - before <= 3 * 5, "claims find nothing");
        // One that is due later is taken then, though nobody tells of it.
        let delay = Duration::from_millis(200);
        let later = NewJob {
            delay,
            ..call("later")
        };
        let begun = Instant::now();
        jobs.submit(later).await.unwrap();
        until("it ran", async || {
            handler.count.load(Ordering::Relaxed) > 40
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(3));
    };
    beside(&worker, DRAIN, work).await;
}
