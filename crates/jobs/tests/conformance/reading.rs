//! Lists, events, forgetting, partitions, timers.

use std::time::Duration;

use mesh_jobs::{Error, JobFilter, JobStatus, MissedPolicy, NewJob, Schedule, Timer};

use crate::{
    NOW, counts, done, failed,
    support::{call, stores, until},
};

#[tokio::test]
async fn listing_pages_through_every_status_exactly_once() {
    for store in stores().await {
        let jobs = store.jobs();
        let batch = (0..40).map(|number| NewJob {
            kind: if number % 2 == 0 { "call" } else { "http" }.to_owned(),
            priority: 1 + u8::try_from(number % 5).unwrap(),
            delay: Duration::from_secs(if number < 7 { 60 } else { 0 }),
            ..call("x")
        });
        for answer in jobs.submit_all(batch.collect()).await.unwrap() {
            answer.unwrap();
        }
        let claimed = jobs.claim("default", "w", 20, NOW).await.unwrap();
        let outcomes = [done(), failed(true), failed(false)].into_iter().cycle();
        let ends: Vec<_> = claimed.into_iter().take(15).zip(outcomes).collect();
        assert!(jobs.settle(&ends).await.iter().all(Result::is_ok));

        let everything = JobFilter {
            queue: Some("default".to_owned()),
            ..JobFilter::default()
        };
        for filter in [everything.clone(), JobFilter::default()] {
            let (mut ids, mut cursor) = (std::collections::HashSet::new(), None);
            loop {
                let page = jobs.list(&filter, 7, cursor.as_deref()).await.unwrap();
                assert!(page.jobs.len() <= 7);
                for record in page.jobs {
                    assert!(ids.insert(record.id), "told twice");
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(ids.len(), 40, "{}", store.scheme);
        }
        let expected = counts(&jobs).await;
        assert_eq!(expected, [13, 7, 5, 5, 5, 5, 0]);
        let statuses = [
            JobStatus::Queued,
            JobStatus::Scheduled,
            JobStatus::Running,
            JobStatus::Failed,
            JobStatus::Dead,
            JobStatus::Succeeded,
        ];
        for (status, expected) in statuses.into_iter().zip(expected) {
            let filter = JobFilter {
                status: Some(status),
                ..everything.clone()
            };
            let page = jobs.list(&filter, 100, None).await.unwrap();
            assert!(page.jobs.iter().all(|record| record.status == status));
            assert_eq!(
                page.jobs.len() as u64,
                expected,
                "{status} in {}",
                store.scheme
            );
        }
        let http = JobFilter {
            kind: Some("http".to_owned()),
            ..everything.clone()
        };
        assert_eq!(jobs.list(&http, 100, None).await.unwrap().jobs.len(), 20);
        assert!(jobs.list(&everything, 5, Some("zz")).await.is_err());
    }
}

#[tokio::test]
async fn events_of_a_job_and_of_a_queue_replay_from_any_cursor() {
    for store in stores().await {
        let jobs = store.jobs();
        let other = jobs.submit(call("other")).await.unwrap().id;
        let id = jobs.submit(call("x")).await.unwrap().id;
        let claimed = jobs.claim("default", "w", 2, NOW).await.unwrap();
        let mine = claimed.into_iter().find(|one| one.job.id == id).unwrap();
        jobs.progress(&mine.lease, "50%").await.unwrap();

        let wait = Duration::from_secs(5);
        let settle = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            jobs.settle(&[(mine.clone(), done())]).await
        };
        let follow = async {
            let (mut cursor, mut names) = (String::new(), Vec::new());
            loop {
                let page = jobs.job_events(&id, &cursor, 2, wait).await.unwrap();
                names.extend(page.events.iter().map(|event| event.name.clone()));
                cursor = page.cursor;
                if page.ended {
                    return names;
                }
            }
        };
        let (names, _) = tokio::join!(follow, settle);
        assert_eq!(
            names,
            ["queued", "running", "progress", "succeeded"],
            "{}",
            store.scheme
        );
        let all = jobs.job_events(&id, "", 100, NOW).await.unwrap();
        assert_eq!((all.events.len(), all.ended), (4, true));
        assert_eq!(all.events[2].data.as_deref(), Some("50%"));

        let all = jobs.events("default", "", 100, NOW).await.unwrap().events;
        assert_eq!(all.len(), 6, "two of the other job");
        assert_eq!(all.iter().filter(|event| event.id == other).count(), 2);
        for (index, event) in all.iter().enumerate() {
            let rest = jobs
                .events("default", &event.cursor, 100, NOW)
                .await
                .unwrap()
                .events;
            assert_eq!(rest, all[index + 1..], "{}", store.scheme);
        }
    }
}

#[tokio::test]
async fn results_and_dead_letters_are_forgotten_after_their_time() {
    for store in stores().await {
        let mut options = crate::support::options();
        (options.result_ttl, options.dead_ttl) =
            (Duration::from_millis(200), Duration::from_secs(9));
        let jobs = store.jobs_with(options);
        let good = jobs.submit(call("good")).await.unwrap().id;
        let bad = jobs.submit(call("bad")).await.unwrap().id;
        for claimed in jobs.claim("default", "w", 2, NOW).await.unwrap() {
            let outcome = if claimed.job.id == good {
                done()
            } else {
                failed(false)
            };
            assert!(jobs.settle(&[(claimed, outcome)]).await[0].is_ok());
        }
        jobs.recover("default").await.unwrap();
        assert!(jobs.get(&good).await.is_ok());
        until("the result is forgotten", async || {
            jobs.recover("default").await.unwrap();
            matches!(jobs.get(&good).await, Err(Error::NotFound { .. }))
        })
        .await;
        assert!(jobs.get(&bad).await.is_ok());
        assert_eq!(counts(&jobs).await, [0, 0, 0, 0, 1, 1, 0], "totals stay");
    }
}

#[tokio::test]
async fn a_queue_of_several_partitions_is_one_queue() {
    for store in stores().await {
        let mut options = crate::support::options();
        options.partitions.insert("default".to_owned(), 3);
        let jobs = store.jobs_with(options);
        for answer in jobs
            .submit_all((0..60).map(|_| call("x")).collect())
            .await
            .unwrap()
        {
            answer.unwrap();
        }
        let mut lanes = std::collections::HashSet::new();
        let mut seen = 0;
        while seen < 60 {
            let claimed = jobs
                .claim("default", "w", 16, Duration::from_secs(1))
                .await
                .unwrap();
            lanes.extend(claimed.iter().map(|one| one.job.id.lane()));
            seen += claimed.len();
            let ends: Vec<_> = claimed
                .into_iter()
                .map(|claimed| (claimed, done()))
                .collect();
            assert!(jobs.settle(&ends).await.iter().all(Result::is_ok));
        }
        assert_eq!((seen, lanes.len()), (60, 3), "{}", store.scheme);
        assert_eq!(counts(&jobs).await[5], 60);
        let queues = jobs.queues().await.unwrap();
        assert_eq!(queues.len(), 1, "one queue");
        let (mut cursor, mut events) = (String::new(), 0);
        loop {
            let page = jobs.events("default", &cursor, 17, NOW).await.unwrap();
            events += page.events.len();
            cursor = page.cursor;
            if page.events.is_empty() {
                break;
            }
        }
        assert_eq!(events, 180);
    }
}

#[tokio::test]
async fn a_timer_fires_once_though_three_schedulers_run() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut timer = Timer::new("tick", Schedule::Every(300), "call", "x".into());
        timer.missed = MissedPolicy::All;
        let set = jobs.set_timer(timer.clone()).await.unwrap();
        assert_eq!(
            jobs.set_timer(timer).await.unwrap(),
            set,
            "setting it again changes nothing"
        );
        let bad = Timer::new(
            "bad",
            Schedule::Cron("nonsense".to_owned()),
            "call",
            "x".into(),
        );
        assert!(matches!(
            jobs.set_timer(bad).await,
            Err(Error::Invalid { .. })
        ));
        let stop = tokio_util::sync::CancellationToken::new();
        let one = mesh_jobs::Scheduler::new(jobs.clone(), Duration::from_millis(50));
        let (two, three) = (one.clone(), one.clone());
        let watch = async {
            until("three times went by", || async {
                jobs.timers().await.unwrap()[0].next_at.unwrap() >= set.next_at.unwrap() + 900
            })
            .await;
            stop.cancel();
        };
        tokio::join!(
            one.run(stop.clone()),
            two.run(stop.clone()),
            three.run(stop.clone()),
            watch
        );
        let fired = (jobs.timers().await.unwrap()[0].next_at.unwrap() - set.next_at.unwrap()) / 300;
        assert_eq!(counts(&jobs).await[0], fired, "{}", store.scheme);
        assert!(jobs.remove_timer("tick").await.unwrap());
        assert!(!jobs.remove_timer("tick").await.unwrap());
    }
}
