//! Sessions and tasks at other gateways: of whom, which ones, and what clients make up.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    BOTH, events, eventually, initialize, legacy_request, modern, modern_request, streams, tokens,
};
use crate::support::{Answer, Gateway, beside, embedded, on_redis, read};

fn ping() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})
}

/// A message at any gateway, with more headers.
async fn at(
    gateway: &service::ServerHandle,
    method: reqwest::Method,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, format!("http://{}/mcp", gateway.grpc_addr));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("content-type", "application/json");
    read(request.header("accept", BOTH).body(body.to_string())).await
}

/// Another gateway of the same mesh and Redis.
pub(super) async fn second(gateway: &Gateway) -> service::ServerHandle {
    let url = gateway.redis.as_ref().unwrap().url();
    let set = [("redis_url", url.as_str())];
    beside(gateway, &gateway::SPEC, gateway::build, &set).await
}

/// Has the one session that is kept name another gateway.
fn forge(redis: &testkit::Redis, gateway: &str) {
    let script = "local k = redis.call('KEYS', '*mcp:session:*')[1] local v = redis.call('GET', k) \
        local _, a = string.find(v, '\"gateway\":\"', 1, true) local e = string.find(v, '\"', a + 1, true) \
        redis.call('SET', k, string.sub(v, 1, a) .. ARGV[1] .. string.sub(v, e)) return 1";
    let words = ["EVAL", script, "0", gateway];
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    stream.write_all(command.as_bytes()).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b":1\r\n");
}

