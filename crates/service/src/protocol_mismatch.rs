//! Clients that do not speak HTTP/2 on a port that speaks nothing else. Each is told so in its own
//! language, and the log says it once in a while: a browser, a client with TLS, a health check by
//! HTTP/1.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mesh_relay::frame::HTTP1_METHODS;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

/// A fatal alert of TLS: the version is not supported.
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 70];

const HTTP1_BODY: &str = "This port speaks gRPC over HTTP/2 in cleartext, not HTTP/1.1. Use a gRPC client \
    (grpcurl -plaintext), or the gateway's port for HTTP.\n";

/// Time between two lines of the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How long a client may take to say enough, and to read what it is told.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long until a client that has said too little is looked at again.
const PEEK_INTERVAL: Duration = Duration::from_millis(5);

static LOGGED: AtomicU64 = AtomicU64::new(0);

/// What a client speaks instead of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolMismatch {
    /// TLS: it began a handshake.
    Tls,
    /// HTTP/1: a request line.
    Http1,
}

/// What the first bytes of a client tell.
#[derive(Debug, PartialEq, Eq)]
enum FirstBytes {
    Incomplete,
    /// HTTP/2, or anything of which HTTP/2 says what to do.
    Other,
    Mismatch(ProtocolMismatch),
}

impl ProtocolMismatch {
    /// The last bytes for it; the log is told too.
    #[must_use]
    pub fn reply(self, client: Option<SocketAddr>) -> Vec<u8> {
        self.log(client);
        match self {
            Self::Tls => TLS_ALERT.to_vec(),
            Self::Http1 => format!(
                "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{HTTP1_BODY}",
                HTTP1_BODY.len()
            )
            .into_bytes(),
        }
    }

    fn log(self, client: Option<SocketAddr>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_secs());
        let last = LOGGED.load(Ordering::Relaxed);
        if now.saturating_sub(last) < LOG_INTERVAL.as_secs() {
            return;
        }
        LOGGED.store(now, Ordering::Relaxed);
        let client = client.map(|client| client.to_string()).unwrap_or_default();
        let speaks = match self {
            Self::Tls => "TLS",
            Self::Http1 => "HTTP/1.1",
        };
        tracing::warn!(%client, speaks, "a client does not speak HTTP/2 in cleartext, as this port does");
    }

    /// What a client says first, looked at and left there; `None` for HTTP/2, and for anything else
    /// that is for HTTP/2 to judge.
    pub(crate) async fn sniff(stream: &TcpStream) -> Option<Self> {
        let mut first = [0; 9];
        let found = async {
            loop {
                match stream.peek(&mut first).await {
                    Ok(1..) => {}
                    _ => return None,
                }
                let length = stream.peek(&mut first).await.unwrap_or(0);
                match classify(&first[..length]) {
                    FirstBytes::Incomplete if length > 0 => sleep(PEEK_INTERVAL).await,
                    FirstBytes::Mismatch(mismatch) => return Some(mismatch),
                    FirstBytes::Incomplete | FirstBytes::Other => return None,
                }
            }
        };
        found.await
    }

    /// Tells a client, and ends its connection.
    pub(crate) async fn reject(self, mut stream: TcpStream, client: SocketAddr) {
        let words = self.reply(Some(client));
        let said = async {
            stream.write_all(&words).await?;
            stream.shutdown().await?;
            // What the client has sent is read, or the kernel would take our words back.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        // A client that is gone already needs no words.
        timeout(REPLY_TIMEOUT, said).await.ok();
    }
}

fn classify(first: &[u8]) -> FirstBytes {
    match first {
        [] => FirstBytes::Incomplete,
        [0x16, ..] => FirstBytes::Mismatch(ProtocolMismatch::Tls),
        _ if HTTP1_METHODS.iter().any(|method| first.starts_with(method)) => {
            FirstBytes::Mismatch(ProtocolMismatch::Http1)
        }
        _ if HTTP1_METHODS.iter().any(|method| method.starts_with(first)) => FirstBytes::Incomplete,
        _ => FirstBytes::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_their_first_bytes() {
        let cases: [(&[u8], FirstBytes); 9] = [
            (b"", FirstBytes::Incomplete),
            (b"P", FirstBytes::Incomplete),
            (b"PRI ", FirstBytes::Other),
            (b"POST /", FirstBytes::Mismatch(ProtocolMismatch::Http1)),
            (b"PU", FirstBytes::Incomplete),
            (b"INVALID", FirstBytes::Other),
            (b"GET ", FirstBytes::Mismatch(ProtocolMismatch::Http1)),
            (&[0x16, 3, 1, 2], FirstBytes::Mismatch(ProtocolMismatch::Tls)),
            (&[0, 0, 0, 4], FirstBytes::Other),
        ];
        for (first, found) in cases {
            assert_eq!(classify(first), found, "{first:?}");
        }
    }
}
