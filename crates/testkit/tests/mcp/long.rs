//! Calls that take longer than a client waits: with times cut short, or true ones where `MESH_TEST_TRUE_TIMES` is set.

use std::{env, time::Duration};

use mesh_testkit::{Program, Signal, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{SOON, World, ask, before, call, mcp, meshctl, run};

/// Has these tests run with the times that people have: an agent that takes 90 s, and a client that waits
/// for 60, as `make test-mcp` does. It takes some minutes.
const TRUE_TIMES: &str = "MESH_TEST_TRUE_TIMES";

struct Times {
    /// What the agent takes.
    takes: Duration,
    /// How long a client waits for an answer.
    waits: Duration,
    /// When a gateway and a runner are killed.
    killed: Duration,
    /// From the first call to the result, also when it is run again.
    limit: Duration,
    /// The keys that cut what else depends on it.
    keys: Vec<(&'static str, String)>,
}

fn times() -> Times {
    let seconds = Duration::from_secs;
    if env::var_os(TRUE_TIMES).is_some() {
        return Times {
            takes: seconds(90),
            waits: seconds(60),
            killed: seconds(30),
            limit: seconds(300),
            keys: Vec::new(),
        };
    }
    let cut = [
        ("JOBS_LEASE", "2s"),
        ("JOBS_BACKOFF_BASE", "200ms"),
        ("MCP_TASK_AFTER", "1s"),
        ("MCP_WAIT", "2s"),
    ];
    Times {
        takes: seconds(6),
        waits: seconds(5),
        killed: seconds(3),
        limit: SOON,
        keys: cut.map(|(key, value)| (key, value.to_owned())).to_vec(),
    }
}

/// A mesh whose queue is in Redis, with a runner.
struct LongWorld {
    world: World,
    runner: Program,
    times: Times,
}

async fn long_world() -> LongWorld {
    let times = times();
    let takes = ("ECHO_DELAY", format!("{}s", times.takes.as_secs()));
    let set = [times.keys.clone(), vec![takes]].concat();
    let world = World::start(2, &set).await;
    let runner = Program::start("job-runner", world.env()).await;
    world.consul.wait_passing("job-runner", 1).await;
    // The gateways look for runners now and then.
    sleep(Duration::from_secs(2)).await;
    LongWorld {
        world,
        runner,
        times,
    }
}

fn text(result: &Value) -> String {
    let text = result["content"][0]["text"].as_str();
    text.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tasks_fetches_the_result_later() {
    let long = long_world().await;
    let url = long.world.mcp();
    let params = json!({"name": "echo-agent", "arguments": {"input": "long work"}});
    let started = timeout(long.times.waits, ask(&url, "tools/call", params)).await;
    let (_, started) = started
        .expect("before the client gives up")
        .expect("an answer");
    let started = &started["result"];
    assert!(!text(started).contains("long work"), "too early: {started}");
    // The text names the job, which is a word with letters and digits.
    let said = text(started);
    let words = said.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    let job = words.max_by_key(|word| word.len());
    let job = job.expect("a word").trim_end_matches('.');
    let fetched = until("the result is there", long.times.limit, async || {
        let fetch = call(&url, "get_result", json!({ "job_id": job }));
        let result = timeout(long.times.waits, fetch).await;
        let result = result.expect("before the client gives up");
        text(&result).contains("long work").then_some(result)
    })
    .await;
    assert_ne!(fetched["isError"], true, "{fetched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_completed_though_a_gateway_and_a_runner_are_killed() {
    let mut long = long_world().await;
    let home = TempDir::new().expect("a folder");
    let (_haproxy, url) = before(&long.world).await;
    let args = [
        "mcp",
        "--url",
        &url,
        "--era",
        "modern",
        "call",
        "echo-agent",
        "input=long work",
    ];
    let kill = async {
        sleep(long.times.killed).await;
        long.world.gateways[0].signal(Signal::Kill);
        // The one that has the job; another takes it over.
        long.runner.signal(Signal::Kill);
        Program::start("job-runner", long.world.env()).await
    };
    let limit = long.times.limit;
    let (ended, _runner) = tokio::join!(timeout(limit, run(meshctl(), &args, &home)), kill);
    let ended = ended.expect("within the limit");
    assert!(ended.ok().contains("long work"));
    drop(
        call(
            &mcp(&long.world.gateways[1]),
            "weather-tool__get_weather",
            json!({"location": "Rome"}),
        )
        .await,
    );
}
