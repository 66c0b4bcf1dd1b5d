//! A Redis that answers, but refuses: what it refuses is told, and everything else goes on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mesh_jobs::{
    JobFilter, JobOutcome, JobStatus, Jobs, NewJob, QueueOptions, Schedule, StoreOptions, Timer,
    Worker, open,
};
use support::{
    call, claim_one, done, options, recovered,
    server::{LANE, ask, connect, connect_to, goes_through, say, settle},
    until,
};
use testkit::{Redis, Sentinel, Signal};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional,
    },
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// A name that leads new connections to one of several servers, for as long as its tasks are there.
async fn name(to: Arc<AtomicU16>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let to = to.load(Ordering::SeqCst);
            connections.spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (format!("redis://{address}"), tasks)
}

async fn follows(replica: &Redis, primary: &Redis) {
    let port = primary.port().to_string();
    say(replica, &["REPLICAOF", "127.0.0.1", &port]).await;
    until("the replica has it all", || async {
        let info: String = ask(replica, &["INFO", "replication"]).await;
        info.contains("master_link_status:up")
    })
    .await;
}

#[tokio::test]
async fn writes_go_to_the_new_primary_though_the_old_one_lives_on_as_a_replica() {
    let (old, new) = (Redis::start(&[]).await, Redis::start(&[]).await);
    follows(&new, &old).await;
    let to = Arc::new(AtomicU16::new(old.port()));
    let (url, _name) = name(to.clone()).await;
    let jobs = connect_to(&url);
    goes_through(&jobs).await;
    let epoch = jobs.check().await.unwrap().epoch;
    say(&new, &["REPLICAOF", "NO", "ONE"]).await;
    say(&old, &["REPLICAOF", "127.0.0.1", &new.port().to_string()]).await;
    // The name still leads to the old one: it refuses, and says what to do.
    let refused = jobs.check().await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    assert!(refused.to_string().contains("it is a replica"), "{refused}");
    assert!(jobs.submit(call("x")).await.unwrap_err().is_unavailable());
    to.store(new.port(), Ordering::SeqCst);
    until("it writes again", || async {
        jobs.submit(call("y")).await.is_ok()
    })
    .await;
    goes_through(&jobs).await;
    let vitals = jobs.check().await.unwrap();
    assert_ne!(vitals.epoch, epoch, "it is another server");
}

#[tokio::test]
async fn the_primary_that_sentinels_name_is_followed_through_a_failover() {
    let (old, new) = (Redis::start(&[]).await, Redis::start(&[]).await);
    follows(&new, &old).await;
    let sentinel = Sentinel::start(&old, "queue").await;
    let jobs = connect_to(&sentinel.url());
    goes_through(&jobs).await;
    // The sentinel has to hear of the replica before it can choose it.
    let port = sentinel.url();
    let port = port
        .rsplit_once('/')
        .unwrap()
        .0
        .replace("redis+sentinel", "redis");
    let client = redis::Client::open(port).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let command = |words: &'static [&'static str]| {
        let mut command = redis::cmd("SENTINEL");
        command.arg(words);
        command
    };
    let mut over = false;
    for _ in 0..400 {
        let asked = command(&["FAILOVER", "queue"]);
        over |= asked.query_async::<()>(&mut connection).await.is_ok();
        let role: String = ask(&new, &["INFO", "replication"]).await;
        if over && role.contains("role:master") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until("it writes again", || async {
        jobs.submit(call("y")).await.is_ok()
    })
    .await;
    goes_through(&jobs).await;
    let lanes: usize = ask(&new, &["SCARD", "mesh:jobs:lanes"]).await;
    assert_eq!(lanes, 1);
    let unknown = connect_to(&sentinel.url().replace("/queue", "/nobody"));
    let error = unknown.check().await.unwrap_err().to_string();
    assert!(error.contains("nobody"), "{error}");
}

