//! A Redis whose keys are gone, or hold what nobody can read: the rest goes on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use mesh_jobs::{
    ClaimedJob, Error, JobFilter, JobOutcome, JobStatus, Jobs, NewJob, Payload, QueueOptions,
    Worker,
};
use support::{
    Counting, call, claim_one, options,
    server::{LANE, ask, connect, goes_through, say, settle},
    until,
};
use testkit::Redis;
use tokio_util::sync::CancellationToken;

/// The keys of a lane.
const KEYS: [&str; 15] = [
    "q1", "q2", "q3", "q4", "q5", "at", "zs", "zf", "dead", "end", "note", "off", "sum", "ev",
    "keyed",
];

#[tokio::test]
async fn whatever_structure_is_gone_or_another_thing_later_jobs_go_through() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    for key in KEYS {
        for other in [None, Some("x")] {
            // One of each state is there.
            let fails = jobs.submit(call("fails")).await.unwrap().id;
            let claimed = claim_one(&jobs, "default").await;
            let failed = JobOutcome::Failed {
                error: "no".to_owned(),
                retry: Some(Duration::ZERO),
                metrics: None,
            };
            jobs.settle(&[(claimed, failed)]).await.remove(0).unwrap();
            let delay = Duration::from_millis(20);
            jobs.submit(NewJob {
                delay,
                ..call("soon")
            })
            .await
            .unwrap();
            let held = claim_any(&jobs).await;
            let key = format!("{LANE}:{key}");
            say(&redis, &["DEL", &key]).await;
            if let Some(other) = other {
                say(&redis, &["SET", &key, other]).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
            settle(&jobs, held).await.ok();
            goes_through(&jobs).await;
            jobs.recover("default").await.unwrap();
            jobs.queues().await.unwrap();
            jobs.check().await.unwrap();
            jobs.get(&fails).await.ok();
            if other.is_some() {
                let aside: Vec<String> = ask(&redis, &["KEYS", &format!("{LANE}:*:aside:*")]).await;
                assert!(!aside.is_empty(), "{key}: what was there is kept");
            }
        }
    }
}

async fn claim_any(jobs: &Jobs) -> ClaimedJob {
    jobs.submit(call("held")).await.unwrap();
    claim_one(jobs, "default").await
}

#[tokio::test]
async fn jobs_whose_state_is_lost_run_as_long_as_their_entries_are_there() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    let waits = jobs.submit(call("waits")).await.unwrap().id;
    let runs = jobs.submit(call("runs")).await.unwrap().id;
    let delayed = NewJob {
        delay: Duration::from_millis(50),
        ..call("delayed")
    };
    let delayed = jobs.submit(delayed).await.unwrap().id;
    let first = claim_one(&jobs, "default").await;
    say(&redis, &["DEL", &format!("{LANE}:at")]).await;
    tokio::time::sleep(options().lease + Duration::from_millis(200)).await;
    jobs.recover("default").await.unwrap();
    let handler = Counting::new(|_| Ok(Duration::ZERO));
    let worker = Worker::new(jobs.clone(), "default", "w", 4, handler);
    let stop = CancellationToken::new();
    let watch = async {
        for id in [&waits, &runs] {
            until("it is done", || async {
                jobs.get(id)
                    .await
                    .is_ok_and(|it| it.status == JobStatus::Succeeded)
            })
            .await;
        }
        goes_on(&jobs).await;
        stop.cancel();
    };
    tokio::join!(worker.run(stop.clone(), Duration::from_secs(5)), watch);
    assert!([&waits, &runs].contains(&&first.job.id));
    // Its only copy was in the hash.
    assert!(matches!(
        jobs.get(&delayed).await,
        Err(Error::NotFound { .. })
    ));
}

