//! Opens TCP connections that notice dead peers by themselves. HTTP/2 PING is not used for that:
//! grpcio servers answer the fifth ping of a quiet call with GOAWAY `too_many_pings`.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use crate::ClusterOptions;

/// Linux has these times in whole seconds.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

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
        .with_time(options.tcp_keepalive.max(LEAST_KEEPALIVE))
        .with_interval(options.tcp_keepalive_interval.max(LEAST_KEEPALIVE));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(options.tcp_user_timeout))?;
    Ok(stream)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_probed_as_the_options_say() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let options = ClusterOptions {
            tcp_keepalive: Duration::from_secs(7),
            tcp_keepalive_interval: Duration::ZERO,
            tcp_user_timeout: Duration::from_secs(9),
            ..ClusterOptions::default()
        };
        let stream = dial(&address, &options).await.unwrap();
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), options.tcp_keepalive);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), LEAST_KEEPALIVE);
        let limit = socket.tcp_user_timeout().unwrap();
        assert_eq!(limit, Some(options.tcp_user_timeout));
    }
}
