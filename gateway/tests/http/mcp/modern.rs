//! Requests that stand for themselves.

use serde_json::{Value, json};

use super::{MODERN, eventually, modern, modern_request, with_echo};
use crate::support::{beside, embedded, read};

#[tokio::test]
async fn a_tool_is_found_listed_and_called_without_a_handshake() {
    let (gateway, _echo) = with_echo(&[]).await;
    let discovered = modern(&gateway, "server/discover", json!({})).await;
    assert_eq!(discovered.status, 200);
    let result = &discovered.json()["result"];
    assert!(
        result["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!(MODERN))
    );
    assert_eq!(result["resultType"], "complete");
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "mesh"
    );
    assert_eq!(
        result["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"],
        json!({})
    );
    let list = modern(&gateway, "tools/list", json!({})).await.json();
    assert_eq!(list["id"], 7);
    assert_eq!(list["result"]["cacheScope"], "public");
    assert!(list["result"]["ttlMs"].is_u64());
    let call = json!({"name": "echo-agent", "arguments": {"input": "hello"}});
    let answer = modern(&gateway, "tools/call", call).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let result = &answer.json()["result"];
    assert_eq!(result["isError"], false, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("Echo Agent Response: hello"), "{text}");
    assert_eq!(result["resultType"], "complete");
}

