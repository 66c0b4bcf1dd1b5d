//! How many queues there may be.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use mesh_jobs::{
    Error, Failure, Job, JobContext, JobHandler, JobOutcome, JobStatus, NewJob, Payload,
    QueueOptions, Worker,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    NOW,
    support::{self, call, claim_one, stores, until},
};

struct Idle;

#[async_trait::async_trait]
impl JobHandler for Idle {
    async fn run(&self, _: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        Ok(None)
    }
}

fn named(queue: &str) -> NewJob {
    NewJob {
        queue: queue.to_owned(),
        ..call("x")
    }
}

#[tokio::test]
async fn names_made_up_at_once_make_no_more_queues_than_there_may_be() {
    for store in stores().await {
        let options = QueueOptions {
            max_queues: 3,
            own_queues: ["mine".to_owned()].into(),
            partitions: [("q0".to_owned(), 4), ("q1".to_owned(), 4)].into(),
            ..support::options()
        };
        let jobs = store.jobs_with(options.clone());
        let names: Vec<String> = (0..12).map(|number| format!("q{number}")).collect();
        let answers = join_all(names.iter().map(|name| jobs.submit(named(name)))).await;
        let mut made = BTreeSet::new();
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Ok(_) => drop(made.insert(name.as_str())),
                Err(Error::Queues { queue, max: 3 }) => assert_eq!(queue, *name),
                Err(error) => panic!("{}: {error}", store.scheme),
            }
        }
        assert_eq!(made.len(), 3, "{}", store.scheme);
        for _ in 0..8 {
            for name in &names {
                let answer = jobs.submit(named(name)).await;
                assert_eq!(answer.is_ok(), made.contains(name.as_str()), "{answer:?}");
            }
        }
        jobs.submit(named("mine")).await.unwrap();
        assert_eq!(jobs.queues().await.unwrap().len(), 4, "{}", store.scheme);
        if store.scheme == "file" {
            continue;
        }
        // Another process learns it from the store.
        let other = store.jobs_with(options);
        assert!(other.submit(named("new")).await.is_err());
        for name in made {
            other.submit(named(name)).await.unwrap();
        }
        let free = store.jobs_with(QueueOptions {
            max_queues: 0,
            ..support::options()
        });
        free.submit(named("new")).await.unwrap();
    }
}

#[tokio::test]
async fn a_queue_is_served_from_the_moment_that_a_worker_takes_its_jobs() {
    for store in stores().await {
        let (jobs, stop) = (store.jobs(), CancellationToken::new());
        for queue in ["mine", "nobodys"] {
            jobs.submit(named(queue)).await.unwrap();
        }
        assert_eq!(jobs.is_served("mine").await, None, "all may be starting");
        let mut workers = JoinSet::new();
        // Another process than the one that asks, where the store is shared.
        let other = match store.scheme {
            "file" => jobs.clone(),
            _ => store.jobs(),
        };
        let worker = Worker::new(other, "mine", "w", 1, Arc::new(Idle));
        let until_then = stop.clone();
        workers.spawn(async move { worker.run(until_then, NOW).await });
        until("the worker is known", || async {
            jobs.is_served("mine").await == Some(true)
        })
        .await;
        assert_eq!(jobs.is_served("nobodys").await, Some(false));
        let stats = jobs.queues().await.unwrap();
        let served: Vec<_> = stats
            .iter()
            .map(|it| (it.queue.as_str(), it.served))
            .collect();
        let wanted = [("mine", Some(true)), ("nobodys", Some(false))];
        assert_eq!(served, wanted, "{}", store.scheme);
        stop.cancel();
        while workers.join_next().await.is_some() {}
    }
}

#[tokio::test]
async fn a_job_that_is_refused_until_later_is_not_claimed_sooner() {
    for store in stores().await {
        let jobs = store.jobs();
        let new = NewJob {
            max_attempts: 2,
            ..call("x")
        };
        let id = jobs.submit(new).await.unwrap().id;
        let later = || JobOutcome::Failed {
            error: "too busy".to_owned(),
            retry: Some(Duration::from_millis(900)),
            metrics: None,
        };
        let claimed = claim_one(&jobs, "default").await;
        let begun = tokio::time::Instant::now();
        jobs.settle(&[(claimed, later())]).await.remove(0).unwrap();
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(record.status, JobStatus::Failed);
        assert_eq!(record.header.error.as_deref(), Some("too busy"));
        let mut claimed = Vec::new();
        while claimed.is_empty() {
            claimed = jobs.claim("default", "w", 1, NOW).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let waited = begun.elapsed().as_millis();
        assert!(waited >= 890, "{}: {waited} ms", store.scheme);
        let ended = (claimed.remove(0), later());
        jobs.settle(&[ended]).await.remove(0).unwrap();
        until("it is given up", || async {
            jobs.get(&id).await.unwrap().status == JobStatus::Dead
        })
        .await;
    }
}
