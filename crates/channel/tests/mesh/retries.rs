//! What is sent again, and what never is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use discovery::Discovery as _;
use mesh_channel::{ClusterOptions, Error};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    server::{self, Handler, Server, echo, handler, read, status},
    support::{Call, MS, World, registration, until},
};

/// Ends every call with RST_STREAM once it has read the request.
fn resets(reason: h2::Reason) -> Handler {
    handler(move |mut call: server::Call| async move {
        read(&mut call).await.ok();
        call.respond.send_reset(reason);
    })
}

/// Never ejects: the test is about retries.
fn options() -> ClusterOptions {
    ClusterOptions {
        ejection_failures: 1_000,
        ..ClusterOptions::default()
    }
}

fn total(servers: &[Server]) -> usize {
    servers.iter().map(Server::calls).sum()
}

#[tokio::test]
async fn a_killed_instance_costs_no_call_and_is_used_again_when_it_is_back() {
    let world = World::new(options());
    let mut servers = world.start((0..3).map(|_| handler(echo))).await;
    assert_eq!(world.tally(9).await.len(), 3);
    let dead = servers.remove(1);
    let address = dead.address;
    drop(dead);
    // Nothing shows when its connection has noticed.
    tokio::time::sleep(20 * MS).await;
    let tally = world.tally(30).await;
    assert!(!tally.contains_key("i1"), "{tally:?}");
    let back = Server::start_with(handler(echo), address, None).await;
    let began = Instant::now();
    while back.calls() == 0 {
        world.tally(3).await;
        assert!(began.elapsed() < 2000 * MS, "not connected again");
        tokio::time::sleep(20 * MS).await;
    }
}

#[tokio::test]
async fn a_call_waits_for_the_only_instance_to_come_back() {
    let world = World::new(options());
    let mut servers = world.start([handler(echo)]).await;
    world.tally(1).await;
    let address = servers.remove(0).address;
    // Nothing shows when its connection has noticed.
    tokio::time::sleep(20 * MS).await;
    let back = async {
        tokio::time::sleep(200 * MS).await;
        Server::start_with(handler(echo), address, None).await
    };
    let (answer, _server) = tokio::join!(world.call(Call::default()), back);
    assert_eq!(answer.unwrap().code(), 0);
}

#[tokio::test]
async fn an_unreachable_service_is_unavailable_when_the_queue_time_is_over() {
    let world = World::new(ClusterOptions {
        queue_timeout: 300 * MS,
        ..options()
    });
    let gone = Server::start(handler(echo)).await.address;
    world.register("i0", gone).await;
    let error = world.call(Call::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.status().code(), tonic::Code::Unavailable);
    assert!(error.to_string().contains(&gone.to_string()), "{error}");
}

#[tokio::test]
async fn a_refused_stream_goes_to_another_instance() {
    let world = World::new(options());
    let refuses = resets(h2::Reason::REFUSED_STREAM);
    let servers = world.start([refuses, handler(echo)]).await;
    assert_eq!(world.tally(12).await["i1"], 12);
    assert!(servers[0].calls() > 0);
}

