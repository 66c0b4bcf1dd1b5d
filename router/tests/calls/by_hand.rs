//! HTTP/2 written by hand: heads that no library sends.

use std::{collections::HashSet, net::SocketAddr};

use mesh_relay::{
    frame::{self, FrameType, Head, PREFACE},
    hpack::{Block, Decoder},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

use crate::world::{MESSAGE, SOON};

/// Sends calls of `path` on one connection, each with these fields besides.
pub(crate) async fn send(
    address: SocketAddr,
    path: &str,
    message: &[u8],
    calls: &[Vec<(&str, &str)>],
) -> TcpStream {
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
        block.push(b":path", path.as_bytes());
        block.push(b"content-type", b"application/grpc");
        block.push(b"te", b"trailers");
        for (name, value) in more {
            block.push(name.as_bytes(), value.as_bytes());
        }
        frame::headers(&mut out, 2 * number + 1, block.wire(), false, 40);
        frame::head(&mut out, message.len(), 0, 1, 2 * number + 1);
        out.extend_from_slice(message);
    }
    stream.write_all(&out).await.unwrap();
    stream
}

/// The statuses of so many calls on a connection; `None` for one that was reset.
pub(crate) async fn statuses(mut stream: TcpStream, calls: usize) -> Vec<Option<Code>> {
    let (mut codes, mut ended) = (vec![None; calls], HashSet::new());
    let mut decoder = Decoder::new(4096);
    let read = async {
        let mut received = Vec::new();
        while ended.len() < calls {
            assert!(
                stream.read_buf(&mut received).await.unwrap() > 0,
                "{codes:?}"
            );
            while let Some(head) = Head::read(&received)
                && received.len() >= 9 + head.length
            {
                let payload = received
                    .drain(..9 + head.length)
                    .skip(9)
                    .collect::<Vec<_>>();
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
    timeout(SOON, read).await.unwrap();
    codes
}

/// The statuses of calls of a method of `service`.
pub(crate) async fn call(
    address: SocketAddr,
    service: &str,
    calls: &[Vec<(&str, &str)>],
) -> Vec<Option<Code>> {
    let named = |call: &Vec<_>| [vec![("x-mesh-service", service)], call.clone()].concat();
    let calls: Vec<_> = calls.iter().map(named).collect();
    let stream = send(address, "/t.S/M", &MESSAGE, &calls).await;
    statuses(stream, calls.len()).await
}
