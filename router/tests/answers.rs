//! What callers are told of instances that answer oddly, or not in gRPC: on both data planes, with
//! real connections in this process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use discovery::{Discovery as _, Registration, backends::Memory};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use mesh_relay::{
    frame::{self, FrameType, Head, PREFACE},
    hpack::{Block, Decoder},
};
use proto::error_info::{self, ErrorInfo};
use service::ServerHandle;
use testkit::{
    local,
    raw::{RawConnection, RawResponse},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Code;

const PLANES: [&str; 2] = ["relay", "hyper"];

/// A gRPC message of no bytes.
const MESSAGE: Bytes = Bytes::from_static(&[0; 5]);

type Fields = Vec<(&'static str, String)>;

/// How an instance answers: status and fields of the head, then a message and trailers or nothing.
#[derive(Clone)]
struct Reply {
    status: u16,
    head: Fields,
    trailers: Option<Fields>,
}

impl Reply {
    fn good() -> Self {
        Self {
            status: 200,
            head: vec![("content-type", "application/grpc".to_owned())],
            trailers: Some(vec![("grpc-status", "0".to_owned())]),
        }
    }

    fn page(status: u16) -> Self {
        Self {
            status,
            head: vec![("content-type", "text/html".to_owned())],
            trailers: None,
        }
    }

    fn head(mut self, name: &'static str, value: &str) -> Self {
        self.head.push((name, value.to_owned()));
        self
    }

    fn trailer(mut self, name: &'static str, value: &str) -> Self {
        let trailers = self.trailers.get_or_insert_default();
        trailers.push((name, value.to_owned()));
        self
    }
}

fn headers(fields: &Fields) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    };
    fields.iter().map(pair).collect()
}

/// An instance: `Slow` takes 300 ms and answers well, every other method as its reply says.
struct Instance {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    heads: Arc<parking_lot::Mutex<Vec<HeaderMap>>>,
    _tasks: JoinSet<()>,
}

impl Instance {
    async fn start(reply: Reply) -> Self {
        Self::with_limit(reply, 1 << 24).await
    }

    /// One that takes so many bytes of metadata.
    async fn with_limit(reply: Reply, limit: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let heads = Arc::<parking_lot::Mutex<Vec<_>>>::default();
        let mut tasks = JoinSet::new();
        let (counted, seen) = (Arc::clone(&calls), Arc::clone(&heads));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (counted, seen, reply) =
                    (Arc::clone(&counted), Arc::clone(&seen), reply.clone());
                connections.spawn(serve(stream, limit, reply, counted, seen));
            }
        });
        Self {
            address,
            calls,
            heads,
            _tasks: tasks,
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn serve(
    stream: TcpStream,
    limit: u32,
    reply: Reply,
    counted: Arc<AtomicUsize>,
    seen: Arc<parking_lot::Mutex<Vec<HeaderMap>>>,
) {
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(limit);
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let mut answers = JoinSet::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let slow = path.ends_with("/Slow");
        if !path.contains("Health") && !slow {
            counted.fetch_add(1, Ordering::SeqCst);
            seen.lock().push(request.headers().clone());
        }
        let reply = if slow || path.contains("Health") {
            Reply::good()
        } else {
            reply.clone()
        };
        answers.spawn(async move {
            if slow {
                sleep(Duration::from_millis(300)).await;
            }
            let mut head = Response::new(());
            *head.status_mut() = reply.status.try_into().unwrap();
            *head.headers_mut() = headers(&reply.head);
            let Ok(mut body) = respond.send_response(head, false) else {
                return;
            };
            // A client that has seen enough has reset it.
            let Some(trailers) = &reply.trailers else {
                drop(body.send_data(Bytes::from_static(b"<html>"), true));
                return;
            };
            drop(body.send_data(MESSAGE, false));
            drop(body.send_trailers(headers(trailers)));
        });
    }
}

/// A router, and services that are known to it.
struct World {
    memory: Arc<Memory>,
    router: ServerHandle,
}

impl World {
    async fn start(plane: &str) -> Self {
        let memory = Arc::new(Memory::new());
        let set = [("data_plane", plane), ("queue_timeout", "1s")];
        let router = local::start(&router::SPEC, router::build, &memory, &set).await;
        Self { memory, router }
    }

