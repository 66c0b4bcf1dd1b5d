//! `--healthcheck`: probes the program on this machine, for container images without a shell.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests `/readyz` from the admin listener on `port`.
pub(crate) fn probe(port: u16) -> io::Result<()> {
    if port == 0 {
        let message = "METRICS_PORT is 0: set it to the program's admin port for --healthcheck";
        return Err(io::Error::other(message));
    }
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head == *b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "not ready: {}",
        String::from_utf8_lossy(&head)
    )))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answer(text: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /readyz "));
            stream.write_all(text.as_bytes()).unwrap();
        });
        port
    }

    #[test]
    fn only_200_is_ready() {
        assert!(probe(answer("HTTP/1.1 200 OK\r\n\r\n")).is_ok());
        assert!(probe(answer("HTTP/1.1 404 Not Found\r\n\r\n")).is_err());
        assert!(probe(0).is_err());
    }
}