#[tokio::test]
async fn a_call_past_the_last_stream_of_a_goaway_goes_to_another_instance() {
    let world = World::new(options());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.register("i1", listener.local_addr().unwrap()).await;
    let mut tasks = JoinSet::new();
    let refused = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&refused);
    tasks.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // The client's preface, then our SETTINGS, empty.
            let mut preface = [0; 24];
            socket.read_exact(&mut preface).await.unwrap();
            socket
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            let mut head = [0; 9];
            while socket.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut rest = vec![0; length as usize];
                socket.read_exact(&mut rest).await.unwrap();
                if head[3] == 1 {
                    // HEADERS: GOAWAY, last stream 0, NO_ERROR.
                    noted.fetch_add(1, Ordering::SeqCst);
                    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                    socket.write_all(&goaway).await.unwrap();
                }
            }
        }
    });
    let _servers = world.start([handler(echo)]).await;
    assert_eq!(world.tally(6).await["i0"], 6);
    assert!(refused.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn a_call_that_was_sent_is_not_sent_again() {
    for reason in [h2::Reason::INTERNAL_ERROR, h2::Reason::CANCEL] {
        let world = World::new(options());
        let servers = world.start((0..2).map(|_| resets(reason))).await;
        let error = world.call(Call::default()).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
        assert_eq!(total(&servers), 1);
    }
    let world = World::new(options());
    let servers = world
        .start((0..2).map(|_| handler(|c| status(c, 14))))
        .await;
    assert_eq!(world.call(Call::default()).await.unwrap().code(), 14);
    assert_eq!(total(&servers), 1);
}

#[tokio::test]
async fn a_call_declared_idempotent_by_its_caller_is_sent_again() {
    let world = World::new(options());
    let fails = [
        handler(|c| status(c, 14)),
        resets(h2::Reason::INTERNAL_ERROR),
        handler(echo),
    ];
    let servers = world.start(fails).await;
    for _ in 0..6 {
        let call = Call::default().header("x-mesh-idempotent", "1");
        let answer = world.call(call).await.unwrap();
        assert_eq!((answer.by.as_str(), answer.code()), ("i2", 0));
        assert_eq!(&answer.body[5..], b"hello");
    }
    assert!(servers[0].calls() > 0 && servers[1].calls() > 0);
}

#[tokio::test]
async fn a_call_declared_idempotent_by_the_instance_is_sent_again() {
    let world = World::new(options());
    let servers = world
        .start((0..2).map(|_| handler(|c| status(c, 14))))
        .await;
    for (method, attempts) in [("test.Service/Other", 1), ("test.Service/Method", 3)] {
        for (index, server) in servers.iter().enumerate() {
            let mut registration = registration(&format!("i{index}"), server.address);
            let declared = ("idempotent".to_owned(), method.to_owned());
            registration.meta.extend([declared]);
            world.memory.register(&registration).await.unwrap();
        }
        for id in ["i0", "i1"] {
            world
                .until_registered(id, |it| it.meta["idempotent"] == method)
                .await;
        }
        let before = total(&servers);
        assert_eq!(world.call(Call::default()).await.unwrap().code(), 14);
        assert_eq!(total(&servers) - before, attempts, "{method}");
    }
}

#[tokio::test]
async fn retries_stay_within_the_budget() {
    let world = World::new(ClusterOptions {
        retry_per_second: 0.0,
        retry_ratio: 0.2,
        ..options()
    });
    let servers = world
        .start((0..2).map(|_| handler(|c| status(c, 14))))
        .await;
    for _ in 0..20 {
        let call = Call::default().header("x-mesh-idempotent", "");
        assert_eq!(world.call(call).await.unwrap().code(), 14);
    }
    assert_eq!(total(&servers), 20 + 4);
    let retries = world.metric("mesh_balance_retries_total", "reason=\"idempotent\"");
    assert_eq!(retries, 4.0);
}

#[tokio::test]
async fn a_request_larger_than_the_buffer_is_sent_once() {
    let smaller = ClusterOptions {
        retry_buffer: 16 * 1024,
        ..options()
    };
    for (options, buffer) in [(options(), 64 * 1024), (smaller, 16 * 1024)] {
        let world = World::new(options);
        let refuses = || resets(h2::Reason::REFUSED_STREAM);
        let servers = world.start([refuses(), refuses(), refuses()]).await;
        let large = vec![7; buffer + 1024];
        let error = world.call(Call::default().body(large)).await.unwrap_err();
        assert!(matches!(error, Error::Unsent { .. }), "{error}");
        assert_eq!(total(&servers), 1);
        let fits = vec![7; buffer];
        world.call(Call::default().body(fits)).await.unwrap_err();
        assert_eq!(total(&servers), 1 + 3);
    }
}

#[tokio::test]
async fn another_attempt_sends_the_same_bytes() {
    let world = World::new(options());
    let refuses = resets(h2::Reason::REFUSED_STREAM);
    let servers = world.start([refuses, handler(echo)]).await;
    let body: Vec<u8> = (0..60_000).map(|i| (i % 251) as u8).collect();
    for _ in 0..4 {
        let answer = world
            .call(Call::default().body(body.clone()))
            .await
            .unwrap();
        assert!(answer.body == body);
    }
    until("an attempt was refused", || servers[0].calls() > 0).await;
}

/// Answers UNAVAILABLE with this `grpc-retry-pushback-ms`.
fn pushes_back(value: &'static str) -> Handler {
    handler(move |mut call: server::Call| async move {
        let answer = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", 14)
            .header("grpc-retry-pushback-ms", value)
            .body(())
            .unwrap();
        call.respond.send_response(answer, true).ok();
    })
}

#[tokio::test]
async fn an_instance_that_pushes_back_is_obeyed() {
    for (value, attempts, pause) in [("300", 3, 600), ("-1", 1, 0), ("later", 1, 0)] {
        let world = World::new(options());
        let servers = world.start((0..3).map(|_| pushes_back(value))).await;
        let began = Instant::now();
        let call = Call::default().header("x-mesh-idempotent", "1");
        assert_eq!(world.call(call).await.unwrap().code(), 14);
        assert_eq!(total(&servers), attempts, "{value}");
        assert!(began.elapsed() >= pause * MS, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_instance_is_told_how_many_attempts_there_were() {
    let fewer = ClusterOptions {
        max_attempts: 2,
        ..options()
    };
    for (options, attempts) in [(options(), 3), (fewer, 2)] {
        let world = World::new(options);
        let servers = world
            .start((0..3).map(|_| handler(|c| status(c, 14))))
            .await;
        let call = Call::default().header("x-mesh-idempotent", "1");
        world.call(call).await.unwrap();
        let mut told: Vec<_> = servers
            .iter()
            .flat_map(|server| server.seen.headers.lock().clone())
            .map(|headers| {
                let previous = headers.get("grpc-previous-rpc-attempts");
                previous.map(|value| value.to_str().unwrap().to_owned())
            })
            .collect();
        told.sort();
        let told: Vec<_> = told.iter().map(Option::as_deref).collect();
        assert_eq!(told, [None, Some("1"), Some("2")][..attempts]);
    }
}
