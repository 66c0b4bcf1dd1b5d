//! Limits for each client, so that none of them takes the port from the others. A client is an
//! address: the connection's, or what a trusted proxy says in `x-forwarded-for`.

mod token_bucket;
mod network;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use telemetry::{
    MetricsRegistry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family},
    },
};

use crate::keys::ChassisKeys;
use token_bucket::TokenBucket;
pub use network::{Network, is_network, networks};

/// The header in which a proxy says for whom it calls.
pub const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Clients that are remembered without a call or a connection, before those are looked for.
const MIN_REMEMBERED: usize = 1024;

/// A limit that a client has come to: the key that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has come to `{0}`")]
pub struct LimitExceeded(pub &'static str);

impl LimitExceeded {
    /// What the caller is told: `RESOURCE_EXHAUSTED`, with the key.
    #[must_use]
    pub fn status(self) -> tonic::Status {
        let about = [("key", self.0.to_owned())];
        let message = self.to_string();
        proto::error_info::status(tonic::Code::ResourceExhausted, "LIMIT", message, about)
    }
}

/// The clients of a port.
#[derive(Debug)]
pub struct Clients {
    trusted: Vec<Network>,
    port_connections: u64,
    client_connections: u64,
    calls: u64,
    rate: f64,
    connections: AtomicU64,
    known: Mutex<ClientTable>,
    refused: Family<Label, Counter>,
}

#[derive(Debug, Default)]
struct ClientTable {
    clients: HashMap<IpAddr, Arc<ClientUsage>>,
    /// How many there may be before the idle ones are forgotten.
    most: usize,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    key: &'static str,
}

#[derive(Debug)]
struct ClientUsage {
    connections: AtomicU64,
    calls: AtomicU64,
    bucket: Mutex<TokenBucket>,
}

/// A client's connection: counted until dropped.
#[derive(Debug)]
pub struct ClientConnection {
    clients: Arc<Clients>,
    peer: IpAddr,
    /// `None` for a trusted proxy, whose calls are those of many clients.
    client: Option<Arc<ClientUsage>>,
}

/// A call of a client's: counted until dropped.
#[derive(Debug)]
pub struct CallPermit(Arc<ClientUsage>);

impl Clients {
    /// The limits that the configuration sets.
    pub(crate) fn new(keys: &ChassisKeys, registry: &MetricsRegistry) -> Arc<Self> {
        let refused = Family::default();
        registry.register(
            "mesh_client_refused",
            "Calls and connections refused by a limit of their client",
            Family::clone(&refused),
        );
        Arc::new(Self {
            trusted: keys.connections.trusted_proxies.clone(),
            port_connections: keys.connections.port_max_connections,
            client_connections: keys.connections.client_max_connections,
            calls: keys.calls.client_max_calls,
            rate: keys.calls.client_rate,
            connections: AtomicU64::new(0),
            known: Mutex::default(),
            refused,
        })
    }

    /// The same limits for another port, whose connections and calls are counted apart.
    #[must_use]
    pub(crate) fn for_other_port(&self) -> Arc<Self> {
        Arc::new(Self {
            trusted: self.trusted.clone(),
            connections: AtomicU64::new(0),
            known: Mutex::default(),
            refused: self.refused.clone(),
            ..*self
        })
    }

    /// A client connects.
    ///
    /// # Errors
    /// When there are too many connections, of the port or of the client.
    pub fn connect(self: &Arc<Self>, peer: SocketAddr) -> Result<ClientConnection, LimitExceeded> {
        let peer = peer.ip().to_canonical();
        if !try_count(&self.connections, self.port_connections) {
            return Err(self.refuse("port_max_connections"));
        }
        let client = (!self.trusts(peer)).then(|| self.client(peer));
        if let Some(client) = &client
            && !try_count(&client.connections, self.client_connections)
        {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(self.refuse("client_max_connections"));
        }
        let clients = Arc::clone(self);
        Ok(ClientConnection {
            clients,
            peer,
            client,
        })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.has(address))
    }

    fn client(&self, address: IpAddr) -> Arc<ClientUsage> {
        let mut known = self.known.lock();
        if known.clients.len() > known.most.max(MIN_REMEMBERED) {
            let now = Instant::now();
            // One that only the map holds has neither a connection nor a call.
            known.clients.retain(|_, client| {
                Arc::strong_count(client) > 1 || !client.bucket.lock().is_full(self.rate, now)
            });
            known.most = 2 * known.clients.len();
        }
        let client = known.clients.entry(client_key(address)).or_insert_with(|| {
            Arc::new(ClientUsage {
                connections: AtomicU64::new(0),
                calls: AtomicU64::new(0),
                bucket: Mutex::new(TokenBucket::full(self.rate, Instant::now())),
            })
        });
        Arc::clone(client)
    }

    fn refuse(&self, key: &'static str) -> LimitExceeded {
        self.refused.get_or_create(&Label { key }).inc();
        LimitExceeded(key)
    }
}

impl ClientConnection {
    /// Whether calls on it have to say for whom they are.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.client.is_none()
    }

    /// Whether there is a limit of calls.
    #[must_use]
    pub fn counts_calls(&self) -> bool {
        self.clients.calls > 0 || self.clients.rate > 0.0
    }

    /// The client of a call, as [`client_address`] tells it.
    #[must_use]
    pub fn address<'a>(&self, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        client_address(self.peer, &self.clients.trusted, forwarded)
    }

    /// A call begins, of the client with this address.
    ///
    /// # Errors
    /// When the client has too many calls, or too many a second.
    pub fn call(&self, address: IpAddr) -> Result<CallPermit, LimitExceeded> {
        let client = match &self.client {
            Some(client) => Arc::clone(client),
            None => self.clients.client(address),
        };
        if !try_count(&client.calls, self.clients.calls) {
            return Err(self.clients.refuse("client_max_calls"));
        }
        let permit = CallPermit(client);
        let rate = self.clients.rate;
        if rate > 0.0 && !permit.0.bucket.lock().take(rate, Instant::now()) {
            return Err(self.clients.refuse("client_rate"));
        }
        Ok(permit)
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.clients.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = &self.client {
            client.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one more, up to `most`; 0 is no limit.
fn try_count(count: &AtomicU64, most: u64) -> bool {
    let most = if most == 0 { u64::MAX } else { most };
    let less = |count: u64| (count < most).then_some(count + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

/// The client of a request that came from `peer`: the peer, or where that is a trusted proxy the
/// last address of `forwarded` (the values of [`X_FORWARDED_FOR`] in their order) that is no trusted
/// proxy's.
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &[Network],
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let trusts = |address| trusted.iter().any(|network| network.has(address));
    if !trusts(peer) {
        return peer;
    }
    let hops = forwarded.rev().flat_map(|value| value.rsplit(','));
    // What is no address was not written by a proxy of ours, and neither was what stands before.
    let mut hops = hops.map_while(|hop| network::address(hop.trim()));
    hops.find(|hop| !trusts(*hop)).unwrap_or(peer)
}

/// The address that stands for a client: whoever has an IPv6 address has 2⁶⁴ of them.
#[must_use]
pub fn client_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests;
