//! What clients should not send: each is told what is wrong, and the next one is answered.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{BOTH, MODERN, eventually, initialize, legacy_request, modern, modern_request};
use crate::support::{Answer, Gateway, embedded, read};

/// An answer to what is wrong repeats little of it, bytes.
const SHORT: usize = 4096;

async fn post(gateway: &Gateway, headers: &[(&str, &[u8])], body: Vec<u8>) -> Answer {
    let request = gateway.request("POST", "/mcp");
    let mut request = request.header("content-type", "application/json");
    for (name, value) in headers {
        let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        // Appends: one name may come twice.
        request = request.header(name, value);
    }
    read(request.body(body)).await
}

fn modern_headers() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("accept", BOTH.as_bytes()),
        ("mcp-protocol-version", MODERN.as_bytes()),
        ("mcp-method", "tools/call".as_bytes()),
        ("mcp-name", "search_tools".as_bytes()),
    ]
}

fn call() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search_tools",
        "arguments": {"query": "a\u{e9}\"b\""}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {}}}})
}

/// The gateway still works.
async fn works(gateway: &Gateway) {
    let answer = post(gateway, &modern_headers(), call().to_string().into()).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(1)));
    assert!(answer.json()["error"].is_null(), "{}", answer.text);
}

#[tokio::test]
async fn every_beginning_of_a_message_is_no_message() {
    let gateway = embedded(&[]).await;
    let whole = call().to_string().into_bytes();
    for end in 0..whole.len() {
        for headers in [&modern_headers()[..], &[("accept", BOTH.as_bytes())]] {
            let answer = post(&gateway, headers, whole[..end].to_vec()).await;
            let error = answer.json();
            assert_eq!(
                (answer.status, &error["error"]["code"]),
                (400, &json!(-32700)),
                "{end}: {error}"
            );
            assert_eq!(error["id"], Value::Null);
        }
    }
    // A body that ends before its length has come.
    let mut stream = TcpStream::connect(gateway.running.grpc_addr).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 100\r\n\r\n{\"jsonrpc\":";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok();
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 400"),
        "{text}"
    );
    works(&gateway).await;
}

#[tokio::test]
async fn batches_are_taken_by_the_revisions_that_have_them() {
    let gateway = embedded(&[]).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let batch = |count: usize| json!(vec![ping.clone(); count]).to_string().into_bytes();
    for (version, has) in [
        ("2024-11-05", true),
        ("2025-03-26", true),
        ("2025-06-18", false),
        ("2025-11-25", false),
    ] {
        let (session, _) = initialize(&gateway, version).await;
        let headers = [
            ("accept", BOTH.as_bytes()),
            ("mcp-session-id", session.as_bytes()),
        ];
        let answer = post(&gateway, &headers, batch(2)).await;
        if has {
            assert_eq!(answer.status, 200, "{version}: {}", answer.text);
            assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
        } else {
            assert_eq!(answer.status, 400, "{version}: {}", answer.text);
            assert_eq!(answer.json()["error"]["code"], -32600);
        }
        for (body, expected) in [(batch(101), -32600), (b"[]".to_vec(), -32600)] {
            let answer = post(&gateway, &headers, body).await;
            assert_eq!(answer.status, 400, "{version}");
            assert_eq!(answer.json()["error"]["code"], expected);
            assert!(answer.text.len() < SHORT);
        }
        // Of a batch within a batch each message is told.
        let inner = post(&gateway, &headers, b"[[],[1],7]".to_vec()).await;
        assert!(inner.text.contains("-32600") && inner.text.len() < SHORT);
    }
    let answer = post(&gateway, &modern_headers(), batch(2)).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(answer.json()["error"]["code"], -32600);
    works(&gateway).await;
}

