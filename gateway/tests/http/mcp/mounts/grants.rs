//! What a token sees of a mounted server.

use serde_json::{Value, json};

use super::{
    super::{BOTH, events, eventually, modern_request, streams::until, tokens},
    PATH, another,
};
use crate::support::read;

#[tokio::test]
async fn a_mount_shows_a_token_what_it_may_see_by_every_door() {
    let file = tokens::file(&[
        ("ann", "services = [\"agent-*\"]"),
        ("bob", "tools = [\"foreign-tool__echo\"]"),
        ("eve", ""),
    ]);
    let set = [
        ("mcp_auth", "token"),
        ("mcp_tokens", file.path().to_str().unwrap()),
    ];
    let gateway = crate::support::embedded(&set).await;
    let _mount = another(&gateway).await;
    let ask = async |who: &str, path: &str, method: &str, params: Value| {
        let request = modern_request(&gateway, path, method, params);
        let token = format!("Bearer {who}-secret");
        read(request.header("authorization", token)).await
    };
    eventually(async || {
        let list = ask("eve", "/mcp", "tools/list", json!({})).await;
        list.text.contains("foreign-tool__echo")
    })
    .await;
    let note = json!({"uri": "note:1"});
    let ours = json!({"uri": "mount://foreign/note:1"});
    let greet = json!({"name": "greet", "arguments": {"who": "x"}});
    let of_all = json!({"name": "foreign-tool__greet", "arguments": {"who": "x"}});
    let echo = json!({"name": "echo", "arguments": {"text": "hi"}});
    for (path, method, params) in [
        (PATH, "tools/list", json!({})),
        (PATH, "server/discover", json!({})),
        (PATH, "tools/call", echo.clone()),
        (PATH, "resources/list", json!({})),
        (PATH, "resources/read", note.clone()),
        (PATH, "prompts/get", greet.clone()),
        (
            PATH,
            "subscriptions/listen",
            json!({"notifications": {"toolsListChanged": true}}),
        ),
        ("/mcp", "resources/read", ours.clone()),
        (
            "/mcp",
            "resources/read",
            json!({"uri": "mount://foreign/note:7"}),
        ),
        (
            "/mcp",
            "resources/read",
            json!({"uri": "run://some/report.md"}),
        ),
        ("/mcp", "prompts/get", of_all.clone()),
        (
            "/mcp",
            "tasks/get",
            json!({"taskId": "mount.foreign.t1",
            "_meta": {"io.modelcontextprotocol/clientCapabilities":
                {"extensions": {"io.modelcontextprotocol/tasks": {}}}}}),
        ),
    ] {
        let answer = ask("ann", path, method, params).await;
        let code = &answer.json()["error"]["code"];
        assert_eq!(code, -32602, "{path} {method}: {}", answer.text);
    }
    for method in ["tools/list", "resources/list", "prompts/list"] {
        let list = ask("ann", "/mcp", method, json!({})).await;
        assert!(!list.text.contains("foreign"), "{}", list.text);
    }
    let complete = json!({"ref": {"type": "ref/prompt", "name": "foreign-tool__greet"},
        "argument": {"name": "who", "value": "a"}});
    let done = ask("ann", "/mcp", "completion/complete", complete.clone()).await;
    assert_eq!(done.json()["error"]["code"], -32602, "{}", done.text);
    let done = ask("eve", "/mcp", "completion/complete", complete).await;
    assert!(done.text.contains("ann"), "{}", done.text);
    let complete = json!({"ref": {"type": "ref/resource", "uri": "tool://{id}"},
        "argument": {"name": "id", "value": ""}});
    let done = ask("ann", "/mcp", "completion/complete", complete.clone()).await;
    assert_eq!(done.json()["result"]["completion"]["values"], json!([]));
    let done = ask("eve", "/mcp", "completion/complete", complete).await;
    assert!(done.text.contains("foreign-tool"), "{}", done.text);

    let list = ask("bob", PATH, "tools/list", json!({})).await.json();
    let names: Vec<&Value> = list["result"]["tools"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 1, "{list}");
    assert_eq!(names[0]["name"], "echo");
    assert!(
        ask("bob", PATH, "tools/call", echo)
            .await
            .text
            .contains("hi")
    );
    let state = json!({"name": "state", "arguments": {}});
    let refused = ask("bob", PATH, "tools/call", state).await;
    assert_eq!(refused.json()["error"]["code"], -32602, "{}", refused.text);

    // By the handshake, and by the stream of 2024-11-05.
    let begin = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let begun = async |who: &str| {
        let request = gateway.json("POST", PATH, &begin).header("accept", BOTH);
        read(request.header("authorization", format!("Bearer {who}-secret"))).await
    };
    assert_eq!(begun("ann").await.status, 404);
    let session = begun("bob").await.header("mcp-session-id").to_owned();
    let in_session = async |method: &str, params: Value| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = gateway.json("POST", PATH, &body).header("accept", BOTH);
        let request = request.header("mcp-session-id", &session);
        read(request.header("authorization", "Bearer bob-secret")).await
    };
    let list = in_session("tools/list", json!({})).await.json();
    assert_eq!(
        list["result"]["tools"].as_array().map(Vec::len),
        Some(1),
        "{list}"
    );
    let state = json!({"name": "state", "arguments": {}});
    let refused = in_session("tools/call", state.clone()).await;
    assert_eq!(refused.json()["error"]["code"], -32602, "{}", refused.text);
    let open = async |who: &str| {
        let request = gateway.request("GET", "/sse/tool-foreign");
        let request = request.header("authorization", format!("Bearer {who}-secret"));
        request.send().await.unwrap()
    };
    assert_eq!(open("ann").await.status(), 404);
    let mut stream = open("bob").await;
    let mut text = String::new();
    until(&mut text, &mut stream, "\n\n").await;
    let door = text.lines().find_map(|line| line.strip_prefix("data: "));
    let door = door.unwrap().to_owned();
    for (id, method, params) in [
        (
            1,
            "initialize",
            json!({"protocolVersion": "2024-11-05", "capabilities": {}}),
        ),
        (2, "tools/call", state),
        (3, "tools/list", json!({})),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let request = gateway.json("POST", &door, &body);
        let posted = read(request.header("authorization", "Bearer bob-secret")).await;
        assert_eq!(posted.status, 202, "{}", posted.text);
        until(&mut text, &mut stream, &format!("\"id\":{id},")).await;
    }
    let told = events(&text);
    assert_eq!(told[1]["error"]["code"], -32602, "{told:?}");
    assert_eq!(told[2]["result"]["tools"].as_array().map(Vec::len), Some(1));
}
