//! The last words to a client, in the protocol that it speaks.

use std::{future::Future, io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::clients::Exceeded;

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
pub(super) fn http1(status: &str, words: &str) -> Vec<u8> {
    let length = words.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{words}\n"
    )
    .into_bytes()
}

/// Says them, and ends the connection.
pub(super) async fn say(mut stream: TcpStream, words: &[u8]) {
    let said = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        // What the client has sent is read, or the kernel would take our words back.
        tokio::io::copy(&mut stream.take(UNREAD), &mut tokio::io::sink()).await
    };
    timely(said).await;
}

/// Says why a connection is not wanted: in HTTP/2 by empty SETTINGS and GOAWAY with
/// `ENHANCE_YOUR_CALM` and the key, in HTTP/1.1 by 503.
pub(crate) async fn turn_away(mut stream: TcpStream, Exceeded(key): Exceeded) {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut first = [0; 3];
    let heard = async { stream.read_exact(&mut first).await };
    timely(heard).await;
    let words = if first == *b"PRI" {
        [SETTINGS, &go_away(0, ENHANCE_YOUR_CALM, key)].concat()
    } else {
        let reason = format!("too many connections: {key}");
        http1("503 Service Unavailable", &reason)
    };
    say(stream, &words).await;
}

/// A client that is gone already needs no words.
async fn timely<T>(words: impl Future<Output = io::Result<T>>) {
    timeout(LINGER, words).await.ok();
}
