//! The life of a job.

use std::time::Duration;

use mesh_jobs::{Error, JobFilter, JobStatus, NewJob, Payload};

use crate::{
    NOW, counts, done, failed,
    support::{call, claim_one, stores},
};

#[tokio::test]
async fn a_job_goes_from_queued_over_running_to_succeeded_and_keeps_all_it_came_with() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut new = NewJob::new("call", Payload::Binary(vec![0, 10, 255].into()));
        new.caller = Some("alice".to_owned());
        new.deadline = Some(4_000_000_000_000);
        new.trace
            .insert("traceparent".to_owned(), "00-1-2-01".to_owned());
        let submitted = jobs.submit(new).await.unwrap();
        assert_eq!(
            (submitted.status, submitted.existing),
            (Some(JobStatus::Queued), false)
        );
        let queued = jobs.get(&submitted.id).await.unwrap();
        assert_eq!(
            (queued.status, queued.header.attempt),
            (JobStatus::Queued, 0)
        );
        assert_eq!(counts(&jobs).await, [1, 0, 0, 0, 0, 0, 0]);

        let claimed = claim_one(&jobs, "default").await;
        assert_eq!(
            claimed.job.payload,
            Payload::Binary(vec![0, 10, 255].into())
        );
        assert_eq!(claimed.job.header.caller.as_deref(), Some("alice"));
        assert_eq!(claimed.job.header.trace["traceparent"], "00-1-2-01");
        let running = jobs.get(&submitted.id).await.unwrap();
        assert_eq!(
            (running.status, running.header.attempt),
            (JobStatus::Running, 1)
        );
        assert_eq!(running.worker.as_deref(), Some("w1"));
        assert!(running.header.started_at.is_some());
        jobs.progress(&claimed.lease, "50%").await.unwrap();
        let record = jobs.get(&submitted.id).await.unwrap();
        assert_eq!(record.progress.as_deref(), Some("50%"));

        assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
        let record = jobs.get(&submitted.id).await.unwrap();
        assert_eq!(record.status, JobStatus::Succeeded);
        assert_eq!(record.result, Some(Payload::Json("7".into())));
        assert_eq!(record.header.metrics, Some(1.into()));
        assert_eq!(record.header.deadline, Some(4_000_000_000_000));
        assert!(record.header.ended_at >= record.header.started_at);
        assert_eq!(
            counts(&jobs).await,
            [0, 0, 0, 0, 0, 1, 0],
            "{}",
            store.scheme
        );
    }
}

#[tokio::test]
async fn an_unknown_id_is_not_found() {
    for store in stores().await {
        let jobs = store.jobs();
        let id = "default.0.000000000000000000000000000".parse().unwrap();
        assert!(matches!(jobs.get(&id).await, Err(Error::NotFound { .. })));
        assert!(matches!(
            jobs.cancel(&id).await,
            Err(Error::NotFound { .. })
        ));
        assert!(matches!(jobs.retry(&id).await, Err(Error::NotFound { .. })));
        assert!(jobs.claim("default", "w", 5, NOW).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_failed_job_is_tried_again_later_until_it_is_dead_and_can_be_revived() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut new = call("x");
        new.max_attempts = 2;
        let id = jobs.submit(new).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        assert!(jobs.settle(&[(claimed, failed(true))]).await[0].is_ok());
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(
            (record.status, record.header.attempt),
            (JobStatus::Failed, 1)
        );
        assert_eq!(record.header.error.as_deref(), Some("it broke"));
        assert!(record.due_at.is_some());
        assert_eq!(counts(&jobs).await, [0, 0, 0, 1, 0, 0, 0]);

        let claimed = claim_one(&jobs, "default").await;
        assert_eq!(claimed.job.header.attempt, 2);
        assert!(jobs.settle(&[(claimed, failed(true))]).await[0].is_ok());
        let dead = JobFilter {
            status: Some(JobStatus::Dead),
            ..JobFilter::default()
        };
        let listed = jobs.list(&dead, 10, None).await.unwrap().jobs;
        assert_eq!(listed.len(), 1, "{}", store.scheme);
        assert_eq!((&listed[0].id, listed[0].status), (&id, JobStatus::Dead));
        assert_eq!(counts(&jobs).await, [0, 0, 0, 0, 1, 0, 0]);

        let record = jobs.retry(&id).await.unwrap();
        assert_eq!(
            (record.status, record.header.attempt),
            (JobStatus::Queued, 0)
        );
        let again = jobs.retry(&id).await;
        assert!(matches!(
            again,
            Err(Error::WrongStatus {
                status: JobStatus::Queued,
                ..
            })
        ));
        let claimed = claim_one(&jobs, "default").await;
        assert_eq!(claimed.job.payload, Payload::Json("\"x\"".into()));
        assert!(jobs.settle(&[(claimed, failed(false))]).await[0].is_ok());
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(
            record.status,
            JobStatus::Dead,
            "what cannot pass is not tried again"
        );
    }
}

#[tokio::test]
async fn higher_priorities_come_first_and_lower_ones_do_not_starve() {
    for store in stores().await {
        let jobs = store.jobs();
        for priority in [1, 3, 5, 2, 4] {
            jobs.submit(NewJob {
                priority,
                ..call("x")
            })
            .await
            .unwrap();
        }
        let claimed = jobs.claim("default", "w", 5, NOW).await.unwrap();
        let order: Vec<u8> = claimed.iter().map(|one| one.job.header.priority).collect();
        assert_eq!(order, [5, 4, 3, 2, 1], "{}", store.scheme);

        let low = jobs
            .submit(NewJob {
                priority: 1,
                ..call("low")
            })
            .await
            .unwrap()
            .id;
        let mut turns = 0;
        loop {
            jobs.submit(NewJob {
                priority: 5,
                ..call("high")
            })
            .await
            .unwrap();
            turns += 1;
            if claim_one(&jobs, "default").await.job.id == low {
                break;
            }
            assert!(turns <= 16, "the lowest priority starves");
        }
    }
}

#[tokio::test]
async fn a_delayed_job_waits_and_wakes_a_sleeping_worker_on_time() {
    for store in stores().await {
        let jobs = store.jobs();
        let sleeper = jobs.claim("default", "w", 1, Duration::from_secs(10));
        let submit = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let late = NewJob {
                delay: Duration::from_secs(60),
                ..call("late")
            };
            jobs.submit(late).await.unwrap();
            let soon = NewJob {
                delay: Duration::from_millis(300),
                ..call("soon")
            };
            let submitted = jobs.submit(soon).await.unwrap();
            assert_eq!(submitted.status, Some(JobStatus::Scheduled));
            assert_eq!(counts(&jobs).await, [0, 2, 0, 0, 0, 0, 0]);
            (submitted.id, tokio::time::Instant::now())
        };
        let (claimed, (id, since)) = tokio::join!(sleeper, submit);
        assert_eq!(claimed.unwrap()[0].job.id, id, "{}", store.scheme);
        let waited = since.elapsed().as_millis();
        assert!((250..2_000).contains(&waited), "{waited} ms");
    }
}

