//! The endpoint of MCP, as clients of both eras meet it over HTTP.

mod bad;
mod elsewhere;
mod legacy;
mod modern;
mod mounts;
mod streams;
mod tokens;

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, embedded, read};

const MODERN: &str = "2026-07-28";
const BOTH: &str = "application/json, text/event-stream";

/// A gateway beside an echo agent, whose tool is listed.
async fn with_echo(set: &[(&str, &str)]) -> (Gateway, service::ServerHandle) {
    let gateway = embedded(set).await;
    let echo = crate::support::beside(&gateway, &echo_agent::SPEC, echo_agent::build, &[]).await;
    listed(&gateway, "echo-agent").await;
    (gateway, echo)
}

/// Waits until something is so.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let wait = Duration::from_secs(10);
    testkit::until("it is so", wait, async || is_so().await.then_some(())).await;
}

/// Waits until a tool is listed.
async fn listed(gateway: &Gateway, name: &str) {
    eventually(async || {
        let answer = modern(gateway, "tools/list", json!({})).await.json();
        let tools = answer["result"]["tools"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        tools.iter().any(|tool| tool["name"] == name)
    })
    .await;
}

/// A request of the modern era, with all that it needs.
fn modern_request(
    gateway: &Gateway,
    path: &str,
    method: &str,
    mut params: Value,
) -> RequestBuilder {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    if params["_meta"]["io.modelcontextprotocol/clientCapabilities"].is_null() {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let name = ["name", "uri", "taskId"]
        .iter()
        .find_map(|it| params[*it].as_str());
    let name = name.map(str::to_owned);
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let mut request = gateway.json("POST", path, &body);
    request = request
        .header("accept", BOTH)
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", method);
    if let Some(name) = name {
        request = request.header("mcp-name", name);
    }
    request
}

async fn modern(gateway: &Gateway, method: &str, params: Value) -> Answer {
    read(modern_request(gateway, "/mcp", method, params)).await
}

/// A message of a legacy session.
fn legacy_request(gateway: &Gateway, session: Option<&str>, body: &Value) -> RequestBuilder {
    let mut request = gateway
        .json("POST", "/mcp", body)
        .header("accept", BOTH)
        .header("mcp-protocol-version", "2025-11-25");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    request
}

async fn legacy(gateway: &Gateway, session: Option<&str>, method: &str, params: Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params});
    read(legacy_request(gateway, session, &body)).await
}

/// Opens a legacy session.
async fn initialize(gateway: &Gateway, version: &str) -> (String, Value) {
    let params = json!({"protocolVersion": version, "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let answer = read(gateway.json("POST", "/mcp", &body).header("accept", BOTH)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let session = answer.header("mcp-session-id").to_owned();
    assert!(!session.is_empty() && session.bytes().all(|byte| byte.is_ascii_graphic()));
    (session, answer.json()["result"].clone())
}

/// The messages of a stream of events, without its comments.
fn events(text: &str) -> Vec<Value> {
    let datas = text.lines().filter_map(|line| line.strip_prefix("data: "));
    datas
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}
