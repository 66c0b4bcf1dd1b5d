//! The last words to a client, in the protocol that it speaks.

use std::{future::Future, io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::clients::LimitExceeded;

/// How long a client that is turned away may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// How much of what it has sent in the meantime is read, bytes.
const UNREAD: u64 = 256 << 10;

/// HTTP/2's code for a peer that costs too much.
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// GOAWAY with a reason in words. The streams up to `last` may have been taken.
pub(super) fn go_away(last: u32, code: u32, reason: &str) -> Vec<u8> {
    let length = u8::try_from(8 + reason.len()).unwrap_or(u8::MAX);
    let mut frame = vec![0, 0, length, 7, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last.to_be_bytes());
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(&reason.as_bytes()[..usize::from(length) - 8]);
    frame
}

/// A whole answer that ends its connection.
pub(super) fn http1(status: &str, reply: &str) -> Vec<u8> {
    let length = reply.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{reply}\n"
    )
    .into_bytes()
}

/// Says them, and ends the connection.
pub(super) async fn send_and_close(mut stream: TcpStream, reply: &[u8]) {
    let sent = async {
        stream.write_all(reply).await?;
        stream.shutdown().await?;
        // What the client has sent is read, or the kernel would take our words back.
        tokio::io::copy(&mut stream.take(UNREAD), &mut tokio::io::sink()).await
    };
    within_linger(sent).await;
}

/// Says why a connection is not wanted: in HTTP/2 by empty SETTINGS and GOAWAY with
/// `ENHANCE_YOUR_CALM` and the key, in HTTP/1.1 by 503.
pub(crate) async fn reject(mut stream: TcpStream, LimitExceeded(key): LimitExceeded) {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut first = [0; 3];
    let read = async { stream.read_exact(&mut first).await };
    within_linger(read).await;
    let reply = if first == *b"PRI" {
        [SETTINGS, &go_away(0, ENHANCE_YOUR_CALM, key)].concat()
    } else {
        let reason = format!("too many connections: {key}");
        http1("503 Service Unavailable", &reason)
    };
    send_and_close(stream, &reply).await;
}

/// A client that is gone already needs no words.
async fn within_linger<T>(reply: impl Future<Output = io::Result<T>>) {
    timeout(LINGER, reply).await.ok();
}
