//! Opens a TCP connection that notices a dead peer by itself. HTTP/2 PING is not used for that:
//! grpcio servers answer the fifth ping of a quiet call with GOAWAY `too_many_pings`.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use crate::ClusterOptions;

/// Connects to the first address of `authority` that accepts.
pub(crate) async fn dial(authority: &str, options: &ClusterOptions) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "no address"));
    for address in lookup_host(authority).await? {
        outcome = TcpStream::connect(address).await;
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new()
        .with_time(options.tcp_keepalive)
        .with_interval(options.tcp_keepalive_interval);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(options.tcp_user_timeout))?;
    Ok(stream)
}
