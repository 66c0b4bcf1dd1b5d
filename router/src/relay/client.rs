//! What the router keeps for a client's connection.

use std::net::{IpAddr, SocketAddr};

use channel::CallAffinity;
use service::clients::ClientConnection;

/// A client's connection.
#[derive(Default)]
pub(super) struct Client {
    /// Its account with the limits of clients.
    pub(super) connection: Option<ClientConnection>,
    pub(super) from: Option<SocketAddr>,
    /// Calls under way.
    calls: usize,
    /// Where the last of them went.
    pub(super) affinity: CallAffinity,
}

impl Client {
    /// Its address; `None` where it is a proxy, behind which there are many.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let is_proxy = self
            .connection
            .as_ref()
            .is_some_and(ClientConnection::is_proxy);
        Some(self.from.filter(|_| !is_proxy)?.ip().to_canonical())
    }

    /// A call begins.
    pub(super) fn begins(&mut self) {
        self.calls += 1;
    }

    /// A call is over.
    pub(super) fn ended(&mut self) {
        self.calls -= 1;
        if self.calls == 0 {
            // The next call of a client that calls one at a time is placed like a first one.
            self.affinity = CallAffinity::default();
        }
    }
}
