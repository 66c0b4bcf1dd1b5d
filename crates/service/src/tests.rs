//! The chassis at work: real sockets on ports of the system's choice, a registry in memory.

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

use crate::{Config, Context, ServiceKind, ServerHandle, Services, Spec, start};

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
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn channel(running: &ServerHandle) -> Channel {
    Channel::from_shared(format!("http://{}", running.grpc_addr))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn while_it_drains_every_way_to_ask_says_so_and_its_own_streams_end_first() {
    let set = [("drain_delay", "500ms"), ("drain_timeout", "1m")];
    let (running, _) = running(&set).await;
    let (grpc, admin_addr) = (running.grpc_addr, running.admin_addr);
    let (mut health, channel) = {
        let channel = channel(&running).await;
        (HealthClient::new(channel.clone()), channel)
    };
    let ask = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut known = health.watch(ask("")).await.unwrap().into_inner();
    let mut unknown = health.watch(ask("nope.Nope")).await.unwrap().into_inner();
    let first = async |stream: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>| {
        stream.message().await.unwrap().unwrap().status()
    };
    assert_eq!(first(&mut known).await, ServingStatus::Serving);
    assert_eq!(first(&mut unknown).await, ServingStatus::ServiceUnknown);
    let (questions, asked) = tokio::sync::mpsc::channel(1);
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    questions.send(list).await.unwrap();
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(asked).await.unwrap();
    let mut answers = answers.into_inner();
    answers.message().await.unwrap().unwrap();

    let begun = tokio::time::Instant::now();
    let mut draining = JoinSet::new();
    draining.spawn(running.drain());
    assert_eq!(first(&mut known).await, ServingStatus::NotServing);
    for path in ["/readyz", "/readyz/", "/health", "/"] {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let told = h2(grpc, method.clone(), path).await.unwrap().0;
            assert_eq!(told, StatusCode::NOT_FOUND, "{method} {path}");
            let told = admin(admin_addr, method.clone(), path, "").await.0;
            assert_eq!(told, StatusCode::NOT_FOUND, "admin: {method} {path}");
        }
    }
    // Each of them ends with a status, and none of them was cut.
    assert!(known.message().await.is_err());
    assert!(unknown.message().await.is_err());
    assert!(answers.message().await.is_err());
    assert_eq!(draining.join_next().await.unwrap().unwrap().cut, 0);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn gzip_is_taken_and_answered_by_every_service_of_our_own() {
    let (running, _) = running(&[("max_message_bytes", "64KiB")]).await;
    let health = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    // tonic's own client, which compresses what it sends and understands what it gets.
    let mut client = HealthClient::new(channel(&running).await)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let answer = client.check(health).await.unwrap();
    let said = answer.metadata().get("grpc-encoding").cloned();
    assert_eq!(said.unwrap(), "gzip");
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let bomb = HealthCheckRequest {
        service: "x".repeat(1 << 20),
    };
    let refused = client.check(bomb).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    running.drain().await;
}

#[tokio::test]
async fn a_call_in_flight_finishes_while_nothing_new_is_wanted() {
    let (running, memory) = running(&[("drain_delay", "200ms")]).await;
    let (grpc, admin_addr, id) = (
        running.grpc_addr,
        running.admin_addr,
        running.instance_id.clone(),
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { h2(grpc, Method::POST, "/test.Test/Slow").await });
    sleep(Duration::from_millis(50)).await;
    let mut drain = JoinSet::new();
    drain.spawn(running.drain());
    sleep(Duration::from_millis(50)).await;

    assert_eq!(
        h2(grpc, Method::GET, "/readyz").await.unwrap().0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        h2(grpc, Method::GET, "/healthz").await.unwrap().0,
        StatusCode::OK
    );
    assert_eq!(
        admin(admin_addr, Method::GET, "/readyz", "").await.0,
        StatusCode::NOT_FOUND
    );
    assert!(!memory.is_registered(&id).await.unwrap());
    // It still serves those who have not heard yet.
    assert!(h2(grpc, Method::POST, "/test.Test/Fast").await.is_some());

    let (_, headers) = tasks
        .join_next()
        .await
        .unwrap()
        .unwrap()
        .expect("the call finishes");
    assert_eq!(headers["grpc-status"], "5");
    assert_eq!(drain.join_next().await.unwrap().unwrap().cut, 0);
    assert!(
        TcpStream::connect(grpc).await.is_err(),
        "the port is closed"
    );
}

#[tokio::test]
async fn calls_that_never_end_are_cut_at_the_deadline_and_counted() {
    let (running, _) = running(&[("drain_timeout", "100ms")]).await;
    let grpc = running.grpc_addr;
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        tasks.spawn(async move { h2(grpc, Method::POST, "/test.Test/Never").await });
    }
    sleep(Duration::from_millis(100)).await;
    let registry = running.context().registry.clone();
    assert_eq!(running.drain().await.cut, 3);
    while let Some(answer) = tasks.join_next().await {
        assert!(answer.unwrap().is_none());
    }
    let cancelled = "rpc_server_call_duration_seconds_count\
                     {rpc_method=\"_OTHER\",rpc_response_status_code=\"CANCELLED\"}";
    assert_eq!(registry.sample(cancelled), Some(3.0));
}

