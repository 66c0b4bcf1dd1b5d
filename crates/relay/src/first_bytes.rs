//! What a client speaks on a port of HTTP/2, by the first bytes that it sends.

use crate::host::PeerProtocol;

/// How requests of HTTP/1 begin.
const HTTP1_METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"PATCH ",
    b"DELETE ",
    b"OPTIONS ",
    b"TRACE ",
    b"CONNECT ",
];

/// The number of bytes that always suffice.
pub const NEEDED: usize = 8;

/// The protocol of a client, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// More bytes are needed.
    Incomplete,
    /// HTTP/2, or anything that HTTP/2 itself refuses.
    Http2,
    /// Another protocol.
    Other(PeerProtocol),
}

impl FirstBytes {
    /// Classifies the first bytes of a client.
    #[must_use]
    pub fn classify(first: &[u8]) -> Self {
        let mut methods = HTTP1_METHODS.iter();
        match first {
            // A record of the handshake, of any version.
            [0x16, ..] => Self::Other(PeerProtocol::Tls),
            _ if methods.clone().any(|method| first.starts_with(method)) => {
                Self::Other(PeerProtocol::Http1)
            }
            _ if methods.any(|method| method.starts_with(first)) => Self::Incomplete,
            _ => Self::Http2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_their_first_bytes() {
        let (http1, tls) = (
            FirstBytes::Other(PeerProtocol::Http1),
            FirstBytes::Other(PeerProtocol::Tls),
        );
        let cases: [(&[u8], FirstBytes); 9] = [
            (b"", FirstBytes::Incomplete),
            (b"P", FirstBytes::Incomplete),
            (b"PRI ", FirstBytes::Http2),
            (b"POST /", http1),
            (b"PU", FirstBytes::Incomplete),
            (b"INVALID", FirstBytes::Http2),
            (b"GET ", http1),
            (&[0x16, 3, 1, 2], tls),
            (&[0, 0, 0, 4], FirstBytes::Http2),
        ];
        for (first, expected) in cases {
            assert_eq!(FirstBytes::classify(first), expected, "{first:?}");
        }
        let longest = HTTP1_METHODS.iter().map(|method| method.len()).max();
        assert_eq!(longest, Some(NEEDED));
    }
}
