//! What the queue promises, tried on a whole: many jobs, three worker processes of which one is
//! killed -9 again and again, one that is stopped past its leases and goes on afterwards, and a
//! Redis (`appendfsync always`) that is killed -9 in the middle and started again. Prints what was
//! counted, and fails unless every job has exactly one terminal result, the right one.
//!
//! `cargo run --release -p mesh-jobs --example acceptance -- --jobs 100000`

#![expect(clippy::print_stdout, reason = "a command line")]
#![expect(clippy::unwrap_used, reason = "a trial fails by panicking")]

mod audit;
mod fleet;
mod worker;

use std::{env, time::Duration};

use mesh_jobs::{Jobs, NewJob, Payload, QueueOptions, StoreOptions, open};
use testkit::Redis;
use tokio::time::{Instant, sleep};

use fleet::Fleet;

/// How a trial is run.
#[derive(Debug, Clone)]
struct Trial {
    jobs: u64,
    /// How long a lease lasts.
    lease: Duration,
    /// How often a worker is killed.
    kill_every: Duration,
    /// Jobs that a worker runs at once; each takes 20 to 130 ms.
    concurrency: usize,
}

/// Of so many jobs, one fails for good.
const BAD: u64 = 100;

impl Trial {
    fn queue(&self, url: &str) -> Jobs {
        // All events are kept: they are what tells how often each job ended.
        let settings = StoreOptions {
            events: 10_000_000,
            ..StoreOptions::default()
        };
        let options = QueueOptions {
            lease: self.lease,
            ..QueueOptions::default()
        };
        Jobs::new(open(url, &settings).unwrap(), options)
    }
}

fn job(number: u64) -> NewJob {
    NewJob {
        idempotency_key: Some(format!("n-{number}")),
        // A killed worker costs an attempt, and no job is to be given up for that.
        max_attempts: 100,
        ..NewJob::new("count", Payload::Json(number.to_string().into()))
    }
}

/// Submits all jobs, each until it is known to be taken, and answers how often that was unknown.
async fn feed(jobs: &Jobs, count: u64) -> u64 {
    let mut unknown = 0;
    for start in (0..count).step_by(500) {
        let mut left: Vec<u64> = (start..count.min(start + 500)).collect();
        while !left.is_empty() {
            let answers = jobs.submit_all(left.iter().copied().map(job).collect());
            let answers = answers.await.unwrap();
            let refused = left.into_iter().zip(&answers);
            left = refused
                .filter(|(_, answer)| answer.is_err())
                .map(|(number, _)| number)
                .collect();
            if !left.is_empty() {
                unknown += left.len() as u64;
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    unknown
}

/// Jobs that have ended, and those that have not; nothing while Redis is away.
async fn ended(jobs: &Jobs) -> Option<(u64, u64)> {
    let queues = jobs.queues().await.ok()?;
    let counts = &queues.first()?.counts;
    let open = counts.queued + counts.scheduled + counts.running + counts.failed;
    Some((counts.succeeded + counts.dead + counts.cancelled, open))
}

async fn run(trial: Trial) {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let jobs = trial.queue(&redis.url());
    let mut fleet = Fleet::start(&trial, &redis.url());
    let (start, count) = (Instant::now(), trial.jobs);
    let disasters = async {
        let (mut killed_redis, mut next_kill) = (false, Instant::now() + trial.kill_every);
        let mut next_doze = Instant::now() + trial.kill_every / 2;
        loop {
            sleep(Duration::from_millis(50)).await;
            fleet.wake_dozers(trial.lease * 2);
            let Some((done, open)) = ended(&jobs).await else {
                continue;
            };
            if done >= count && open == 0 && killed_redis && fleet.dozers() == 0 {
                return;
            }
            if done >= count / 2 && !killed_redis {
                killed_redis = true;
                redis.kill();
                sleep(Duration::from_secs(1)).await;
                redis.restart().await;
                println!("redis killed -9 and restarted with {done} of {count} done");
            }
            if Instant::now() >= next_kill {
                fleet.kill_one();
                next_kill = Instant::now() + trial.kill_every;
            }
            if Instant::now() >= next_doze {
                fleet.stop_one();
                next_doze = Instant::now() + trial.lease * 4;
            }
        }
    };
    let (unknown, ()) = tokio::join!(feed(&jobs, count), disasters);
    let seconds = start.elapsed().as_secs();
    let tally = fleet.end();
    let found = audit::audit(&jobs, count).await;
    println!("jobs submitted                       {count}");
    println!("  submitted again, answer unknown    {unknown}");
    println!("jobs known                           {}", found.known);
    println!("  succeeded, with their own result   {}", found.succeeded);
    println!("  dead, as they were to be           {}", found.dead);
    println!("ended exactly once, by the events    {}", found.once);
    println!("ended more than once                 {}", found.more);
    println!(
        "counters: succeeded {}, dead {}",
        found.counted.0, found.counted.1
    );
    println!("attempts told by workers             {}", tally.attempts);
    println!("workers killed -9                    {}", tally.killed);
    println!("workers stopped past their leases    {}", tally.stopped);
    println!("stale workers' writes refused        {}", tally.refused);
    println!("seconds                              {seconds}");
    let bad = count.div_ceil(BAD);
    assert_eq!((found.known, found.once, found.more), (count, count, 0));
    assert_eq!((found.succeeded, found.dead), (count - bad, bad));
    assert_eq!(found.counted, (count - bad, bad), "the counters are exact");
    assert!(tally.killed > 0 && tally.stopped > 0, "too short a trial");
    assert!(tally.refused > 0, "no stale write was refused");
    println!("all is as promised");
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |name: &str, or: u64| {
        let at = words.iter().position(|word| word == name);
        at.map_or(or, |at| words[at + 1].parse().unwrap())
    };
    let trial = Trial {
        jobs: number("--jobs", 100_000),
        lease: Duration::from_millis(number("--lease-ms", 3_000)),
        kill_every: Duration::from_millis(number("--kill-every-ms", 3_000)),
        concurrency: usize::try_from(number("--concurrency", 64)).unwrap(),
    };
    if let Some(at) = words.iter().position(|word| word == "--worker") {
        worker::work(&trial, &words[at + 1], &words[at + 2]).await;
    } else {
        run(trial).await;
    }
}
