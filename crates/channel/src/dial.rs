//! Opens a TCP connection that notices a dead peer by itself. HTTP/2 PING is not used for that:
//! grpcio servers answer the fifth ping of a quiet call with GOAWAY `too_many_pings`.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::Options;

/// Connects to the first address of `authority` that accepts, within `connect_timeout` in all.
pub(crate) async fn dial(authority: &str, options: &Options) -> io::Result<TcpStream> {
    let attempt = async {
        let mut last = None;
        for address in lookup_host(authority).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address")))
    };
    let stream = timeout(options.connect_timeout, attempt)
        .await
        .map_err(|_| {
            let limit: Duration = options.connect_timeout;
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {limit:?}"),
            )
        })??;
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
