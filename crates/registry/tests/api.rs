//! What clients of Consul's HTTP API are answered.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use mesh_registry::RegistryServer;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use testkit::until;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);

thread_local! {
    // One for each test: a connection belongs to the runtime that made it.
    static CLIENT: reqwest::Client = reqwest::Client::builder().no_proxy().build().unwrap();
}

async fn start() -> RegistryServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    RegistryServer::start(listener, "test")
}

async fn ask(server: &RegistryServer, method: Method, path: &str, body: &str) -> Response {
    let client = CLIENT.with(Clone::clone);
    let url = format!("http://{}/v1/{path}", server.address());
    let request = client.request(method, url).body(body.to_owned());
    timeout(SOON, request.send()).await.unwrap().unwrap()
}

async fn put(server: &RegistryServer, path: &str, body: &Value) -> StatusCode {
    ask(server, Method::PUT, path, &body.to_string())
        .await
        .status()
}

async fn get(server: &RegistryServer, path: &str) -> Value {
    let answer = ask(server, Method::GET, path, "").await;
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn index(answer: &Response) -> u64 {
    let index = answer.headers().get("x-consul-index").unwrap();
    index.to_str().unwrap().parse().unwrap()
}

async fn index_of(server: &RegistryServer, path: &str) -> u64 {
    index(&ask(server, Method::GET, path, "").await)
}

/// A connection with a blocking query that the server waits for: it has answered the request before that,
/// which came with it.
async fn blocked(server: &RegistryServer, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let get = |path: &str, more: &str| {
        format!("GET /v1/{path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
    };
    let both = get("catalog/datacenters", "") + &get(path, "connection: close\r\n");
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(br#"["dc1"]"#) {
        let byte = timeout(SOON, stream.read_u8()).await.unwrap();
        first.push(byte.unwrap());
    }
    stream
}

/// The answer to a blocking query, headers and all.
async fn woken(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = timeout(SOON, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    answer
}

/// Waits until a check has this status.
async fn has_status(server: &RegistryServer, id: &str, wanted: &str) {
    until("the status of a check", SOON, async || {
        (status(server, id).await == wanted).then_some(())
    })
    .await;
}

/// The status of a check, by its ID.
async fn status(server: &RegistryServer, id: &str) -> String {
    let checks = get(server, "agent/checks").await;
    checks[id]["Status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_empty_has_a_number_and_is_answered_at_once_without_one() {
    let server = start().await;
    for path in [
        "kv/mesh/?recurse",
        "kv/key?raw",
        "kv/?keys",
        "health/service/nobody",
        "catalog/services",
        "catalog/node/nobody",
        "health/state/any",
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        for index_given in ["", "index=0&wait=60s", "index=999999&wait=60s"] {
            let path = format!("{path}{separator}{index_given}");
            let answer = ask(&server, Method::GET, &path, "").await;
            assert!(index(&answer) > 0, "{path}");
        }
    }
}

#[tokio::test]
async fn a_blocking_query_waits_for_a_change_of_what_it_asks_for() {
    let server = start().await;
    put(&server, "agent/service/register", &json!({"Name": "a"})).await;
    put(&server, "kv/a", &json!(1)).await;
    for (path, same, other) in [
        ("health/service/a?", "agent/service/register", "kv/b"),
        ("kv/a?raw&", "kv/a", "agent/service/register"),
    ] {
        let known = index_of(&server, path).await;
        let blocking = format!("{path}index={known}&wait=300ms");
        let begun = Instant::now();
        put(&server, other, &json!({"Name": format!("other-{known}")})).await;
        assert_eq!(index_of(&server, &blocking).await, known, "{path}");
        assert!(begun.elapsed() >= Duration::from_millis(300), "{path}");
        let mut waits = blocked(&server, &format!("{path}index={known}&wait=60s")).await;
        put(&server, same, &json!({"Name": "a", "Port": 7})).await;
        let answer = woken(&mut waits).await;
        let (_, index) = answer.split_once("x-consul-index: ").unwrap();
        let index: u64 = index.lines().next().unwrap().parse().unwrap();
        assert!(index > known, "{path}: {answer}");
    }
}

#[tokio::test]
async fn any_key_is_kept_as_it_is() {
    let server = start().await;
    for key in ["plain", "a/b", "a%2Fc", "%C3%BC%20%25%3F", "a+b", "dir/"] {
        let path = format!("kv/{key}");
        let written = ask(&server, Method::PUT, &path, "v").await;
        assert_eq!(written.text().await.unwrap(), "true", "{key}");
        assert_eq!(get(&server, &path).await[0]["Value"], "dg==", "{key}");
    }
    let keys = get(&server, "kv/?keys&separator=/").await;
    assert_eq!(keys, json!(["a+b", "a/", "dir/", "plain", "ü %?"]));
    assert_eq!(get(&server, "kv/a/?keys").await, json!(["a/b", "a/c"]));
    put(&server, "kv/flags?flags=42", &json!(1)).await;
    assert_eq!(get(&server, "kv/flags").await[0]["Flags"], 42);
    ask(&server, Method::PUT, "kv/empty", "").await;
    assert_eq!(get(&server, "kv/empty").await[0]["Value"], Value::Null);
    let gone = ask(&server, Method::DELETE, "kv/?recurse", "").await;
    assert_eq!(gone.text().await.unwrap(), "true");
    let missing = ask(&server, Method::GET, "kv/plain", "").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert!(index(&missing) > 1);
}

#[tokio::test]
async fn a_check_that_nobody_reports_for_expires_and_one_registered_anew_is_followed() {
    let server = start().await;
    let check = |ttl: &str| json!({"Name": "a", "Check": {"TTL": ttl, "Status": "passing"}});
    put(&server, "agent/service/register", &check("60s")).await;
    // Under the same ID, with another time.
    put(&server, "agent/service/register", &check("3s")).await;
    let told = put(&server, "agent/check/pass/service:a", &json!("")).await;
    assert_eq!(told, StatusCode::OK);
    assert_eq!(status(&server, "service:a").await, "passing");
    has_status(&server, "service:a", "critical").await;
    put(&server, "agent/check/warn/service:a", &json!("")).await;
    assert_eq!(status(&server, "service:a").await, "warning");
}

#[tokio::test]
async fn a_check_is_asked_as_it_says_and_counts_failures_where_it_should() {
    let server = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/well", listener.local_addr().unwrap());
    let body = json!({
        "Name": "a", "Checks": [
            {"CheckID": "patient", "HTTP": url, "Method": "POST", "Header": {"x-a": ["b"]},
             "Interval": "1s", "Status": "passing", "FailuresBeforeCritical": 600},
            {"CheckID": "strict", "HTTP": url, "Method": "POST", "Header": {"x-a": ["b"]},
             "Interval": "1s", "Status": "passing"},
        ],
    });
    assert_eq!(put(&server, "agent/service/register", &body).await, 200);
    for _ in 0..2 {
        let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.unwrap();
        let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
        assert!(asked.starts_with("POST /well HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-a: b\r\n"), "{asked}");
        let answer = b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    }
    has_status(&server, "strict", "critical").await;
    assert_eq!(status(&server, "patient").await, "passing");
}

#[tokio::test]
async fn odd_requests_are_refused_and_harm_nothing() {
    let server = start().await;
    for (method, path, body, code) in [
        ("PUT", "agent/service/register", "", 400),
        ("PUT", "agent/service/register", "[[[[", 400),
        ("PUT", "agent/service/register", r#"{"Name": ""}"#, 400),
        ("PUT", "agent/service/deregister/nobody", "", 404),
        ("PUT", "agent/check/pass/nothing", "", 404),
        (
            "PUT",
            "agent/service/maintenance/nobody?enable=true",
            "",
            404,
        ),
        ("PUT", "catalog/deregister", "{}", 400),
        ("PUT", "kv/", "x", 400),
        ("PUT", "kv/x?cas=-1", "x", 400),
        ("PUT", "kv/x?flags=x", "x", 400),
        ("DELETE", "kv/", "", 400),
        ("GET", "kv/", "", 400),
        ("GET", "health/service/a?index=x", "", 400),
        ("GET", "health/service/a?wait=soon", "", 400),
        ("GET", "health/service/a?filter=x", "", 400),
        ("GET", "health/service/a?dc=elsewhere", "", 500),
        ("GET", "health/service/%FF", "", 400),
        ("GET", "agent/service/register", "", 405),
        ("POST", "kv/x", "", 405),
        ("GET", "acl/tokens", "", 404),
    ] {
        let answer = ask(&server, method.parse().unwrap(), path, body).await;
        assert_eq!(answer.status(), code, "{method} {path} {body}");
        assert!(!answer.text().await.unwrap().is_empty(), "{method} {path}");
    }
    let big = "x".repeat(512 * 1024 + 1);
    let answer = ask(&server, Method::PUT, "kv/big", &big).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&server, "kv/?keys").await, json!([]));
    assert_eq!(get(&server, "catalog/services").await, json!({}));
}

#[tokio::test]
async fn it_ends_though_a_client_says_nothing_and_another_waits() {
    let server = start().await;
    let address = server.address();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /v1/catalog/serv").await.unwrap();
    let mut waits = blocked(&server, "catalog/services?index=1&wait=60s").await;
    timeout(SOON, server.stop()).await.unwrap();
    let answer = woken(&mut waits).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for stream in [&mut silent, &mut half] {
        // Closed, or reset: it is over.
        let _over = timeout(SOON, stream.read(&mut [0])).await.unwrap();
    }
    assert!(TcpStream::connect(address).await.is_err());
}
