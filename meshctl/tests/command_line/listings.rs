//! `meshctl list`, `describe` and `status`.

use serde_json::json;

use crate::mesh::{Mesh, run};

#[tokio::test]
async fn the_list_tells_who_is_there_and_heeds_a_filter() {
    let mesh = Mesh::small().await;
    let all = mesh.run(&["list", "--json"]).ok().value();
    assert_eq!(all["agents"][0]["agent_id"], "echo-agent");
    assert_eq!(all["tools"][0]["tool_id"], "weather-tool");
    assert_eq!(all["workers"][0]["worker_id"], "itinerary-worker");

    let tools = mesh
        .run(&["list", "tools", "--json", "--filter", "nobody"])
        .ok()
        .value();
    assert_eq!(tools, json!({ "tools": [] }));

    let text = mesh.run(&["list", "--filter", "PLANNING"]).ok().stdout;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("KIND ") && lines[1].starts_with("worker  itinerary-worker "));
}

#[tokio::test]
async fn services_and_grpc_symbols_are_described() {
    let mesh = Mesh::small().await;
    let described = |name| mesh.run(&["describe", name]).ok().stdout;
    let tool = described("weather-tool");
    assert!(tool.starts_with("tool weather-tool\n"), "{tool}");
    assert!(tool.contains("location (string, required): "), "{tool}");
    for name in ["AgentService", "agentplatform.AgentService"] {
        let service = described(name);
        assert!(
            service.starts_with("service agentplatform.AgentService {\n"),
            "{service}"
        );
        assert!(
            service.contains("message agentplatform.TaskRequest {\n"),
            "{service}"
        );
    }
    let method = described("agentplatform.AgentService/StreamTask");
    assert!(
        method.contains("returns (stream agentplatform.TaskChunk);"),
        "{method}"
    );
    assert!(!method.contains("ExecuteTask"), "{method}");
    assert!(described("TaskChunk").starts_with("message agentplatform.TaskChunk {\n"));

    let answer = mesh.run(&["describe", "frog-agent"]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer
            .stderr
            .contains("echo-agent, weather-tool, itinerary-worker"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn status_tells_of_the_router_services_instances_and_tasks() {
    let mesh = Mesh::small().await;
    let all = mesh.run(&["status", "--json"]).ok().value();
    assert_eq!(
        all["router"],
        json!({ "address": mesh.router, "status": "SERVING" })
    );
    let ids: Vec<_> = all["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["echo-agent", "weather-tool", "itinerary-worker"]);
    assert_eq!(all["services"][0]["active_tasks"], 0);

    let mut instances = mesh.told["instances"].as_array().unwrap().iter();
    let echo = instances.find(|it| it["service"] == "agent-echo").unwrap()["id"]
        .as_str()
        .unwrap();
    for target in ["echo-agent", "agent-echo", "weather-tool", echo] {
        let one = mesh.run(&["status", target, "--json"]).ok().value();
        assert_eq!(one["status"], "healthy", "{target}");
    }
    assert_eq!(mesh.run(&["status", "nobody"]).code, Some(1));

    let plan = r#"{"task_id":"plan-1","parameters":{"destination":"Paris","days":"1"}}"#;
    mesh.run(&["call", "itinerary-worker", "ProcessTask", plan])
        .ok();
    let task = mesh
        .run(&["status", "--task", "plan-1", "--json"])
        .ok()
        .value();
    assert_eq!(
        (&task["task_id"], &task["status"]),
        (&json!("plan-1"), &json!("completed"))
    );
    assert!(
        task["instance"]
            .as_str()
            .unwrap()
            .starts_with("itinerary-worker-"),
        "{task}"
    );
}

#[test]
fn without_a_router_every_command_says_how_to_get_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for command in [
        &["list"][..],
        &["status"],
        &["describe", "x"],
        &["call", "echo-agent", "ExecuteTask"],
    ] {
        let answer = run(&[command, &["--router", &address]].concat());
        assert_eq!(answer.code, Some(1), "{command:?}");
        assert!(
            answer.stderr.contains("start a mesh with `meshctl up`"),
            "{answer:?}"
        );
    }
}
