//! Clients that do not speak HTTP/2 on a port that speaks nothing else: a browser, a client with
//! TLS, a health check by HTTP/1. Each is told so in its own protocol, and the log has a line of it
//! every ten seconds at most.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mesh_relay::{
    PeerProtocol,
    first_bytes::{self, FirstBytes},
};
use tokio::{net::TcpStream, time::sleep};

use crate::connection::{http1_answer, send_and_close};

/// A fatal TLS alert: protocol_version.
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 70];

const HTTP1_BODY: &str = "This port speaks gRPC over HTTP/2 in cleartext, not HTTP/1.1. Use a gRPC client \
    (grpcurl -plaintext), or the gateway's port for HTTP.";

/// Time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The poll interval while the first bytes are too few to tell.
const PEEK_INTERVAL: Duration = Duration::from_millis(5);

static LOGGED: AtomicU64 = AtomicU64::new(0);

/// The last bytes for a client that speaks another protocol. Logs it, too.
#[must_use]
pub fn wrong_protocol_reply(protocol: PeerProtocol, client: Option<SocketAddr>) -> Vec<u8> {
    log(protocol, client);
    match protocol {
        PeerProtocol::Tls => TLS_ALERT.to_vec(),
        PeerProtocol::Http1 => http1_answer("505 HTTP Version Not Supported", HTTP1_BODY),
    }
}

fn log(protocol: PeerProtocol, client: Option<SocketAddr>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |time| time.as_secs());
    let last = LOGGED.load(Ordering::Relaxed);
    if now.saturating_sub(last) < LOG_INTERVAL.as_secs() {
        return;
    }
    LOGGED.store(now, Ordering::Relaxed);
    let client = client.map(|client| client.to_string()).unwrap_or_default();
    let speaks = match protocol {
        PeerProtocol::Tls => "TLS",
        PeerProtocol::Http1 => "HTTP/1.1",
    };
    tracing::warn!(%client, speaks, "a client does not speak HTTP/2 in cleartext, as this port does");
}

/// Which other protocol a client speaks, by its first bytes, which stay unread; `None` for HTTP/2,
/// and for anything that HTTP/2 itself refuses.
pub(crate) async fn sniff(stream: &TcpStream) -> Option<PeerProtocol> {
    let mut first = [0; first_bytes::NEEDED];
    loop {
        let length = stream.peek(&mut first).await.unwrap_or(0);
        match FirstBytes::classify(&first[..length]) {
            FirstBytes::Incomplete if length > 0 => sleep(PEEK_INTERVAL).await,
            FirstBytes::Other(protocol) => return Some(protocol),
            FirstBytes::Incomplete | FirstBytes::Http2 => return None,
        }
    }
}

/// Tells the client and closes its connection.
pub(crate) async fn reject(protocol: PeerProtocol, stream: TcpStream, client: SocketAddr) {
    let reply = wrong_protocol_reply(protocol, Some(client));
    send_and_close(stream, &reply).await;
}
