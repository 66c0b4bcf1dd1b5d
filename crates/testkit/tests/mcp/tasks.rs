//! Calls that take long, as the conformance suite has them: a tool of the mesh, run by the job runner.

use std::{fs, path::Path, process::Command};

use mesh_testkit::{Process, Program, Redis, http_client, tools, until};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{SOON, World, command, finish, tool_names};

/// What fits a tool whose calls ask for nothing.
const SCENARIOS: [&str; 5] = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
];

#[tokio::test(flavor = "multi_thread")]
async fn long_calls_are_tasks_as_the_suite_has_them() {
    let redis = Redis::start(&[]).await;
    let set = [
        ("REDIS_URL", redis.url()),
        ("MCP_TASK_AFTER", "300ms".to_owned()),
    ];
    let world = World::start(1, &set).await;
    let setting = "kv/mesh/services/tool-suite/mcp_tasks";
    let setting = format!("http://{}/v1/{setting}", world.consul.http());
    let methods = "agentplatform.ToolService/ExecuteTool";
    http_client::put(&setting, methods.to_owned()).await;
    let env = [world.consul.env(), set.to_vec()].concat();
    let _runner = Program::start("job-runner", &env).await;
    let mut tool = Command::new(tools::example("mcp_suite_tool"));
    tool.envs(env.iter().map(|(key, value)| (*key, value)))
        .envs([
            ("LISTEN_ADDRESS", "127.0.0.1"),
            ("ADMIN_ADDRESS", "127.0.0.1"),
        ])
        .env("TOOL_PORT", "0");
    let _tool = Process::start("suite-tool", tool);
    world.consul.wait_passing("tool-suite", 1).await;
    let url = format!("{}/tool-suite", world.mcp());
    until("the tool's operations are listed", SOON, async || {
        let names = tool_names(&url).await?;
        names
            .iter()
            .any(|name| name == "slow_compute")
            .then_some(())
    })
    .await;
    for name in SCENARIOS {
        let home = TempDir::new().expect("a folder");
        // With a version, the suite leaves out what belongs to an extension, and says that all is well.
        let args = ["server", "--url", &url, "--scenario", name, "-o", "results"];
        let mut suite = command(tools::mcp_program("conformance"), &args, &home);
        suite.current_dir(home.path());
        let ended = finish(suite).await;
        let checks = checks(home.path());
        let failed: Vec<_> = checks
            .iter()
            .filter(|check| check["status"] != "SUCCESS")
            .collect();
        assert!(
            !checks.is_empty() && failed.is_empty(),
            "{name}: {failed:#?}"
        );
        assert_eq!(ended.code, Some(0), "{name}\n{}{}", ended.out, ended.err);
    }
}

/// What the suite wrote of each thing that it checked.
fn checks(folder: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(checks(&path));
        } else if path.file_name().is_some_and(|name| name == "checks.json") {
            let text = fs::read_to_string(&path).expect("a file");
            let list: Value = serde_json::from_str(&text).expect("JSON");
            found.extend(list.as_array().cloned().unwrap_or_default());
        }
    }
    found
}