#[tokio::test]
async fn a_full_redis_refuses_new_jobs_and_those_that_it_has_go_on() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]).await;
    let jobs = connect(&redis);
    let now = jobs.submit(call("now")).await.unwrap().id;
    let soon = NewJob {
        delay: Duration::from_millis(300),
        ..call("soon")
    };
    let soon = jobs.submit(soon).await.unwrap().id;
    let fails = jobs
        .submit(NewJob {
            priority: 5,
            ..call("fails")
        })
        .await
        .unwrap()
        .id;
    say(&redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
    for refused in [
        jobs.submit(call("more")).await.err(),
        jobs.check().await.err(),
    ] {
        let refused = refused.unwrap();
        assert!(refused.is_unavailable(), "{refused}");
        assert!(
            refused.to_string().contains("raise its maxmemory"),
            "{refused}"
        );
    }
    // Who takes jobs of a queue is known all the same; that nobody does is not said meanwhile.
    let idle = support::Counting::new(|_| Ok(Duration::ZERO));
    let worker = Worker::new(connect(&redis), "elsewhere", "w", 1, idle);
    let mut working = JoinSet::new();
    working.spawn(async move { worker.run(CancellationToken::new(), Duration::ZERO).await });
    until("the worker is known", || async {
        jobs.is_served("elsewhere").await == Some(true)
    })
    .await;
    assert_eq!(jobs.is_served("nobodys").await, None);
    working.shutdown().await;
    let first = claim_one(&jobs, "default").await;
    assert_eq!(first.job.id, fails);
    let failed = JobOutcome::Failed {
        error: "bad luck".to_owned(),
        retry: Some(Duration::ZERO),
        metrics: None,
    };
    jobs.settle(&[(first, failed)]).await.remove(0).unwrap();
    for _ in 0..3 {
        let claimed = claim_one(&jobs, "default").await;
        assert_eq!(
            jobs.renew(std::slice::from_ref(&claimed.lease))
                .await
                .unwrap()
                .len(),
            1
        );
        settle(&jobs, claimed).await.unwrap();
    }
    for id in [&now, &soon, &fails] {
        assert_eq!(jobs.get(id).await.unwrap().status, JobStatus::Succeeded);
    }
    say(&redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    goes_through(&jobs).await;
    jobs.check().await.unwrap();
    assert_eq!(jobs.is_served("nobodys").await, Some(false));
}

#[tokio::test]
async fn too_few_replicas_are_told_until_there_are_enough() {
    let redis = Redis::start(&[]).await;
    let jobs = connect(&redis);
    say(&redis, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let refused = jobs.check().await.unwrap_err();
    assert!(
        refused.to_string().contains("min-replicas-to-write"),
        "{refused}"
    );
    assert!(jobs.submit(call("x")).await.unwrap_err().is_unavailable());
    say(&redis, &["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    goes_through(&jobs).await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_refuses_new_jobs_and_says_why() {
    let redis = Redis::start(&["--save", "3600 1", "--dir", "/proc"]).await;
    let jobs = connect(&redis);
    goes_through(&jobs).await;
    say(&redis, &["BGSAVE"]).await;
    until("it has noticed", || async { jobs.check().await.is_err() }).await;
    let refused = jobs.submit(call("x")).await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    assert!(refused.to_string().contains("cannot save"), "{refused}");
    say(
        &redis,
        &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"],
    )
    .await;
    goes_through(&jobs).await;
}

#[tokio::test]
async fn who_waits_at_a_server_that_fell_silent_goes_on_at_the_next_one() {
    let (mut old, new) = (Redis::start(&[]).await, Redis::start(&[]).await);
    let to = Arc::new(AtomicU16::new(old.port()));
    let (url, _name) = name(to.clone()).await;
    let jobs = connect_to(&url);
    goes_through(&jobs).await;
    let waiting = jobs.clone();
    let claim = async move {
        let wait = Duration::from_secs(60);
        loop {
            match waiting.claim("default", "w", 1, wait).await {
                Ok(claimed) => return claimed,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let failover = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        old.signal(Signal::Stop);
        to.store(new.port(), Ordering::SeqCst);
        // Whoever asks finds out, and all others with it.
        until("jobs are taken", || async {
            jobs.submit(call("y")).await.is_ok()
        })
        .await;
    };
    let patience = Duration::from_secs(20);
    let both = tokio::time::timeout(patience, async { tokio::join!(claim, failover) }).await;
    assert_eq!(both.unwrap().0.len(), 1);
}

/// Takes connections, and answers every command with one line; counts the connections.
async fn stubborn(line: &'static str) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            connections.spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read);
                let (mut head, mut part) = (String::new(), String::new());
                while lines.read_line(&mut head).await.is_ok_and(|read| read > 0) {
                    let parts: usize = head.trim().trim_start_matches('*').parse().unwrap();
                    for _ in 0..parts {
                        part.clear();
                        lines.read_line(&mut part).await.unwrap();
                        let length: usize = part.trim().trim_start_matches('$').parse().unwrap();
                        let mut content = vec![0; length + 2];
                        lines.read_exact(&mut content).await.unwrap();
                    }
                    head.clear();
                    write
                        .write_all(format!("-{line}\r\n").as_bytes())
                        .await
                        .unwrap();
                }
            });
        }
    });
    (format!("redis://{address}"), count, tasks)
}

#[tokio::test]
async fn a_server_that_is_not_itself_is_connected_to_anew_and_not_for_every_call() {
    let lines = [
        ("LOADING Redis is loading", "reads its data in"),
        ("MASTERDOWN Link with MASTER is down", "lost its primary"),
        ("CLUSTERDOWN Hash slot not served", "CLUSTER INFO"),
        ("NOAUTH Authentication required.", "user and password"),
    ];
    for (line, text) in lines {
        let (url, connections, _tasks) = stubborn(line).await;
        let jobs = connect_to(&url);
        for _ in 0..8 {
            let refused = jobs.submit(call("x")).await.unwrap_err();
            assert!(refused.is_unavailable(), "{refused}");
            assert!(refused.to_string().contains(text), "{refused}");
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        let connections = connections.load(Ordering::SeqCst);
        assert!(
            (2..=8).contains(&connections),
            "{line}: {connections} connections"
        );
    }
}

/// The rights that the guide lists.
fn rights() -> Vec<String> {
    let guide = include_str!("../../../docs/guide/jobs.md");
    let line = guide
        .lines()
        .find_map(|line| line.trim().strip_prefix("ACL SETUSER jobs "));
    let line = line.expect("the guide has the rights of a user");
    line.split_whitespace().map(ToOwned::to_owned).collect()
}

async fn user(redis: &Redis, more: &[&str]) -> String {
    let mut words = vec!["ACL".to_owned(), "SETUSER".to_owned(), "jobs".to_owned()];
    words.push("reset".to_owned());
    words.extend(rights());
    words.extend(more.iter().map(ToString::to_string));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    say(redis, &words).await;
    redis.url().replace("redis://", "redis://jobs:secret@")
}

#[tokio::test]
async fn the_rights_in_the_guide_are_enough_for_everything() {
    let redis = Redis::start(&[]).await;
    let jobs = connect_to(&user(&redis, &[]).await);
    goes_through(&jobs).await;
    assert!(jobs.check().await.unwrap().warnings.is_empty());
    let keyed = || NewJob {
        idempotency_key: Some("k".to_owned()),
        delay: Duration::from_millis(10),
        ..call("x")
    };
    let id = jobs.submit(keyed()).await.unwrap().id;
    assert!(jobs.submit(keyed()).await.unwrap().existing);
    let claimed = claim_one(&jobs, "default").await;
    jobs.progress(&claimed.lease, "50%").await.unwrap();
    jobs.renew(std::slice::from_ref(&claimed.lease))
        .await
        .unwrap();
    jobs.cancel(&id).await.unwrap();
    assert_eq!(
        jobs.cancel_requests("default").await.unwrap(),
        std::slice::from_ref(&id)
    );
    jobs.settle(&[(claimed, JobOutcome::Cancelled)])
        .await
        .remove(0)
        .unwrap();
    let dead = jobs.submit(call("dies")).await.unwrap().id;
    let claimed = claim_one(&jobs, "default").await;
    let failed = JobOutcome::Failed {
        error: "no".to_owned(),
        retry: None,
        metrics: None,
    };
    jobs.settle(&[(claimed, failed)]).await.remove(0).unwrap();
    jobs.retry(&dead).await.unwrap();
    let lost = claim_one(&jobs, "default").await;
    assert_eq!(recovered(&jobs).await, 1);
    assert!(settle(&jobs, lost).await.is_err());
    jobs.queues().await.unwrap();
    for status in JobStatus::ALL {
        let filter = JobFilter {
            status: Some(status),
            ..JobFilter::default()
        };
        jobs.list(&filter, 10, None).await.unwrap();
    }
    let wait = Duration::from_millis(50);
    let page = jobs.events("default", "", 1_000, wait).await.unwrap();
    jobs.events("default", &page.cursor, 10, wait)
        .await
        .unwrap();
    jobs.set_timer(Timer::new("t", Schedule::Every(100), "call", 1.into()))
        .await
        .unwrap();
    let mut fired = 0;
    until("the timer fires", async || {
        fired = jobs.fire().await.unwrap();
        fired > 0
    })
    .await;
    assert_eq!(fired, 1);
    assert!(jobs.remove_timer("t").await.unwrap());
    // What stands in the place of ours is put aside.
    say(&redis, &["SET", &format!("{LANE}:zf"), "x"]).await;
    goes_through(&jobs).await;
}

#[tokio::test]
async fn a_missing_right_is_named_and_leaves_no_step_half_done() {
    for missing in ["xdel", "hset", "zrem", "xreadgroup", "smismember"] {
        let redis = Redis::start(&[]).await;
        let url = user(&redis, &[]).await;
        let jobs = connect_to(&url);
        let id = jobs.submit(call("x")).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        user(&redis, &[&format!("-{missing}")]).await;
        // A program that starts now.
        let late = connect_to(&url);
        let refused = late
            .settle(&[(claimed.clone(), done())])
            .await
            .remove(0)
            .unwrap_err();
        let text = refused.to_string();
        assert!(refused.is_unavailable(), "{text}");
        assert!(
            text.to_lowercase().contains(missing) && text.contains("rights"),
            "{text}"
        );
        let text = late.check().await.unwrap_err().to_string();
        assert!(text.to_lowercase().contains(missing), "{text}");
        user(&redis, &[]).await;
        until("the right is there", || async {
            late.check().await.is_ok()
        })
        .await;
        settle(&late, claimed).await.unwrap();
        assert_eq!(jobs.get(&id).await.unwrap().status, JobStatus::Succeeded);
    }
}

#[tokio::test]
async fn a_partition_that_cannot_be_used_keeps_nobody_from_the_others() {
    let redis = Redis::start(&[]).await;
    let two = || QueueOptions {
        partitions: [("default".to_owned(), 2)].into(),
        ..options()
    };
    let all = Jobs::new(open(&redis.url(), &StoreOptions::default()).unwrap(), two());
    let batch = (0..40).map(|number| call(&number.to_string())).collect();
    all.submit_all(batch).await.unwrap();
    let one = [
        "resetkeys",
        "~mesh:jobs:lanes",
        "~mesh:jobs:timers",
        "~mesh:jobs:{rights}*",
        "~mesh:jobs:{default:0}*",
    ];
    let url = user(&redis, &one).await;
    let some = Jobs::new(open(&url, &StoreOptions::default()).unwrap(), two());
    let queued = async || {
        let queues = all.queues().await.unwrap();
        queues[0].counts.queued
    };
    let before = queued().await;
    let mut held = Vec::new();
    let until_then = tokio::time::Instant::now() + Duration::from_secs(20);
    while tokio::time::Instant::now() < until_then {
        let wait = Duration::from_millis(100);
        match some.claim("default", "w", 10, wait).await {
            Ok(claimed) if claimed.is_empty() => break,
            Ok(claimed) => held.extend(claimed),
            Err(_) => {}
        }
    }
    assert!(!held.is_empty() && held.iter().all(|it| it.job.id.lane().partition == 0));
    assert_eq!(queued().await, before - held.len() as u64);
    // One of them is given up by its worker, and taken over.
    tokio::time::sleep(options().lease + Duration::from_millis(200)).await;
    some.recover("default").await.unwrap_err();
    assert_eq!(
        queued().await,
        before,
        "those of the partition that works are back"
    );
    assert!(some.renew(&[held[0].lease.clone()]).await.is_ok());
}

#[tokio::test]
async fn a_policy_that_evicts_is_warned_of_and_a_job_goes_through_all_the_same() {
    let redis = Redis::start(&["--maxmemory-policy", "allkeys-lru"]).await;
    let jobs = connect(&redis);
    let warnings = jobs.check().await.unwrap().warnings;
    assert!(warnings[0].contains("allkeys-lru") && warnings[0].contains("noeviction"));
    goes_through(&jobs).await;
    say(&redis, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    assert!(jobs.check().await.unwrap().warnings.is_empty());
}
