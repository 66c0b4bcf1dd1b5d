//! What the router grants each client, with real clients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use mesh_testkit::{Consul, Load, Mesh, Program, http_client, load, until};
use proto::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::{Code, Request, Status, transport::Channel};

const SOON: Duration = Duration::from_secs(5);

/// An echo agent that takes this long, and a router with these variables.
struct World {
    router: Program,
    _echo: Program,
    _consul: Consul,
}

impl World {
    async fn start(delay: &str, set: &[(&'static str, &str)]) -> Self {
        let consul = Consul::start().await;
        let slow = [("ECHO_DELAY", delay.to_owned())];
        let echo = Program::start("echo-agent", &[consul.env(), slow.to_vec()].concat()).await;
        consul.wait_passing("agent-echo", 1).await;
        let mut env = consul.env();
        env.extend(set.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let router = Program::start("mcp-router", &env).await;
        let world = Self {
            router,
            _echo: echo,
            _consul: consul,
        };
        // The registry's first answer is waited for here, and not by what is counted.
        let mut client = load::client(world.router.grpc);
        send(&mut client, Some("192.0.2.99")).await.ok();
        world
    }

    async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.router.admin);
        let (_, text) = http_client::get(&url).await.unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or(0.0)
    }
}

async fn send(
    client: &mut AgentServiceClient<Channel>,
    forwarded: Option<&str>,
) -> Result<(), Status> {
    let mut request = Request::new(TaskRequest {
        agent_id: "echo-agent".to_owned(),
        ..TaskRequest::default()
    });
    if let Some(address) = forwarded {
        let value = address.parse().unwrap();
        request.metadata_mut().insert("x-forwarded-for", value);
    }
    request
        .metadata_mut()
        .insert("x-request-id", "r7".parse().unwrap());
    client.execute_task(request).await.map(drop)
}

/// What becomes of so many calls at once on one connection.
async fn burst(at: SocketAddr, calls: usize, forwarded: &'static str) -> Vec<Result<(), Status>> {
    let client = load::client(at);
    let mut running = JoinSet::new();
    for _ in 0..calls {
        let mut client = client.clone();
        running.spawn(async move { send(&mut client, Some(forwarded)).await });
    }
    running.join_all().await
}

fn refusals(outcomes: &[Result<(), Status>], key: &str) -> usize {
    let errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let of_key = |status: &&Status| {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        status.message().contains(key)
    };
    errors.filter(of_key).count()
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_has_calls_of_its_own_and_a_stranger_cannot_pretend() {
    let limit = ("CLIENT_MAX_CALLS", "2");
    let trust = ("TRUSTED_PROXIES", "127.0.0.0/8");
    let world = World::start("300ms", &[limit, trust]).await;
    let at = world.router.grpc;
    let (one, other) = tokio::join!(burst(at, 5, "192.0.2.1"), burst(at, 2, "192.0.2.2"));
    assert_eq!(refusals(&one, "client_max_calls"), 3, "{one:?}");
    assert_eq!(refusals(&other, "client_max_calls"), 0, "{other:?}");
    let counted = world
        .metric("mesh_client_refused_total{key=\"client_max_calls\"}")
        .await;
    assert_eq!(counted, 3.0);
    // The places of calls that have ended are free again.
    until("two calls are let in", SOON, async || {
        (refusals(&burst(at, 2, "192.0.2.1").await, "") == 0).then_some(())
    })
    .await;

    let world = World::start("300ms", &[limit]).await;
    let at = world.router.grpc;
    let (one, other) = tokio::join!(burst(at, 2, "192.0.2.1"), burst(at, 2, "192.0.2.2"));
    let refused = refusals(&one, "client_max_calls") + refusals(&other, "client_max_calls");
    assert_eq!(refused, 2, "both are 127.0.0.1");
}

#[tokio::test]
async fn a_client_gets_so_many_calls_a_second() {
    let world = World::start("0s", &[("CLIENT_RATE", "10")]).await;
    let outcomes = burst(world.router.grpc, 60, "192.0.2.1").await;
    let refused = refusals(&outcomes, "client_rate");
    // A second's worth at once, and what the time of the burst itself gives.
    assert!((30..=51).contains(&refused), "{refused}");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        refusals(&burst(world.router.grpc, 5, "192.0.2.1").await, ""),
        0
    );
}

#[tokio::test]
async fn a_connection_too_many_is_told_the_key_and_ended() {
    for (variable, key) in [
        ("CLIENT_MAX_CONNECTIONS", "client_max_connections"),
        ("PORT_MAX_CONNECTIONS", "port_max_connections"),
    ] {
        let world = World::start("0s", &[(variable, "2")]).await;
        until("the first client's connection is gone", SOON, async || {
            let goodbye = goodbye(world.router.grpc).await;
            goodbye.is_none().then_some(())
        })
        .await;
        let mut held = [
            load::client(world.router.grpc),
            load::client(world.router.grpc),
        ];
        for client in &mut held {
            until("it is connected", SOON, async || {
                send(client, None).await.ok()
            })
            .await;
        }
        let told = goodbye(world.router.grpc).await.expect("turned away");
        assert!(told.contains(key), "{told:?}");
        for client in &mut held {
            send(client, None).await.unwrap();
        }
        drop(held);
        until("there is room again", SOON, async || {
            goodbye(world.router.grpc).await.is_none().then_some(())
        })
        .await;
    }
}

/// What a new connection is told before it is closed; `None` when it is let be.
async fn goodbye(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // It may be closed already.
    stream.write_all(hello).await.ok();
    let mut said = Vec::new();
    let limit = Duration::from_millis(300);
    let closed = timeout(limit, stream.read_to_end(&mut said)).await.is_ok();
    closed.then(|| String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn connections_that_grow_old_under_load_lose_no_call() {
    let env = [("MAX_CONNECTION_AGE", "300ms".to_owned())];
    let mut mesh = Mesh::start(2, 2, &env).await;
    let calls = Load::start(mesh.address(), 300, 1500).finish();
    let at = mesh.routers[0].grpc;
    let (calls, connections) = tokio::join!(calls, patient(at, 500));
    let failed: Vec<_> = calls
        .iter()
        .filter_map(|call| call.outcome.as_ref().err())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(calls.len(), 1500);
    assert!(connections >= 5, "{connections} connections grew old");
    for router in &mut mesh.routers {
        router.assert_healthy();
    }
}

/// So many calls, one every 5 ms, by a client that opens another connection when the one that it has
/// takes no more, and that forgives nothing else. Answers how many it opened.
async fn patient(at: SocketAddr, calls: usize) -> usize {
    let mut tasks = JoinSet::new();
    let mut connections = 0;
    let mut client = None;
    for _ in 0..calls {
        let ready = match client.take() {
            Some(client) => h2::client::SendRequest::ready(client).await.ok(),
            None => None,
        };
        let mut ready = match ready {
            Some(ready) => ready,
            None => {
                connections += 1;
                let stream = TcpStream::connect(at).await.unwrap();
                let (client, connection) = h2::client::handshake(stream).await.unwrap();
                tasks.spawn(async { connection.await.ok() });
                client.ready().await.unwrap()
            }
        };
        let request = http::Request::post("http://mesh/agentplatform.AgentService/ExecuteTask")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let sent = ready.send_request(request.body(()).unwrap(), false);
        client = Some(ready);
        // Said to leave between the look and the call: nothing was sent.
        let Ok((answer, mut body)) = sent else {
            client = None;
            continue;
        };
        let message = bytes::Bytes::from_static(b"\0\0\0\0\x0c\x12\x0aecho-agent");
        body.send_data(message, true).unwrap();
        let answer = match answer.await {
            Ok(answer) => answer,
            // The last stream that GOAWAY names is an earlier one: certainly not processed, and for
            // clients to send again (RFC 9113, 6.8).
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                client = None;
                continue;
            }
            Err(error) => panic!("a call was lost: {error}"),
        };
        let mut answer = answer.into_body();
        while let Some(bytes) = answer.data().await {
            let bytes = bytes.unwrap();
            answer.flow_control().release_capacity(bytes.len()).unwrap();
        }
        let trailers = answer.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        sleep(Duration::from_millis(5)).await;
    }
    connections
}

#[tokio::test]
async fn an_old_connection_is_ended_though_a_call_is_longer_than_its_grace() {
    let age = ("MAX_CONNECTION_AGE", "500ms");
    let grace = ("MAX_CONNECTION_AGE_GRACE", "1s");
    let world = World::start("0s", &[age, grace]).await;
    // Not even one that never answers the router's PING stays for longer than the grace.
    let told = timeout(SOON, async { goodbye_in_time(world.router.grpc).await }).await;
    assert!(told.is_ok(), "an old connection is closed");

    let world = World::start("3s", &[age, grace]).await;
    let mut client = load::client(world.router.grpc);
    let ended = send(&mut client, None).await;
    assert!(ended.is_err(), "cut after its grace");
    let world = World::start("3s", &[age]).await;
    send(&mut load::client(world.router.grpc), None)
        .await
        .unwrap();
}

/// Returns when the router has closed a connection that does nothing.
async fn goodbye_in_time(at: SocketAddr) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(hello).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.ok();
}

#[tokio::test]
async fn each_call_is_a_line_of_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let set = [
        ("ACCESS_LOG", path.to_str().unwrap()),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let world = World::start("0s", &set).await;
    let mut client = load::client(world.router.grpc);
    send(&mut client, Some("192.0.2.7")).await.unwrap();
    let nobody = Request::new(TaskRequest {
        agent_id: "frog-agent".to_owned(),
        ..TaskRequest::default()
    });
    client.execute_task(nobody).await.unwrap_err();
    let lines = until("three calls are written down", SOON, async || {
        let text = std::fs::read_to_string(&path).ok()?;
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines.len() == 3).then_some(lines)
    })
    .await;
    let (well, ill) = (&lines[1], &lines[2]);
    assert_eq!(well["client"], "192.0.2.7", "{well}");
    assert_eq!(well["method"], "agentplatform.AgentService/ExecuteTask");
    assert_eq!(well["service"], "agent-echo");
    assert_eq!(
        (&well["status"], &well["attempts"]),
        (&"OK".into(), &1.into())
    );
    assert_eq!(well["request_id"], "r7");
    assert!(
        well["instance"]
            .as_str()
            .unwrap()
            .starts_with("echo-agent-"),
        "{well}"
    );
    assert_eq!(
        (&ill["status"], &ill["attempts"]),
        (&"NOT_FOUND".into(), &0.into())
    );
    assert_eq!(ill["client"], "127.0.0.1");
}