    async fn register(&self, service: &str, idempotent: bool, addresses: &[SocketAddr]) {
        for (number, address) in addresses.iter().enumerate() {
            let idempotent = if idempotent { "*" } else { "" };
            let meta = [("grpc_services", "t.S"), ("idempotent", idempotent)];
            let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let registration = Registration {
                tags: vec!["grpc".into()],
                meta: meta.into_iter().map(text).collect::<BTreeMap<_, _>>(),
                ..local::registration(&format!("{service}-{number}"), service, *address)
            };
            self.memory.register(&registration).await.unwrap();
        }
        let mut raw = self.raw().await;
        let known = async {
            while call(&mut raw, service, "Slow", &[]).await.status.code() == Code::NotFound {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), known).await.unwrap();
    }

    async fn raw(&self) -> RawConnection {
        RawConnection::connect(self.router.grpc_addr).await
    }

    async fn end(self) {
        self.router.drain().await;
    }
}

async fn call(
    raw: &mut RawConnection,
    service: &str,
    method: &str,
    more: &[(&str, &str)],
) -> RawResponse {
    let metadata = [&[("x-mesh-service", service)], more].concat();
    raw.call(&format!("/t.S/{method}"), &metadata, &[]).await
}

fn info(answer: &RawResponse) -> ErrorInfo {
    error_info::read(&answer.status).unwrap()
}

#[tokio::test]
async fn an_answer_of_http_is_told_as_grpc_maps_it() {
    let table = [
        (200, Code::Unknown),
        (302, Code::Unknown),
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ];
    for plane in PLANES {
        let world = World::start(plane).await;
        for (status, code) in table {
            let instance = Instance::start(Reply::page(status)).await;
            let service = format!("page-{status}");
            world.register(&service, false, &[instance.address]).await;
            let answer = call(&mut world.raw().await, &service, "M", &[]).await;
            let what = format!("{plane}, {status}: {:?}", answer.status);
            assert_eq!(answer.status.code(), code, "{what}");
            let words = format!("{service}-0 answered with HTTP status {status}");
            assert!(answer.status.message().contains(&words), "{what}");
            assert_eq!(info(&answer).metadata["http_status"], status.to_string());
            assert_eq!(answer.headers["x-mesh-instance"], format!("{service}-0"));
            assert_eq!(instance.calls(), 1, "{what}");
        }
        // What has a status of gRPC is an answer of gRPC, whatever is around it.
        let status = Reply::page(503).head("grpc-status", "5");
        let instance = Instance::start(status).await;
        world.register("both", false, &[instance.address]).await;
        let answer = call(&mut world.raw().await, "both", "M", &[]).await;
        assert_eq!(answer.status.code(), Code::NotFound, "{plane}");
        world.end().await;
    }
}

