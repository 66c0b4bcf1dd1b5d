//! The first bytes on a connection to an instance: our preface and its SETTINGS. No call is put on it
//! before, since the peer may not speak HTTP/2.

use std::{io, sync::Arc};

use mesh_relay::{
    driver::Dialed,
    frame::ErrorCode,
    parser::{Event, Parser},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

/// The limit of frames and header lists in it, bytes: larger than any peer begins with.
const LARGEST: usize = 64 * 1024;

/// Sends the preface, and waits for SETTINGS.
pub(super) async fn handshake(mut stream: TcpStream, preface: Arc<[u8]>) -> io::Result<Dialed> {
    let received = exchange(&mut stream, &preface).await?;
    Ok(Dialed {
        stream: Box::new(stream),
        received: Some(received),
    })
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    preface: &[u8],
) -> io::Result<Vec<u8>> {
    // A peer that takes nothing may have said why.
    let written = stream.write_all(preface).await;
    let mut parser = Parser::new(false, 4096, LARGEST, LARGEST);
    let mut received = Vec::with_capacity(256);
    loop {
        let before = received.len();
        let read = stream.read_buf(&mut received).await;
        if !matches!(read, Ok(1..)) {
            let error = io::Error::other(channel::protocol_mismatch(&received).unwrap_or(CLOSED));
            // The system's error says more of a connection that was reset or timed out.
            let system = read.err().or(written.err()).filter(|_| received.is_empty());
            return Err(system.unwrap_or(error));
        }
        let (mut bytes, mut settings_received) = (&received[before..], false);
        loop {
            match parser.next_event(&mut bytes) {
                Ok(Some(Event::Settings(_))) => settings_received = true,
                Ok(Some(Event::GoAway { code, .. })) => {
                    let code = ErrorCode::name(code);
                    let words = format!("it takes no calls on a new connection: GOAWAY {code}");
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, words));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    let words = channel::protocol_mismatch(&received).map(str::to_owned);
                    let words = words.unwrap_or_else(|| format!("it breaks HTTP/2: {error}"));
                    return Err(io::Error::other(words));
                }
            }
        }
        if settings_received {
            return Ok(received);
        }
    }
}

const CLOSED: &str = "it closed the connection before its SETTINGS";

#[cfg(test)]
mod tests {
    use mesh_relay::frame;

    use super::*;

    async fn said(words: &[u8]) -> Result<Vec<u8>, String> {
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(words).await.unwrap();
        theirs.shutdown().await.unwrap();
        exchange(&mut ours, b"preface")
            .await
            .map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn a_peer_that_does_not_speak_http2_is_told_by_what_it_speaks() {
        let mut preface = Vec::new();
        frame::settings(&mut preface, &[(3, 100)]);
        frame::settings_ack(&mut preface);
        assert_eq!(said(&preface).await.unwrap(), preface);
        for (words, why) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP/1.1"),
            (&[0x15, 3, 3, 0, 2, 2, 70], "TLS"),
            (b"", "closed"),
            (&preface[..9], "closed the connection before its SETTINGS"),
            (b"220 mail.example ESMTP\r\n", "does not speak HTTP/2"),
        ] {
            let error = said(words).await.unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
        }
        let mut full = preface.clone();
        frame::go_away(
            &mut full,
            0,
            ErrorCode::EnhanceYourCalm,
            "client_max_connections",
        );
        assert!(said(&full).await.unwrap_err().contains("ENHANCE_YOUR_CALM"));
    }
}
