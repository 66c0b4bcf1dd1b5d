//! Clients with a handshake and a session.

use std::time::Duration;

use serde_json::json;

use super::{BOTH, events, eventually, initialize, legacy, legacy_request, with_echo};
use crate::support::{Gateway, beside, embedded, read};

#[tokio::test]
async fn a_session_lasts_from_initialize_to_delete() {
    let (gateway, _echo) = with_echo(&[]).await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let (session, result) = initialize(&gateway, version).await;
        assert_eq!(result["protocolVersion"], version);
        assert_eq!(result["serverInfo"]["name"], "mesh");
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let noted = read(legacy_request(&gateway, Some(&session), &note)).await;
        assert_eq!((noted.status, noted.text.as_str()), (202, ""));
        let ping = legacy(&gateway, Some(&session), "ping", json!({})).await;
        assert_eq!(
            (ping.status, ping.json()),
            (200, json!({"jsonrpc": "2.0", "id": "a", "result": {}}))
        );
        let list = legacy(&gateway, Some(&session), "tools/list", json!({}))
            .await
            .json();
        assert!(list["result"].get("resultType").is_none(), "{list}");
        let call = json!({"name": "echo-agent", "arguments": {"input": "hi"}});
        let called = legacy(&gateway, Some(&session), "tools/call", call).await;
        assert!(
            called.text.contains("Echo Agent Response: hi"),
            "{}",
            called.text
        );
        let delete = gateway
            .request("DELETE", "/mcp")
            .header("mcp-session-id", &session);
        assert_eq!(read(delete).await.status, 204);
        let gone = legacy(&gateway, Some(&session), "tools/list", json!({})).await;
        assert_eq!(gone.status, 404, "{}", gone.text);
    }
    let (_, result) = initialize(&gateway, "1999-01-01").await;
    assert_eq!(result["protocolVersion"], "2025-11-25");
}

#[tokio::test]
async fn errors_are_answers_like_any_other() {
    let gateway = embedded(&[]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    for (method, params, code) in [
        ("no/method", json!({}), -32601),
        ("tasks/get", json!({"taskId": "x"}), -32601),
        ("subscriptions/listen", json!({}), -32601),
        ("tools/call", json!({"name": "nothing"}), -32602),
        ("resources/read", json!({"uri": "test://nothing"}), -32002),
        (
            "resources/subscribe",
            json!({"uri": "test://nothing"}),
            -32002,
        ),
        ("logging/setLevel", json!({"level": "loud"}), -32602),
    ] {
        let answer = legacy(&gateway, Some(&session), method, params).await;
        let error = answer.json();
        assert_eq!(
            (answer.status, &error["error"]["code"]),
            (200, &json!(code)),
            "{method}: {error}"
        );
    }
    let level = legacy(
        &gateway,
        Some(&session),
        "logging/setLevel",
        json!({"level": "info"}),
    )
    .await;
    assert_eq!(level.json()["result"], json!({}));
    let unknown = legacy(&gateway, Some("mesh-gateway-x.00"), "ping", json!({})).await;
    assert_eq!(unknown.status, 404);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let version = gateway
        .json("POST", "/mcp", &body)
        .header("mcp-protocol-version", "v999");
    let version = read(version).await;
    assert_eq!(
        (version.status, &version.json()["error"]["code"]),
        (400, &json!(-32022))
    );
    assert_eq!(version.json()["error"]["data"]["requested"], "v999");
}

#[tokio::test]
async fn a_batch_is_answered_where_the_revision_has_batches() {
    let gateway = embedded(&[]).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        7,
        {"jsonrpc": "2.0", "id": 2, "method": "no/method"}]);
    let answers = async |version: &str| {
        let (session, _) = initialize(&gateway, version).await;
        let request = gateway.json("POST", "/mcp", &batch).header("accept", BOTH);
        read(request.header("mcp-session-id", session)).await
    };
    let old = answers("2025-03-26").await;
    assert_eq!(old.status, 200);
    let old = old.json();
    assert_eq!(old[0]["result"], json!({}));
    assert_eq!(old[1]["error"]["code"], -32600);
    assert_eq!(old[2]["error"]["code"], -32601);
    let new = answers("2025-06-18").await;
    assert_eq!(
        (new.status, &new.json()["error"]["code"]),
        (400, &json!(-32600))
    );
}

