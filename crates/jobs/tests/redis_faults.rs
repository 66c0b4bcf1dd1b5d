//! What may happen to a Redis, and what then becomes of jobs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::Path, time::Duration};

use mesh_jobs::{
    ClaimedJob, Completion, Error, JobStatus, Jobs, Lease, NewJob, Renewal, StoreOptions, Worker,
    open,
};
use support::{Counting, call, claim_one, done, options, until};
use testkit::Redis;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const ALWAYS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn connect(redis: &Redis) -> Jobs {
    Jobs::new(
        open(&redis.url(), &StoreOptions::default()).unwrap(),
        options(),
    )
}

async fn command(redis: &Redis, words: &[&str]) {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async::<()>(&mut connection).await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again_in_mid_run() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    let handler = Counting::new(|_| Ok(Duration::from_millis(1)));
    let worker = Worker::new(jobs.clone(), "default", "w", 4, handler);
    let stop = CancellationToken::new();
    let feed = async {
        for number in 0..100 {
            jobs.submit(call(&number.to_string())).await.unwrap();
            if number % 10 == 0 {
                command(&redis, &["SCRIPT", "FLUSH"]).await;
            }
        }
        until("all are done", || async {
            jobs.queues().await.unwrap()[0].counts.succeeded == 100
        })
        .await;
        stop.cancel();
    };
    tokio::join!(worker.run(stop.clone(), Duration::from_secs(5)), feed);
}

#[tokio::test]
async fn an_emptied_redis_is_a_new_one() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    jobs.submit(call("x")).await.unwrap();
    let claimed = claim_one(&jobs, "default").await;
    command(&redis, &["FLUSHALL"]).await;
    assert!(matches!(
        jobs.settle(&[(claimed, done())]).await[0],
        Err(Error::Stale { .. })
    ));
    jobs.recover("default").await.unwrap();
    let id = jobs.submit(call("y")).await.unwrap().id;
    assert_eq!(claim_one(&jobs, "default").await.job.id, id);
    assert_eq!(
        jobs.queues().await.unwrap().len(),
        1,
        "the queue is listed again"
    );
}

#[tokio::test]
async fn without_redis_producers_are_refused_at_once_and_workers_wait_for_it() {
    let mut redis = Redis::start(&ALWAYS).await;
    let jobs = connect(&redis);
    let first = jobs.submit(call("first")).await.unwrap().id;
    redis.kill();
    for _ in 0..20 {
        let start = Instant::now();
        assert!(matches!(
            jobs.submit(call("x")).await,
            Err(Error::Unavailable { .. })
        ));
        assert!(start.elapsed() < Duration::from_secs(1), "at once");
    }
    let handler = Counting::new(|_| Ok(Duration::ZERO));
    let worker = Worker::new(jobs.clone(), "default", "w", 4, handler);
    let stop = CancellationToken::new();
    let back = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.restart().await;
        let mut second = None;
        until("it takes jobs again", || {
            let jobs = jobs.clone();
            async move { jobs.submit(call("probe")).await.is_ok() }
        })
        .await;
        second.replace(jobs.submit(call("second")).await.unwrap().id);
        for id in [&first, &second.unwrap()] {
            until("both are done", || async {
                jobs.get(id)
                    .await
                    .is_ok_and(|record| record.status == JobStatus::Succeeded)
            })
            .await;
        }
        stop.cancel();
    };
    tokio::join!(worker.run(stop.clone(), Duration::from_secs(5)), back);
}

#[tokio::test]
async fn a_lease_that_redis_forgot_it_gave_is_refused() {
    let mut redis = Redis::start(&ALWAYS).await;
    let jobs = connect(&redis);
    let id = jobs.submit(call("x")).await.unwrap().id;
    // Redis goes back to before the claim, as it may after a crash without `always`.
    let backup = tempfile::tempdir().unwrap();
    redis.kill();
    copy(redis.files(), backup.path());
    redis.restart().await;
    let connected = || async { jobs.get(&id).await.is_ok() };
    until("it is back", connected).await;
    let stale = claim_one(&jobs, "default").await;
    redis.kill();
    fs::remove_dir_all(redis.files().join("appendonlydir")).unwrap();
    copy(backup.path(), redis.files());
    redis.restart().await;
    until("it is back, older", connected).await;

    assert_eq!(
        jobs.get(&id).await.unwrap().status,
        JobStatus::Queued,
        "the claim is forgotten"
    );
    assert!(matches!(
        jobs.settle(&[(stale.clone(), done())]).await[0],
        Err(Error::Stale { .. })
    ));
    let fresh = claim_one(&jobs, "default").await;
    assert_eq!(fresh.job.id, id);
    assert_eq!(
        jobs.renew(std::slice::from_ref(&stale.lease))
            .await
            .unwrap(),
        [Renewal::Stale]
    );
    assert!(matches!(
        jobs.progress(&stale.lease, "1%").await,
        Err(Error::Stale { .. })
    ));
    assert!(matches!(
        jobs.settle(&[(stale.clone(), done())]).await[0],
        Err(Error::Stale { .. })
    ));
    // Were the nonce not in it, a claim of the same entry in the same millisecond by a worker of the
    // same name would give the same token: only the nonce keeps the older one out.
    let forged = Lease {
        token: with_nonce_of(&stale.lease.token, &fresh.lease.token),
        ..fresh.lease.clone()
    };
    assert_eq!(
        jobs.renew(std::slice::from_ref(&forged)).await.unwrap(),
        [Renewal::Stale]
    );
    let forged = ClaimedJob {
        lease: forged,
        ..fresh.clone()
    };
    assert!(matches!(
        jobs.settle(&[(forged, done())]).await[0],
        Err(Error::Stale { .. })
    ));
    assert!(jobs.settle(&[(fresh, done())]).await[0].is_ok());
}

