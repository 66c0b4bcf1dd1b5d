//! A session with a mounted server of the oldest transport, whose gateway is killed.

use std::{process::Command, time::Duration};

use mesh_testkit::{Process, Signal, tools, until, within};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{SOON, World, http, inspector, last_message, mcp, meshctl, path, tool_names};

/// From the end of a gateway to the next answer of another one.
const BACK: Duration = Duration::from_secs(5);

/// A message of a session: its status, the header that names the session, and the answer.
async fn post(url: &str, session: &str, body: &Value) -> Option<(u16, String, Value)> {
    let mut request = http()
        .post(url)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .timeout(SOON);
    if !session.is_empty() {
        request = request.header("mcp-session-id", session);
    }
    let answer = request.body(body.to_string()).send().await.ok()?;
    let status = answer.status().as_u16();
    let named = answer.headers().get("mcp-session-id");
    let named = named.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let named = named.to_owned();
    let text = answer.text().await.ok()?;
    Some((status, named, last_message(&text).unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_2024_is_mounted_by_its_url_and_its_sessions_outlive_their_gateway() {
    let mut world = World::start(2, &[]).await;
    let home = TempDir::new().expect("a folder");
    let everything = tools::mcp_program("mcp-server-everything");
    let start = |[port]: [u16; 1]| {
        let mut command = Command::new(&everything);
        command
            .arg("sse")
            .env("PATH", path())
            .env("PORT", port.to_string());
        command
    };
    let ([port], _server) =
        Process::on_free_ports("server-everything", SOON, start, async |[port]| {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
    let mut mount = Command::new(meshctl());
    mount
        .args(["mount", "--name", "old", "--url"])
        .arg(format!("http://127.0.0.1:{port}/sse"));
    world.place_tool(&mut mount);
    let _mount = Process::start("meshctl-mount", mount);
    world.consul.wait_passing("tool-old", 1).await;
    let urls: Vec<String> = world
        .gateways
        .iter()
        .map(|gateway| format!("{}/tool-old", mcp(gateway)))
        .collect();
    for url in &urls {
        until("its tools are listed", SOON, async || {
            let names = tool_names(url).await?;
            names.contains(&"echo".to_owned()).then_some(())
        })
        .await;
    }
    // A client of that transport calls a server of it.
    let old = urls[0].replace("/mcp/", "/sse/");
    let args = [
        "--transport",
        "sse",
        "--server-url",
        &old,
        "--format",
        "json",
        "-q",
        "--method",
        "tools/call",
        "--tool-name",
        "echo",
        "--tool-arg",
        "message=of 2024",
    ];
    let called = inspector(&args, &home).await.json();
    let text = called[0]["result"]["content"][0]["text"].as_str();
    assert_eq!(text, Some("Echo: of 2024"));

    let begin = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let (status, session, begun) = post(&urls[0], "", &begin).await.expect("an answer");
    assert_eq!(status, 200, "{begun}");
    let noted = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(
        post(&urls[1], &session, &noted).await.expect("an answer").0,
        202
    );
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "echo", "arguments": {"message": "still here"}}});
    let echoed = async |url: &str| {
        let (status, _, answer) = post(url, &session, &call).await?;
        let text = answer["result"]["content"][0]["text"].as_str();
        (status == 200 && text == Some("Echo: still here")).then_some(())
    };
    for url in &urls {
        assert!(echoed(url).await.is_some(), "{url}");
    }
    world.gateways[0].signal(Signal::Kill);
    let back = within(BACK, async || echoed(&urls[1]).await);
    assert!(back.await.is_some(), "not back after {BACK:?}");
}