#[tokio::test]
async fn a_health_watch_does_not_hold_up_a_drain() {
    let (running, _) = running(&[("drain_timeout", "60s")]).await;
    let mut client = HealthClient::new(channel(&running).await);
    let mut watch = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::Serving);
    let drained = tokio::time::timeout(Duration::from_secs(5), running.drain()).await;
    assert_eq!(
        drained
            .expect("a drain that does not wait for the watch")
            .cut,
        0
    );
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
}

#[tokio::test]
async fn readiness_is_answered_on_the_grpc_port_over_http2() {
    let (running, _) = running(&[]).await;
    for path in ["/readyz", "/healthz"] {
        assert_eq!(
            h2(running.grpc_addr, Method::GET, path).await.unwrap().0,
            StatusCode::OK
        );
    }
    running.drain().await;
}

#[tokio::test]
async fn a_registration_that_was_lost_is_made_again() {
    let (running, memory) = running(&[("weight", "7")]).await;
    memory.clear();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
    while !memory.is_registered(&running.instance_id).await.unwrap() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not registered again"
        );
        sleep(Duration::from_millis(50)).await;
    }
    running.drain().await;
}

#[tokio::test]
async fn the_registration_tells_what_the_mesh_wants_to_know() {
    let (running, memory) = running(&[("weight", "7")]).await;
    let mut watch = memory.watch("agent-test");
    let snapshot = watch
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    let instance = snapshot.instances.first().unwrap();
    assert_eq!(&*instance.key.id, running.instance_id);
    assert!(running.instance_id.starts_with("test-agent-"));
    assert_eq!(instance.authority(), running.grpc_addr.to_string());
    assert_eq!(
        (instance.kind(), instance.public_id()),
        (ServiceKind::Agent, "test-agent".to_owned())
    );
    assert_eq!((instance.weight, instance.health), (7, Health::Passing));
    assert_eq!(instance.version(), "1.2.3");
    assert_eq!(
        instance.meta["admin_port"],
        running.admin_addr.port().to_string()
    );
    assert_eq!(
        instance.grpc_services().unwrap(),
        ["agentplatform.AgentService"]
    );
    assert!(instance.is_idempotent("agentplatform.AgentService/GetStatus"));
    running.drain().await;
}

#[tokio::test]
async fn health_and_reflection_are_answered_beside_a_raw_service() {
    let (running, _) = running(&[]).await;
    let channel = channel(&running).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "agentplatform.AgentService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("expected a list of services");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"agentplatform.AgentService".to_owned()),
        "{names:?}"
    );
    assert!(
        !names.contains(&"agentplatform.ToolService".to_owned()),
        "{names:?}"
    );
    running.drain().await;
}

#[tokio::test]
async fn calls_are_counted_by_method_and_status() {
    let (running, _) = running(&[]).await;
    let mut health = HealthClient::new(channel(&running).await);
    health.check(HealthCheckRequest::default()).await.unwrap();
    health
        .check(HealthCheckRequest {
            service: "none".to_owned(),
        })
        .await
        .unwrap_err();
    h2(running.grpc_addr, Method::POST, "/made.Up/Method")
        .await
        .unwrap();
    let (status, text) = admin(running.admin_addr, Method::GET, "/metrics", "").await;
    assert_eq!(status, StatusCode::OK);
    for (method, code) in [
        ("grpc.health.v1.Health/Check", "OK"),
        ("grpc.health.v1.Health/Check", "NOT_FOUND"),
        ("_OTHER", "NOT_FOUND"),
    ] {
        let line = format!(
            "rpc_server_call_duration_seconds_count\
             {{rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"}} 1\n"
        );
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    running.drain().await;
}

