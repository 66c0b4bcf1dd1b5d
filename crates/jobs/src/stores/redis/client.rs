//! A client of one server, and its connections.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, RedisResult, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};

/// How long making a connection may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The authorities to trust over TLS, as PEM; the system's without any.
pub(super) type Authority = Option<Arc<Vec<u8>>>;

/// A client of one server, which over TLS trusts the authorities.
#[cfg(feature = "tls")]
pub(super) fn client(info: ConnectionInfo, authority: &Authority) -> RedisResult<Client> {
    let info = without_delay(info);
    match (info.addr(), authority) {
        (redis::ConnectionAddr::TcpTls { .. }, Some(pem)) => {
            let root_cert = Some(pem.to_vec());
            let certificates = redis::TlsCertificates {
                client_tls: None,
                root_cert,
            };
            Client::build_with_tls(info, certificates)
        }
        _ => Client::open(info),
    }
}

/// A client of one server.
#[cfg(not(feature = "tls"))]
pub(super) fn client(info: ConnectionInfo, _: &Authority) -> RedisResult<Client> {
    Client::open(without_delay(info))
}

/// Commands are sent at once, and do not wait until the ones before are acknowledged.
fn without_delay(info: ConnectionInfo) -> ConnectionInfo {
    info.set_tcp_settings(tcp())
}

/// What the sockets are set to.
pub(super) fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Connects to one server.
pub(super) async fn connect(
    client: &Client,
    answer: Option<Duration>,
) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(answer);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}
