//! How the collector is reached, and what happens while it is not.

use std::time::{Duration, Instant};

use mesh_testkit::{Certificate, Jaeger, Program, Signal, raw::RawConnection, until};
use prost::Message as _;
use proto::agentplatform::TaskRequest;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};
use tonic::Code;

use crate::view::EXPORTED;

/// Calls whose spans are more than may wait for the collector.
const MANY: usize = 18_000;
const METHOD: &str = "/agentplatform.AgentService/ExecuteTask";

/// An echo agent that no registry knows.
async fn echo(env: &[(&'static str, String)]) -> Program {
    let own = [("DISCOVERY", "memory".to_owned())];
    Program::start("echo-agent", &[&own[..], env].concat()).await
}

async fn call(raw: &mut RawConnection) {
    let task = TaskRequest {
        input: "again".to_owned(),
        ..TaskRequest::default()
    };
    let answer = raw.call(METHOD, &[], &task.encode_to_vec()).await;
    assert_eq!(answer.status.code(), Code::Ok);
}

#[tokio::test]
async fn spans_go_by_http_and_by_tls_with_headers_and_the_right_authority() {
    let folder = TempDir::with_prefix("otlp-").unwrap();
    let certificate = Certificate::for_host("127.0.0.1");
    let files = certificate.write(folder.path(), "collector");
    let authority = files[0].display().to_string();
    let (plain, secure) = tokio::join!(Jaeger::start(), Jaeger::with_tls(&files));
    let other = Certificate::for_host("127.0.0.1").write(folder.path(), "other");
    let other = other[0].display().to_string();
    let (grpc, http) = ("grpc", "http/protobuf");
    for (name, jaeger, endpoint, protocol, authority) in [
        ("http", &plain, plain.http_endpoint(), http, ""),
        ("grpc-tls", &secure, secure.endpoint(), grpc, &*authority),
        (
            "http-tls",
            &secure,
            secure.http_endpoint(),
            http,
            &authority,
        ),
        ("no-authority", &secure, secure.endpoint(), grpc, ""),
        (
            "other-authority",
            &secure,
            secure.http_endpoint(),
            http,
            &other,
        ),
    ] {
        let mut program = echo(&[
            ("OTEL_SERVICE_NAME", name.to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.to_owned()),
        ])
        .await;
        call(&mut RawConnection::connect(program.grpc).await).await;
        let come = async || (!jaeger.traces(name).await.is_empty()).then_some(());
        if name.ends_with("-authority") {
            let told = |line: &str| line.contains("\"reason\":\"TLS").then_some(());
            program.process.wait_for_line(EXPORTED, told).await;
            assert_eq!(come().await, None);
        } else {
            until(&format!("spans of {name}"), EXPORTED, come).await;
        }
        program.assert_healthy();
    }

    // The headers go with each request, and are shown nowhere.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/base", listener.local_addr().unwrap());
    let program = echo(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", http.to_owned()),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "api-key=hunter%202,team=a".to_owned(),
        ),
    ])
    .await;
    call(&mut RawConnection::connect(program.grpc).await).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("post /base/v1/traces http/1.1"), "{head}");
    for line in [
        "api-key: hunter 2",
        "team: a",
        "content-type: application/x-protobuf",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let config = format!("http://{}/config", program.admin);
    let (_, shown) = mesh_testkit::http_client::get(&config).await.unwrap();
    assert!(
        shown.contains("otlp_headers") && !shown.contains("hunter"),
        "{shown}"
    );
    assert!(!program.process.log().contains("hunter"));
}

#[tokio::test]
async fn a_collector_that_falls_silent_costs_no_call_and_gets_what_comes_after() {
    let mut jaeger = Jaeger::start().await;
    let program = echo(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()),
        ("OTEL_SERVICE_NAME", "silent".to_owned()),
    ])
    .await;
    let mut raw = RawConnection::connect(program.grpc).await;
    call(&mut raw).await;
    let come = async || (!jaeger.traces("silent").await.is_empty()).then_some(());
    until("a span", EXPORTED, come).await;
    let before = program.process.memory();
    jaeger.signal(Signal::Stop);
    let mut longest = Duration::ZERO;
    // More spans than may wait, or as long as somebody wants to watch it: calls go on all the time.
    let begun = Instant::now();
    let seconds = std::env::var_os("OUTAGE_SECONDS");
    let seconds = seconds.map_or(0, |text| text.to_str().unwrap().parse().unwrap());
    let mut calls = 0;
    while calls < MANY || begun.elapsed() < Duration::from_secs(seconds) {
        calls += 1;
        let sent = Instant::now();
        call(&mut raw).await;
        longest = longest.max(sent.elapsed());
        if calls > MANY {
            sleep(Duration::from_millis(10)).await;
        }
    }
    assert!(longest < Duration::from_secs(2), "a call took {longest:?}");
    let grown = program.process.memory().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more");
    jaeger.signal(Signal::Continue);
    let last = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let come = async || {
        let fields = [("traceparent", last)];
        let task = TaskRequest::default().encode_to_vec();
        raw.call(METHOD, &fields, &task).await;
        let traces = jaeger.traces("silent").await;
        let found = |trace: &serde_json::Value| trace["traceID"] == last[3..35];
        traces.iter().any(found).then_some(())
    };
    until("a span that came after", Duration::from_secs(60), come).await;
}
