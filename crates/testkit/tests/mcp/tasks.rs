//! Calls that take long, as the conformance suite has them: a tool of the mesh, run by the job runner.

use std::process::Command;

use mesh_testkit::{Process, Program, http_client, tools, until};

use crate::{
    conformance::scenario,
    support::{SOON, World, before, mcp, tool_names},
};

/// What fits a tool whose calls ask for nothing.
const SCENARIOS: [&str; 5] = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
];

#[tokio::test(flavor = "multi_thread")]
async fn long_calls_are_tasks_as_the_suite_has_them_on_any_gateway() {
    let set = [("MCP_TASK_AFTER", "300ms".to_owned())];
    let world = World::start(2, &set).await;
    let setting = "kv/mesh/services/tool-suite/mcp_tasks";
    let setting = format!("http://{}/v1/{setting}", world.consul.http());
    let methods = "agentplatform.ToolService/ExecuteTool";
    http_client::put(&setting, methods.to_owned()).await;
    let _runner = Program::start("job-runner", world.env()).await;
    let mut tool = Command::new(tools::example("mcp_suite_tool"));
    world.place_tool(&mut tool);
    let _tool = Process::start("suite-tool", tool);
    world.consul.wait_passing("tool-suite", 1).await;
    for gateway in &world.gateways {
        let url = format!("{}/tool-suite", mcp(gateway));
        until("the tool's operations are listed", SOON, async || {
            let names = tool_names(&url).await?;
            let has = |name: &str| names.iter().any(|it| it == name);
            has("slow_compute").then_some(())
        })
        .await;
    }
    let (_haproxy, url) = before(&world).await;
    let url = format!("{url}/tool-suite");
    for name in SCENARIOS {
        // With a version, the suite leaves out what belongs to an extension.
        scenario(&url, name, None).await;
    }
}
