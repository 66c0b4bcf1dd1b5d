//! What a web page can do to a gateway: nothing, unless the operator lists where it is from.

use std::{io::Write as _, net::SocketAddr};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use testkit::raw_http;

use crate::support::{Gateway, call_job, embedded, on_redis, read};

const EVIL: &str = "http://evil.example";
const CONSOLE: &str = "https://console.example";

/// A job that waits for long.
async fn waiting(gateway: &Gateway) -> String {
    let mut job = call_job();
    job["delay_ms"] = 600_000.into();
    let answer = gateway.post("/api/v1/jobs", job).await.json();
    answer["job_id"].as_str().unwrap().to_owned()
}

/// A port of its own for tasks.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn status(address: SocketAddr, head: &str, body: &str) -> u16 {
    let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    raw_http::status(address, &format!("{head}{length}\r\n{body}")).await
}

#[tokio::test]
async fn a_foreign_page_submits_nothing_cancels_nothing_and_follows_nothing() {
    let tasks = free_port();
    let gateway = embedded(&[("tasks_port", &tasks.to_string())]).await;
    let id = waiting(&gateway).await;
    let (main, tasks_port) = (
        gateway.running.grpc_addr,
        SocketAddr::from(([127, 0, 0, 1], tasks)),
    );
    let changing = [
        (main, "/api/v1/jobs".to_owned(), call_job().to_string()),
        (
            main,
            "/api/v1/jobs/batch".to_owned(),
            json!([call_job()]).to_string(),
        ),
        (main, format!("/api/v1/jobs/{id}/cancel"), String::new()),
        (main, format!("/api/v1/jobs/{id}/retry"), String::new()),
        (main, "/api/v1/call/a/b.C/D".to_owned(), "{}".to_owned()),
        (
            main,
            "/enqueue".to_owned(),
            json!({"goal": "g"}).to_string(),
        ),
        (
            main,
            "/jobs".to_owned(),
            json!({"url": "http://h/"}).to_string(),
        ),
        (
            main,
            "/tasks".to_owned(),
            json!({"description": "d"}).to_string(),
        ),
        (
            tasks_port,
            "/tasks".to_owned(),
            json!({"description": "d"}).to_string(),
        ),
    ];
    for (address, path, body) in &changing {
        for from in [
            format!("Origin: {EVIL}\r\n"),
            "Origin: null\r\n".to_owned(),
            format!("Origin: http://127.0.0.1:{}\r\n", address.port() ^ 1),
            format!("Origin: http://localhost:{}\r\n", address.port()),
            "Sec-Fetch-Site: cross-site\r\n".to_owned(),
            "Sec-Fetch-Site: same-site\r\n".to_owned(),
        ] {
            for form in [
                "",
                "Content-Type: text/plain\r\n",
                "Content-Type: application/json\r\n",
            ] {
                let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{from}{form}");
                assert_eq!(status(*address, &head, body).await, 403, "{head}");
            }
        }
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for path in [
        "/api/v1/events".to_owned(),
        format!("/api/v1/jobs/{id}/events"),
    ] {
        for more in [upgrade, ""] {
            for from in [
                "Origin: http://evil.example",
                "Origin: null",
                "Sec-Fetch-Site: cross-site",
            ] {
                let head = format!("GET {path} HTTP/1.1\r\nHost: {main}\r\n{from}\r\n{more}\r\n");
                assert_eq!(raw_http::status(main, &head).await, 403, "{head}");
            }
        }
        let own = format!("Origin: http://{main}\r\n");
        let head = format!("GET {path} HTTP/1.1\r\nHost: {main}\r\n{own}{upgrade}\r\n");
        assert_eq!(raw_http::status(main, &head).await, 101, "{head}");
    }
    let job = gateway.get(&format!("/api/v1/jobs/{id}")).await.json();
    assert_eq!(job["status"], "scheduled", "nobody cancelled it");
    let listed = gateway.get("/api/v1/jobs").await.json();
    assert_eq!(
        listed["jobs"].as_array().unwrap().len(),
        1,
        "nobody submitted another"
    );
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_name_that_was_pointed_at_us_is_answered_by_no_path() {
    let tasks = free_port();
    let set = [
        ("tasks_port", tasks.to_string()),
        ("allowed_hosts", "gw.example".to_owned()),
    ];
    let set: Vec<(&str, &str)> = set
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let gateway = embedded(&set).await;
    let tasks = SocketAddr::from(([127, 0, 0, 1], tasks));
    for address in [gateway.running.grpc_addr, tasks] {
        let probe = "GET /readyz HTTP/1.1\r\nHost: whatever.a.balancer.calls.us\r\n";
        assert_ne!(status(address, probe, "").await, 421);
        for path in ["/health", "/metrics", "/", "/nowhere"] {
            for (host, good) in [
                ("evil.example", false),
                ("127.0.0.1.evil.example", false),
                ("", false),
                ("GW.Example.:1", true),
                ("localhost:9", true),
                ("[::1]:9", true),
            ] {
                let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
                let seen = status(address, &head, "").await;
                assert_eq!(seen != 421, good, "{host} {path}: {seen}");
            }
            let head = format!("GET http://evil.example{path} HTTP/1.1\r\nHost: localhost\r\n");
            assert_eq!(status(address, &head, "").await, 421, "{path}");
            let head = format!("GET {path} HTTP/1.1\r\n");
            assert_eq!(status(address, &head, "").await, 400, "{path}");
        }
    }
    let named = gateway
        .request("GET", "/health")
        .header("host", "evil.example");
    let problem = read(named).await.problem(421);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("allowed_hosts"),
        "{problem}"
    );
    gateway.running.drain().await;
}

#[tokio::test]
async fn over_http_2_the_authority_and_the_host_both_count() {
    let gateway = embedded(&[]).await;
    let address = gateway.running.grpc_addr;
    for (authority, host, status) in [
        ("evil.example", None, 421),
        ("localhost", Some("evil.example"), 421),
        ("evil.example", Some("localhost"), 421),
        ("localhost", None, 200),
        ("127.0.0.1:1", Some("127.0.0.1:1"), 200),
    ] {
        let seen = raw_http::status_over_h2(address, authority, host).await;
        assert_eq!(seen, status, "{authority} {host:?}");
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_listed_page_is_answered_as_browsers_want_it() {
    let gateway = embedded(&[("allowed_origins", CONSOLE)]).await;
    let ask = |method: &str, origin: &str| {
        gateway
            .request(method, "/api/v1/jobs")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
    };
    let answer = read(ask("OPTIONS", CONSOLE)).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), CONSOLE);
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("POST")
    );
    for name in ["content-type", "idempotency-key", "last-event-id"] {
        assert!(
            answer.header("access-control-allow-headers").contains(name),
            "{name}"
        );
    }
    let submitted = gateway
        .json("POST", "/api/v1/jobs", &call_job())
        .header("origin", CONSOLE);
    let submitted = read(submitted).await;
    assert_eq!(submitted.status, 202);
    assert_eq!(submitted.header("access-control-allow-origin"), CONSOLE);
    assert!(submitted.header("vary").contains("origin"));
    // A failure can be read too.
    let failed = read(
        gateway
            .request("GET", "/api/v1/jobs/x")
            .header("origin", CONSOLE),
    )
    .await;
    assert_eq!(
        (failed.status, failed.header("access-control-allow-origin")),
        (404, CONSOLE)
    );

    let answer = read(ask("OPTIONS", EVIL)).await;
    answer.problem(403);
    let looked = read(ask("GET", EVIL)).await;
    assert_eq!(looked.status, 200, "a program may send what it likes");
    for answer in [answer, looked] {
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn no_page_frames_ours() {
    let gateway = embedded(&[]).await;
    let page = gateway.get("/docs").await;
    assert!(
        page.header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    gateway.running.drain().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_inflated_up_to_the_limit() {
    let gateway = embedded(&[("max_body_bytes", "64KiB")]).await;
    let send = async |coding: &str, body: Vec<u8>| {
        let request = gateway
            .request("POST", "/api/v1/jobs")
            .header("content-type", "application/json")
            .header("content-encoding", coding);
        read(request.body(body)).await
    };
    let job = call_job().to_string().into_bytes();
    assert_eq!(send("gzip", gzip(&job)).await.status, 202);
    assert_eq!(send("identity", job.clone()).await.status, 202);
    let bomb = gzip(&vec![b' '; 16 << 20]);
    assert!(bomb.len() < 64 << 10, "it fits before it is inflated");
    send("gzip", bomb).await.problem(413);
    send("gzip", job.clone()).await.problem(400);
    for coding in ["br", "deflate", "zstd", "gzip, gzip"] {
        let answer = send(coding, gzip(&job)).await;
        answer.problem(415);
        assert_eq!(answer.header("accept-encoding"), "gzip, identity");
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn queries_are_taken_as_documented_and_misspelt_ones_told() {
    for gateway in [embedded(&[]).await, on_redis(&[]).await] {
        let id = waiting(&gateway).await;
        let listed = gateway
            .get("/api/v1/jobs?status=&queue=&kind=&limit=&cursor=")
            .await;
        assert_eq!(listed.json()["jobs"][0]["job_id"], id.as_str());
        for path in [
            "/api/v1/events?queue=&cursor=".to_owned(),
            format!("/api/v1/jobs/{id}/events?cursor="),
        ] {
            let held = gateway.request("GET", &path).send().await.unwrap();
            assert_eq!(held.status(), 200, "{path}");
        }
        for (path, said) in [
            ("/api/v1/jobs?stauts=dead", "did you mean status?"),
            ("/api/v1/jobs?status=dead&status=failed", "twice"),
            ("/api/v1/jobs?limit=many", "whole number"),
            ("/api/v1/events?que=default", "did you mean queue?"),
            ("/api/v1/events?q=default", "takes queue, cursor"),
            ("/api/v1/queues?queue=default", "takes none"),
            ("/tasks/x?verbose=1", "takes none"),
        ] {
            let problem = gateway.get(path).await.problem(422);
            assert!(
                problem["detail"].as_str().unwrap().contains(said),
                "{path}: {problem}"
            );
        }
        let posted = gateway.post("/api/v1/jobs?dry_run=1", call_job()).await;
        assert_eq!(posted.problem(422)["errors"][0]["field"], "dry_run");
        let misspelt = gateway
            .post("/api/v1/call/a/b.C/D?timeout=5", json!({}))
            .await;
        let detail = misspelt.problem(422)["detail"].to_string();
        assert!(detail.contains("did you mean timeout_ms?"), "{detail}");
        // Probes and scrapers add what they like.
        assert_eq!(gateway.get("/metrics?name=x").await.status, 200);
        assert_eq!(gateway.get("/health?verbose=1").await.status, 200);
        gateway.running.drain().await;
    }
}

#[tokio::test]
async fn one_client_leaves_streams_of_events_for_others() {
    let set = [
        ("client_max_event_streams", "2"),
        ("max_event_streams", "3"),
        ("trusted_proxies", "127.0.0.1"),
    ];
    let gateway = embedded(&set).await;
    let open = async |client: &str| {
        let request = gateway.request("GET", "/api/v1/events");
        request
            .header("x-forwarded-for", client)
            .send()
            .await
            .unwrap()
    };
    let held = [open("10.0.0.1").await, open("10.0.0.1").await];
    let refused = open("10.0.0.1").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(
        refused
            .text()
            .await
            .unwrap()
            .contains("client_max_event_streams")
    );
    let third = open("10.0.0.2").await;
    assert_eq!(third.status(), 200);
    assert_eq!(open("10.0.0.3").await.status(), 503);
    drop(held);
    testkit::until(
        "the streams are free again",
        std::time::Duration::from_secs(20),
        async || (open("10.0.0.1").await.status() == 200).then_some(()),
    )
    .await;
    gateway.running.drain().await;
}
