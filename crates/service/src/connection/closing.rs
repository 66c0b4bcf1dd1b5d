//! The last message to a client, in the protocol that it speaks.

use std::{future::Future, io, time::Duration};

use mesh_relay::frame::{self, ErrorCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::clients::LimitExceeded;

/// How long a rejected client may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of its own that are read meanwhile.
const UNREAD: u64 = 256 << 10;

/// GOAWAY with a reason as text. It names the highest stream: the connection itself tells which it
/// processed.
pub(super) fn go_away(code: ErrorCode, reason: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::go_away(&mut frame, 0x7fff_ffff, code, reason);
    frame
}

/// A whole HTTP/1.1 answer that closes its connection.
pub(crate) fn http1_answer(status: &str, reply: &str) -> Vec<u8> {
    let length = reply.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{reply}\n"
    )
    .into_bytes()
}

/// Sends a last message and closes the connection.
pub(crate) async fn send_and_close(mut stream: TcpStream, reply: &[u8]) {
    let sent = async {
        stream.write_all(reply).await?;
        stream.shutdown().await?;
        // Unread bytes would make the kernel reset the connection and drop our message.
        tokio::io::copy(&mut stream.take(UNREAD), &mut tokio::io::sink()).await
    };
    within_linger(sent).await;
}

/// Rejects a connection over a limit: in HTTP/2 with empty SETTINGS and GOAWAY (`ENHANCE_YOUR_CALM`
/// and the key), in HTTP/1.1 with 503.
pub(crate) async fn reject(mut stream: TcpStream, LimitExceeded(key): LimitExceeded) {
    let mut first = [0; 3];
    let read = async { stream.read_exact(&mut first).await };
    within_linger(read).await;
    let reply = if first == *b"PRI" {
        let mut frames = Vec::new();
        frame::settings(&mut frames, &[]);
        frame::go_away(&mut frames, 0, ErrorCode::EnhanceYourCalm, key);
        frames
    } else {
        let reason = format!("too many connections: {key}");
        http1_answer("503 Service Unavailable", &reason)
    };
    send_and_close(stream, &reply).await;
}

/// Waits for `LINGER` at most. Errors are ignored: the client may be gone.
async fn within_linger<T>(reply: impl Future<Output = io::Result<T>>) {
    timeout(LINGER, reply).await.ok();
}
