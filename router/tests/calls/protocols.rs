//! Peers that do not speak HTTP/2.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::Code;

use crate::world::{Instance, Reply, World, call, port};

/// Says this once the client has said something.
async fn says(mut stream: TcpStream, words: &'static [u8]) {
    stream.read_u8().await.ok();
    stream.write_all(words).await.ok();
    stream.shutdown().await.ok();
    stream.read_to_end(&mut Vec::new()).await.ok();
}

#[tokio::test]
async fn calls_on_a_port_that_does_not_speak_http2_are_sent_elsewhere() {
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
    let world = World::start().await;
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
            assert_eq!(answer.status.code(), Code::Ok, "{words}");
        }
        let service = format!("alone-{number}");
        world.register(&service, false, &[*address]).await;
        let answer = call(&mut raw, &service, "M", &[]).await;
        let status = &answer.status;
        assert_eq!(status.code(), Code::Unavailable, "{words}");
        assert!(status.message().contains(words), "{status:?}");
    }
    world.end().await;
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
    let world = World::start().await;
    let address = world.router.grpc_addr;
    let upload = [b"POST / HTTP/1.1\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat();
    for words in [&b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n"[..], &upload] {
        let text = String::from_utf8(answer(address, words).await).unwrap();
        assert!(text.starts_with("HTTP/1.1 505 "), "{text}");
        assert!(text.contains("gRPC over HTTP/2"), "{text}");
    }
    let hello = [&[0x16, 3, 1, 0, 200, 1][..], &[0; 200]].concat();
    let alert = answer(address, &hello).await;
    assert_eq!(alert[..2], [0x15, 3], "an alert of TLS");
    world.end().await;
}