#[tokio::test]
async fn an_older_redis_gives_completions_again_and_runs_again_what_it_forgot() {
    let mut redis = Redis::start(&ALWAYS).await;
    let jobs = connect(&redis);
    let tagged = |seed: &str| NewJob {
        seed: Some(seed.to_owned()),
        completion: Some("t".to_owned()),
        ..call(seed)
    };
    let read = async |cursor: &str| {
        let after = [("t".to_owned(), cursor.to_owned())];
        let wait = Duration::from_secs(3);
        jobs.completions("default", &after, 100, wait)
            .await
            .unwrap()
    };
    let acknowledge = async |read: &[Completion]| {
        let cursors = read.iter().map(|it| it.cursor.clone()).collect();
        let entries = [("t".to_owned(), cursors)];
        jobs.acknowledge("default", &entries).await.unwrap();
    };
    let keys = |read: &[Completion]| -> Vec<String> {
        read.iter().filter_map(|it| it.key.clone()).collect()
    };
    jobs.submit(tagged("early")).await.unwrap();
    let claimed = claim_one(&jobs, "default").await;
    jobs.settle(&[(claimed, done())]).await.remove(0).unwrap();
    let late = jobs.submit(tagged("late")).await.unwrap().id;

    let backup = tempfile::tempdir().unwrap();
    redis.kill();
    copy(redis.files(), backup.path());
    redis.restart().await;
    let connected = || async { jobs.get(&late).await.is_ok() };
    until("it is back", connected).await;
    let early = read("").await;
    assert_eq!(keys(&early), ["early"]);
    acknowledge(&early).await;
    let claimed = claim_one(&jobs, "default").await;
    jobs.settle(&[(claimed, done())]).await.remove(0).unwrap();
    let end = read(&early[0].cursor).await;
    assert_eq!(keys(&end), ["late"]);
    acknowledge(&end).await;

    redis.kill();
    fs::remove_dir_all(redis.files().join("appendonlydir")).unwrap();
    copy(backup.path(), redis.files());
    redis.restart().await;
    until("it is back, older", connected).await;
    // With a cursor from a time that it has forgotten: what it has is heard again.
    let again = read(&end[0].cursor).await;
    assert_eq!(keys(&again), ["early"]);
    acknowledge(&again).await;
    assert_eq!(jobs.get(&late).await.unwrap().status, JobStatus::Queued);
    assert!(jobs.submit(tagged("late")).await.unwrap().existing);
    let claimed = claim_one(&jobs, "default").await;
    jobs.settle(&[(claimed, done())]).await.remove(0).unwrap();
    let end = read(&again[0].cursor).await;
    assert_eq!(keys(&end), ["late"]);
    acknowledge(&end).await;
}

/// The second token, with the nonce of the first in the place of its own.
fn with_nonce_of(nonce: &[u8], token: &[u8]) -> bytes::Bytes {
    let parts = |token: &[u8]| -> Vec<String> {
        let text = String::from_utf8(token.to_vec()).unwrap();
        text.split(':').map(ToOwned::to_owned).collect()
    };
    let (stale, mut mixed) = (parts(nonce), parts(token));
    assert_eq!(stale[2].len(), 32, "the nonce stands third");
    assert_ne!(stale[2], mixed[2], "every claim has another nonce");
    mixed[2].clone_from(&stale[2]);
    mixed.join(":").into()
}

#[tokio::test]
async fn many_who_follow_a_queue_hold_one_connection_and_all_hear_of_an_event() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    jobs.submit(call("first")).await.unwrap();
    let known = jobs
        .events("default", "", 256, Duration::ZERO)
        .await
        .unwrap();
    let followers = (0..50).map(|number| {
        let (jobs, cursor) = (jobs.clone(), known.cursor.clone());
        async move {
            // A client may make its cursor up: nobody else is to wait because of that.
            let ahead = format!("0={}000-0.1", u32::MAX);
            let cursor = if number % 10 == 0 { ahead } else { cursor };
            let wait = Duration::from_secs(5);
            jobs.events("default", &cursor, 256, wait).await.unwrap()
        }
    });
    let watch = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut list = redis::cmd("CLIENT");
        let list: String = list.arg("LIST").query_async(&mut connection).await.unwrap();
        let since = Instant::now();
        jobs.submit(call("second")).await.unwrap();
        (list.lines().count(), since)
    };
    let heard = futures_util::future::join_all(followers.map(|follower| async {
        let page = follower.await;
        (page.events.len(), Instant::now())
    }));
    let (heard, (connections, since)) = tokio::join!(heard, watch);
    // The shared one, the one that waits, and that of this test.
    assert_eq!(connections, 3);
    for (number, (events, at)) in heard.into_iter().enumerate() {
        let made_up = number % 10 == 0;
        assert_eq!(events, usize::from(!made_up), "follower {number}");
        if !made_up {
            let late = at.saturating_duration_since(since);
            assert!(late < Duration::from_secs(3), "follower {number}: {late:?}");
        }
    }
}
