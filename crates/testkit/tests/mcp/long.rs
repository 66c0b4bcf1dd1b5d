//! Calls that take longer than a client waits, with times cut short.

use std::time::Duration;

use mesh_testkit::{HaProxy, Program, Signal, python::Python, tools, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    conformance::scenario,
    support::{SOON, World, call, mcp, meshctl, run, tool_names},
};

/// What the agent takes. A client without tasks waits for two seconds of it.
const TAKES: &str = "6s";

/// A mesh whose queue is in Redis, with runners.
struct LongWorld {
    world: World,
    runners: Vec<Program>,
}

async fn long_world() -> LongWorld {
    let set = [
        ("JOBS_LEASE", "2s".to_owned()),
        ("JOBS_BACKOFF_BASE", "200ms".to_owned()),
        ("ECHO_DELAY", TAKES.to_owned()),
        ("MCP_TASK_AFTER", "1s".to_owned()),
        ("MCP_WAIT", "2s".to_owned()),
    ];
    let world = World::start(2, &set).await;
    let runners = Program::several("job-runner", 2, world.env()).await;
    world.consul.wait_passing("job-runner", 2).await;
    // The gateways look for runners now and then.
    sleep(Duration::from_secs(2)).await;
    LongWorld { world, runners }
}

fn text(result: &Value) -> String {
    let text = result["content"][0]["text"].as_str();
    text.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tasks_fetches_the_result_later() {
    let long = long_world().await;
    let url = long.world.mcp();
    let started = call(&url, "echo-agent", json!({"input": "long work"})).await;
    assert!(
        !text(&started).contains("long work"),
        "too early: {started}"
    );
    // The text names the job, which is a word with letters and digits.
    let said = text(&started);
    let words = said.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    let job = words.max_by_key(|word| word.len());
    let job = job.expect("a word").trim_end_matches('.');
    let fetched = until("the result is there", SOON, async || {
        let result = call(&url, "get_result", json!({ "job_id": job })).await;
        text(&result).contains("long work").then_some(result)
    })
    .await;
    assert_ne!(fetched["isError"], true, "{fetched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_completed_though_a_gateway_and_a_runner_are_killed() {
    let mut long = long_world().await;
    let home = TempDir::new().expect("a folder");
    let haproxy = HaProxy::start(long.world.consul.dns()).await;
    until("haproxy has both gateways", SOON, async || {
        (haproxy.up_of("gateways").await == 2).then_some(())
    })
    .await;
    let url = format!("http://{}/mcp", haproxy.mcp());
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
        sleep(Duration::from_secs(3)).await;
        long.world.gateways[0].signal(Signal::Kill);
        long.runners[0].signal(Signal::Kill);
    };
    let (ended, ()) = tokio::join!(run(meshctl(), &args, &home), kill);
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

/// The scenarios of tasks that a tool without questions can pass.
const TASKS: [&str; 5] = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_tool_whose_calls_are_jobs_passes_the_scenarios_of_tasks() {
    let set = [
        ("JOBS_BACKOFF_BASE", "200ms".to_owned()),
        ("MCP_TASK_AFTER", "400ms".to_owned()),
    ];
    let world = World::start(2, &set).await;
    let home = TempDir::new().expect("a folder");
    let _runner = Program::start("job-runner", world.env()).await;
    let script = tools::root().join("crates/testkit/tests/python/suite_tool.py");
    let protos = tools::root().join("proto/proto").display().to_string();
    let tool = Python::start(&script, &[&protos]).await;
    let meta = json!({"public_id": "suite-tool", "grpc_services": "agentplatform.ToolService",
        "mcp_tasks": "agentplatform.ToolService/ExecuteTool"});
    let check =
        json!({"TCP": format!("127.0.0.1:{}", tool.port), "Interval": "1s", "Timeout": "1s"});
    let registration = json!({"ID": "suite-1", "Name": "tool-suite", "Tags": ["grpc", "tool"],
        "Address": "127.0.0.1", "Port": tool.port, "Meta": meta, "Check": check});
    world
        .consul
        .put("agent/service/register", &registration)
        .await;
    world.consul.wait_passing("tool-suite", 1).await;
    world.consul.wait_passing("job-runner", 1).await;
    let url = format!("{}/tool-suite", world.mcp());
    until("its operations are tools", SOON, async || {
        let names = tool_names(&url).await?;
        let has = |name: &str| names.iter().any(|it| it == name);
        let all = ["failing_job", "greet", "protocol_error_job", "slow_compute"];
        all.into_iter().all(has).then_some(())
    })
    .await;
    // The gateways look for runners now and then.
    sleep(Duration::from_secs(2)).await;
    for name in TASKS {
        scenario(&url, name, "2026-07-28", &home).await;
    }
}
