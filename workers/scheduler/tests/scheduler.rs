//! Schedulers as programs, on a real Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use jobs::{JobFilter, Jobs};
use serde_json::{Value, json};
use service::Loader;
use testkit::{Process, Redis, Signal, until};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

const CALL: &str = r#"{ service = "agent-echo", method = "a.B/C", payload = {} }"#;

fn open(redis: &Redis) -> Jobs {
    let config = Loader::new(work::QueueKeys::KEYS.to_vec()).set("redis_url", redis.url());
    work::open(&config.load().unwrap()).unwrap()
}

fn command(redis: &Redis, env: &[(&str, &str)]) -> Command {
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
    command
}

async fn scheduler(redis: &Redis, env: &[(&str, &str)]) -> Process {
    let mut process = Process::start("mesh-scheduler", command(redis, env));
    let serving = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "serving").then_some(())
    };
    process.wait_for_line(PATIENCE, serving).await;
    process
}

/// The times that an entry fired for, as the keys of its jobs tell them.
async fn fired(jobs: &Jobs, entry: &str) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = jobs
            .list(&JobFilter::default(), 100, cursor.as_deref())
            .await
            .unwrap();
        for record in page.jobs {
            let key = record.header.internal_key.unwrap_or_default();
            if let Some(time) = key.strip_prefix(&format!("timer/{entry}/")) {
                let time = time.split_once('/').unwrap().0;
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
        assert!(process.wait_exit(PATIENCE).await.success());
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

fn tick(name: &str, when: &str) -> String {
    format!("[{name}]\n{when}\nkind = \"call\"\npayload = {CALL}\n")
}

/// The payloads of all jobs of a kind.
async fn payloads(jobs: &Jobs, kind: &str) -> Vec<Value> {
    let kind = Some(kind.to_owned());
    let filter = JobFilter {
        kind,
        ..JobFilter::default()
    };
    let listed = jobs.list(&filter, 1_000, None).await.unwrap();
    let payloads = listed.jobs.iter().filter_map(|it| it.payload.as_ref());
    payloads
        .map(|it| serde_json::from_slice(it.bytes()).unwrap())
        .collect()
}

#[tokio::test]
async fn entries_that_no_configuration_has_any_more_do_not_fire() {
    let redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schedule.toml");
    write(&path, &tick("tick", "every = \"200ms\""));
    let env = [
        ("SCHEDULE_FILE", path.to_str().unwrap()),
        ("SCHEDULE_INTERVAL_SECONDS", "0.2"),
    ];
    let mut first = scheduler(&redis, &env).await;
    // Another one beside it, without entries, leaves them alone.
    let _beside = scheduler(&redis, &[]).await;
    until("both fired thrice", PATIENCE, async || {
        let (tick, interval) = (
            fired(&jobs, "file/tick").await,
            fired(&jobs, "interval").await,
        );
        (tick.len() >= 3 && interval.len() >= 3).then_some(())
    })
    .await;
    first.signal(Signal::Terminate);
    assert!(first.wait_exit(PATIENCE).await.success());
    let _second = scheduler(&redis, &[]).await;
    let before = jobs.queues().await.unwrap()[0].counts.queued;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(jobs.queues().await.unwrap()[0].counts.queued, before);
}

#[tokio::test]
async fn entries_are_put_back_when_the_store_comes_back_empty() {
    let mut redis = Redis::start(&["--save", ""]).await;
    let jobs = open(&redis);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schedule.toml");
    write(&path, &tick("tick", "every = \"200ms\""));
    let env = [
        ("SCHEDULE_FILE", path.to_str().unwrap()),
        ("SCHEDULE_INTERVAL_SECONDS", "0.2"),
    ];
    let _scheduler = scheduler(&redis, &env).await;
    for _ in 0..2 {
        until("both fire", PATIENCE, async || {
            // What asks while it is away is told so.
            let queue = Some("default".to_owned());
            let filter = JobFilter {
                queue,
                ..JobFilter::default()
            };
            let listed = jobs.list(&filter, 100, None).await.ok()?.jobs;
            let callers = listed.iter().filter_map(|it| it.header.caller.as_deref());
            let callers: Vec<&str> = callers.collect();
            let of = |name: &str| callers.iter().filter(|caller| **caller == name).count();
            (of("timer/file/tick") >= 2 && of("timer/interval") >= 2).then_some(())
        })
        .await;
        assert_eq!(jobs.timers().await.unwrap().len(), 2);
        redis.restart().await;
    }
}

#[tokio::test]
async fn a_file_with_a_bad_pattern_or_zone_is_refused_whole_at_the_start_and_live() {
    let redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schedule.toml");
    let good = tick("good", "every = \"1h\"");
    let bad = [
        "cron = \"61 * * * *\"",
        "cron = \"* * * *\"",
        "cron = \"0 3 * * *\"\ntimezone = \"Europe/Atlantis\"",
        "every = \"1ms\"",
        "every = \"1s\"\nqueue = \"Not a queue\"",
        "every = \"1s\"\npriority = 9",
    ];
    for when in bad {
        write(
            &path,
            &format!("{}{}", tick("a", "every = \"1h\""), tick("b", when)),
        );
        let mut command = command(&redis, &[("SCHEDULE_FILE", path.to_str().unwrap())]);
        command.stdout(std::process::Stdio::null());
        let mut process = Process::start("mesh-scheduler", command);
        assert!(!process.wait_exit(PATIENCE).await.success(), "{when}");
        assert!(
            process.log().contains("entry b"),
            "{when}: {}",
            process.log()
        );
        assert_eq!(jobs.timers().await.unwrap(), [], "{when}");
    }
    write(&path, &good);
    let scheduler = scheduler(&redis, &[("SCHEDULE_FILE", path.to_str().unwrap())]).await;
    for (number, when) in bad.into_iter().enumerate() {
        write(
            &path,
            &format!("{}{}", tick("a", "every = \"1h\""), tick("b", when)),
        );
        until("it refuses it", PATIENCE, async || {
            let refused = scheduler.log().matches("not taken over").count();
            (refused > number).then_some(())
        })
        .await;
        let timers = jobs.timers().await.unwrap();
        assert_eq!(timers.len(), 1, "{when}");
        assert_eq!(timers[0].name, "file/good", "{when}");
    }
}

#[tokio::test]
async fn goals_and_descriptions_are_scheduled_as_they_are_submitted() {
    let redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schedule.toml");
    write(
        &path,
        r#"
        [goal]
        every = "200ms"
        kind = "pipeline"
        payload = { goal = "How does a router drain?" }
        [task]
        every = "200ms"
        kind = "task"
        payload = { description = "Research retries, then review them" }
        "#,
    );
    let file = path.to_str().unwrap();
    // Two of them agree on what each run is called.
    let _one = scheduler(&redis, &[("SCHEDULE_FILE", file)]).await;
    let _two = scheduler(&redis, &[("SCHEDULE_FILE", file)]).await;
    until("both fired thrice", PATIENCE, async || {
        let (goals, tasks) = (
            payloads(&jobs, "pipeline").await,
            payloads(&jobs, "task").await,
        );
        (goals.len() >= 3 && tasks.len() >= 3).then_some(())
    })
    .await;
    let goals = payloads(&jobs, "pipeline").await;
    let runs: std::collections::BTreeSet<&str> = goals
        .iter()
        .map(|goal| goal["run_id"].as_str().unwrap())
        .collect();
    assert_eq!(runs.len(), goals.len(), "each is a run of its own");
    let tasks = payloads(&jobs, "task").await;
    assert!(
        tasks
            .iter()
            .all(|task| task["subtasks"].as_array().unwrap().len() == 2)
    );
    let fired = fired(&jobs, "file/goal").await;
    assert!(fired.values().all(|count| *count == 1), "{fired:?}");
}

#[tokio::test]
async fn a_goal_of_the_environment_is_scheduled_and_a_bad_one_does_not_start() {
    let redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let goal = json!({ "goal": "How does a router drain?" }).to_string();
    let env = |payload| {
        [
            ("SCHEDULE_INTERVAL_SECONDS", "0.2"),
            ("SCHEDULE_KIND", "pipeline"),
            ("SCHEDULE_PAYLOAD", payload),
        ]
    };
    let _scheduler = scheduler(&redis, &env(goal.as_str())).await;
    until("it fired", PATIENCE, async || {
        (payloads(&jobs, "pipeline").await.len() >= 2).then_some(())
    })
    .await;
    let bad = command(&redis, &env("{\"gaol\":\"x\"}"));
    let mut process = Process::start("mesh-scheduler", bad);
    assert!(!process.wait_exit(PATIENCE).await.success());
    assert!(process.log().contains("goal"), "{}", process.log());
}

#[tokio::test]
async fn entries_are_put_back_into_a_redis_that_lost_them_and_readiness_tells_of_one_that_refuses()
{
    let mut redis = Redis::start(&[]).await;
    let jobs = open(&redis);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schedule.toml");
    write(
        &path,
        &format!("[tick]\nevery = \"200ms\"\nkind = \"call\"\npayload = {CALL}\n"),
    );
    let env = [
        ("SCHEDULE_FILE", path.to_str().unwrap()),
        ("SCHEDULE_INTERVAL_SECONDS", "0.3"),
    ];
    let scheduler = scheduler(&redis, &env).await;
    let both_fire = async |why: &str| {
        until(why, PATIENCE, async || {
            // A Redis that comes up is asked before it is well.
            let all = jobs.queues().await.ok()?;
            (all.first()?.counts.queued >= 4).then_some(())
        })
        .await;
        let (tick, interval) = (
            fired(&jobs, "file/tick").await,
            fired(&jobs, "interval").await,
        );
        assert!(
            !tick.is_empty() && !interval.is_empty(),
            "{why}: {tick:?} {interval:?}"
        );
    };
    both_fire("they fire").await;
    redis.restart().await;
    both_fire("they fire in a Redis that came back empty").await;
    assert_eq!(redis.command("FLUSHALL"), "+OK");
    both_fire("they fire in a Redis that was emptied").await;
    assert_eq!(redis.command("DEL mesh:jobs:timers"), ":1");
    until("both entries are there again", PATIENCE, async || {
        (jobs.timers().await.ok()?.len() == 2).then_some(())
    })
    .await;

    let log = scheduler.log();
    let admin = log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["admin"].as_str().map(ToOwned::to_owned)
    });
    let admin = admin.unwrap();
    for (command, expected, word) in [
        ("CONFIG SET maxmemory 1", 503, "raise its maxmemory"),
        ("CONFIG SET maxmemory 0", 200, ""),
    ] {
        assert_eq!(redis.command(command), "+OK");
        for path in ["readyz", "health"] {
            let what = format!("{path} is {expected} after {command}");
            let text = until(&what, PATIENCE, async || {
                let url = format!("http://{admin}/{path}");
                let (status, text) = testkit::http_client::get(&url).await?;
                (status == expected).then_some(text)
            })
            .await;
            assert!(text.contains(word), "{text}");
        }
    }
}