#[tokio::test]
async fn idle_sessions_end() {
    let gateway = embedded(&[("mcp_session_idle", "300ms")]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    assert_eq!(
        legacy(&gateway, Some(&session), "ping", json!({}))
            .await
            .status,
        200
    );
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(
        legacy(&gateway, Some(&session), "ping", json!({}))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn one_more_session_than_there_may_be_ends_the_longest_idle_one() {
    let gateway = embedded(&[("mcp_max_sessions", "2")]).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(initialize(&gateway, "2025-11-25").await.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut statuses = Vec::new();
    for session in &sessions {
        statuses.push(
            legacy(&gateway, Some(session), "ping", json!({}))
                .await
                .status,
        );
    }
    assert_eq!(statuses, [404, 200, 200]);
}

/// Another gateway of the same mesh, with the client of the first.
async fn second(gateway: &Gateway, set: &[(&str, &str)]) -> service::ServerHandle {
    beside(gateway, &gateway::SPEC, gateway::build, set).await
}

async fn ping_at(other: &service::ServerHandle, session: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let url = format!("http://{}/mcp", other.grpc_addr);
    let request = client.post(url).header("content-type", "application/json");
    let request = request
        .header("accept", BOTH)
        .header("mcp-session-id", session);
    read(request.body(body.to_string())).await.status
}

#[tokio::test]
async fn any_gateway_passes_a_session_on_to_the_one_that_has_it() {
    let gateway = embedded(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let other = second(&gateway, &[("jobs_path", &path)]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    eventually(async || ping_at(&other, &session).await == 200).await;
    for _ in 0..5 {
        assert_eq!(ping_at(&other, &session).await, 200);
    }
    // Without a Redis nobody goes on with it.
    gateway.running.drain().await;
    eventually(async || ping_at(&other, &session).await == 404).await;
}

#[tokio::test]
async fn a_session_goes_on_after_its_gateway_where_there_is_a_redis() {
    let gateway = crate::support::on_redis(&[]).await;
    let url = gateway.redis.as_ref().unwrap().url();
    let other = second(&gateway, &[("redis_url", &url)]).await;
    let third = second(&gateway, &[("redis_url", &url)]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    eventually(async || ping_at(&other, &session).await == 200).await;
    gateway.running.drain().await;
    eventually(async || ping_at(&other, &session).await == 200).await;
    assert_eq!(ping_at(&third, &session).await, 200);
}

#[tokio::test]
async fn clients_of_2024_have_a_stream_and_messages_beside_it() {
    let (gateway, _echo) = with_echo(&[]).await;
    let mut stream = gateway
        .request("GET", "/sse")
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let until = async |text: &mut String, stream: &mut reqwest::Response, part: &str| {
        while !text.contains(part) {
            let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await;
            let chunk = chunk.unwrap().unwrap().expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    until(&mut text, &mut stream, "\n\n").await;
    assert!(
        text.starts_with("event: endpoint\ndata: /messages?session_id="),
        "{text}"
    );
    let path = text
        .lines()
        .nth(1)
        .unwrap()
        .strip_prefix("data: ")
        .unwrap()
        .to_owned();
    for (id, method, params) in [
        (
            1,
            "initialize",
            json!({"protocolVersion": "2024-11-05", "capabilities": {}}),
        ),
        (
            2,
            "tools/call",
            json!({"name": "echo-agent", "arguments": {"input": "old"}}),
        ),
        (3, "no/method", json!({})),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        assert_eq!(read(gateway.json("POST", &path, &body)).await.status, 202);
        until(&mut text, &mut stream, &format!("\"id\":{id},")).await;
    }
    let events = events(&text);
    assert_eq!(events[0]["result"]["protocolVersion"], "2024-11-05");
    assert!(
        events[1].to_string().contains("Echo Agent Response: old"),
        "{events:?}"
    );
    assert_eq!(events[2]["error"]["code"], -32601);
    drop(stream);
    eventually(async || {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        gateway.post(&path, body).await.status == 404
    })
    .await;
}
