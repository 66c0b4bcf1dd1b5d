//! Connections of clients that are slow, silent or hostile, on a gRPC port, an HTTP port and the
//! admin listener of one program.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use discovery::backends::Memory;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use mesh_relay::frame::{self, ErrorCode, FrameType, flag};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{RequestBody, ServerHandle, Services, start, tests as chassis};

const SOON: Duration = Duration::from_secs(5);

/// An HTTP program that reads the whole body, and answers `/quiet` never.
async fn http(set: &[(&str, &str)]) -> ServerHandle {
    let answer = tower::service_fn(|request: Request<RequestBody>| async move {
        if request.uri().path() == "/quiet" {
            std::future::pending::<()>().await;
        }
        let large = request.uri().path() == "/large";
        let (status, words) = match request.into_body().collect().await {
            Ok(_) if large => (200, vec![b'x'; 64 << 20]),
            Ok(body) => (
                200,
                format!("{} bytes\n", body.to_bytes().len()).into_bytes(),
            ),
            Err(error) => (408, error.to_string().into_bytes()),
        };
        let body = Full::new(bytes::Bytes::from(words));
        Ok(Response::builder().status(status).body(body).unwrap())
    });
    let memory = Arc::new(Memory::new());
    let config = chassis::config(set);
    start(&chassis::SPEC, config, memory, move |_| {
        Ok(Services::new().http(answer))
    })
    .await
    .unwrap()
}

async fn connect(at: SocketAddr) -> TcpStream {
    TcpStream::connect(at).await.unwrap()
}

/// All that comes until the connection ends, and how long that took.
async fn to_end(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    let (mut heard, begun) = (Vec::new(), Instant::now());
    let read = timeout(SOON, stream.read_to_end(&mut heard)).await;
    // A reset is an end as well.
    read.expect("the connection ends").ok();
    (heard, begun.elapsed())
}

async fn says(stream: &mut TcpStream, words: &[u8]) -> String {
    stream.write_all(words).await.unwrap();
    let mut heard = vec![0; 4096];
    let count = timeout(SOON, stream.read(&mut heard))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&heard[..count]).into_owned()
}

/// The frames that came: kind, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(FrameType, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(head) = frame::Head::read(bytes) {
        let end = frame::HEADER_BYTES + head.length;
        let Some(payload) = bytes.get(frame::HEADER_BYTES..end) else {
            break;
        };
        frames.push((head.kind, head.stream, payload.to_vec()));
        bytes = &bytes[end..];
    }
    frames
}

/// The code and the words of every GOAWAY.
fn goaways(bytes: &[u8]) -> Vec<(u32, String)> {
    let frames = frames(bytes).into_iter();
    frames
        .filter(|(kind, ..)| *kind == FrameType::GoAway)
        .map(|(_, _, payload)| {
            let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
            (code, String::from_utf8_lossy(&payload[8..]).into_owned())
        })
        .collect()
}

fn preface() -> Vec<u8> {
    let mut out = frame::PREFACE.to_vec();
    frame::settings(&mut out, &[]);
    out
}

/// A call of gRPC without a body, or with `malformed` one that no server may take.
fn call(out: &mut Vec<u8>, stream: u32, method: &str, malformed: bool) {
    // :method POST, :scheme http, :path /, literal fields without names of a table.
    let mut block = vec![0x83, 0x86];
    let mut field = |name: &str, value: &str| {
        block.extend([0, u8::try_from(name.len()).unwrap()]);
        block.extend(name.as_bytes());
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    };
    field(":path", &format!("/test.Test/{method}"));
    field(":authority", "test");
    field("content-type", "application/grpc");
    if malformed {
        field("connection", "close");
    }
    frame::headers(out, stream, &block, false, 16_384);
}

