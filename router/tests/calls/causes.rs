//! Why the mesh, and not a service, ended a call, as the access log tells it.

use std::{net::SocketAddr, path::Path, time::Duration};

use discovery::Discovery as _;
use h2::Reason;
use serde_json::Value;
use testkit::{raw, until};
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

use crate::world::{Instance, MESSAGE, Reply, SOON, World, call, port, registration};

/// Service, method, metadata, and the cause.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<&'a str>);

/// Where nobody listens.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// An instance that resets each call but probes.
async fn resets() -> (SocketAddr, JoinSet<()>) {
    port(|stream: TcpStream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await
}

/// The line of the call of this method, once it is there.
async fn line(path: &Path, method: &str) -> Value {
    let name = format!("t.S/{method}");
    until("the call is written down", SOON, async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .into_iter()
            .find(|line: &Value| line["method"] == *name)
    })
    .await
}

#[tokio::test]
async fn each_cause_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let settings = [
        ("access_log", path.to_str().unwrap()),
        ("queue_timeout", "500ms"),
        ("max_message_bytes", "1KiB"),
        ("max_in_flight", "1"),
        ("silence", "60s"),
    ];
    let world = World::with(&settings).await;
    let good = Instance::start(Reply::good()).await;
    let refuses = Instance::start(Reply::failure(tonic::Code::Unavailable)).await;
    let silent = Instance::start(Reply::good().after(Duration::from_secs(30))).await;
    let (resets, _tasks) = resets().await;
    for (service, idempotent, address) in [
        ("good", false, good.address),
        ("refuses", false, refuses.address),
        ("away", false, nobody()),
        ("silent", false, silent.address),
        ("once", false, resets),
        ("twice", true, resets),
    ] {
        world.register(service, idempotent, &[address]).await;
    }
    let mut raw = world.raw().await;
    let soon = [("grpc-timeout", "200m")];
    let table: &[Row<'_>] = &[
        ("good", "Good", &[], None),
        ("refuses", "Refuses", &[], None),
        ("nowhere", "Nowhere", &[], Some("no_instance")),
        (
            "good",
            "Pinned",
            &[("x-mesh-instance", "good-7")],
            Some("no_instance"),
        ),
        ("away", "Away", &[], Some("connect")),
        ("silent", "Silent", &soon, Some("deadline")),
        ("once", "Once", &[], Some("reset")),
        ("twice", "Twice", &[], Some("retries")),
    ];
    for (service, method, metadata, expected) in table {
        call(&mut raw, service, method, metadata).await;
        let line = line(&path, method).await;
        assert_eq!(line["cause"].as_str(), *expected, "{line}");
    }
    assert_eq!(line(&path, "Once").await["attempts"], 1);
    assert_eq!(line(&path, "Twice").await["attempts"], 3);
    // A caller that leaves, while its call has the only place.
    let metadata = [("x-mesh-service", "silent")];
    let left = raw
        .begin("/t.S/Left", &metadata, raw::frame(b""), true)
        .await;
    until("the instance has the call", SOON, async || {
        (silent.calls() == 2).then_some(())
    })
    .await;
    call(&mut raw, "silent", "Full", &[]).await;
    left.cancel();
    let large = raw.begin(
        "/t.S/Large",
        &[("x-mesh-service", "good")],
        raw::frame(&[0; 2048]),
        true,
    );
    large.await.answer().await;
    for (method, expected) in [
        ("Left", "client_left"),
        ("Full", "limit:max_in_flight"),
        ("Large", "limit:max_message_bytes"),
    ] {
        let line = line(&path, method).await;
        assert_eq!(line["cause"], expected, "{line}");
    }
    world.end().await;
}

/// The line of the call with this request ID, once it is there.
async fn line_of(path: &Path, id: &str) -> Value {
    until("the call is written down", SOON, async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.find(|line: &Value| line["request_id"] == id)
    })
    .await
}

