//! Limits for each client, so that no client takes a port from the others. A client is an IP
//! address: the connection's, or the one that a trusted proxy names in `x-forwarded-for`.

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
use proto::error_info::{self, Reason};
use telemetry::{Counter, MetricsRegistry};

pub use crate::network::{Network, is_network, networks};
use crate::{TokenBucket, TokenRate, limits::ClientLimits, network};

/// The header in which a proxy names its client.
pub const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// So many clients are remembered before idle ones are looked for.
const MIN_REMEMBERED: usize = 1024;

/// A client has reached a limit, named by the key that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has reached the limit `{0}`")]
pub struct LimitExceeded(pub &'static str);

impl LimitExceeded {
    /// `RESOURCE_EXHAUSTED` with the reason `LIMIT` and the key.
    #[must_use]
    pub fn status(self) -> tonic::Status {
        let about = [("key", self.0.to_owned())];
        let message = self.to_string();
        error_info::status(
            tonic::Code::ResourceExhausted,
            Reason::Limit,
            message,
            about,
        )
    }
}

/// The clients of a port.
#[derive(Debug)]
pub struct Clients {
    limits: ClientLimits,
    /// Of each client's calls; `None` for no limit.
    rate: Option<TokenRate>,
    connections: AtomicU64,
    known: Mutex<ClientTable>,
    metrics: ClientMetrics,
}

#[derive(Debug, Default)]
struct ClientTable {
    clients: HashMap<IpAddr, Arc<ClientUsage>>,
    /// At so many the idle ones are dropped.
    most: usize,
}

telemetry::metrics! {
    struct ClientMetrics {
        refused: Counter ["key"] = "mesh_client_refused": "Calls and connections refused by a limit of their client";
    }
}

#[derive(Debug)]
struct ClientUsage {
    connections: AtomicU64,
    calls: AtomicU64,
    bucket: Mutex<TokenBucket>,
}

/// A client's connection, counted until it is dropped.
#[derive(Debug)]
pub struct ClientConnection {
    clients: Arc<Clients>,
    peer: IpAddr,
    /// `None` for a trusted proxy, whose calls are those of many clients.
    client: Option<Arc<ClientUsage>>,
}

/// A client's call, counted until it is dropped.
#[derive(Debug)]
pub struct CallPermit(Arc<ClientUsage>);

impl Clients {
    /// No clients yet.
    pub(crate) fn new(limits: ClientLimits, registry: &MetricsRegistry) -> Arc<Self> {
        // One second's calls are saved, and at least one: otherwise a rate below 1 would never
        // pass.
        let rate = limits.rate;
        let rate = (rate > 0.0).then(|| TokenRate::new(rate, rate.max(1.0)));
        Arc::new(Self {
            limits,
            rate,
            connections: AtomicU64::new(0),
            known: Mutex::default(),
            metrics: ClientMetrics::new(registry),
        })
    }

    /// The same limits for another port, whose connections and calls are counted apart.
    #[must_use]
    pub(crate) fn for_other_port(&self) -> Arc<Self> {
        Arc::new(Self {
            limits: self.limits.clone(),
            rate: self.rate,
            connections: AtomicU64::new(0),
            known: Mutex::default(),
            metrics: self.metrics.clone(),
        })
    }

    /// Counts a new connection.
    ///
    /// # Errors
    /// When the port or the client has too many connections.
    pub fn connect(self: &Arc<Self>, peer: SocketAddr) -> Result<ClientConnection, LimitExceeded> {
        let peer = peer.ip().to_canonical();
        if !try_count(&self.connections, self.limits.port_connections) {
            return Err(self.refuse("port_max_connections"));
        }
        let client = (!self.trusts(peer)).then(|| self.client(peer));
        if let Some(client) = &client
            && !try_count(&client.connections, self.limits.connections)
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
        self.limits
            .trusted_proxies
            .iter()
            .any(|network| network.has(address))
    }

    fn client(&self, address: IpAddr) -> Arc<ClientUsage> {
        let mut known = self.known.lock();
        if known.clients.len() > known.most.max(MIN_REMEMBERED) {
            let now = Instant::now();
            // A client that only the map holds has no connection and no call.
            known.clients.retain(|_, client| {
                Arc::strong_count(client) > 1 || !client.bucket.lock().is_full(now)
            });
            known.most = 2 * known.clients.len();
        }
        let client = known.clients.entry(client_key(address)).or_insert_with(|| {
            Arc::new(ClientUsage {
                connections: AtomicU64::new(0),
                calls: AtomicU64::new(0),
                bucket: Mutex::new(TokenBucket::full(Instant::now())),
            })
        });
        Arc::clone(client)
    }

    fn refuse(&self, key: &'static str) -> LimitExceeded {
        self.metrics.refused.of([key]).inc();
        LimitExceeded(key)
    }
}

impl ClientConnection {
    /// Whether it is a trusted proxy's, whose calls name their clients.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.client.is_none()
    }

    /// Whether calls are limited.
    #[must_use]
    pub fn counts_calls(&self) -> bool {
        self.clients.limits.calls > 0 || self.clients.rate.is_some()
    }

    /// The client of a call: see [`client_address`].
    #[must_use]
    pub fn address<'a>(&self, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        client_address(self.peer, &self.clients.limits.trusted_proxies, forwarded)
    }

    /// Counts a new call of the client with this address.
    ///
    /// # Errors
    /// When the client has too many calls at once, or in this second.
    pub fn call(&self, address: IpAddr) -> Result<CallPermit, LimitExceeded> {
        let client = match &self.client {
            Some(client) => Arc::clone(client),
            None => self.clients.client(address),
        };
        if !try_count(&client.calls, self.clients.limits.calls) {
            return Err(self.clients.refuse("client_max_calls"));
        }
        let permit = CallPermit(client);
        if let Some(rate) = self.clients.rate
            && permit.0.bucket.lock().take(rate, Instant::now()).is_err()
        {
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

/// Counts one more unless there are `most`; 0 is no limit.
fn try_count(count: &AtomicU64, most: u64) -> bool {
    let most = if most == 0 { u64::MAX } else { most };
    let less = |count: u64| (count < most).then_some(count + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

/// The client of a request that came from `peer`.
///
/// That is the peer, unless it is a trusted proxy. Then it is the last address of `forwarded` that
/// is not a trusted proxy's; `forwarded` has the values of [`X_FORWARDED_FOR`] in order.
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
    // Our proxies write addresses only. What stands before another text is not to be trusted.
    let mut hops = hops.map_while(|hop| network::address(hop.trim()));
    hops.find(|hop| !trusts(*hop)).unwrap_or(peer)
}

/// The address by which a client is counted. An IPv6 client has a whole /64, so its first 64 bits
/// count.
#[must_use]
pub fn client_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests;