async fn goes_on(jobs: &Jobs) {
    let id = jobs.submit(call("later")).await.unwrap().id;
    until("a later one is done", || async {
        jobs.get(&id)
            .await
            .is_ok_and(|it| it.status == JobStatus::Succeeded)
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_decoded_is_dead_with_its_bytes_and_stops_nobody() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    goes_through(&jobs).await;
    // More than one look at expired leases takes.
    let stream = format!("{LANE}:q3");
    for number in 0..300 {
        say(
            &redis,
            &["XADD", &stream, "*", "j", &format!("noise {number}")],
        )
        .await;
    }
    let named = jobs.submit(call("named")).await.unwrap().id;
    let lost = jobs.submit(call("lost")).await.unwrap().id;
    // Claimed by somebody who is gone: its entries' leases end all at once.
    let group = [
        "XREADGROUP",
        "GROUP",
        "w",
        "w",
        "COUNT",
        "400",
        "STREAMS",
        &stream,
        ">",
    ];
    say(&redis, &group).await;
    // Others of each place where one may be: queued, with an id of ours, with more fields, delayed.
    let id = format!("default.0.{:027x}", 7);
    for fields in [
        &["j", "more noise"][..],
        &["j", &format!("{id}\n{{}}\njx")],
        &["a", "b", "c", "d"],
    ] {
        say(&redis, &[&["XADD", &stream, "*"], fields].concat()).await;
    }
    let late = format!("default.0.{:027x}", 8);
    say(
        &redis,
        &[
            "HSET",
            &format!("{LANE}:at"),
            &late,
            "s3:1:noise that waited",
        ],
    )
    .await;
    say(&redis, &["ZADD", &format!("{LANE}:zs"), "1", &late]).await;
    say(
        &redis,
        &[
            "HSET",
            &format!("{LANE}:at"),
            &format!("default.0.{:027x}", 9),
            "snoise",
        ],
    )
    .await;
    say(
        &redis,
        &[
            "ZADD",
            &format!("{LANE}:zs"),
            "1",
            &format!("default.0.{:027x}", 9),
        ],
    )
    .await;
    say(&redis, &["ZADD", &format!("{LANE}:zf"), "1", "nobody"]).await;
    let handler = Counting::new(|_| Ok(Duration::ZERO));
    let worker = Worker::new(jobs.clone(), "default", "w", 4, handler);
    let stop = CancellationToken::new();
    let watch = async {
        for id in [&named, &lost] {
            until("it is done", || async {
                jobs.get(id)
                    .await
                    .is_ok_and(|it| it.status == JobStatus::Succeeded)
            })
            .await;
        }
        until("all noise is dead", || async {
            jobs.queues().await.unwrap()[0].counts.dead == 305
        })
        .await;
        goes_on(&jobs).await;
        stop.cancel();
    };
    tokio::join!(worker.run(stop.clone(), Duration::from_secs(5)), watch);
    let filter = JobFilter {
        status: Some(JobStatus::Dead),
        ..JobFilter::default()
    };
    let (mut kept, mut cursor) = (Vec::new(), None);
    loop {
        let page = jobs.list(&filter, 500, cursor.as_deref()).await.unwrap();
        kept.extend(page.jobs);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(kept.len(), 305);
    let has = |bytes: &[u8]| {
        kept.iter().any(|record| {
            let whole = record
                .payload
                .as_ref()
                .is_some_and(|it| it.bytes() == bytes);
            whole && record.header.error.as_ref().unwrap().contains("decoded")
        })
    };
    assert!(has(b"noise 299") && has(b"more noise") && has(b"abcd"));
    assert!(has(b"noise that waited") && has(b"snoise"));
    assert!(has(format!("{id}\n{{}}\njx").as_bytes()));
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_hides_no_other_in_a_list() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(jobs.submit(call("x")).await.unwrap().id);
        let claimed = claim_one(&jobs, "default").await;
        settle(&jobs, claimed).await.unwrap();
    }
    say(
        &redis,
        &["HSET", &format!("{LANE}:at"), ids[1].as_str(), "Snoise"],
    )
    .await;
    say(&redis, &["SADD", "mesh:jobs:lanes", "no lane"]).await;
    say(&redis, &["HSET", "mesh:jobs:timers", "t", "noise"]).await;
    let page = jobs.list(&JobFilter::default(), 10, None).await.unwrap();
    assert_eq!(page.jobs.len(), 3);
    let odd = jobs.get(&ids[1]).await.unwrap();
    assert_eq!(
        (odd.status, odd.header.kind.as_str()),
        (JobStatus::Succeeded, "undecodable")
    );
    assert_eq!(jobs.queues().await.unwrap().len(), 1);
    assert_eq!(jobs.fire().await.unwrap(), 0);
}

#[tokio::test]
async fn a_result_that_is_too_large_makes_its_job_dead_and_says_so() {
    for scheme in ["redis", "file"] {
        let store = support::store(scheme).await;
        let jobs = store.jobs_with(QueueOptions {
            max_result: 1_000,
            ..options()
        });
        let id = jobs.submit(call("x")).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        let large = JobOutcome::Succeeded {
            result: Some(Payload::Json("1".repeat(1_001).into())),
            metrics: None,
        };
        jobs.settle(&[(claimed, large)]).await.remove(0).unwrap();
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(record.status, JobStatus::Dead, "{scheme}");
        assert!(record.header.error.unwrap().contains("jobs_max_result"));
    }
}

#[tokio::test]
async fn an_emptied_or_older_redis_is_another_epoch_and_the_same_one_is_not() {
    let always = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = Redis::start(&always).await;
    let jobs = connect(&redis);
    let first = jobs.check().await.unwrap().epoch;
    assert_eq!(connect(&redis).check().await.unwrap().epoch, first);
    redis.restart().await;
    until("it is back", || async { jobs.check().await.is_ok() }).await;
    let second = jobs.check().await.unwrap().epoch;
    assert_ne!(second, first, "who restarts may come back older");
    say(&redis, &["DEL", "mesh:jobs:timers"]).await;
    let third = jobs.check().await.unwrap().epoch;
    assert_ne!(third, second);
    say(&redis, &["SET", "mesh:jobs:timers", "x"]).await;
    assert_ne!(jobs.check().await.unwrap().epoch, third);
    assert!(
        jobs.timers().await.unwrap().is_empty(),
        "its mark is no timer"
    );
}

fn tagged(seed: &str) -> NewJob {
    NewJob {
        seed: Some(seed.to_owned()),
        completion: Some("t".to_owned()),
        ..call(seed)
    }
}

async fn ends(jobs: &Jobs, seed: &str) {
    jobs.submit(tagged(seed)).await.unwrap();
    let claimed = claim_one(jobs, "default").await;
    settle(jobs, claimed).await.unwrap();
}

/// The seeds of the completions after a cursor, and the last cursor.
async fn heard(jobs: &Jobs, cursor: &str, wait: Duration) -> (Vec<String>, String) {
    let after = [("t".to_owned(), cursor.to_owned())];
    let read = jobs.completions("default", &after, 100, wait).await;
    let read = read.unwrap();
    let last = read
        .last()
        .map_or_else(|| cursor.to_owned(), |it| it.cursor.clone());
    (read.into_iter().filter_map(|it| it.key).collect(), last)
}

#[tokio::test]
async fn completions_go_on_whatever_stands_in_their_place() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    let stream = format!("{LANE}:done:t");
    let now = Duration::ZERO;
    // What ends, what reads and what acknowledges meets it first.
    for meets in ["end", "read", "acknowledge"] {
        say(&redis, &["DEL", &stream]).await;
        say(&redis, &["SET", &stream, "x"]).await;
        match meets {
            "end" => ends(&jobs, "meets it").await,
            "read" => assert!(heard(&jobs, "", now).await.0.is_empty()),
            _ => {
                let entry = [("t".to_owned(), vec!["0=1-1".to_owned()])];
                jobs.acknowledge("default", &entry).await.unwrap();
            }
        }
        ends(&jobs, meets).await;
        let seeds = heard(&jobs, "", now).await.0;
        assert_eq!(seeds.last().map(String::as_str), Some(meets), "{seeds:?}");
        let aside: Vec<String> = ask(&redis, &["KEYS", &format!("{stream}:aside:*")]).await;
        assert!(!aside.is_empty(), "{meets}: what was there is kept");
        say(
            &redis,
            &[
                &["DEL"],
                &*aside.iter().map(String::as_str).collect::<Vec<_>>(),
            ]
            .concat(),
        )
        .await;
        let cancelled = jobs
            .submit(tagged(&format!("after {meets}")))
            .await
            .unwrap()
            .id;
        jobs.cancel(&cancelled).await.unwrap();
    }
    // Noise among them hides none, and does not stay.
    say(&redis, &["XADD", &stream, "*", "c", "noise"]).await;
    say(&redis, &["XADD", &stream, "*", "a", "b", "c", "d"]).await;
    ends(&jobs, "behind noise").await;
    let seeds = heard(&jobs, "", now).await.0;
    assert_eq!(seeds.last().map(String::as_str), Some("behind noise"));
    let length: usize = ask(&redis, &["XLEN", &stream]).await;
    assert_eq!(length, seeds.len());
    jobs.check().await.unwrap();
}

#[tokio::test]
async fn who_follows_completions_hears_of_those_in_an_emptied_redis_whose_clock_is_behind() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    let stream = format!("{LANE}:done:t");
    ends(&jobs, "before").await;
    let (seeds, cursor) = heard(&jobs, "", Duration::ZERO).await;
    assert_eq!(seeds, ["before"]);
    type Entries = Vec<(String, Vec<Vec<u8>>)>;
    let entries: Entries = ask(&redis, &["XRANGE", &stream, "-", "+"]).await;
    say(&redis, &["FLUSHALL"]).await;
    // The job is not known any more.
    let before = [jobs.chosen_id("default", "before").unwrap()];
    assert!(jobs.find_many(&before).await.unwrap()[0].is_none());
    ends(&jobs, "before").await;
    let (seeds, cursor) = heard(&jobs, &cursor, Duration::from_secs(5)).await;
    assert_eq!(seeds, ["before"], "its second end");
    // One with an earlier time than the reader has seen.
    say(&redis, &["FLUSHALL"]).await;
    let entry = String::from_utf8(entries[0].1[1].clone()).unwrap();
    say(&redis, &["XADD", &stream, "5-1", "c", &entry]).await;
    let (seeds, cursor) = heard(&jobs, &cursor, Duration::from_secs(10)).await;
    assert_eq!(
        (seeds, cursor),
        (vec!["before".to_owned()], "0=5-1".to_owned())
    );
}
