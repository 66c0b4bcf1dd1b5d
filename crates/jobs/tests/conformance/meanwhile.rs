//! Reading while others write: lists, events and cursors while jobs move.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use mesh_jobs::{Error, JobFilter, JobId, JobStatus, Jobs, NewJob, StoreOptions, Submitted};

use crate::{
    NOW, done, failed,
    support::{call, claim_one, options, stores},
};

async fn submit(jobs: &Jobs, count: usize, job: impl Fn(usize) -> NewJob) -> Vec<JobId> {
    let mut ids = Vec::new();
    for first in (0..count).step_by(1_000) {
        let batch = (first..count.min(first + 1_000)).map(&job).collect();
        let submitted = jobs.submit_all(batch).await.unwrap();
        ids.extend(
            submitted
                .into_iter()
                .map(|one: Result<Submitted, _>| one.unwrap().id),
        );
    }
    ids
}

/// All pages of a list, and what is done after each of them.
async fn paged(
    jobs: &Jobs,
    filter: &JobFilter,
    limit: usize,
    mut meanwhile: impl AsyncFnMut(&Jobs),
) -> Vec<JobId> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = jobs.list(filter, limit, cursor.as_deref()).await.unwrap();
        ids.extend(page.jobs.into_iter().map(|record| record.id));
        cursor = page.next;
        if cursor.is_none() {
            return ids;
        }
        meanwhile(jobs).await;
    }
}

/// Moves some jobs: each way out of each status is taken by and by.
async fn move_some(jobs: &Jobs, turn: usize) {
    let ends = [done(), failed(true), failed(false)];
    for claimed in jobs.claim("default", "w", 5, NOW).await.unwrap() {
        let outcome = ends[turn % ends.len()].clone();
        jobs.settle(&[(claimed, outcome)]).await;
    }
    for status in [JobStatus::Dead, JobStatus::Scheduled, JobStatus::Failed] {
        let filter = JobFilter {
            status: Some(status),
            ..JobFilter::default()
        };
        for record in jobs.list(&filter, 2, None).await.unwrap().jobs {
            match status {
                JobStatus::Dead => drop(jobs.retry(&record.id).await),
                _ => drop(jobs.cancel(&record.id).await),
            }
        }
    }
    jobs.submit(call("new")).await.unwrap();
}

#[tokio::test]
async fn a_list_tells_every_job_once_though_all_of_them_move_meanwhile() {
    for store in stores().await {
        let mut options = options();
        options.partitions.insert("default".to_owned(), 2);
        let jobs = store.jobs_with(options);
        let ids = submit(&jobs, 120, |number| NewJob {
            priority: 1 + u8::try_from(number % 5).unwrap(),
            delay: Duration::from_millis(if number % 3 == 0 { 50 } else { 0 }),
            ..call("x")
        })
        .await;
        for filter in [
            JobFilter::default(),
            JobFilter {
                queue: Some("default".to_owned()),
                ..JobFilter::default()
            },
        ] {
            let mut turn = 0;
            let listed = paged(&jobs, &filter, 4, async |jobs: &Jobs| {
                turn += 1;
                move_some(jobs, turn).await;
            })
            .await;
            let once: HashSet<&JobId> = listed.iter().collect();
            assert_eq!(once.len(), listed.len(), "listed twice in {}", store.scheme);
            let missing = ids.iter().filter(|id| !once.contains(id));
            assert_eq!(missing.count(), 0, "missing in {}", store.scheme);
        }
    }
}

