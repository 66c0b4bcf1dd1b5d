//! The chassis at work: real sockets on ports of the system's choice, a registry in memory.

mod causes;
mod drain;
mod grpc;
mod http_ports;
mod registration;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use discovery::{Discovery as _, Health, backends::Memory};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet, time::sleep};
use tonic::{Status, body::Body, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{Config, Context, ServerHandle, ServiceKind, Services, Spec, start};

pub(crate) const SPEC: Spec = Spec {
    program: "test-agent",
    service: "agent-test",
    kind: ServiceKind::Agent,
    tags: &["agent", "test"],
    port_env: "AGENT_PORT",
    default_port: 50052,
    version: "1.2.3",
    about: "A service of the tests",
    idempotent: &["agentplatform.AgentService/GetStatus"],
    keys: &[crate::GRPC, crate::CALLS],
};

/// A configuration for a test on this machine alone.
pub(crate) fn config(set: &[(&str, &str)]) -> Config {
    let local = [
        ("port", "0"),
        ("listen_address", "127.0.0.1"),
        ("admin_address", "127.0.0.1"),
        ("drain_delay", "0s"),
    ];
    let all = local.iter().chain(set);
    all.fold(SPEC.loader(), |loader, (key, value)| {
        loader.set(key, *value)
    })
    .load()
    .unwrap()
}

/// Answers `/slow` after 300 ms, `/never` never, and everything else at once.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    match request.uri().path() {
        "/test.Test/Slow" => sleep(Duration::from_millis(300)).await,
        "/test.Test/Never" => std::future::pending().await,
        _ => {}
    }
    Ok(Status::not_found("no").into_http())
}

fn build(_: &Context) -> anyhow::Result<Services> {
    let served = Services::new().raw(tower::service_fn(answer));
    Ok(served
        .name("agentplatform.AgentService")
        .descriptors(proto::DESCRIPTORS))
}

pub(crate) async fn running(set: &[(&str, &str)]) -> (ServerHandle, Arc<Memory>) {
    let memory = Arc::new(Memory::new());
    let running = start(&SPEC, config(set), memory.clone(), build)
        .await
        .unwrap();
    running.registered().await;
    (running, memory)
}

/// Waits for a condition, and fails when it does not come true.
pub(crate) async fn until(mut is_true: impl AsyncFnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !is_true().await {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "it never comes true"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// One HTTP/2 request on a connection of its own: status and headers.
async fn h2(addr: SocketAddr, method: Method, path: &str) -> Option<(StatusCode, HeaderMap)> {
    let stream = TcpStream::connect(addr).await.ok()?;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await.ok()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{addr}{path}"))
        .header("content-type", "application/grpc")
        .body(Full::<Bytes>::default())
        .unwrap();
    let (parts, _) = client.send_request(request).await.ok()?.into_parts();
    Some((parts.status, parts.headers))
}

/// One HTTP/1.1 request to the admin listener: status and body.
async fn admin(addr: SocketAddr, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

async fn channel(running: &ServerHandle) -> Channel {
    Channel::from_shared(format!("http://{}", running.grpc_addr))
        .unwrap()
        .connect()
        .await
        .unwrap()
}