#[tokio::test]
async fn headers_that_lie_come_twice_or_are_no_base64_are_refused() {
    let gateway = embedded(&[]).await;
    let with = |name: &'static str, value: &'static [u8], is_more: bool| {
        let mut headers = modern_headers();
        if !is_more {
            headers.retain(|(known, _)| *known != name);
        }
        headers.push((name, value));
        headers
    };
    for (headers, code) in [
        (with("mcp-name", b"search_tools", true), -32020),
        (with("mcp-name", b"other", true), -32020),
        (with("mcp-name", b"", false), -32020),
        (
            with("mcp-name", b"=?base64?c2VhcmNoX3Rvb2xz", false),
            -32020,
        ),
        (
            with("mcp-name", b"=?base64?c2VhcmNoX3Rvb2x?=", false),
            -32020,
        ),
        (with("mcp-name", b"=?base64?\xff\xfe?=", false), -32020),
        (with("mcp-name", b"=?base64?/////w==?=", false), -32020),
        (with("mcp-name", b"=?base64??=", false), -32020),
        (with("mcp-name", b"se\xe4rch", false), -32020),
        (with("mcp-method", b"tools/list", false), -32020),
        (with("mcp-method", b"tools/call", true), -32020),
        (with("mcp-method", b"\xff", false), -32020),
        (
            with("mcp-protocol-version", MODERN.as_bytes(), true),
            -32020,
        ),
        (with("mcp-protocol-version", b"2025-11-25", false), -32020),
        (with("mcp-protocol-version", b"", false), -32020),
        (with("mcp-protocol-version", b"\xff", false), -32020),
    ] {
        let answer = post(&gateway, &headers, call().to_string().into()).await;
        let shown = format!("{headers:?}: {}", answer.text);
        assert_eq!(answer.status, 400, "{shown}");
        assert_eq!(answer.json()["error"]["code"], code, "{shown}");
        assert!(answer.text.len() < SHORT);
    }
    let good = with("mcp-name", b"=?base64?c2VhcmNoX3Rvb2xz?=", false);
    let answer = post(&gateway, &good, call().to_string().into()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_vec();
    let twice = [
        ("mcp-session-id", session.as_bytes()),
        ("mcp-session-id", session.as_bytes()),
    ];
    let answer = post(&gateway, &twice, ping.clone()).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    for id in [&b"\xff"[..], b".", b"..", b"mesh-gateway.", b"a.b.c.d"] {
        let answer = post(&gateway, &[("mcp-session-id", id)], ping.clone()).await;
        assert!(matches!(answer.status, 400 | 404), "{}", answer.text);
    }
    works(&gateway).await;
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_or_is_refused() {
    let gateway = embedded(&[]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    for (id, is_good) in [
        ("0", true),
        ("-7", true),
        ("1.5", true),
        ("1e3", true),
        ("18446744073709551616", true),
        ("123456789012345678901234567890.5e-7", true),
        ("\"\"", true),
        ("\"a\\u0000\\\"\\n\"", true),
        ("\"\\ud83d\\ude00\"", true),
        (long.as_str(), true),
        ("null", false),
        ("true", false),
        ("[]", false),
        ("[1]", false),
        ("{}", false),
        ("1,\"id\":2", false),
    ] {
        let shown = &id[..id.len().min(40)];
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}");
        let headers = [
            ("accept", BOTH.as_bytes()),
            ("mcp-session-id", session.as_bytes()),
        ];
        let answer = post(&gateway, &headers, body.into_bytes()).await;
        if is_good {
            assert_eq!(answer.status, 200, "{shown}: {}", answer.text.len());
            let expected = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
            assert!(answer.text == expected, "{shown}");
        } else {
            assert_eq!(answer.status, 400, "{shown}");
            assert_eq!(answer.json()["error"]["code"], -32600, "{shown}");
            assert_eq!(answer.json()["id"], Value::Null, "{shown}");
        }
    }
}

#[tokio::test]
async fn names_of_a_mebibyte_are_answered_in_short() {
    let (gateway, _echo) = super::with_echo(&[]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let long = "n\u{e9}".repeat(350_000);
    for (method, params) in [
        ("tools/call", json!({ "name": long })),
        (
            "tools/call",
            json!({"name": "call_tool", "arguments": {"name": long}}),
        ),
        (
            "tools/call",
            json!({"name": "call_tool", "arguments": {"name": "x", long.as_str(): 1}}),
        ),
        (
            "tools/call",
            json!({"name": "search_tools", "arguments": {"query": "x", long.as_str(): 1}}),
        ),
        (
            "tools/call",
            json!({"name": "get_result", "arguments": {"job_id": long}}),
        ),
        (
            "tools/call",
            json!({"name": "echo-agent", "arguments": {"input": 7, long.as_str(): long}}),
        ),
        ("prompts/get", json!({ "name": long })),
        (
            "prompts/get",
            json!({"name": "echo-agent", "arguments": long}),
        ),
        ("tools/list", json!({ "_meta": long })),
        ("tools/list", json!({"_meta": {"mesh.v1/timeoutMs": long}})),
        (
            "resources/read",
            json!({"uri": format!("mount://{long}/x")}),
        ),
        ("resources/read", json!({"uri": format!("run://{long}/x")})),
        ("resources/subscribe", json!({ "uri": long })),
        ("tools/list", json!({ "cursor": long })),
        ("logging/setLevel", json!({ "level": long })),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": long},
                "argument": {"name": long, "value": long}}),
        ),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/resource", "uri": format!("run://{long}")},
                "argument": {"name": "run_id", "value": long}}),
        ),
        (long.as_str(), json!({})),
        ("ping", json!({"_meta": {"traceparent": long}})),
        ("initialize", json!({"protocolVersion": long})),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = read(legacy_request(&gateway, Some(&session), &body)).await;
        let shown: String = method.chars().take(20).collect();
        assert!(
            answer.text.len() < SHORT,
            "{shown}: {} bytes",
            answer.text.len()
        );
        assert!(answer.json().is_object(), "{shown}");
        assert!(answer.status < 500, "{shown}: {}", answer.text);
    }
    // The modern era repeats names in headers, which do not get so long: none is there.
    for (method, params) in [
        ("tools/call", json!({ "name": long })),
        ("tasks/get", json!({ "taskId": long })),
        (
            "subscriptions/listen",
            json!({"notifications": {"resourceSubscriptions": [long], "taskIds": [long]}}),
        ),
    ] {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities":
                {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
        let mut params = params;
        params["_meta"] = meta;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = gateway.json("POST", "/mcp", &body).header("accept", BOTH);
        let request = request.header("mcp-protocol-version", MODERN);
        let mut answer = request.header("mcp-method", method).send().await.unwrap();
        let first = answer.chunk().await.unwrap().unwrap();
        assert!(first.len() < SHORT, "{method}: {} bytes", first.len());
    }
    // A session's id of this length is no header that HTTP takes.
    let long = "a".repeat(1 << 20);
    let answer = gateway
        .request("POST", "/mcp")
        .header("mcp-session-id", long);
    if let Ok(answer) = answer.body("{}").send().await {
        assert!(answer.status().is_client_error());
    }
    works(&gateway).await;
}