#[tokio::test]
async fn an_instance_that_answers_with_pages_of_errors_is_left_alone() {
    for plane in PLANES {
        let world = World::start(plane).await;
        for (status, idempotent) in [(503, false), (503, true), (500, false), (200, false)] {
            let bad = Instance::start(Reply::page(status)).await;
            let good = [
                Instance::start(Reply::good()).await,
                Instance::start(Reply::good()).await,
            ];
            let all = [bad.address, good[0].address, good[1].address];
            let service = format!("shop-{status}-{idempotent}");
            world.register(&service, idempotent, &all).await;
            let mut raw = world.raw().await;
            let mut failed = 0;
            for _ in 0..60 {
                let answer = call(&mut raw, &service, "M", &[]).await;
                failed += usize::from(answer.status.code() != Code::Ok);
            }
            let what = format!("{plane}, {status}, {idempotent}: {failed} failed");
            assert_eq!(bad.calls(), 5, "{what}");
            assert_eq!(failed, if idempotent { 0 } else { 5 }, "{what}");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn an_answer_with_too_much_metadata_ends_its_own_call_only() {
    for plane in PLANES {
        let world = World::start(plane).await;
        for length in [70_000, 400_000] {
            let large = "m".repeat(length);
            let replies = [
                Reply::good().head("x-large", &large),
                Reply::good().trailer("x-large", &large),
                Reply::page(200)
                    .head("grpc-status", "3")
                    .head("grpc-message", &large),
            ];
            for (number, reply) in replies.into_iter().enumerate() {
                let instances = [
                    Instance::start(reply.clone()).await,
                    Instance::start(reply).await,
                ];
                let addresses = [instances[0].address, instances[1].address];
                let service = format!("shop-{length}-{number}");
                world.register(&service, true, &addresses).await;
                no_other_loses(&world, &service, &instances).await;
            }
        }
        world.end().await;
    }
}

/// Calls two instances whose answers have too much metadata, while others call them too.
async fn no_other_loses(world: &World, service: &str, instances: &[Instance; 2]) {
    let mut others = JoinSet::new();
    for _ in 0..4 {
        let (mut other, service) = (world.raw().await, service.to_owned());
        others.spawn(async move { call(&mut other, &service, "Slow", &[]).await });
    }
    let mut raw = world.raw().await;
    // More than would eject an instance.
    for calls in 1..=12 {
        let answer = call(&mut raw, service, "M", &[]).await;
        assert_eq!(answer.status.code(), Code::ResourceExhausted, "{service}");
        assert_eq!(info(&answer).metadata["key"], "max_header_bytes");
        let asked: usize = instances.iter().map(Instance::calls).sum();
        assert_eq!(asked, calls, "{service}: it is not sent again");
    }
    while let Some(other) = others.join_next().await {
        assert_eq!(other.unwrap().status.code(), Code::Ok, "{service}");
    }
    let before = instances.each_ref().map(Instance::calls);
    for _ in 0..4 {
        call(&mut raw, service, "M", &[]).await;
    }
    let after = instances.each_ref().map(Instance::calls);
    assert!(before.iter().zip(after).all(|(n, m)| *n < m), "{service}");
}

#[tokio::test]
async fn a_request_with_too_much_metadata_ends_its_own_call_only() {
    for plane in PLANES {
        let world = World::start(plane).await;
        let instance = Instance::start(Reply::good()).await;
        world.register("shop", false, &[instance.address]).await;
        let mut raw = world.raw().await;
        let metadata = [("x-mesh-service", "shop")];
        let other = raw.begin("/t.S/Slow", &metadata, MESSAGE, true).await;
        for length in [70_000, 200_000, 900_000] {
            let large = "v".repeat(length);
            let answer = call(&mut raw, "shop", "M", &[("x-large", &large)]).await;
            let what = format!("{plane}, {length}: {:?}", answer.status);
            assert_eq!(answer.status.code(), Code::ResourceExhausted, "{what}");
            assert_eq!(info(&answer).metadata["key"], "max_header_bytes", "{what}");
            assert!(
                answer.status.message().contains("max_header_bytes"),
                "{what}"
            );
        }
        assert_eq!(instance.calls(), 0, "{plane}");
        assert_eq!(other.answer().await.status.code(), Code::Ok, "{plane}");
        let fits = "v".repeat(60_000);
        let answer = call(&mut raw, "shop", "M", &[("x-large", &fits)]).await;
        assert_eq!(answer.status.code(), Code::Ok, "{plane}");
        world.end().await;
    }
}

#[tokio::test]
async fn metadata_that_an_instance_does_not_take_ends_its_own_call_only() {
    for plane in PLANES {
        let world = World::start(plane).await;
        // As much as servers of tonic and hyper take.
        let instance = Instance::with_limit(Reply::good(), 16 * 1024).await;
        world.register("shop", true, &[instance.address]).await;
        let mut raw = world.raw().await;
        let metadata = [("x-mesh-service", "shop")];
        let other = raw.begin("/t.S/Slow", &metadata, MESSAGE, true).await;
        let large = "v".repeat(20_000);
        for _ in 0..7 {
            let answer = call(&mut raw, "shop", "M", &[("x-large", &large)]).await;
            let what = format!("{plane}: {:?}", answer.status);
            assert_eq!(answer.status.code(), Code::ResourceExhausted, "{what}");
        }
        assert_eq!(instance.calls(), 0, "{plane}");
        assert_eq!(other.answer().await.status.code(), Code::Ok, "{plane}");
        let answer = call(&mut raw, "shop", "M", &[]).await;
        assert_eq!(answer.status.code(), Code::Ok, "{plane}");
        world.end().await;
    }
}

#[tokio::test]
async fn the_routers_own_errors_stay_small_whatever_was_asked() {
    for plane in PLANES {
        let world = World::start(plane).await;
        for name in ["n".repeat(3000), "%20".repeat(1000)] {
            let mut raw = world.raw().await;
            let answer = call(&mut raw, &name, "M", &[]).await;
            assert_eq!(answer.status.code(), Code::NotFound, "{plane}");
            let size =
                |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
            let size: usize = answer.headers.iter().map(size).sum();
            assert!(size < 8 * 1024, "{plane}: {size} bytes");
        }
        world.end().await;
    }
}

/// A port whose peer treats each connection so.
async fn port<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(treat(stream));
        }
    });
    (address, tasks)
}

