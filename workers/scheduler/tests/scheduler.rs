//! Schedulers as programs, on a real Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use jobs::{Filter, Jobs};
use serde_json::{Value, json};
use service::Loader;
use testkit::{Process, Redis, Signal, until};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

const CALL: &str = r#"{ service = "agent-echo", method = "a.B/C", payload = {} }"#;

fn open(redis: &Redis) -> Jobs {
    let config = Loader::new(work::KEYS.to_vec()).set("redis_url", redis.url());
    work::open(&config.load().unwrap()).unwrap()
}

async fn scheduler(redis: &Redis, env: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-scheduler"));
    command
        .env("REDIS_URL", redis.url())
        .env("DISCOVERY", "memory")
        .env("SCHEDULER_PORT", "0")
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("ADMIN_ADDRESS", "127.0.0.1")
        .env("DRAIN_DELAY", "0s")
        .env("SCHEDULE_POLL", "100ms")
        .env("LOG_FORMAT", "json")
        .envs(env.iter().copied());
    let mut process = Process::start("mesh-scheduler", command);
    let serving = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "serving").then_some(())
    };
    process.line(PATIENCE, serving).await;
    process
}

/// The times that an entry fired for, as the keys of its jobs tell them.
async fn fired(jobs: &Jobs, entry: &str) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = jobs
            .list(&Filter::default(), 100, cursor.as_deref())
            .await
            .unwrap();
        for record in page.jobs {
            let key = record.header.internal_key.unwrap_or_default();
            if let Some(time) = key.strip_prefix(&format!("timer/{entry}/")) {
                *times.entry(time.parse().unwrap()).or_insert(0) += 1;
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return times;
        }
    }
}

fn write(path: &Path, entries: &str) {
    fs::write(path, entries).unwrap();
}

#[tokio::test]
async fn of_three_schedulers_each_time_of_a_cron_entry_makes_one_job() {
    let redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schedule.toml");
    write(
        &path,
        &format!("[tick]\ncron = \"* * * * * *\"\nkind = \"call\"\npayload = {CALL}\n"),
    );
    let file = path.to_str().unwrap();
    let mut three = Vec::new();
    for _ in 0..3 {
        three.push(scheduler(&redis, &[("SCHEDULE_FILE", file)]).await);
    }
    let times = until("it fired six times", PATIENCE, async || {
        Some(fired(&jobs, "file/tick").await).filter(|times| times.len() >= 6)
    })
    .await;
    assert!(times.values().all(|count| *count == 1), "{times:?}");
    let all: Vec<u64> = times.into_keys().collect();
    // Every second of them, and none that was not one.
    assert!(
        all.windows(2).all(|pair| pair[1] - pair[0] == 1_000),
        "{all:?}"
    );
    let waiting = jobs.queues().await.unwrap()[0].counts.queued;
    assert!(waiting >= 6, "{waiting}");
    for process in &mut three {
        process.signal(Signal::Terminate);
        assert!(process.end(PATIENCE).await.success());
    }
}

#[tokio::test]
async fn entries_follow_their_file_and_a_bad_one_changes_nothing() {
    let redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schedule.toml");
    let entry =
        |name: &str| format!("[{name}]\nevery = \"1h\"\nkind = \"call\"\npayload = {CALL}\n");
    write(&path, &entry("one"));
    let scheduler = scheduler(&redis, &[("SCHEDULE_FILE", path.to_str().unwrap())]).await;
    let names = async || {
        let timers = jobs.timers().await.unwrap();
        timers
            .into_iter()
            .map(|timer| timer.name)
            .collect::<Vec<_>>()
    };
    let become_ = async |expected: &[&str]| {
        let what = format!("the entries are {expected:?}");
        until(&what, PATIENCE, async || {
            (names().await == expected).then_some(())
        })
        .await;
    };
    become_(&["file/one"]).await;
    write(&path, &format!("{}\n{}", entry("two"), entry("three")));
    until("both are there", PATIENCE, async || {
        let mut names = names().await;
        names.sort();
        (names == ["file/three", "file/two"]).then_some(())
    })
    .await;
    write(
        &path,
        "[bad]\nevery = \"1h\"\nkind = \"fly\"\npayload = {}\n",
    );
    until("it says what is wrong", PATIENCE, async || {
        scheduler.log().contains("not taken over").then_some(())
    })
    .await;
    assert_eq!(names().await.len(), 2);
    write(&path, "# nothing\n");
    become_(&[]).await;
}

#[tokio::test]
async fn schedule_interval_seconds_makes_an_entry_of_its_own() {
    let redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let payload = json!({ "url": "http://example.org/" }).to_string();
    let env = [
        ("SCHEDULE_INTERVAL_SECONDS", "0.3"),
        ("SCHEDULE_KIND", "http"),
        ("SCHEDULE_PAYLOAD", payload.as_str()),
    ];
    let begun = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let _scheduler = scheduler(&redis, &env).await;
    let times = until("it fired thrice", PATIENCE, async || {
        Some(fired(&jobs, "interval").await).filter(|times| times.len() >= 3)
    })
    .await;
    assert!(u128::from(*times.keys().next().unwrap()) > begun.as_millis());
    let timers = jobs.timers().await.unwrap();
    assert_eq!(
        (timers[0].name.as_str(), timers[0].kind.as_str()),
        ("interval", "http")
    );
}