#[tokio::test]
async fn deep_arguments_are_refused_where_they_are_too_deep() {
    let gateway = embedded(&[]).await;
    for (levels, code) in [
        (58, Value::Null),
        (70, json!(-32600)),
        (100_000, json!(-32600)),
    ] {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let mut body = call().to_string();
        body = body.replace(
            "\"arguments\":{",
            &format!("\"arguments\":{{\"deep\":{deep},"),
        );
        let answer = post(&gateway, &modern_headers(), body.into_bytes()).await;
        assert_eq!(
            answer.json()["error"]["code"],
            code,
            "{levels}: {}",
            answer.text
        );
        assert!(answer.text.len() < SHORT);
    }
    works(&gateway).await;
}

#[tokio::test]
async fn sessions_that_are_opened_and_left_are_gone_with_their_streams() {
    let gateway = embedded(&[("mcp_session_idle", "1s"), ("mcp_max_sessions", "5000")]).await;
    let open = || initialize(&gateway, "2025-11-25");
    for _ in 0..40 {
        futures_util::future::join_all((0..50).map(|_| open())).await;
    }
    let (kept, _) = open().await;
    let sessions = async || {
        let metrics = gateway.get("/metrics").await.text;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("mesh_mcp_sessions "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    eventually(async || sessions().await.is_some_and(|count| count > 0)).await;
    // One that is used stays.
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    eventually(async || {
        let used = read(legacy_request(&gateway, Some(&kept), &ping)).await;
        assert_eq!(used.status, 200, "{}", used.text);
        sessions().await == Some(1)
    })
    .await;
    eventually(async || sessions().await == Some(0)).await;
    let gone = read(legacy_request(&gateway, Some(&kept), &ping)).await;
    assert_eq!(gone.status, 404);
    let list = modern(&gateway, "tools/list", json!({})).await;
    assert_eq!(list.status, 200);
    let listen = modern_request(
        &gateway,
        "/mcp",
        "subscriptions/listen",
        json!({"notifications": 7}),
    );
    assert_eq!(read(listen).await.json()["error"]["code"], -32602);
}
