//! A worker process: tells its count of attempts and of refused writes on every line it prints.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mesh_jobs::{Failure, Job, JobContext, JobHandler, Payload, Worker};
use tokio_util::sync::CancellationToken;

use crate::{BAD, Trial};

struct Counting(AtomicU64);

#[async_trait::async_trait]
impl JobHandler for Counting {
    async fn run(&self, job: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let pause = rand::random_range(20..130);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let number = std::str::from_utf8(job.payload.bytes());
        let number: u64 = number.unwrap_or_default().parse().unwrap_or(0);
        if number.is_multiple_of(BAD) {
            return Err(Failure::permanent("it is a bad one"));
        }
        if rand::random_ratio(1, 100) {
            return Err(Failure::retryable("bad luck"));
        }
        Ok(Some(job.payload.clone()))
    }
}

/// Works until it is killed, or told to stop by the end of its input.
pub(crate) async fn work(trial: &Trial, url: &str, name: &str) {
    let handler = Arc::new(Counting(AtomicU64::new(0)));
    let worker = Worker::new(
        trial.queue(url),
        "default",
        name,
        trial.concurrency,
        handler.clone(),
    );
    let stop = CancellationToken::new();
    let tell = async {
        // Its parent's end closes the input, however the parent ends.
        let ended = tokio::task::spawn_blocking(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
        });
        tokio::pin!(ended);
        loop {
            tokio::select! {
                _ = &mut ended => break stop.cancel(),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            println!("{} {}", handler.0.load(Ordering::Relaxed), worker.refused());
        }
    };
    tokio::join!(worker.run(stop.clone(), Duration::from_secs(5)), tell);
    println!("{} {}", handler.0.load(Ordering::Relaxed), worker.refused());
}