#[tokio::test]
async fn the_admin_listener_answers_operators() {
    let (running, _) = running(&[("consul_http_token", "hunter2")]).await;
    let ask = async |method, path, body| admin(running.admin_addr, method, path, body).await;
    assert_eq!(ask(Method::GET, "/healthz", "").await.0, StatusCode::OK);
    assert_eq!(ask(Method::GET, "/readyz", "").await.0, StatusCode::OK);
    let (status, config) = ask(Method::GET, "/config", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        config.ends_with("}\n"),
        "a prompt stands on a line of its own"
    );
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["drain_timeout"]["value"], "15s");
    assert_eq!(config["drain_timeout"]["source"], "default");
    assert_eq!(config["consul_http_token"]["value"], "(secret)");
    assert_eq!(
        ask(Method::PUT, "/log-level", "loud").await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        ask(Method::POST, "/metrics", "").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        ask(Method::GET, "/nothing", "").await.0,
        StatusCode::NOT_FOUND
    );
    running.drain().await;
}

#[tokio::test]
async fn several_instances_run_in_one_process() {
    let memory = Arc::new(Memory::new());
    let first = start(&SPEC, config(&[]), memory.clone(), build)
        .await
        .unwrap();
    let second = start(&SPEC, config(&[]), memory.clone(), build)
        .await
        .unwrap();
    assert_ne!(first.instance_id, second.instance_id);
    assert_ne!(first.grpc_addr, second.grpc_addr);
    first.drain().await;
    assert!(h2(second.grpc_addr, Method::GET, "/readyz").await.is_some());
    second.drain().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let (running, memory) = running(&[]).await;
    let port = running.grpc_addr.port().to_string();
    let error = start(&SPEC, config(&[("port", &port)]), memory, build)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("listen on 127.0.0.1:{port}")),
        "{error}"
    );
    assert!(error.to_string().contains(SPEC.port_env), "{error}");
    running.drain().await;
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream_at_the_instance() {
    let (running, _) = running(&[]).await;
    let stream = TcpStream::connect(running.grpc_addr).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    // By hand, since tonic's client would watch the deadline itself. An empty message: "".
    let request = |timeout: &str| {
        Request::post(format!(
            "http://{}/grpc.health.v1.Health/Watch",
            running.grpc_addr
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap()
    };
    let body = client
        .send_request(request("100m"))
        .await
        .unwrap()
        .into_body();
    let whole = body.collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["grpc-status"], "4");
    let refused = client.send_request(request("soon")).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "3");
    running.drain().await;
}

#[tokio::test]
async fn an_http_program_is_asked_by_http_and_finishes_answers_in_its_drain() {
    let slow = tower::service_fn(|request: Request<crate::RequestBody>| async move {
        let peer = request.extensions().get::<crate::PeerAddr>().copied();
        assert!(peer.is_some_and(|peer| peer.0.ip().is_loopback()));
        sleep(Duration::from_millis(300)).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
    });
    let running = start(&SPEC, config(&[]), Arc::new(Memory::new()), |_| {
        Ok(Services::new().http(slow))
    })
    .await
    .unwrap();
    let stream = TcpStream::connect(running.grpc_addr).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get("/x").body(Full::<Bytes>::default()).unwrap();
    let answer = client.send_request(request);
    let drained = async {
        sleep(Duration::from_millis(100)).await;
        running.drain().await
    };
    let (answer, drained) = tokio::join!(answer, drained);
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert_eq!(&body.to_bytes()[..], b"done");
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn an_instance_is_ready_when_its_own_checks_say_so_and_health_says_the_same() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&ready);
    let build = move |context: &Context| {
        let is_ready = move || seen.load(std::sync::atomic::Ordering::Relaxed);
        let problem = move || (!is_ready()).then(|| "waiting for the registry".to_owned());
        context.conditions.add_check("registry", problem);
        build(context)
    };
    let running = start(&SPEC, config(&[]), Arc::new(Memory::new()), build)
        .await
        .unwrap();
    let (grpc, admin_addr) = (running.grpc_addr, running.admin_addr);
    let mut health = HealthClient::new(channel(&running).await);
    let mut status = async || {
        let answer = health.check(HealthCheckRequest::default()).await;
        answer.unwrap().into_inner().status()
    };
    let told = async |path: &str| h2(grpc, Method::GET, path).await.unwrap().0;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(told("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(told("/healthz").await, StatusCode::OK);
    let (code, reason) = admin(admin_addr, Method::GET, "/readyz", "").await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reason.contains("waiting for the registry"), "{reason}");
    assert_eq!(status().await, ServingStatus::NotServing);
    ready.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(told("/readyz").await, StatusCode::OK);
    let begun = std::time::Instant::now();
    while status().await != ServingStatus::Serving {
        assert!(begun.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(10)).await;
    }
    running.drain().await;
}