#[tokio::test]
async fn an_answer_of_the_router_itself_has_a_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let settings = [
        ("access_log", path.to_str().unwrap()),
        ("max_message_bytes", "1KiB"),
        ("queue_timeout", "500ms"),
    ];
    let world = World::with(&settings).await;
    let good = Instance::start(Reply::good()).await;
    world.register("good", false, &[good.address]).await;
    let mut raw = world.raw().await;
    let (agents, garbage, large) = ("agentplatform.AgentService", &[0xff; 9][..], &[0; 2048][..]);
    let headers = "v".repeat(100_000);
    let metadata = ("x-large", &*headers);
    let health = "grpc.health.v1.Health";
    // Service, method, message, metadata, and the cause.
    for (service, method, message, more, expected) in [
        (health, "Check", &[][..], None, "own"),
        (health, "Nope", &[], None, "own"),
        (agents, "ListAgents", &[], None, "own"),
        (agents, "RegisterAgent", &[], None, "own"),
        ("mesh.v1.MeshService", "ListInstances", &[], None, "own"),
        (
            "grpc.reflection.v1.ServerReflection",
            "ServerReflectionInfo",
            &[],
            None,
            "own",
        ),
        (agents, "GetStatus", &[], None, "request"),
        (agents, "ExecuteTask", garbage, None, "request"),
        (
            "t.S",
            "BadTimeout",
            &[],
            Some(("grpc-timeout", "1s")),
            "request",
        ),
        ("t.Nobody", "M", &[], None, "no_instance"),
        (agents, "ListAgents", large, None, "limit:max_message_bytes"),
        (
            agents,
            "ExecuteTask",
            large,
            None,
            "limit:max_message_bytes",
        ),
        ("t.S", "M", &[], Some(metadata), "limit:max_header_bytes"),
        (
            agents,
            "ListAgents",
            &[],
            Some(metadata),
            "limit:max_header_bytes",
        ),
    ] {
        let id = format!("{method}-{expected}-{}", more.is_some());
        let mut fields = vec![("x-request-id", &*id)];
        fields.extend(more);
        let called = format!("/{service}/{method}");
        let status = raw.call(&called, &fields, message).await.status;
        let line = line_of(&path, &id).await;
        assert_eq!(line["cause"], expected, "{line}: {status}");
        assert_eq!(line["method"], format!("{service}/{method}"), "{line}");
    }
    // No line without a service has no cause.
    let text = std::fs::read_to_string(&path).unwrap();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["attempts"] != 0 || line["cause"].is_string(), "{line}");
    }
    world.end().await;
}

#[tokio::test]
async fn calls_that_a_limit_or_a_drain_ends_are_told_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let settings = [
        ("access_log", path.to_str().unwrap()),
        ("client_rate", "1"),
        ("drain_timeout", "300ms"),
        ("silence", "60s"),
    ];
    let world = World::with(&settings).await;
    let silent = Instance::start(Reply::good().after(Duration::from_secs(30))).await;
    let at = registration("silent-0", "silent", false, silent.address);
    world.memory.register(&at).await.unwrap();
    let mut raw = world.raw().await;
    let field = |id| [("x-request-id", id)];
    until("a call is over the rate", SOON, async || {
        let fields = field("fast");
        let answer = raw.call("/grpc.health.v1.Health/Check", &fields, &[]).await;
        (answer.status.code() == tonic::Code::ResourceExhausted).then_some(())
    })
    .await;
    until("it is written down", SOON, async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.contains("\"limit:client_rate\"").then_some(())
    })
    .await;
    let watch = ("/grpc.health.v1.Health/Watch", "watch");
    let mut open = Vec::new();
    for (method, id) in [("/t.S/Never", "never"), watch] {
        // Within the rate.
        sleep(Duration::from_millis(1100)).await;
        let fields = [("x-request-id", id), ("x-mesh-service", "silent")];
        let fields = if id == "watch" { &fields[..1] } else { &fields };
        open.push(raw.begin(method, fields, raw::frame(b""), true).await);
    }
    until("the instance has the call", SOON, async || {
        (silent.calls() == 1).then_some(())
    })
    .await;
    world.end().await;
    for id in ["never", "watch"] {
        let line = line_of(&path, id).await;
        assert_eq!(line["cause"], "draining", "{line}");
    }
}

