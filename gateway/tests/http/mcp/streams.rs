//! Streams of changes.

use std::time::Duration;

use serde_json::json;

use super::{BOTH, MODERN, events, eventually, initialize, listed, modern_request, with_echo};
use crate::support::{beside, embedded};

/// Reads a stream until it has a text.
pub(super) async fn until(text: &mut String, stream: &mut reqwest::Response, part: &str) {
    while !text.contains(part) {
        let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await;
        let Some(chunk) = chunk
            .unwrap_or_else(|_| panic!("no {part} in {text}"))
            .unwrap()
        else {
            panic!("the stream ended without {part}: {text}")
        };
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
}

#[tokio::test]
async fn a_listener_hears_of_a_new_tool_and_of_the_end() {
    let (gateway, _echo) = with_echo(&[]).await;
    let params =
        json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["x://y"]}});
    let request = modern_request(&gateway, "/mcp", "subscriptions/listen", params);
    let mut stream = request.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    let mut text = String::new();
    until(&mut text, &mut stream, "acknowledged").await;
    let first = &events(&text)[0];
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        first["params"]["notifications"],
        json!({"toolsListChanged": true})
    );
    assert_eq!(
        first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        7
    );
    let _weather = beside(&gateway, &weather_tool::SPEC, weather_tool::build, &[]).await;
    until(&mut text, &mut stream, "notifications/tools/list_changed").await;
    assert!(!text.contains("prompts/list_changed") && !text.contains("resources/list_changed"));
    let ending = until(&mut text, &mut stream, "\"resultType\":\"complete\"");
    tokio::join!(gateway.running.drain(), ending);
    let last = events(&text).pop().unwrap();
    assert_eq!(last["id"], 7);
    assert_eq!(
        last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        7
    );
}

#[tokio::test]
async fn the_stream_of_a_session_tells_of_changes() {
    let (gateway, _echo) = with_echo(&[("event_wait", "100ms")]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let request = gateway.request("GET", "/mcp").header("accept", BOTH);
    let mut stream = request
        .header("mcp-session-id", &session)
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status(), 200);
    let mut text = String::new();
    until(&mut text, &mut stream, ": still here").await;
    let _weather = beside(&gateway, &weather_tool::SPEC, weather_tool::build, &[]).await;
    until(&mut text, &mut stream, "notifications/tools/list_changed").await;
    listed(&gateway, "echo-agent").await;
    let delete = gateway
        .request("DELETE", "/mcp")
        .header("mcp-session-id", &session);
    delete.send().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        while stream.chunk().await.unwrap().is_some() {}
    });
    ended.await.expect("the session's stream ends with it");
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let gateway = embedded(&[("mcp_max_listeners", "1")]).await;
    let open = || {
        let params = json!({"notifications": {}});
        modern_request(&gateway, "/mcp", "subscriptions/listen", params).send()
    };
    let first = open().await.unwrap();
    assert_eq!(first.status(), 200);
    assert_eq!(open().await.unwrap().status(), 503);
    drop(first);
    eventually(async || open().await.unwrap().status() == 200).await;
    let get = gateway
        .request("GET", "/mcp")
        .header("mcp-protocol-version", MODERN);
    assert_eq!(get.send().await.unwrap().status(), 405);
}
