//! The limits of a program's ports, read once from its configuration. Every port keeps the same
//! ones: gRPC, HTTP and admin.

use std::time::Duration;

use mesh_relay::{Config, settings::Settings};

use crate::{CallLimits, Context, keys::ChassisKeys, network::Network};

/// So many times the largest metadata is read all the same, so that its call alone is told of the
/// limit. Beyond it HTTP/2 answers with a status of HTTP, and far beyond ends the connection.
pub(crate) const METADATA_HEADROOM: u32 = 16;

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connection: ConnectionLimits,
    pub(crate) client: ClientLimits,
    pub(crate) call: CallLimits,
}

/// What one connection may cost. A time of zero is no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// How long a request's head may take to come, and a client to send its first byte.
    pub(crate) handshake: Duration,
    /// How long a client may pause within a body or a frame, or leave unread what we write.
    pub(crate) body: Duration,
    /// How long a connection may be idle.
    pub(crate) keep_alive: Duration,
    /// After so long, ±10 %, the client is told to use another connection.
    pub(crate) max_age: Duration,
    /// How long the calls of such a connection may then go on.
    pub(crate) max_age_grace: Duration,
    /// Calls that may be given up in ten seconds before they are answered.
    pub(crate) wasted_calls: u32,
    /// Concurrent streams of an HTTP/2 connection.
    pub(crate) streams: u32,
    /// Bytes of one request's head.
    pub(crate) header_bytes: u32,
}

/// What one client may have at once. 0 is no limit.
#[derive(Clone, Debug)]
pub(crate) struct ClientLimits {
    /// Connections of all clients to one port.
    pub(crate) port_connections: u64,
    /// Connections of one client to one port.
    pub(crate) connections: u64,
    /// Calls of one client.
    pub(crate) calls: u64,
    /// Calls of one client each second.
    pub(crate) rate: f64,
    /// Networks of proxies, which name their clients in `x-forwarded-for`.
    pub(crate) trusted_proxies: Vec<Network>,
}

impl Limits {
    pub(crate) fn new(keys: &ChassisKeys) -> Self {
        let (connections, calls) = (&keys.connections, &keys.calls);
        Self {
            connection: ConnectionLimits {
                handshake: connections.handshake_timeout,
                body: connections.body_timeout,
                keep_alive: connections.keep_alive,
                max_age: connections.max_connection_age,
                max_age_grace: connections.max_connection_age_grace,
                wasted_calls: connections.wasted_calls,
                streams: connections.max_concurrent_streams,
                header_bytes: u32::try_from(keys.metadata.max_header_bytes).unwrap_or(u32::MAX),
            },
            client: ClientLimits {
                port_connections: connections.port_max_connections,
                connections: connections.client_max_connections,
                calls: calls.client_max_calls,
                rate: calls.client_rate,
                trusted_proxies: connections.trusted_proxies.clone(),
            },
            call: CallLimits {
                message_bytes: keys.messages.max_message_bytes,
                idle: connections.body_timeout,
            },
        }
    }
}

impl Context {
    /// The limits of its port's connections, for a relay engine that carries the port.
    #[must_use]
    pub fn relay_config(&self) -> Config {
        let limits = Limits::new(&self.keys).connection;
        let unless_zero = |time: Duration| (!time.is_zero()).then_some(time);
        let default = Config::default();
        Config {
            clients: Settings {
                max_streams: limits.streams,
                ..default.clients
            },
            max_header_list: limits.header_bytes as usize,
            max_age: unless_zero(limits.max_age),
            age_grace: unless_zero(limits.max_age_grace),
            handshake_timeout: unless_zero(limits.handshake),
            body_timeout: unless_zero(limits.body),
            keep_alive: unless_zero(limits.keep_alive),
            wasted_calls: limits.wasted_calls,
            ..default
        }
    }
}
