//! Leases: kept, lost, handed back, called off.

use std::time::Duration;

use mesh_jobs::{Error, JobOutcome, JobStatus, NewJob, Renewal};

use crate::{
    NOW, counts, done, failed,
    support::{call, claim_one, recovered, stores},
};

#[tokio::test]
async fn a_lease_that_was_not_renewed_goes_to_another_and_its_holder_is_refused_everything() {
    for store in stores().await {
        let jobs = store.jobs();
        let id = jobs.submit(call("x")).await.unwrap().id;
        let stale = claim_one(&jobs, "default").await;
        assert_eq!(
            jobs.recover("default").await.unwrap(),
            0,
            "the lease is fresh"
        );
        assert_eq!(recovered(&jobs).await, 1, "{}", store.scheme);
        let fresh = claim_one(&jobs, "default").await;
        assert_eq!((&fresh.job.id, fresh.job.header.attempt), (&id, 2));

        assert_eq!(
            jobs.renew(std::slice::from_ref(&stale.lease))
                .await
                .unwrap(),
            [Renewal::Stale]
        );
        let refused = jobs.progress(&stale.lease, "99%").await;
        assert!(matches!(refused, Err(Error::Stale { .. })));
        for outcome in [
            done(),
            failed(true),
            failed(false),
            JobOutcome::Cancelled,
            JobOutcome::Released,
        ] {
            let settled = jobs.settle(&[(stale.clone(), outcome)]).await;
            assert!(matches!(settled[0], Err(Error::Stale { .. })));
        }
        assert_eq!(
            jobs.renew(std::slice::from_ref(&fresh.lease))
                .await
                .unwrap(),
            [Renewal::Held]
        );
        let twice = [(fresh.clone(), done()), (fresh.clone(), failed(true))];
        let settled = jobs.settle(&twice).await;
        assert!(settled[0].is_ok() && matches!(settled[1], Err(Error::Stale { .. })));
        assert!(matches!(
            jobs.settle(&[(fresh, done())]).await[0],
            Err(Error::Stale { .. })
        ));
        assert_eq!(counts(&jobs).await, [0, 0, 0, 0, 0, 1, 0]);
    }
}

#[tokio::test]
async fn renewing_keeps_a_lease_past_its_time() {
    for store in stores().await {
        let jobs = store.jobs();
        jobs.submit(call("x")).await.unwrap();
        let claimed = claim_one(&jobs, "default").await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            assert_eq!(
                jobs.renew(std::slice::from_ref(&claimed.lease))
                    .await
                    .unwrap(),
                [Renewal::Held]
            );
            assert_eq!(
                jobs.recover("default").await.unwrap(),
                0,
                "{}",
                store.scheme
            );
        }
        assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
    }
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_dead_after_its_last_attempt() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut new = call("poison");
        new.max_attempts = 1;
        let id = jobs.submit(new).await.unwrap().id;
        claim_one(&jobs, "default").await;
        assert_eq!(recovered(&jobs).await, 1);
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(record.status, JobStatus::Dead);
        assert!(record.header.error.unwrap().contains("worker w1"));
    }
}

#[tokio::test]
async fn a_handed_back_job_keeps_its_attempts() {
    for store in stores().await {
        let jobs = store.jobs();
        jobs.submit(call("x")).await.unwrap();
        let claimed = claim_one(&jobs, "default").await;
        assert!(jobs.settle(&[(claimed, JobOutcome::Released)]).await[0].is_ok());
        assert_eq!(
            claim_one(&jobs, "default").await.job.header.attempt,
            1,
            "{}",
            store.scheme
        );
    }
}