/// Says this once the client has said something.
async fn says(mut stream: TcpStream, words: &'static [u8]) {
    stream.read_u8().await.ok();
    stream.write_all(words).await.ok();
    stream.shutdown().await.ok();
    stream.read_to_end(&mut Vec::new()).await.ok();
}

#[tokio::test]
async fn calls_on_a_port_that_does_not_speak_http2_are_sent_elsewhere() {
    for plane in PLANES {
        let peers = [
            (
                port(|stream| async { drop(stream) }).await,
                "closed the connection",
            ),
            (
                port(|stream: TcpStream| async move {
                    stream.set_zero_linger().unwrap();
                })
                .await,
                "",
            ),
            (
                port(|stream| says(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")).await,
                "it speaks HTTP/1.1",
            ),
            (
                port(|stream| says(stream, &[21, 3, 1, 0, 2, 2, 70])).await,
                "it speaks TLS",
            ),
            (
                port(|stream| async {
                    sleep(Duration::from_secs(60)).await;
                    drop(stream);
                })
                .await,
                "sent no SETTINGS",
            ),
        ];
        let world = World::start(plane).await;
        let good = [
            Instance::start(Reply::good()).await,
            Instance::start(Reply::good()).await,
        ];
        for (number, ((address, _tasks), words)) in peers.iter().enumerate() {
            let service = format!("three-{number}");
            let all = [*address, good[0].address, good[1].address];
            // None is declared idempotent.
            world.register(&service, false, &all).await;
            let mut raw = world.raw().await;
            for _ in 0..30 {
                let answer = call(&mut raw, &service, "M", &[]).await;
                assert_eq!(answer.status.code(), Code::Ok, "{plane}: {words}");
            }
            let service = format!("alone-{number}");
            world.register(&service, false, &[*address]).await;
            let answer = call(&mut raw, &service, "M", &[]).await;
            let status = &answer.status;
            assert_eq!(status.code(), Code::Unavailable, "{plane}: {words}");
            assert!(status.message().contains(words), "{plane}: {status:?}");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn the_instance_that_answered_is_named_by_the_mesh_alone() {
    const NAME: &str = "x-mesh-instance";
    for plane in PLANES {
        let world = World::start(plane).await;
        let own = Reply::good().head(NAME, "somebody").trailer(NAME, "else");
        let failing = Reply::page(200)
            .head("grpc-status", "9")
            .head(NAME, "somebody")
            .head(NAME, "else");
        for (service, reply) in [("own", own), ("failing", failing)] {
            let instance = Instance::start(reply).await;
            world.register(service, false, &[instance.address]).await;
            let mut raw = world.raw().await;
            let answer = call(&mut raw, service, "M", &[]).await;
            let named: Vec<_> = answer.headers.get_all(NAME).iter().collect();
            assert_eq!(named, [&format!("{service}-0")], "{plane}");
            assert!(
                answer
                    .status
                    .metadata()
                    .get(NAME)
                    .is_none_or(|name| name.as_bytes() == named[0].as_bytes())
            );
            // Nobody is named by nothing, and an error by what is no text.
            let answer = call(&mut raw, service, "Slow", &[(NAME, "")]).await;
            assert_eq!(answer.status.code(), Code::Ok, "{plane}");
            let calls = [vec![(NAME, "b\u{fc}cher")], vec![(NAME, "")]];
            let codes = by_hand(world.router.grpc_addr, service, &calls).await;
            let own = if service == "own" {
                Code::Ok
            } else {
                Code::FailedPrecondition
            };
            assert_eq!(codes, [Some(Code::InvalidArgument), Some(own)], "{plane}");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn who_calls_for_which_job_is_not_for_clients_to_say() {
    for plane in PLANES {
        let world = World::start(plane).await;
        let instance = Instance::start(Reply::good()).await;
        world.register("shop", false, &[instance.address]).await;
        let said = [
            ("x-mesh-caller", "root"),
            ("x-mesh-job", "job-1"),
            ("x-mesh-other", "kept"),
        ];
        let answer = call(&mut world.raw().await, "shop", "M", &said).await;
        assert_eq!(answer.status.code(), Code::Ok, "{plane}");
        let heads = instance.heads.lock().clone();
        assert_eq!(heads.len(), 1);
        assert!(!heads[0].contains_key("x-mesh-caller"), "{plane}");
        assert!(!heads[0].contains_key("x-mesh-job"), "{plane}");
        assert_eq!(heads[0]["x-mesh-other"], "kept", "{plane}");
        world.end().await;
    }
}

#[tokio::test]
async fn clients_that_do_not_speak_http2_are_told_so_in_what_they_speak() {
    async fn answer(address: SocketAddr, words: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        timeout(Duration::from_secs(5), read)
            .await
            .unwrap()
            .unwrap();
        answer
    }
    for plane in PLANES {
        let world = World::start(plane).await;
        let address = world.router.grpc_addr;
        let upload = [b"POST / HTTP/1.1\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat();
        for words in [&b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n"[..], &upload] {
            let text = String::from_utf8(answer(address, words).await).unwrap();
            assert!(text.starts_with("HTTP/1.1 505 "), "{plane}: {text}");
            assert!(text.contains("gRPC over HTTP/2"), "{plane}: {text}");
        }
        let hello = [&[0x16, 3, 1, 0, 200, 1][..], &[0; 200]].concat();
        let alert = answer(address, &hello).await;
        assert_eq!(alert[..2], [0x15, 3], "{plane}: an alert of TLS");
        world.end().await;
    }
}

/// The statuses of calls on one connection, each with these fields besides; `None` when it was reset.
async fn by_hand(
    address: SocketAddr,
    service: &str,
    calls: &[Vec<(&str, &str)>],
) -> Vec<Option<Code>> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut out = PREFACE.to_vec();
    frame::settings(&mut out, &[]);
    for (more, number) in calls.iter().zip(0..) {
        let (pseudo, more): (Vec<_>, Vec<_>) = more.iter().partition(|(n, _)| n.starts_with(':'));
        let mut block = Block::new();
        block.push(b":method", b"POST");
        block.push(b":scheme", b"http");
        for (name, value) in pseudo {
            block.push(name.as_bytes(), value.as_bytes());
        }
        block.push(b":path", b"/t.S/M");
        block.push(b"content-type", b"application/grpc");
        block.push(b"te", b"trailers");
        block.push(b"x-mesh-service", service.as_bytes());
        for (name, value) in more {
            block.push(name.as_bytes(), value.as_bytes());
        }
        frame::headers(&mut out, 2 * number + 1, block.wire(), false, 40);
        frame::head(&mut out, MESSAGE.len(), 0, 1, 2 * number + 1);
        out.extend_from_slice(&MESSAGE);
    }
    stream.write_all(&out).await.unwrap();
    let (mut codes, mut ended) = (vec![None; calls.len()], HashSet::new());
    let mut decoder = Decoder::new(4096);
    let read = async {
        let mut heard = Vec::new();
        while ended.len() < calls.len() {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "{codes:?}");
            while let Some(head) = Head::read(&heard)
                && heard.len() >= 9 + head.length
            {
                let payload = heard.drain(..9 + head.length).skip(9).collect::<Vec<_>>();
                let mut block = Block::new();
                match head.kind {
                    FrameType::Headers => {
                        decoder.decode(&payload, 1 << 20, &mut block).unwrap();
                        let status = block.named(b"grpc-status").map(|field| field.value);
                        let status = status.map(Code::from_bytes);
                        let code = &mut codes[head.stream as usize / 2];
                        *code = status.or(*code);
                        ended.extend(head.has(1).then_some(head.stream));
                    }
                    FrameType::Data => ended.extend(head.has(1).then_some(head.stream)),
                    FrameType::RstStream => ended.extend([head.stream]),
                    FrameType::GoAway => panic!("{codes:?}"),
                    _ => {}
                }
            }
        }
    };
    timeout(Duration::from_secs(5), read).await.unwrap();
    codes
}

#[tokio::test]
async fn authorities_that_are_no_hosts_are_no_mistake() {
    let odd = [
        Some("localhost:50051"),
        Some("127.0.0.1:1,127.0.0.1:2"),
        Some("services%2Fecho"),
        Some(":50051"),
        Some("[fe80::1%25eth0]:50051"),
        Some("me@a"),
        None,
        Some("b\u{fc}cher:1"),
        Some(""),
        Some("good"),
    ];
    for plane in PLANES {
        let world = World::start(plane).await;
        let instance = Instance::start(Reply::good()).await;
        world.register("shop", false, &[instance.address]).await;
        let calls =
            odd.map(|authority| authority.map(|it| (":authority", it)).into_iter().collect());
        let codes = by_hand(world.router.grpc_addr, "shop", &calls).await;
        let all: Vec<_> = odd.iter().zip(codes).collect();
        assert!(
            all.iter().all(|(_, code)| *code == Some(Code::Ok)),
            "{plane}: {all:?}"
        );
        assert_eq!(instance.calls(), odd.len(), "{plane}");
        world.end().await;
    }
}
