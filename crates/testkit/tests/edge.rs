//! The whole path as its users take it: grpcurl → HAProxy → router → instance.

use std::{collections::BTreeMap, net::SocketAddr};

use mesh_testkit::{
    Mesh, Program, grpcurl,
    grpcurl::call,
    raw::{RawConnection, frame},
};
use serde_json::Value;
use tonic::Code;

const EXECUTE: &str = "agentplatform.AgentService/ExecuteTask";

#[tokio::test]
async fn every_kind_of_service_answers_through_haproxy_and_a_router() {
    let mesh = Mesh::start(1, 2, &[]).await;
    let env = mesh.consul.env();
    let weather = Program::start("weather-tool", &env).await;
    let itinerary = Program::start("itinerary-worker", &env).await;
    mesh.consul.wait_passing("tool-weather", 1).await;
    mesh.consul.wait_passing("worker-itinerary", 1).await;
    let address = mesh.address();

    let listed = grpcurl(&[], address, &["list"]).await;
    assert!(listed.ok, "{}", listed.err);
    for service in ["AgentService", "ToolService", "TaskWorker"] {
        let name = format!("agentplatform.{service}");
        assert!(listed.lines().any(|line| line == name), "{}", listed.out);
    }
    let described = grpcurl(&[], address, &["describe", "agentplatform.TaskRequest"]).await;
    assert!(
        described.out.contains("map<string, string> parameters = 4"),
        "{}",
        described.out
    );
    let described = grpcurl(&[], address, &["describe", "agentplatform.AgentService"]).await;
    assert!(
        described.out.contains("rpc ExecuteTask"),
        "{}",
        described.out
    );

    let task = r#"{"task_id":"t1","agent_id":"echo-agent","input":"hello mesh","session_id":"s1",
        "parameters":{"b":"2","a":"1"}}"#;
    let answer = &call(address, EXECUTE, task).await[0];
    assert_eq!(
        answer["output"],
        "Echo Agent Response: hello mesh | Parameters: a=1, b=2"
    );
    assert_eq!(
        (&answer["taskId"], &answer["sessionId"]),
        (&"t1".into(), &"s1".into())
    );
    assert_eq!(answer["metadata"]["agent_id"], mesh.echoes[0].id);

    let chunks = call(address, "agentplatform.AgentService/StreamTask", task).await;
    let words: Vec<_> = chunks
        .iter()
        .filter_map(|chunk| chunk["content"].as_str())
        .collect();
    assert_eq!(words, ["hello", "mesh", "[COMPLETE]"]);
    assert_eq!(chunks[2]["isFinal"], true);

    let tool = r#"{"tool_id":"weather-tool","operation":"get_weather",
        "parameters":{"location":"Paris"},"session_id":"s2"}"#;
    let answer = &call(address, "agentplatform.ToolService/ExecuteTool", tool).await[0];
    let report = inner(answer, "result");
    assert_eq!(
        (&answer["success"], &answer["sessionId"]),
        (&true.into(), &"s2".into())
    );
    assert!(
        report["temperature"].is_number() && report["humidity"].is_i64(),
        "{report}"
    );

    let plan = r#"{"task_id":"t3","agent_id":"itinerary-worker","session_id":"s3",
        "parameters":{"destination":"Paris","days":"2","interests":"art,food"}}"#;
    let answer = &call(address, "agentplatform.TaskWorker/ProcessTask", plan).await[0];
    let itinerary_output = inner(answer, "output");
    assert_eq!(
        itinerary_output["daily_schedule"].as_array().map(Vec::len),
        Some(2),
        "{answer}"
    );
    assert_eq!(answer["metadata"]["worker_id"], itinerary.id);
    // The worker asked the tool through the mesh.
    assert!(
        !itinerary_output["weather_info"].is_null(),
        "{itinerary_output}"
    );

    let status = call(
        address,
        "agentplatform.TaskWorker/GetTaskStatus",
        r#"{"task_id":"t3"}"#,
    )
    .await;
    assert_eq!(status[0]["status"], "completed");
    let status = call(
        address,
        "agentplatform.AgentService/GetStatus",
        r#"{"agent_id":"echo-agent"}"#,
    )
    .await;
    assert_eq!(status[0]["status"], "healthy");

    for (method, key, id) in [
        ("AgentService/ListAgents", "agents", "echo-agent"),
        ("ToolService/ListTools", "tools", "weather-tool"),
        ("TaskWorker/ListWorkers", "workers", "itinerary-worker"),
    ] {
        let listed = call(address, &format!("agentplatform.{method}"), "{}").await;
        let entries = listed[0][key].as_array().cloned().unwrap_or_default();
        let ids: Vec<_> = entries.iter().flat_map(|entry| entry.as_object()).collect();
        assert_eq!(ids.len(), 1, "{listed:?}");
        assert!(ids[0].values().any(|value| value == id), "{listed:?}");
    }
    drop(weather);
}

#[tokio::test]
async fn nine_calls_in_a_row_are_spread_over_three_instances() {
    let mut mesh = Mesh::start(3, 2, &[]).await;
    let one_router = spread(mesh.routers[0].grpc).await;
    assert_eq!(
        one_router.values().copied().collect::<Vec<_>>(),
        [3, 3, 3],
        "{one_router:?}"
    );
    let both = spread(mesh.address()).await;
    assert_eq!(both.len(), 3, "{both:?}");
    assert!(
        both.values().all(|count| (2..=4).contains(count)),
        "{both:?}"
    );
    for program in mesh.echoes.iter_mut().chain(&mut mesh.routers) {
        program.assert_healthy();
    }
}

#[tokio::test]
async fn metadata_as_large_as_is_taken_passes_haproxy_and_more_ends_its_own_call_only() {
    const PATH: &str = "/agentplatform.AgentService/ExecuteTask";
    // A TaskRequest for echo-agent.
    const TASK: &[u8] = b"\x12\x0aecho-agent";
    let mesh = Mesh::start(1, 1, &[("ECHO_DELAY", "1s".to_owned())]).await;
    let mut raw = RawConnection::connect(mesh.address()).await;
    let names: Vec<_> = (0..600).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "value")).collect();
    let (fits, large) = ("v".repeat(60_000), "v".repeat(100_000));
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(raw.begin(PATH, &[], frame(TASK), true).await);
    }
    let refused = raw.call(PATH, &[("x-large", &large)], TASK).await.status;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(
        refused.message().contains("max_header_bytes"),
        "{refused:?}"
    );
    for metadata in [&[("x-large", fits.as_str())][..], &many] {
        let answer = raw.call(PATH, metadata, TASK).await;
        assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
    }
    for other in others {
        let status = other.answer().await.status;
        assert_eq!(status.code(), Code::Ok, "{status:?}");
    }
}

/// How many of nine calls each instance answered.
async fn spread(address: SocketAddr) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..9 {
        let answer = call(address, EXECUTE, r#"{"agent_id":"echo-agent","input":"x"}"#).await;
        let id = answer[0]["metadata"]["agent_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// JSON inside a string of the answer.
fn inner(answer: &Value, key: &str) -> Value {
    let text = answer[key].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