#[tokio::test]
async fn jobs_that_are_due_at_once_are_all_listed_though_some_of_them_leave() {
    for store in stores().await {
        let jobs = store.jobs();
        // One submission, one time: all of them have the same score.
        let ids = submit(&jobs, 200, |_| NewJob {
            delay: Duration::from_secs(60),
            ..call("x")
        })
        .await;
        let filter = JobFilter {
            status: Some(JobStatus::Scheduled),
            ..JobFilter::default()
        };
        let mut left = HashSet::new();
        let listed = paged(&jobs, &filter, 10, async |jobs: &Jobs| {
            // Those that were listed first leave their place, and the others move up.
            for record in jobs.list(&filter, 10, None).await.unwrap().jobs {
                jobs.cancel(&record.id).await.unwrap();
                left.insert(record.id);
            }
        })
        .await;
        let once: HashSet<JobId> = listed.iter().cloned().collect();
        assert_eq!(once.len(), listed.len(), "listed twice in {}", store.scheme);
        let stayed: Vec<_> = ids.iter().filter(|id| !left.contains(id)).collect();
        assert!(
            stayed.iter().all(|id| once.contains(id)),
            "{}",
            store.scheme
        );

        // Those that ended together stand in one place too.
        let filter = JobFilter {
            status: Some(JobStatus::Cancelled),
            kind: Some("call".to_owned()),
            ..JobFilter::default()
        };
        let listed = paged(&jobs, &filter, 3, async |_: &Jobs| {}).await;
        assert_eq!(
            listed.into_iter().collect::<HashSet<_>>(),
            left,
            "{}",
            store.scheme
        );
    }
}

#[tokio::test]
async fn a_list_leaves_nothing_out_when_a_queue_gets_fewer_partitions() {
    for scheme in ["redis", "file"] {
        let store = crate::support::store(scheme).await;
        let mut many = options();
        many.partitions.insert("default".to_owned(), 4);
        let jobs = store.jobs_with(many);
        let ids = submit(&jobs, 40, |_| call("x")).await;
        let filter = JobFilter {
            queue: Some("default".to_owned()),
            ..JobFilter::default()
        };
        let first = jobs.list(&filter, 7, None).await.unwrap();
        drop(jobs);
        let jobs = store.jobs();
        let mut listed: Vec<JobId> = first.jobs.into_iter().map(|record| record.id).collect();
        let mut cursor = first.next;
        while let Some(from) = cursor {
            let page = jobs.list(&filter, 7, Some(&from)).await.unwrap();
            listed.extend(page.jobs.into_iter().map(|record| record.id));
            cursor = page.next;
        }
        assert_eq!(
            listed.into_iter().collect::<HashSet<_>>(),
            ids.into_iter().collect()
        );
    }
}

#[tokio::test]
async fn a_jobs_events_are_its_own_though_its_queue_forgot_them() {
    for store in stores().await {
        let settings = StoreOptions {
            events: 100,
            ..StoreOptions::default()
        };
        let jobs = store.jobs_set(options(), &settings);
        let id = jobs.submit(call("old")).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        jobs.progress(&claimed.lease, "1%").await.unwrap();
        jobs.progress(&claimed.lease, "2%").await.unwrap();
        jobs.settle(&[(claimed, failed(true))]).await;
        let first = jobs.job_events(&id, "", 100, NOW).await.unwrap();
        let names = |events: &[mesh_jobs::JobEvent]| {
            let names = events.iter().map(|event| event.name.clone());
            names.collect::<Vec<_>>()
        };
        let expected = ["queued", "running", "progress", "progress", "failed"];
        assert_eq!(names(&first.events), expected, "{}", store.scheme);

        let mut others = Vec::new();
        for _ in 0..400 {
            others.extend(submit(&jobs, 1, |_| call("other")).await);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Its second attempt, among the others.
        let mut mine = None;
        while mine.is_none() {
            let claimed = jobs.claim("default", "w", 100, NOW).await.unwrap();
            assert!(!claimed.is_empty());
            mine = claimed.into_iter().find(|one| one.job.id == id);
        }
        jobs.settle(&[(mine.unwrap(), done())]).await;
        let rest = jobs.job_events(&id, &first.cursor, 100, NOW).await.unwrap();
        assert_eq!(
            names(&rest.events),
            ["queued", "running", "succeeded"],
            "{}",
            store.scheme
        );
        assert!(rest.ended && rest.missed.is_none());
        let all = jobs.job_events(&id, "", 100, NOW).await.unwrap();
        let events: Vec<_> = [first.events, rest.events].concat();
        let cursors = |events: &[mesh_jobs::JobEvent]| {
            let cursors = events.iter().map(|event| event.cursor.clone());
            cursors.collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&all.events), cursors(&all.events)),
            (names(&events), cursors(&events))
        );
        assert_eq!(all.missed, None);
    }
}