async fn ports(set: &[(&str, &str)]) -> (ServerHandle, ServerHandle) {
    let grpc = chassis::running(set).await.0;
    (grpc, http(set).await)
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_head_is_ended_after_handshake_timeout() {
    let set = [("handshake_timeout", "300ms"), ("keep_alive", "1m")];
    let (grpc, http) = ports(&set).await;
    let half = [&preface()[..], &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1]].concat();
    let half_head = [&preface()[..], &[0, 0, 9, 1, 5, 0, 0, 0, 1, 0x83]].concat();
    let mut half_block = preface();
    frame::headers(&mut half_block, 1, &[0x83], false, 16_384);
    let flags = half_block.len() - 1 - frame::HEADER_BYTES + 4;
    half_block[flags] &= !flag::END_HEADERS;
    for (port, words, expected) in [
        (grpc.grpc_addr, &b""[..], ""),
        (grpc.grpc_addr, &frame::PREFACE[..10], ""),
        (grpc.grpc_addr, &frame::PREFACE[..], "handshake_timeout"),
        (grpc.grpc_addr, &half_block, "handshake_timeout"),
        (grpc.grpc_addr, &half_head, "handshake_timeout"),
        (http.grpc_addr, b"", ""),
        (http.grpc_addr, b"GET /a HTTP/1.1\r\nhost:", "408"),
        (http.grpc_addr, &half_block, "handshake_timeout"),
        (http.admin_addr, b"", ""),
        (http.admin_addr, b"GET /readyz HTTP/1.1\r\n", "408"),
    ] {
        let mut stream = connect(port).await;
        stream.write_all(words).await.unwrap();
        let (heard, took) = to_end(&mut stream).await;
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.contains(expected), "{words:?}: {heard}");
        let range = Duration::from_millis(250)..Duration::from_secs(3);
        assert!(range.contains(&took), "{words:?}: {took:?}");
    }
    // Silence within a frame that is no head has the time of a body.
    let mut stream = connect(grpc.grpc_addr).await;
    stream.write_all(&half).await.unwrap();
    let mut heard = Vec::new();
    let ends = timeout(Duration::from_millis(900), stream.read_to_end(&mut heard));
    assert!(ends.await.is_err());
}

