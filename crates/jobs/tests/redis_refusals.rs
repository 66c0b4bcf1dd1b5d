//! A Redis that answers, but badly: what it refuses is told, and everything else goes on.

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
    Claimed, Error, Filter, Jobs, NewJob, Options, Outcome, Payload, Settings, Status, Timer, When,
    Worker, open,
};
use support::{Counting, call, claim_one, options, until};
use testkit::{Redis, Sentinel, Signal};
use tokio::task::JoinSet;
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional,
    },
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const LANE: &str = "mesh:jobs:{default:0}";

fn connect_to(url: &str) -> Jobs {
    Jobs::new(open(url, &Settings::default()).unwrap(), options())
}

fn connect(redis: &Redis) -> Jobs {
    connect_to(&redis.url())
}

async fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await.unwrap()
}

async fn say(redis: &Redis, words: &[&str]) {
    ask::<redis::Value>(redis, words).await;
}

fn done() -> Outcome {
    Outcome::Succeeded {
        result: None,
        metrics: None,
    }
}

async fn settle(jobs: &Jobs, claimed: Claimed) -> Result<(), Error> {
    jobs.settle(&[(claimed, done())]).await.remove(0)
}

/// A job goes its whole way.
async fn goes_through(jobs: &Jobs) {
    let id = jobs.submit(call("through")).await.unwrap().id;
    loop {
        let claimed = claim_one(jobs, "default").await;
        let this = claimed.job.id == id;
        settle(jobs, claimed).await.unwrap();
        if this {
            break;
        }
    }
    assert_eq!(jobs.get(&id).await.unwrap().status, Status::Succeeded);
}

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
        let told: String = ask(replica, &["INFO", "replication"]).await;
        told.contains("master_link_status:up")
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
    let first = claim_one(&jobs, "default").await;
    assert_eq!(first.job.id, fails);
    let failed = Outcome::Failed {
        error: "bad luck".to_owned(),
        retry: true,
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
        assert_eq!(jobs.get(id).await.unwrap().status, Status::Succeeded);
    }
    say(&redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    goes_through(&jobs).await;
    jobs.check().await.unwrap();
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
    for (line, told) in lines {
        let (url, connections, _tasks) = stubborn(line).await;
        let jobs = connect_to(&url);
        for _ in 0..8 {
            let refused = jobs.submit(call("x")).await.unwrap_err();
            assert!(refused.is_unavailable(), "{refused}");
            assert!(refused.to_string().contains(told), "{refused}");
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
        jobs.called_off("default").await.unwrap(),
        std::slice::from_ref(&id)
    );
    jobs.settle(&[(claimed, Outcome::Cancelled)])
        .await
        .remove(0)
        .unwrap();
    let dead = jobs.submit(call("dies")).await.unwrap().id;
    let claimed = claim_one(&jobs, "default").await;
    let failed = Outcome::Failed {
        error: "no".to_owned(),
        retry: false,
        metrics: None,
    };
    jobs.settle(&[(claimed, failed)]).await.remove(0).unwrap();
    jobs.retry(&dead).await.unwrap();
    let lost = claim_one(&jobs, "default").await;
    tokio::time::sleep(options().lease + Duration::from_millis(200)).await;
    assert_eq!(jobs.recover("default").await.unwrap(), 1);
    assert!(settle(&jobs, lost).await.is_err());
    jobs.queues().await.unwrap();
    for status in Status::ALL {
        let filter = Filter {
            status: Some(status),
            ..Filter::default()
        };
        jobs.list(&filter, 10, None).await.unwrap();
    }
    let wait = Duration::from_millis(50);
    let page = jobs.events("default", "", 1_000, wait).await.unwrap();
    jobs.events("default", &page.cursor, 10, wait)
        .await
        .unwrap();
    jobs.set_timer(Timer::new("t", When::Every(100), "call", 1.into()))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(jobs.fire().await.unwrap(), 1);
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
        assert_eq!(jobs.get(&id).await.unwrap().status, Status::Succeeded);
    }
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
            let failed = Outcome::Failed {
                error: "no".to_owned(),
                retry: true,
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

async fn claim_any(jobs: &Jobs) -> Claimed {
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
                    .is_ok_and(|it| it.status == Status::Succeeded)
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
            .is_ok_and(|it| it.status == Status::Succeeded)
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
                    .is_ok_and(|it| it.status == Status::Succeeded)
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
    let filter = Filter {
        status: Some(Status::Dead),
        ..Filter::default()
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
    let page = jobs.list(&Filter::default(), 10, None).await.unwrap();
    assert_eq!(page.jobs.len(), 3);
    let odd = jobs.get(&ids[1]).await.unwrap();
    assert_eq!(
        (odd.status, odd.header.kind.as_str()),
        (Status::Succeeded, "undecodable")
    );
    assert_eq!(jobs.queues().await.unwrap().len(), 1);
    assert_eq!(jobs.fire().await.unwrap(), 0);
}

#[tokio::test]
async fn a_result_that_is_too_large_makes_its_job_dead_and_says_so() {
    for scheme in ["redis", "file"] {
        let store = support::store(scheme).await;
        let jobs = store.jobs_with(Options {
            max_result: 1_000,
            ..options()
        });
        let id = jobs.submit(call("x")).await.unwrap().id;
        let claimed = claim_one(&jobs, "default").await;
        let large = Outcome::Succeeded {
            result: Some(Payload::Json("1".repeat(1_001).into())),
            metrics: None,
        };
        jobs.settle(&[(claimed, large)]).await.remove(0).unwrap();
        let record = jobs.get(&id).await.unwrap();
        assert_eq!(record.status, Status::Dead, "{scheme}");
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
