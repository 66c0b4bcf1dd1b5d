//! Calls of a real echo agent, and who is in the mesh.

use std::time::Duration;

use discovery::{Discovery as _, Registration};
use serde_json::{Value, json};
use service::ServerHandle;
use testkit::local;

use crate::support::{Gateway, beside, embedded, read};

async fn echo(gateway: &Gateway) -> ServerHandle {
    beside(gateway, &echo_agent::SPEC, echo_agent::build, &[]).await
}

const EXECUTE: &str = "/api/v1/call/echo-agent/agentplatform.AgentService/ExecuteTask";

#[tokio::test]
async fn json_goes_to_a_real_agent_and_comes_back() {
    let gateway = embedded(&[]).await;
    let agent = echo(&gateway).await;
    let answer = gateway.post(EXECUTE, json!({"input": "hello"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["output"], "Echo Agent Response: hello");
    assert_eq!(answer.header("x-mesh-instance"), agent.instance_id);
    let empty = read(gateway.request("POST", EXECUTE)).await;
    assert_eq!(empty.status, 200, "no body is an empty message");

    let stream = "/api/v1/call/agent-echo/agentplatform.AgentService/StreamTask";
    let answer = gateway.post(stream, json!({"input": "one two"})).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["content"], "[COMPLETE]");
    let events = gateway
        .json("POST", stream, &json!({"input": "x"}))
        .header("accept", "text/event-stream");
    assert!(read(events).await.text.starts_with("event: message\n"));
    agent.drain().await;
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_service_is_called_by_the_public_id_that_its_instances_announce() {
    let gateway = embedded(&[]).await;
    let agent = echo(&gateway).await;
    // A foreign service: nothing but its Meta tells what it is called.
    let parrot = Registration {
        tags: vec!["grpc".to_owned()],
        meta: [("public_id".to_owned(), "parrot".to_owned())].into(),
        ..local::registration("bird-1", "aviary", agent.grpc_addr)
    };
    gateway.registry.register(&parrot).await.unwrap();
    let path = "/api/v1/call/parrot/agentplatform.AgentService/ExecuteTask";
    let answer = gateway.post(path, json!({"input": "hello"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("x-mesh-instance"), "bird-1");
    gateway.registry.remove("bird-1");
    let answer = gateway.post(path, json!({"input": "hello"})).await;
    assert_eq!(answer.problem(404)["reason"], "NO_SUCH_SERVICE");
    agent.drain().await;
    gateway.running.drain().await;
}

#[tokio::test]
async fn what_the_mesh_refuses_is_told_with_its_reason() {
    let gateway = embedded(&[]).await;
    let agent = echo(&gateway).await;
    for (path, body, status, reason) in [
        ("nobody/a.B/C", json!({}), 404, "NO_SUCH_SERVICE"),
        ("echo-agent/a.B/C", json!({}), 404, "UNKNOWN_METHOD"),
        (
            "echo-agent/agentplatform.AgentService/Dance",
            json!({}),
            404,
            "UNKNOWN_METHOD",
        ),
        (
            "echo-agent/agentplatform.AgentService/ExecuteTask",
            json!({"inptu": 1}),
            422,
            "MALFORMED_MESSAGE",
        ),
        (
            "echo-agent/agentplatform.AgentService/ExecuteTask",
            json!(7),
            422,
            "MALFORMED_MESSAGE",
        ),
    ] {
        let problem = gateway
            .post(&format!("/api/v1/call/{path}"), body)
            .await
            .problem(status);
        assert_eq!(problem["reason"], reason, "{problem}");
    }
    agent.drain().await;
    let gone = gateway.post(EXECUTE, json!({})).await;
    assert!([404, 503].contains(&gone.status), "{}", gone.text);
    gateway.running.drain().await;
}

#[tokio::test]
async fn services_are_listed_with_who_is_healthy() {
    let gateway = embedded(&[]).await;
    assert_eq!(gateway.get("/api/v1/services").await.json(), json!([]));
    let agent = echo(&gateway).await;
    let services = gateway.get("/api/v1/services").await.json();
    let echo = &services[0];
    assert_eq!(
        (&echo["service"], &echo["public_id"]),
        (&json!("agent-echo"), &json!("echo-agent"))
    );
    assert_eq!(
        (&echo["kind"], &echo["healthy"]),
        (&json!("agent"), &json!(1))
    );
    assert_eq!(echo["instances"][0]["id"], agent.instance_id.as_str());
    assert_eq!(echo["grpc_services"], json!(["agentplatform.AgentService"]));
    gateway
        .registry
        .set_health(&agent.instance_id, discovery::Health::Critical);
    let services = gateway.get("/api/v1/services").await.json();
    assert_eq!(
        (
            &services[0]["healthy"],
            &services[0]["instances"][0]["health"]
        ),
        (&json!(0), &json!("critical"))
    );
    agent.drain().await;
    gateway.running.drain().await;
}

#[tokio::test]
async fn services_say_which_tools_they_have_and_their_settings_change_them() {
    let gateway = embedded(&[]).await;
    let agent = echo(&gateway).await;
    let path = "/api/v1/mcp/services";
    let until = async |tools: &Value| {
        testkit::until("the catalog shows it", Duration::from_secs(5), async || {
            let told = gateway.get(path).await.json();
            let seen = told["ready"] == true && told["services"][0]["names"] == *tools;
            seen.then(|| told["services"][0].clone())
        })
        .await
    };
    let echo = until(&json!(["echo-agent"])).await;
    assert_eq!((&echo["mode"], &echo["tools"]), (&json!("*"), &json!(1)));
    assert_eq!(
        (&echo["problem"], &echo["kind"]),
        (&json!(null), &json!("agent"))
    );
    let registry = &gateway.registry;
    let key = "services/agent-echo/mcp";
    registry.write(key, Some("off")).await.unwrap();
    let echo = until(&json!([])).await;
    assert_eq!(echo["mode"], "off");
    // A value that will not do changes nothing.
    registry.write(key, Some("some")).await.unwrap();
    registry.write(key, None).await.unwrap();
    until(&json!(["echo-agent"])).await;
    agent.drain().await;
    gateway.running.drain().await;
}

/// A server that answers whoever connects with these bytes; nothing for one that hangs up.
async fn strange(answer: &'static [u8]) -> (std::net::SocketAddr, tokio::task::JoinSet<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 256];
            // What it asks is all the same.
            let asked = stream.read(&mut request).await.is_ok_and(|read| read > 0);
            if asked {
                stream.write_all(answer).await.ok();
            }
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn why_a_call_came_to_nothing_is_told_in_plain_words() {
    let gateway = embedded(&[("call_timeout", "1s")]).await;
    let [port] = testkit::ports::free();
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let (http1, _one) = strange(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let (closing, _two) = strange(b"").await;
    let (tls, _three) = strange(b"\x15\x03\x01\x00\x02\x02\x46").await;
    let (garbage, _four) = strange(&[0xff; 64]).await;
    for (id, address) in [
        ("nobody", nobody),
        ("web", http1),
        ("closing", closing),
        ("tls", tls),
        ("garbage", garbage),
    ] {
        let instance = Registration {
            tags: vec!["grpc".to_owned()],
            ..local::registration(id, id, address)
        };
        gateway.registry.register(&instance).await.unwrap();
        let path = format!("/api/v1/call/{id}/agentplatform.AgentService/ExecuteTask");
        let answer = gateway.post(&path, json!({"input": "x"})).await;
        assert!([502, 503, 504].contains(&answer.status), "{answer:?}");
        let problem = answer.problem(answer.status);
        let told = problem["detail"].as_str().unwrap();
        assert!(told.contains(id), "it names the service: {told}");
        for word in [
            "::",
            "Error",
            "tonic",
            "hyper",
            "h2 ",
            "transport error",
            "Malformed",
            "Reset(",
            "Lost",
            "Some(",
            "None",
        ] {
            assert!(!told.contains(word), "{id} says {word}: {told}");
        }
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn calls_go_through_the_router_that_the_key_names() {
    // Nobody listens there, and the agent that is in the mesh is not asked past it.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let gateway = embedded(&[("mcp_router_addr", &address)]).await;
    let agent = echo(&gateway).await;
    let answer = gateway.post(EXECUTE, json!({"input": "hello"})).await;
    answer.problem(503);
    agent.drain().await;
    gateway.running.drain().await;
}
