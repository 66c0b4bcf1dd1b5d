//! Listening sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Idle time before TCP keep-alive probes a client.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long sent bytes may stay unacknowledged before the connection is closed.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Binds a port, with `SO_REUSEADDR`. Errors name `key`, the configuration key of the address, and
/// `port_variable`, the environment variable of the port, such as `AGENT_PORT`. Needs a tokio
/// runtime.
///
/// # Errors
/// When the address is malformed or cannot be bound.
pub fn bind(
    key: &str,
    address: &str,
    port_variable: &str,
    port: u16,
) -> anyhow::Result<TcpListener> {
    let ip: IpAddr = address
        .parse()
        .with_context(|| format!("{key} = {address:?}: expected an IP address such as 0.0.0.0"))?;
    let addr = SocketAddr::new(ip, port);
    listen(addr).with_context(|| {
        format!(
            "listen on {addr}: set {port_variable} to another port (0 lets the system choose), or \
             {key} to another address"
        )
    })
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    tune(&socket)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts the next connection. Errors, such as too many open files, are logged and retried.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "cannot set socket options");
                }
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Detects dead clients. Accepted sockets inherit these options from the listening one.
fn tune(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn dead_clients_are_found_on_whatever_is_accepted() {
        let listener = bind("listen_address", "127.0.0.1", "AGENT_PORT", 0).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