#[tokio::test]
async fn a_file_that_was_rotated_is_there_again_before_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let world = World::with(&[("access_log", path.to_str().unwrap())]).await;
    call(&mut world.raw().await, "nowhere", "Before", &[]).await;
    line(&path, "Before").await;
    std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
    // As SIGHUP does.
    world.router.context().reload.trigger();
    until("the file is there", SOON, async || {
        path.exists().then_some(())
    })
    .await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    call(&mut world.raw().await, "nowhere", "After", &[]).await;
    line(&path, "After").await;
    world.end().await;
}

#[tokio::test]
async fn a_filter_leaves_out_the_calls_that_it_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    for (filter, expected) in [
        ("errors", vec!["t.S/Bad"]),
        ("slow:200ms", vec!["t.S/Slow"]),
        ("sample:0", vec![]),
    ] {
        let path = folder.path().join(filter);
        let settings = [
            ("access_log", path.to_str().unwrap()),
            ("access_log_filter", filter),
        ];
        let world = World::with(&settings).await;
        let bad = Instance::start(Reply::failure(tonic::Code::Internal)).await;
        world.register("bad", false, &[bad.address]).await;
        let mut raw = world.raw().await;
        for method in ["Probe", "Slow", "Bad"] {
            call(&mut raw, "bad", method, &[]).await;
        }
        world.end().await;
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        // Until it was known, the service was probed in vain.
        let lines = lines.filter(|line: &Value| line["status"] != "NOT_FOUND");
        let methods: Vec<String> = lines
            .map(|line| line["method"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(methods, expected, "{filter}");
    }
}

#[tokio::test]
async fn each_cause_of_a_hedged_call_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let settings = [
        ("access_log", path.to_str().unwrap()),
        ("queue_timeout", "500ms"),
        ("hedge_delay", "20ms"),
        ("silence", "60s"),
    ];
    let world = World::with(&settings).await;
    let good = Instance::start(Reply::good()).await;
    let silent = Instance::start(Reply::good().after(Duration::from_secs(30))).await;
    let (resets, _tasks) = resets().await;
    let (breaks, _more) = breaks_off().await;
    for (service, address) in [
        ("good", good.address),
        ("away", nobody()),
        ("silent", silent.address),
        ("resets", resets),
        ("breaks", breaks),
    ] {
        // Only one with two instances is hedged.
        world.register(service, true, &[address, address]).await;
    }
    let mut raw = world.raw().await;
    let soon = [("grpc-timeout", "200m")];
    let table: &[Row<'_>] = &[
        ("good", "Good", &[], None),
        ("away", "Away", &[], Some("connect")),
        ("silent", "Silent", &soon, Some("deadline")),
        ("resets", "Resets", &[], Some("retries")),
        ("breaks", "Breaks", &[], Some("reset")),
    ];
    for (service, method, metadata, expected) in table {
        call(&mut raw, service, method, metadata).await;
        let line = line(&path, method).await;
        assert_eq!(line["cause"].as_str(), *expected, "{line}");
    }
    let metadata = [("x-mesh-service", "silent")];
    let left = raw
        .begin("/t.S/Left", &metadata, raw::frame(b""), true)
        .await;
    until("the instance has the call", SOON, async || {
        (silent.calls() > 2).then_some(())
    })
    .await;
    left.cancel();
    assert_eq!(line(&path, "Left").await["cause"], "client_left");
    world.end().await;
}

/// An instance whose answers break off after a message.
async fn breaks_off() -> (SocketAddr, JoinSet<()>) {
    port(|stream: TcpStream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        let mut broken = JoinSet::new();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = http::Response::builder().header("content-type", "application/grpc");
            let head = head.body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(MESSAGE, false).unwrap();
            broken.spawn(async move {
                sleep(Duration::from_millis(10)).await;
                body.send_reset(Reason::INTERNAL_ERROR);
            });
        }
    })
    .await
}