/// The names of a list of tools.
fn names(list: &Value) -> Vec<&str> {
    let tools = list["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn one_service_has_an_endpoint_of_its_own() {
    let (gateway, _echo) = with_echo(&[]).await;
    for path in ["/mcp/echo-agent", "/mcp/agent-echo"] {
        let list = read(modern_request(&gateway, path, "tools/list", json!({})))
            .await
            .json();
        let names = names(&list["result"]);
        assert!(names.contains(&"echo-agent"), "{names:?}");
    }
    let none = read(modern_request(
        &gateway,
        "/mcp/nobody",
        "tools/list",
        json!({}),
    ))
    .await;
    assert_eq!(none.json()["error"]["code"], -32602, "{}", none.text);
}

#[tokio::test]
async fn errors_have_their_codes_and_statuses() {
    let gateway = embedded(&[]).await;
    for (method, params, status, code) in [
        ("no/method", json!({}), 404, -32601),
        ("ping", json!({}), 404, -32601),
        ("initialize", json!({}), 404, -32601),
        ("logging/setLevel", json!({}), 404, -32601),
        (
            "resources/subscribe",
            json!({"uri": "agent://x"}),
            404,
            -32601,
        ),
        (
            "tools/call",
            json!({"name": "nothing", "arguments": {}}),
            200,
            -32602,
        ),
        ("tools/call", json!({}), 200, -32602),
        (
            "tools/call",
            json!({"name": "search_tools", "arguments": []}),
            200,
            -32602,
        ),
        ("tools/list", json!({"cursor": "!"}), 200, -32602),
        ("tools/list", json!({"cursor": 7}), 200, -32602),
        ("prompts/get", json!({"name": "nothing"}), 200, -32602),
        (
            "resources/read",
            json!({"uri": "test://nothing"}),
            200,
            -32602,
        ),
        ("tasks/get", json!({"taskId": "x"}), 400, -32021),
        ("subscriptions/listen", json!({}), 200, -32602),
    ] {
        let answer = modern(&gateway, method, params.clone()).await;
        let error = answer.json();
        assert_eq!(
            (answer.status, &error["error"]["code"]),
            (status, &json!(code)),
            "{method} {params}: {error}"
        );
        assert_eq!(error["id"], 7);
    }
    let unknown = modern(&gateway, "resources/read", json!({"uri": "test://nothing"}))
        .await
        .json();
    assert_eq!(unknown["error"]["data"]["uri"], "test://nothing");
    let tasks = json!({"taskId": "x", "_meta": {"io.modelcontextprotocol/clientCapabilities":
        {"extensions": {"io.modelcontextprotocol/tasks": {}}}}});
    let unknown = modern(&gateway, "tasks/get", tasks).await.json();
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
}

#[tokio::test]
async fn headers_have_to_say_what_the_body_says() {
    let (gateway, _echo) = with_echo(&[]).await;
    let call = |name: &'static str| {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {}});
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": name, "arguments": {"input": "x"}, "_meta": meta}})
    };
    let version = ("mcp-protocol-version", MODERN);
    let method = ("mcp-method", "tools/call");
    for (fields, status, code) in [
        (
            vec![version, method, ("mcp-name", "echo-agent")],
            200,
            Value::Null,
        ),
        (
            vec![version, method, ("mcp-name", "=?base64?ZWNoby1hZ2VudA==?=")],
            200,
            Value::Null,
        ),
        (
            vec![version, method, ("mcp-name", "=?base64?ZWNoby1hZ2VudA?=")],
            400,
            json!(-32020),
        ),
        (
            vec![version, method, ("mcp-name", "other")],
            400,
            json!(-32020),
        ),
        (
            vec![version, method, method, ("mcp-name", "echo-agent")],
            400,
            json!(-32020),
        ),
        (
            vec![version, version, method, ("mcp-name", "echo-agent")],
            400,
            json!(-32020),
        ),
        (vec![version, method], 400, json!(-32020)),
        (
            vec![version, ("mcp-name", "echo-agent")],
            400,
            json!(-32020),
        ),
        (
            vec![
                version,
                ("mcp-method", "TOOLS/CALL"),
                ("mcp-name", "echo-agent"),
            ],
            400,
            json!(-32020),
        ),
        (vec![method, ("mcp-name", "echo-agent")], 400, json!(-32020)),
        (
            vec![
                ("mcp-protocol-version", "2025-11-25"),
                method,
                ("mcp-name", "echo-agent"),
            ],
            400,
            json!(-32020),
        ),
    ] {
        let mut request = gateway.json("POST", "/mcp", &call("echo-agent"));
        for (name, value) in &fields {
            request = request.header(*name, *value);
        }
        let answer = read(request).await;
        assert_eq!(answer.status, status, "{fields:?}: {}", answer.text);
        assert_eq!(answer.json()["error"]["code"], code, "{fields:?}");
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let gateway = embedded(&[("mcp_max_body", "10KiB")]).await;
    let post = |text: String| {
        let request = gateway
            .request("POST", "/mcp")
            .header("content-type", "application/json");
        read(request.body(text))
    };
    for (body, status, code) in [
        ("", 400, -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi", 400, -32700),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}",
            400,
            -32600,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":7}",
            400,
            -32602,
        ),
        ("7", 400, -32600),
        ("[]", 400, -32600),
    ] {
        let answer = post(body.to_owned()).await;
        let error = answer.json();
        assert_eq!(
            (answer.status, &error["error"]["code"]),
            (status, &json!(code)),
            "{body}: {error}"
        );
    }
    let large = post(format!("\"{}\"", "a".repeat(11 << 10))).await;
    assert_eq!(
        (large.status, &large.json()["error"]["code"]),
        (413, &json!(-32600))
    );
    let deep = post("[".repeat(9 << 10)).await;
    assert_eq!(
        (deep.status, &deep.json()["error"]["code"]),
        (400, &json!(-32600))
    );
    let form = gateway
        .request("POST", "/mcp")
        .header("content-type", "text/plain");
    assert_eq!(read(form.body("{}")).await.status, 415);
    let nothing = gateway
        .json("POST", "/mcp", &json!({}))
        .header("accept", "text/html");
    assert_eq!(read(nothing).await.status, 406);
    assert_eq!(read(gateway.request("PUT", "/mcp")).await.status, 405);
    let long = "a".repeat(9 << 10);
    let answer = modern(
        &gateway,
        "tools/call",
        json!({"name": "x", "arguments": {"a": long}}),
    )
    .await;
    assert_eq!(answer.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn pages_go_on_behind_a_name() {
    let gateway = embedded(&[("mcp_page", "1"), ("mcp_list_ttl", "7s")]).await;
    let _echo = beside(&gateway, &echo_agent::SPEC, echo_agent::build, &[]).await;
    let _weather = beside(&gateway, &weather_tool::SPEC, weather_tool::build, &[]).await;
    eventually(async || {
        let mut all = Vec::new();
        let mut cursor = Value::Null;
        for _ in 0..20 {
            let params = match &cursor {
                Value::Null => json!({}),
                cursor => json!({ "cursor": cursor }),
            };
            let page = modern(&gateway, "tools/list", params).await.json()["result"].clone();
            let names = names(&page);
            assert!(names.len() <= 1);
            assert_eq!(page["ttlMs"], 7_000);
            all.extend(names.into_iter().map(str::to_owned));
            cursor = page["nextCursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        let mut sorted = all.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(all, sorted, "each once, by name");
        all.iter().any(|name| name.starts_with("weather"))
    })
    .await;
}

#[tokio::test]
async fn a_large_mesh_is_searched() {
    let (gateway, _echo) =
        with_echo(&[("mcp_always", "echo-agent"), ("mcp_listing", "search")]).await;
    let path = "/mcp";
    let list = read(modern_request(&gateway, path, "tools/list", json!({})))
        .await
        .json();
    let expected = ["call_tool", "echo-agent", "search_tools"];
    assert_eq!(names(&list["result"]), expected);
    let search = json!({"name": "search_tools", "arguments": {"query": "echo"}});
    let found = modern(&gateway, "tools/call", search).await;
    assert!(found.text.contains("echo-agent"), "{}", found.text);
    let call = json!({"name": "call_tool",
        "arguments": {"name": "echo-agent", "arguments": {"input": "found"}}});
    let called = modern(&gateway, "tools/call", call).await;
    assert!(
        called.text.contains("Echo Agent Response: found"),
        "{}",
        called.text
    );
    let call = json!({"name": "call_tool", "arguments": {"name": "nothing"}});
    let called = modern(&gateway, "tools/call", call).await.json();
    assert_eq!(called["result"]["isError"], true, "{called}");
    // The URL says otherwise.
    let all = modern_request(&gateway, "/mcp?listing=all", "tools/list", json!({}));
    assert!(read(all).await.text.contains("get_result"));
}

#[tokio::test]
async fn mcp_has_a_port_of_its_own() {
    let [port] = testkit::ports::free::<1>();
    let gateway = embedded(&[("mcp_port", &port.to_string())]).await;
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let request = client
        .post(url("/mcp"))
        .header("content-type", "application/json");
    let answer = read(request.body(ping)).await;
    assert_eq!(answer.json()["result"], json!({}));
    assert_eq!(read(client.get(url("/readyz"))).await.status, 200);
    assert_eq!(read(client.get(url("/api/v1/jobs"))).await.status, 404);
    drop(gateway);
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused() {
    let gateway = embedded(&[("mcp_allowed_origins", "https://console.example")]).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let status = async |host: Option<&str>, origin: Option<&str>| {
        let mut request = gateway.json("POST", "/mcp", &body);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        read(request).await
    };
    assert_eq!(status(None, None).await.status, 200);
    assert_eq!(status(Some("localhost:3000"), None).await.status, 200);
    assert_eq!(
        status(Some("localhost:3000"), Some("http://localhost:3000"))
            .await
            .status,
        200
    );
    assert_eq!(status(Some("evil.example"), None).await.status, 421);
    assert_eq!(status(Some("10.1.2.3"), None).await.status, 421);
    assert_eq!(status(None, Some("http://evil.example")).await.status, 403);
    assert_eq!(status(None, Some("null")).await.status, 403);
    let listed = status(None, Some("https://console.example")).await;
    assert_eq!(listed.status, 200);
    assert_eq!(
        listed.header("access-control-allow-origin"),
        "https://console.example"
    );
    let asks = gateway
        .request("OPTIONS", "/mcp")
        .header("origin", "https://console.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "mcp-param-region");
    let asks = read(asks).await;
    assert_eq!(asks.status, 204);
    assert_eq!(
        asks.header("access-control-allow-headers"),
        "mcp-param-region"
    );
}
