//! Why the chassis, and not the service, ended a call, as its access log tells it.

use std::{
    future::Ready,
    path::Path,
    task::{self, Poll},
};

use serde_json::Value;
use tokio_util::either::Either;
use tonic::server::NamedService;

use super::*;

/// Answers its methods, but for `Never`.
#[derive(Clone)]
struct Routed;

impl NamedService for Routed {
    const NAME: &'static str = "t.S";
}

impl tower::Service<Request<Body>> for Routed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Response<Body>, Infallible>>,
        std::future::Pending<Result<Response<Body>, Infallible>>,
    >;

    fn poll_ready(&mut self, _cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() == "/t.S/Never" {
            return Either::Right(std::future::pending());
        }
        let answer = Status::unimplemented("not this one").into_http();
        Either::Left(std::future::ready(Ok(answer)))
    }
}

/// Calls a method with one field more, and returns whether an answer came.
async fn call(addr: SocketAddr, path: &str, name: &str, value: &str) -> bool {
    let stream = TcpStream::connect(addr).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::post(format!("http://{addr}{path}"))
        .header("content-type", "application/grpc")
        .header(name, value)
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    match client.send_request(request).await {
        Ok(answer) => answer.into_body().collect().await.is_ok(),
        Err(_) => false,
    }
}

async fn cause(path: &Path, method: &str) -> Value {
    let mut found = None;
    until(async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        found = lines.find(|line: &Value| line["method"] == method);
        found.is_some()
    })
    .await;
    found.unwrap()["cause"].take()
}

#[tokio::test]
async fn an_instance_tells_why_its_service_did_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let set = [
        ("access_log", path.to_str().unwrap()),
        ("drain_timeout", "100ms"),
        ("max_header_bytes", "4KiB"),
    ];
    let build = |_: &Context| {
        let served = Services::new().service(Routed);
        Ok(served.descriptors(proto::DESCRIPTORS))
    };
    let running = start(&SPEC, config(&set), Arc::new(Memory::new()), build)
        .await
        .unwrap();
    let grpc = running.grpc_addr;
    let large = "v".repeat(5000);
    for (method, name, value, expected) in [
        ("t.S/Good", "x-a", "b", None),
        ("grpc.health.v1.Health/Check", "x-a", "b", Some("own")),
        (
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "x-a",
            "b",
            Some("own"),
        ),
        ("t.Nobody/M", "x-a", "b", Some("request")),
        ("t.S/BadTimeout", "grpc-timeout", "1s", Some("request")),
        ("t.S/Large", "x-a", &large, Some("limit:max_header_bytes")),
    ] {
        assert!(call(grpc, &format!("/{method}"), name, value).await);
        assert_eq!(cause(&path, method).await.as_str(), expected, "{method}");
    }
    let mut tasks = JoinSet::new();
    let watch = "/grpc.health.v1.Health/Watch";
    for path in ["/t.S/Never", watch] {
        tasks.spawn(async move { call(grpc, path, "x-a", "b").await });
    }
    until(async || running.active_calls() == 1).await;
    // The watch is no call that a drain waits for.
    sleep(Duration::from_millis(100)).await;
    running.drain().await;
    for method in ["t.S/Never", "grpc.health.v1.Health/Watch"] {
        assert_eq!(cause(&path, method).await, "draining", "{method}");
    }
}