#[tokio::test]
async fn one_key_makes_one_job_and_refuses_another_body() {
    for store in stores().await {
        let jobs = store.jobs();
        let keyed = |text: &str, queue: &str| NewJob {
            idempotency_key: Some("k 1".to_owned()),
            queue: queue.to_owned(),
            ..call(text)
        };
        let batch = vec![
            keyed("a", "default"),
            keyed("a", "default"),
            keyed("b", "default"),
        ];
        let answers = jobs.submit_all(batch).await.unwrap();
        let first = answers[0].as_ref().unwrap();
        assert!(!first.existing);
        let second = answers[1].as_ref().unwrap();
        assert!(second.existing && second.id == first.id, "{}", store.scheme);
        assert!(matches!(&answers[2], Err(Error::Conflict { id, .. }) if *id == first.id));
        assert!(
            !jobs.submit(keyed("b", "other")).await.unwrap().existing,
            "another queue"
        );
        let claimed = claim_one(&jobs, "default").await;
        assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
        let later = jobs.submit(keyed("a", "default")).await.unwrap();
        assert_eq!(
            (later.id, later.status),
            (first.id.clone(), Some(JobStatus::Succeeded))
        );
    }
}

#[tokio::test]
async fn a_batch_of_a_thousand_is_answered_in_order_each_job_for_itself() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut batch: Vec<NewJob> = (0..1_000).map(|number| call(&number.to_string())).collect();
        batch[500].priority = 9;
        batch[501].queue = "Bad Name".to_owned();
        let answers = jobs.submit_all(batch).await.unwrap();
        assert!(matches!(
            answers[500],
            Err(Error::Invalid {
                field: "priority",
                ..
            })
        ));
        assert!(matches!(
            answers[501],
            Err(Error::Invalid { field: "queue", .. })
        ));
        let last = answers[999].as_ref().unwrap();
        let mut seen = 0;
        while seen < 998 {
            let claimed = jobs.claim("default", "w", 256, NOW).await.unwrap();
            assert!(!claimed.is_empty() && claimed.len() <= 256);
            seen += claimed.len();
            let found = claimed.iter().find(|one| one.job.id == last.id);
            if let Some(found) = found {
                assert_eq!(found.job.payload, Payload::Json("\"999\"".into()));
            }
            let ends: Vec<_> = claimed
                .into_iter()
                .map(|claimed| (claimed, done()))
                .collect();
            assert!(jobs.settle(&ends).await.iter().all(Result::is_ok));
        }
        assert_eq!(
            counts(&jobs).await,
            [0, 0, 0, 0, 0, 998, 0],
            "{}",
            store.scheme
        );
        assert!(
            jobs.submit_all((0..1_001).map(|_| call("x")).collect())
                .await
                .is_err()
        );
    }
}