#[tokio::test]
async fn a_connection_at_rest_stays_for_keep_alive_and_is_then_closed_in_peace() {
    let set = [("handshake_timeout", "100ms"), ("keep_alive", "1s")];
    let (grpc, http) = ports(&set).await;
    for port in [http.grpc_addr, http.admin_addr] {
        let mut stream = connect(port).await;
        let ask = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        assert!(says(&mut stream, ask).await.contains(" 200 "));
        sleep(Duration::from_millis(500)).await;
        assert!(
            says(&mut stream, ask).await.contains(" 200 "),
            "it is there"
        );
        let (heard, took) = to_end(&mut stream).await;
        assert_eq!(heard, b"");
        assert!(took > Duration::from_millis(800), "{took:?}");
    }
    for port in [grpc.grpc_addr, http.grpc_addr] {
        let mut stream = connect(port).await;
        stream.write_all(&preface()).await.unwrap();
        let (heard, took) = to_end(&mut stream).await;
        assert_eq!(goaways(&heard)[0].0, ErrorCode::NoError as u32);
        let range = Duration::from_millis(900)..Duration::from_secs(3);
        assert!(range.contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn a_call_or_a_request_that_is_quiet_keeps_its_connection() {
    let set = [
        ("handshake_timeout", "100ms"),
        ("body_timeout", "100ms"),
        ("keep_alive", "100ms"),
    ];
    let (grpc, http) = ports(&set).await;
    let mut calls = connect(grpc.grpc_addr).await;
    let mut begun = preface();
    call(&mut begun, 1, "Never", false);
    calls.write_all(&begun).await.unwrap();
    let mut request = connect(http.grpc_addr).await;
    let ask = b"GET /quiet HTTP/1.1\r\nhost: h\r\n\r\n";
    request.write_all(ask).await.unwrap();
    let mut heard = Vec::new();
    let ends = async {
        tokio::select! {
            _ = calls.read_to_end(&mut heard) => {}
            _ = request.read_u8() => {}
        }
    };
    let ended = timeout(Duration::from_secs(1), ends).await;
    assert!(ended.is_err(), "{:?}", goaways(&heard));
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_given_up_after_body_timeout() {
    let http = http(&[("body_timeout", "300ms")]).await;
    let mut stream = connect(http.grpc_addr).await;
    let head = b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\n";
    stream.write_all(head).await.unwrap();
    // However slow it is, as long as it goes on.
    for _ in 0..5 {
        sleep(Duration::from_millis(150)).await;
        stream.write_all(b"x").await.unwrap();
    }
    let answer = says(&mut stream, b"x").await;
    assert!(
        answer.contains(" 200 ") && answer.ends_with("6 bytes\n"),
        "{answer}"
    );
    stream.write_all(head).await.unwrap();
    let (heard, took) = to_end(&mut stream).await;
    let heard = String::from_utf8_lossy(&heard);
    assert!(
        heard.contains(" 408 ") && heard.contains("body_timeout"),
        "{heard}"
    );
    assert!(took > Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_after_body_timeout() {
    let http = http(&[("body_timeout", "300ms")]).await;
    let mut stream = connect(http.grpc_addr).await;
    let ask = b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    let mut heard = Vec::new();
    // What the kernel has is still there, and then the end.
    let read = timeout(SOON, stream.read_to_end(&mut heard)).await;
    read.expect("the connection ends").ok();
    assert!(heard.len() < 64 << 20, "{} bytes", heard.len());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_reset_after_body_timeout_and_others_go_on() {
    let http = http(&[("body_timeout", "300ms"), ("keep_alive", "1m")]).await;
    let mut stream = connect(http.grpc_addr).await;
    let mut out = frame::PREFACE.to_vec();
    // No window at all for what is answered.
    frame::settings(&mut out, &[(4, 0)]);
    let ask = |out: &mut Vec<u8>, stream: u32, path: &str| {
        let mut block = vec![0x82, 0x86, 0x44, u8::try_from(path.len()).unwrap()];
        block.extend(path.as_bytes());
        block.extend([0x41, 1, b'h']);
        frame::headers(out, stream, &block, true, 16_384);
    };
    ask(&mut out, 1, "/a");
    ask(&mut out, 3, "/a");
    ask(&mut out, 5, "/quiet");
    stream.write_all(&out).await.unwrap();
    let mut heard = Vec::new();
    let reset = |heard: &[u8], id| {
        let seen = frames(heard);
        seen.iter()
            .any(|(kind, stream, _)| (*kind, *stream) == (FrameType::RstStream, id))
    };
    while !reset(&heard, 1) || !reset(&heard, 3) {
        let read = timeout(SOON, stream.read_buf(&mut heard));
        assert_ne!(read.await.expect("it is reset").unwrap(), 0);
    }
    assert!(!reset(&heard, 5), "it has not been answered");
    let mut out = Vec::new();
    ask(&mut out, 7, "/a");
    frame::window_update(&mut out, 7, 100);
    stream.write_all(&out).await.unwrap();
    let answered = |heard: &[u8]| {
        let seen = frames(heard);
        seen.iter()
            .any(|(kind, id, bytes)| (*kind, *id) == (FrameType::Data, 7) && bytes == b"0 bytes\n")
    };
    while !answered(&heard) {
        let read = timeout(SOON, stream.read_buf(&mut heard));
        assert_ne!(read.await.expect("it is answered").unwrap(), 0);
    }
}

/// Goes on until the connection is gone; what came, and how many rounds were sent.
async fn flood(at: SocketAddr, mut round: impl FnMut(&mut Vec<u8>, u32)) -> (Vec<u8>, u32) {
    let (mut read, mut write) = connect(at).await.into_split();
    let hears = async {
        let mut heard = Vec::new();
        let mut piece = vec![0; 1 << 16];
        while let Ok(count) = read.read(&mut piece).await {
            if count == 0 {
                break;
            }
            heard.extend_from_slice(&piece[..count]);
        }
        heard
    };
    let floods = async {
        let mut sent = 0;
        let mut out = preface();
        loop {
            for _ in 0..50 {
                round(&mut out, 2 * sent + 1);
                sent += 1;
            }
            if write.write_all(&out).await.is_err() || sent > 100_000 {
                return sent;
            }
            out.clear();
            tokio::task::yield_now().await;
        }
    };
    let both = timeout(Duration::from_secs(20), async {
        tokio::join!(hears, floods)
    });
    both.await.expect("a flood ends")
}

type Round = fn(&mut Vec<u8>, u32);

#[tokio::test]
async fn floods_are_told_to_be_calm_and_ended_on_every_port() {
    let (grpc, http) = ports(&[]).await;
    let rounds: [(&str, Round); 7] = [
        ("calls reset by the client", |out, stream| {
            call(out, stream, "Never", false);
            frame::reset(out, stream, ErrorCode::Cancel);
        }),
        ("calls made to be reset", |out, stream| {
            call(out, stream, "Never", true)
        }),
        ("calls made to be reset by a window", |out, stream| {
            call(out, stream, "Never", false);
            frame::window_update(out, stream, 0x7fff_ffff);
        }),
        ("PING", |out, _| frame::ping(out, [0; 8])),
        ("SETTINGS", |out, _| frame::settings(out, &[])),
        ("unknown frames", |out, _| {
            out.extend([0, 0, 0, 99, 0, 0, 0, 0, 0])
        }),
        ("acknowledgements", |out, _| {
            out.extend([0, 0, 8, 6, flag::ACK, 0, 0, 0, 0]);
            out.extend([0; 8]);
        }),
    ];
    for port in [grpc.grpc_addr, http.grpc_addr] {
        for (name, round) in rounds {
            let (heard, sent) = flood(port, round).await;
            let said = goaways(&heard);
            let calm = ErrorCode::EnhanceYourCalm as u32;
            assert!(
                said.iter().any(|(code, _)| *code == calm),
                "{name}: {said:?}"
            );
            assert!(sent < 100_000, "{name}: {sent}");
        }
    }
}

#[tokio::test]
async fn calls_of_others_on_a_connection_that_is_told_to_be_calm_are_finished() {
    let grpc = chassis::running(&[]).await.0;
    let mut stream = connect(grpc.grpc_addr).await;
    let mut out = preface();
    // One that takes 300 ms, and many that are given up: a router's connection.
    call(&mut out, 1, "Slow", false);
    for n in 1..=600 {
        call(&mut out, 2 * n + 1, "Never", false);
        frame::reset(&mut out, 2 * n + 1, ErrorCode::Cancel);
    }
    stream.write_all(&out).await.unwrap();
    let mut heard = Vec::new();
    let answered = async {
        loop {
            let count = stream.read_buf(&mut heard).await.unwrap();
            let seen = frames(&heard);
            if seen
                .iter()
                .any(|(kind, id, _)| (*kind, *id) == (FrameType::Headers, 1))
            {
                return seen;
            }
            assert_ne!(count, 0, "it was cut: {:?}", goaways(&heard));
        }
    };
    timeout(SOON, answered).await.expect("it is answered");
    let calm = ErrorCode::EnhanceYourCalm as u32;
    assert!(goaways(&heard).iter().any(|(code, _)| *code == calm));
}

#[tokio::test]
async fn connections_beyond_the_limits_are_turned_away_on_every_port_in_its_own_words() {
    for (key, set) in [
        ("port_max_connections", [("port_max_connections", "2")]),
        ("client_max_connections", [("client_max_connections", "2")]),
    ] {
        let (grpc, http) = ports(&set).await;
        for (port, words) in [
            (grpc.grpc_addr, &preface()[..]),
            (http.grpc_addr, &preface()),
            (http.grpc_addr, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
            (http.admin_addr, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
        ] {
            let held = [connect(port).await, connect(port).await];
            sleep(Duration::from_millis(50)).await;
            let mut third = connect(port).await;
            third.write_all(words).await.unwrap();
            let (heard, _) = to_end(&mut third).await;
            let heard = String::from_utf8_lossy(&heard);
            assert!(heard.contains(key), "{heard:?}");
            assert!(
                words.starts_with(b"PRI") || heard.contains(" 503 "),
                "{heard}"
            );
            drop(held);
            // Their places are free again.
            let again = async {
                loop {
                    let mut next = connect(port).await;
                    next.write_all(words).await.unwrap();
                    let mut heard = [0; 4096];
                    let count = next.read(&mut heard).await.unwrap();
                    if !String::from_utf8_lossy(&heard[..count]).contains(key) {
                        return;
                    }
                }
            };
            timeout(SOON, again).await.expect("a place is free");
        }
    }
}
