//! Recognizes by its first bytes what a peer speaks instead of HTTP/2.

use std::{
    io::{self, IoSlice, Read as _},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use mesh_relay::tap::{Tap, Tapped};
use socket2::SockRef;
use tokio::{io::AsyncWrite as _, net::TcpStream};

/// How many bytes are needed: Go's TLS servers answer plain HTTP with a page that says so.
const FIRST: usize = 256;

/// What is wrong with a peer that begins with these bytes; `None` when they do not show it.
#[must_use]
pub fn protocol_mismatch(first: &[u8]) -> Option<&'static str> {
    let contains = |word: &[u8]| first.windows(word.len()).any(|part| part == word);
    match first {
        [] => Some("it closed the connection before it said anything"),
        // A TLS record: an alert or a handshake.
        [0x15 | 0x16, 0x03, ..] => Some("it speaks TLS, not HTTP/2 in cleartext"),
        _ if first.starts_with(b"HTTP/1.") && contains(b"HTTPS") => {
            Some("it speaks TLS, not HTTP/2 in cleartext")
        }
        _ if first.starts_with(b"HTTP/1.") => Some("it speaks HTTP/1.1, not HTTP/2"),
        // A SETTINGS frame on stream 0.
        [0, _, _, 4, 0, 0, 0, 0, 0, ..] => None,
        [0, ..] if first.len() < 9 => None,
        _ => Some("it does not speak HTTP/2"),
    }
}

/// A connection whose first bytes are kept for [`protocol_mismatch`].
pub(crate) type SniffedStream = Tapped<Sniffer>;

/// Keeps the first bytes of a connection.
pub(crate) struct Sniffer {
    stream: TcpStream,
    buffer: Vec<u8>,
    first: Arc<OnceLock<Vec<u8>>>,
}

impl Sniffer {
    /// Also returns where they are found, once there are enough or the peer has closed.
    pub(crate) fn new(stream: TcpStream) -> (SniffedStream, Arc<OnceLock<Vec<u8>>>) {
        let first = Arc::<OnceLock<_>>::default();
        let buffer = Vec::new();
        let sniffed = Self {
            stream,
            buffer,
            first: Arc::clone(&first),
        };
        (Tapped(sniffed), first)
    }

    fn record(&mut self, bytes: &[u8]) {
        if self.first.get().is_none() {
            self.buffer.extend_from_slice(bytes);
            self.buffer.truncate(FIRST);
            // h2 fails by the length of the first frame, which has three bytes.
            if bytes.is_empty() || self.buffer.len() >= 3 {
                self.first.set(std::mem::take(&mut self.buffer)).ok();
            }
        }
    }
}

impl Tap for Sniffer {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        Ok(Pin::new(&mut self.stream))
    }

    fn on_read(&mut self, _cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        self.record(bytes);
        Ok(())
    }

    /// After a failed write, reads what the peer sent before it closed: h2 would not read it.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if matches!(outcome, Poll::Ready(Err(_))) && self.first.get().is_none() {
            let mut first = [0; FIRST];
            // Directly from the socket, since tokio may not know yet that it is readable.
            let read = (&*SockRef::from(&self.stream)).read(&mut first);
            self.record(&first[..read.unwrap_or(0)]);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_speaks_is_told_by_its_first_bytes() {
        let says = |first: &[u8]| protocol_mismatch(first).unwrap_or("HTTP/2");
        assert_eq!(says(&[0, 0, 18, 4, 0, 0, 0, 0, 0, 0]), "HTTP/2");
        assert!(says(b"").contains("closed"));
        assert!(says(&[0x15, 3, 1, 0, 2, 2, 70]).contains("TLS"));
        assert!(says(b"HTTP/1.1 400 Bad Request\r\n").contains("HTTP/1.1"));
        let go =
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        assert!(says(go).contains("TLS"));
        assert!(says(b"SSH-2.0-OpenSSH_9.2\r\n").contains("does not speak"));
    }
}