#[tokio::test]
async fn an_id_of_a_session_leads_to_no_address() {
    let gateway = on_redis(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut accepting = JoinSet::new();
    let count = Arc::clone(&taken);
    accepting.spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let redis = gateway.redis.as_ref().unwrap();
    for id in [
        format!("{address}.00"),
        format!("http://{address}/.00"),
        format!("mesh-gateway@{address}.00"),
        format!("{address}#.00"),
    ] {
        for method in [
            reqwest::Method::POST,
            reqwest::Method::GET,
            reqwest::Method::DELETE,
        ] {
            let answer = at(
                &gateway.running,
                method,
                &[("mcp-session-id", &id)],
                &ping(),
            )
            .await;
            assert_eq!(answer.status, 404, "{id}: {}", answer.text);
        }
        let path = format!("/messages?session_id={id}");
        if !id.contains('#') {
            assert_eq!(gateway.post(&path, ping()).await.status, 404, "{id}");
        }
    }
    // Nor does what Redis says of it: gateways are those of the registry.
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let other = second(&gateway).await;
    gateway.running.drain().await;
    forge(redis, &address);
    for _ in 0..2 {
        let id = [("mcp-session-id", session.as_str())];
        let answer = at(&other, reqwest::Method::POST, &id, &ping()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(taken.load(Ordering::Relaxed), 0, "nobody was asked");
}

#[tokio::test]
async fn a_request_goes_from_gateway_to_gateway_twice_at_most() {
    let gateway = on_redis(&[]).await;
    let other = second(&gateway).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let id = ("mcp-session-id", session.as_str());
    let post = reqwest::Method::POST;
    eventually(async || at(&other, post.clone(), &[id], &ping()).await.status == 200).await;
    for (hops, status) in [("0", 200), ("1", 200), ("2", 503), ("200", 503), ("x", 503)] {
        let headers = [id, ("x-mesh-passed-on", hops)];
        let answer = at(&other, post.clone(), &headers, &ping()).await;
        assert_eq!(answer.status, status, "{hops}: {}", answer.text);
    }
    // It stayed where it was.
    let here = at(
        &gateway.running,
        post,
        &[id, ("x-mesh-passed-on", "9")],
        &ping(),
    )
    .await;
    assert_eq!(here.status, 200);
}

#[tokio::test]
async fn a_session_waits_for_its_redis_and_is_told_so() {
    let mut gateway = on_redis(&[]).await;
    let other = second(&gateway).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let id = ("mcp-session-id", session.as_str());
    let ask = async || at(&other, reqwest::Method::POST, &[id], &ping()).await;
    eventually(async || ask().await.status == 200).await;
    gateway.running.drain().await;
    let redis = gateway.redis.as_mut().unwrap();
    redis.signal(testkit::Signal::Stop);
    let away = ask().await;
    assert_eq!(away.status, 503, "{}", away.text);
    assert_eq!(away.json()["error"]["code"], -32603);
    redis.signal(testkit::Signal::Continue);
    eventually(async || ask().await.status == 200).await;
}

#[tokio::test]
async fn a_session_belongs_to_its_token_at_every_gateway() {
    let file = tokens::file(&[("ann", ""), ("bob", "")]);
    let auth = [
        ("mcp_auth", "token"),
        ("mcp_tokens", file.path().to_str().unwrap()),
    ];
    let gateway = on_redis(&auth).await;
    let url = gateway.redis.as_ref().unwrap().url();
    let set = [&auth[..], &[("redis_url", url.as_str())]].concat();
    let other = beside(&gateway, &gateway::SPEC, gateway::build, &set).await;
    let (ann, bob) = (
        ("authorization", "Bearer ann-secret"),
        ("authorization", "Bearer bob-secret"),
    );
    let begin = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let begun = at(&gateway.running, reqwest::Method::POST, &[ann], &begin).await;
    let session = begun.header("mcp-session-id").to_owned();
    let id = ("mcp-session-id", session.as_str());
    let ask = async |method, gateway: &service::ServerHandle, who| {
        at(gateway, method, &[id, who], &ping()).await.status
    };
    let methods = || {
        [
            reqwest::Method::POST,
            reqwest::Method::GET,
            reqwest::Method::DELETE,
        ]
    };
    eventually(async || ask(reqwest::Method::POST, &other, ann).await == 200).await;
    for gateway in [&gateway.running, &other] {
        for method in methods() {
            assert_eq!(ask(method.clone(), gateway, bob).await, 404, "{method}");
            let none = at(gateway, method, &[id], &ping()).await;
            assert_eq!(none.status, 401);
        }
    }
    gateway.running.drain().await;
    for method in methods() {
        assert_eq!(ask(method.clone(), &other, bob).await, 404, "{method}");
    }
    assert_eq!(ask(reqwest::Method::POST, &other, ann).await, 200);
    assert_eq!(ask(reqwest::Method::DELETE, &other, ann).await, 204);
    assert_eq!(ask(reqwest::Method::POST, &other, ann).await, 404);
}

#[tokio::test]
async fn a_call_is_cancelled_at_another_gateway() {
    let gateway = on_redis(&[]).await;
    let slow = [("delay", "20s")];
    let _echo = beside(&gateway, &echo_agent::SPEC, echo_agent::build, &slow).await;
    super::listed(&gateway, "echo-agent").await;
    let other = second(&gateway).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let id = ("mcp-session-id", session.as_str());
    let post = reqwest::Method::POST;
    eventually(async || at(&other, post.clone(), &[id], &ping()).await.status == 200).await;
    let call = json!({"jsonrpc": "2.0", "id": "long", "method": "tools/call",
        "params": {"name": "echo-agent", "arguments": {"input": "x"}}});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "long"}});
    let began = std::time::Instant::now();
    let calling = read(legacy_request(&gateway, Some(&session), &call));
    let cancelling = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        at(&other, post, &[id], &cancel).await.status
    };
    let (called, cancelled) = tokio::join!(calling, cancelling);
    assert_eq!((called.status, cancelled), (200, 202));
    assert_eq!(called.json()["error"]["code"], -32603, "{}", called.text);
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn a_task_is_told_of_at_another_gateway_until_its_end() {
    let gateway = on_redis(&[("mcp_task_after", "0s")]).await;
    let slow = [("delay", "2s")];
    let _echo = beside(&gateway, &echo_agent::SPEC, echo_agent::build, &slow).await;
    let url = gateway.redis.as_ref().unwrap().url();
    let set = [("redis_url", url.as_str())];
    let _runner = beside(&gateway, &job_runner::SPEC, job_runner::build, &set).await;
    super::listed(&gateway, "echo-agent").await;
    let meta = json!({"io.modelcontextprotocol/clientCapabilities":
        {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
    let mut task = String::new();
    eventually(async || {
        let call = json!({"name": "echo-agent", "arguments": {"input": "x"}, "_meta": meta});
        let answer = modern(&gateway, "tools/call", call).await.json();
        answer["result"]["resultType"] == "task"
    })
    .await;
    let call = json!({"name": "echo-agent", "arguments": {"input": "told"}, "_meta": meta});
    let answer = modern(&gateway, "tools/call", call).await.json();
    task.push_str(answer["result"]["taskId"].as_str().unwrap());
    // Who does not declare tasks is told of none.
    let wanted = json!({"notifications": {"taskIds": [task, "nothing"]}});
    let request = modern_request(&gateway, "/mcp", "subscriptions/listen", wanted.clone());
    let mut deaf = request.send().await.unwrap();
    let mut text = String::new();
    streams::until(&mut text, &mut deaf, "acknowledged").await;
    assert_eq!(events(&text)[0]["params"]["notifications"], json!({}));
    drop(deaf);
    let mut wanted = wanted;
    wanted["_meta"] = meta;
    let request = modern_request(&gateway, "/mcp", "subscriptions/listen", wanted);
    let mut stream = request.send().await.unwrap();
    let mut text = String::new();
    streams::until(&mut text, &mut stream, "\"status\":\"completed\"").await;
    streams::until(&mut text, &mut stream, "Echo Agent Response: told").await;
    let told = events(&text);
    let followed = &told[0]["params"]["notifications"];
    assert_eq!(followed, &json!({ "taskIds": [task] }));
    for event in &told[1..] {
        assert_eq!(event["method"], "notifications/tasks");
        assert_eq!(event["params"]["taskId"], task.as_str());
        let id = &event["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
        assert_eq!(id, 7);
        assert!(event["params"].get("resultType").is_none(), "{event}");
    }
    assert_eq!(told[1]["params"]["status"], "working", "{told:?}");
    let last = &told.last().unwrap()["params"];
    assert_eq!(last["result"]["isError"], false, "{last}");
}

#[tokio::test]
async fn an_sse_session_and_one_of_streamable_http_are_not_mixed_up() {
    let gateway = embedded(&[]).await;
    let (session, _) = initialize(&gateway, "2025-11-25").await;
    let path = format!("/messages?session_id={session}");
    let answer = gateway.post(&path, ping()).await;
    assert_eq!(answer.status, 404, "its answer had nowhere to go");
    assert_eq!(
        read(legacy_request(&gateway, Some(&session), &ping()))
            .await
            .status,
        200
    );
}