#[tokio::test]
async fn a_cursor_that_is_older_than_what_is_kept_is_told_so_once() {
    for store in stores().await {
        let settings = StoreOptions {
            events: 100,
            ..StoreOptions::default()
        };
        let jobs = store.jobs_set(options(), &settings);
        jobs.submit(call("first")).await.unwrap();
        let first = jobs.events("default", "", 10, NOW).await.unwrap();
        assert_eq!((first.events.len(), first.missed), (1, None));
        for _ in 0..600 {
            jobs.submit(call("x")).await.unwrap();
        }
        // What the embedded store forgot it knows after a restart, too.
        let jobs = match store.scheme {
            "file" => {
                drop(jobs);
                store.jobs_set(options(), &settings)
            }
            _ => jobs,
        };
        let mut cursor = first.cursor;
        let (mut read, mut missed) = (0, 0);
        loop {
            let page = jobs.events("default", &cursor, 64, NOW).await.unwrap();
            if let Some(place) = page.missed {
                missed += 1;
                let again = jobs.events("default", &place, 64, NOW).await.unwrap();
                assert_eq!((again.missed, again.events), (None, page.events.clone()));
            }
            read += page.events.len();
            cursor = page.cursor;
            if page.events.is_empty() {
                break;
            }
        }
        assert_eq!(missed, 1, "{}", store.scheme);
        assert!((100..600).contains(&read), "{read} in {}", store.scheme);
        // What comes now is told, and nothing is missing any more.
        jobs.submit(call("x")).await.unwrap();
        let page = jobs.events("default", &cursor, 64, NOW).await.unwrap();
        assert_eq!(
            (page.events.len(), page.missed),
            (1, None),
            "{}",
            store.scheme
        );
    }
}

#[tokio::test]
async fn cursors_of_something_else_are_refused() {
    for store in stores().await {
        let jobs = store.jobs();
        let ids = submit(&jobs, 3, |_| call("x")).await;
        jobs.submit(NewJob {
            queue: "other".to_owned(),
            ..call("x")
        })
        .await
        .unwrap();
        let other = jobs.events("other", "", 10, NOW).await.unwrap().cursor;
        let ours = jobs.events("default", "", 10, NOW).await.unwrap().cursor;
        let mine = jobs.job_events(&ids[0], "", 10, NOW).await.unwrap().cursor;
        assert!(jobs.events("default", &ours, 10, NOW).await.is_ok());
        assert!(jobs.job_events(&ids[0], &mine, 10, NOW).await.is_ok());
        let strange = [
            "x",
            "-",
            "0=",
            "0=x",
            "=",
            ",",
            "0=1-1-1.0",
            "0=1-1.-1",
            "70000=1",
            "default:",
            "default:0",
            "default:0=-1-1.0",
            "default:0=1.5.7",
            "1.0-00000000",
            "+1.0-0",
            "0=é",
        ];
        for cursor in strange.iter().copied().chain([&*other, &*mine]) {
            let read = jobs.events("default", cursor, 10, NOW).await;
            assert!(
                matches!(read, Err(Error::Invalid { .. })),
                "{cursor:?} in {}",
                store.scheme
            );
        }
        let another = jobs.job_events(&ids[1], "", 10, NOW).await.unwrap().cursor;
        for cursor in strange.iter().copied().chain([&*another, &*ours]) {
            let read = jobs.job_events(&ids[0], cursor, 10, NOW).await;
            assert!(
                matches!(read, Err(Error::Invalid { .. })),
                "{cursor:?} in {}",
                store.scheme
            );
        }
        let of = |queue: Option<&str>, status| JobFilter {
            queue: queue.map(str::to_owned),
            status,
            ..JobFilter::default()
        };
        let default = Some("default");
        let filters = [
            of(default, None),
            of(Some("other"), None),
            of(None, Some(JobStatus::Queued)),
        ];
        let page = jobs.list(&filters[0], 1, None).await.unwrap().next.unwrap();
        assert!(jobs.list(&filters[0], 1, Some(&page)).await.is_ok());
        for filter in &filters[1..] {
            let listed = jobs.list(filter, 1, Some(&page)).await;
            assert!(
                matches!(listed, Err(Error::Invalid { .. })),
                "{}",
                store.scheme
            );
        }
        // Our form, and in it what no store gives.
        for status in JobStatus::ALL.map(Some).into_iter().chain([None]) {
            for after in [
                "x", "1", "1:1", "0:1-1", "/", "x/1", "1/x", "1-1/-1", "6:1-1", "1-1/1/1",
            ] {
                let json = serde_json::json!({
                    "lane": "default:0",
                    "status": status.map_or("", JobStatus::as_str),
                    "after": after,
                });
                let json = json.to_string();
                let cursor: String = json.bytes().map(|byte| format!("{byte:02x}")).collect();
                let listed = jobs.list(&of(default, status), 1, Some(&cursor)).await;
                let fine = listed.is_ok() || matches!(listed, Err(Error::Invalid { .. }));
                assert!(
                    fine,
                    "{after} of {status:?} in {}: {listed:?}",
                    store.scheme
                );
            }
        }
    }
}