#[tokio::test]
async fn a_postponed_job_comes_back_after_its_delay_and_keeps_its_attempts() {
    for store in stores().await {
        let jobs = store.jobs();
        let new = NewJob {
            max_attempts: 1,
            ..call("x")
        };
        let id = jobs.submit(new).await.unwrap().id;
        for _ in 0..3 {
            let claimed = claim_one(&jobs, "default").await;
            assert_eq!(claimed.job.header.attempt, 1, "{}", store.scheme);
            let delay = Duration::from_millis(300);
            let settled = jobs
                .settle(&[(claimed, JobOutcome::Postponed { delay })])
                .await;
            assert!(settled[0].is_ok());
            let record = jobs.get(&id).await.unwrap();
            assert_eq!(
                (record.status, record.header.attempt),
                (JobStatus::Scheduled, 0)
            );
            assert!(record.due_at.is_some());
            assert_eq!(counts(&jobs).await, [0, 1, 0, 0, 0, 0, 0]);
            assert!(jobs.claim("default", "w", 5, NOW).await.unwrap().is_empty());
        }
        let claimed = claim_one(&jobs, "default").await;
        jobs.cancel(&id).await.unwrap();
        let delay = Duration::from_secs(60);
        let settled = jobs
            .settle(&[(claimed, JobOutcome::Postponed { delay })])
            .await;
        assert!(settled[0].is_ok());
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(
            record.status,
            JobStatus::Cancelled,
            "it was called off before"
        );
    }
}

#[tokio::test]
async fn cancelling_ends_a_waiting_job_at_once_and_a_running_one_when_its_worker_renews() {
    for store in stores().await {
        let jobs = store.jobs();
        let queued = jobs.submit(call("queued")).await.unwrap().id;
        let delay = Duration::from_secs(60);
        let scheduled = jobs
            .submit(NewJob {
                delay,
                ..call("scheduled")
            })
            .await
            .unwrap()
            .id;
        for id in [&queued, &scheduled] {
            let record = jobs.cancel(id).await.unwrap();
            assert_eq!(record.status, JobStatus::Cancelled);
            assert!(record.payload.is_some(), "it still says what it was");
            assert_eq!(
                jobs.cancel(id).await.unwrap().status,
                JobStatus::Cancelled,
                "again"
            );
        }
        assert!(jobs.claim("default", "w", 5, NOW).await.unwrap().is_empty());

        let id = jobs.submit(call("running")).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        assert!(jobs.cancel_requests("default").await.unwrap().is_empty());
        let record = jobs.cancel(&id).await.unwrap();
        assert_eq!(
            (record.status, record.cancelling),
            (JobStatus::Running, true)
        );
        assert_eq!(
            jobs.cancel_requests("default").await.unwrap(),
            std::slice::from_ref(&id)
        );
        assert_eq!(
            jobs.renew(std::slice::from_ref(&claimed.lease))
                .await
                .unwrap(),
            [Renewal::Cancelling]
        );
        // Whatever its worker says but that it is done, it is cancelled.
        assert!(jobs.settle(&[(claimed, failed(true))]).await[0].is_ok());
        assert_eq!(jobs.get(&id).await.unwrap().status, JobStatus::Cancelled);
        assert_eq!(
            counts(&jobs).await,
            [0, 0, 0, 0, 0, 0, 3],
            "{}",
            store.scheme
        );

        let id = jobs.submit(call("lost")).await.unwrap().id;
        claim_one(&jobs, "default").await;
        jobs.cancel(&id).await.unwrap();
        assert_eq!(recovered(&jobs).await, 1);
        assert_eq!(jobs.get(&id).await.unwrap().status, JobStatus::Cancelled);

        // What was done before its worker heard of it is done.
        let id = jobs.submit(call("done")).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        jobs.progress(&claimed.lease, "99%").await.unwrap();
        jobs.cancel(&id).await.unwrap();
        let done = JobOutcome::Succeeded {
            result: None,
            metrics: None,
        };
        assert!(jobs.settle(&[(claimed, done)]).await[0].is_ok());
        assert_eq!(jobs.get(&id).await.unwrap().status, JobStatus::Succeeded);
        assert!(jobs.cancel_requests("default").await.unwrap().is_empty());
    }
}