#[tokio::test]
async fn clients_behind_haproxy_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let env = [
        ("TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        ("ACCESS_LOG", path.display().to_string()),
    ];
    let mesh = Mesh::start(1, 1, &env).await;
    // HAProxy writes down who connects to it, whatever a client claims: another address of ours.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let stream = socket.connect(mesh.address()).await.unwrap();
    let mut stream = Some(hyper_util::rt::TokioIo::new(stream));
    let connect = tower_service(move || stream.take());
    let endpoint = tonic::transport::Endpoint::from_static("http://mesh");
    let channel = endpoint.connect_with_connector(connect).await.unwrap();
    let mut client = AgentServiceClient::new(channel);
    send(&mut client, Some("203.0.113.9")).await.unwrap();
    let clients = until("the call is written down", SOON, async || {
        let text = std::fs::read_to_string(&path).ok()?;
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // Consul's checks are calls, too.
        let ours = lines.filter(|line| line["method"] == "agentplatform.AgentService/ExecuteTask");
        let clients: BTreeSet<String> = ours
            .filter_map(|line| line["client"].as_str().map(str::to_owned))
            .collect();
        (!clients.is_empty()).then_some(clients)
    })
    .await;
    assert_eq!(clients, BTreeSet::from(["127.0.0.2".to_owned()]));
}

type Io = hyper_util::rt::TokioIo<TcpStream>;

/// Gives the connection that is there already.
fn tower_service(
    mut take: impl FnMut() -> Option<Io> + Send + 'static,
) -> impl tower::Service<
    http::Uri,
    Response = Io,
    Error = std::io::Error,
    Future = std::future::Ready<std::io::Result<Io>>,
> + Send
+ 'static {
    tower::service_fn(move |_| {
        std::future::ready(take().ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    })
}