#[tokio::test]
async fn a_key_whose_job_is_kept_no_more_says_nothing_of_what_became_of_it() {
    for store in stores().await {
        let mut options = options();
        options.result_ttl = Duration::from_millis(100);
        let jobs = store.jobs_with(options);
        let mut job = call("x");
        job.idempotency_key = Some("k".to_owned());
        let id = jobs.submit(job.clone()).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        jobs.settle(&[(claimed, failed(false))]).await;
        assert_eq!(
            jobs.submit(job.clone()).await.unwrap().status,
            Some(JobStatus::Dead)
        );
        jobs.retry(&id).await.unwrap();
        jobs.cancel(&id).await.unwrap();
        crate::support::until("the job is swept", || async {
            jobs.recover("default").await.unwrap();
            jobs.get(&id).await.is_err()
        })
        .await;
        let again = jobs.submit(job).await.unwrap();
        assert_eq!(
            (again.id.clone(), again.status, again.existing),
            (id.clone(), None, true)
        );
        for read in [
            jobs.get(&id).await.err(),
            jobs.cancel(&id).await.err(),
            jobs.retry(&id).await.err(),
            jobs.job_events(&id, "", 10, NOW).await.err(),
        ] {
            assert!(matches!(read, Some(Error::NotFound { .. })), "{read:?}");
        }
        let listed = paged(&jobs, &JobFilter::default(), 10, async |_: &Jobs| {}).await;
        assert_eq!(listed, [], "{}", store.scheme);
    }
}

#[tokio::test]
async fn ids_whose_jobs_are_all_gone_are_forgotten_in_redis() {
    let store = crate::support::store("redis").await;
    let mut options = options();
    (options.result_ttl, options.dead_ttl) = (Duration::ZERO, Duration::ZERO);
    let jobs = store.jobs_with(options);
    let late = jobs
        .submit(NewJob {
            delay: Duration::from_secs(600),
            ..call("late")
        })
        .await
        .unwrap();
    for _ in 0..100 {
        submit(&jobs, 1, |_| call("x")).await;
    }
    let mut seen = 0;
    while seen < 100 {
        let claimed = jobs.claim("default", "w", 30, NOW).await.unwrap();
        seen += claimed.len();
        for claimed in claimed {
            jobs.settle(&[(claimed, done())]).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    jobs.recover("default").await.unwrap();
    jobs.recover("default").await.unwrap();
    let client = redis::Client::open(store.address.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut lengths = BTreeMap::new();
    for key in keys {
        if let Some(name) = [":ids", ":end"].iter().find(|name| key.ends_with(*name)) {
            let length: u64 = redis::cmd("XLEN")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .unwrap();
            lengths.insert(*name, length);
        }
    }
    assert_eq!(lengths, [(":ids", 1), (":end", 0)].into());
    // A lane without them, of an earlier version or after an eviction, makes them anew.
    for _ in 0..20 {
        submit(&jobs, 20, |_| call("x")).await;
    }
    let prefix: Vec<String> = redis::cmd("KEYS")
        .arg("*:ids")
        .query_async(&mut connection)
        .await
        .unwrap();
    let (): () = redis::cmd("DEL")
        .arg(&prefix)
        .query_async(&mut connection)
        .await
        .unwrap();
    let listed = paged(&jobs, &JobFilter::default(), 7, async |_: &Jobs| {}).await;
    assert_eq!((listed.len(), listed.last()), (401, Some(&late.id)));
}
